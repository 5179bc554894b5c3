"""The data plane's lines of addresses."""

from libc.stdint cimport UINT32_MAX, int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.family cimport is_ipv4
from vnasfast.tables.memory cimport HUGE_PAGE, map_zeroed, unmap, whole_pages
from vnasfast.tables.plane cimport (
    VNAS_BESIDE, VNAS_ELSEWHERE, VNAS_IPV6_SLOTS, VNAS_IPV6_TOGETHER, VNAS_LINE_SLOTS, VNAS_OWNER_MASK, VNAS_TOGETHER, NextLines,
    Plane, VnasIpv6Line, VnasLine, VnasLines, ipv4_hash, ipv6_hash, owner_of, plane_measure, plane_settle,
)
from vnasfast.tables.publish cimport begin_change, end_change, store_pointer, store_word
from vnasfast.tables.readers cimport readers_retire

cdef enum:
    FIRST_LINES_LOG2 = 2
    MOST_LINES_LOG2 = 26
    # Addresses for each line at the most, on average: 2.5 of 7. Then 1 address in 440 lies in the line beside its own, which takes a look
    # more, and 1 in 12,000 is answered by the control plane; with 3.5 it were 1 in 85 and 1 in 700. The larger table costs no time: 4.8 ns a
    # packet at 1M sockets with 3.0 and with 1.5.
    LINE_LOAD_TENTHS = 25
    # … and of IPv6 0.8 of 3. Then 1 in 75 lies beside its own, and 1 in 80,000 is the control plane's. With 1.0, where 1 in 43 lies beside, a
    # packet took 1.17 times as long at 10k sockets; with 0.5 1.15 times as long at 100k, for the table's size.
    IPV6_LINE_LOAD_TENTHS = 8


# Where an address is looked for, and what is stored for it.
cdef struct Place:
    VnasLines* table
    size_t line
    bint ipv6
    uint64_t hi, lo
    uint32_t value


cdef inline size_t bytes_of(uint32_t log2_lines) noexcept nogil:
    return whole_pages(sizeof(VnasLines) + (sizeof(VnasLine) << log2_lines))


cdef size_t lines_bytes(const VnasLines* lines) noexcept nogil:
    return bytes_of(log2_lines_of(lines))


cdef uint32_t lines_piece(const VnasLines* lines) noexcept nogil:
    return HUGE_PAGE if lines_bytes(lines) >= HUGE_PAGE else HUGE_PAGE // 8


cdef VnasLines* new_lines(uint32_t log2_lines) except NULL:
    cdef VnasLines* table = <VnasLines*>map_zeroed(bytes_of(log2_lines))
    if table == NULL:
        raise MemoryError(f"no memory for {1 << log2_lines} lines of addresses")
    table.shift = 32 - log2_lines
    return table


cdef int lines_init(Plane* plane) except -1:
    plane.c.ipv4 = new_lines(FIRST_LINES_LOG2)
    plane.c.ipv6 = new_lines(FIRST_LINES_LOG2)
    return 0


cdef void lines_free(Plane* plane) noexcept nogil:
    cdef int family
    if plane.c.ipv4 != NULL:
        unmap(plane.c.ipv4, lines_bytes(plane.c.ipv4))
    if plane.c.ipv6 != NULL:
        unmap(plane.c.ipv6, lines_bytes(plane.c.ipv6))
    for family in range(2):
        if plane.next_lines[family].lines != NULL:
            unmap(plane.next_lines[family].lines, lines_bytes(plane.next_lines[family].lines))


cdef inline Place place_of(const Plane* plane, VnasLines* table, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    """The line of an address, and what is stored for it."""
    cdef Place place
    cdef uint32_t hash
    place.ipv6 = not is_ipv4(hi, lo)
    if place.ipv6:
        hash = ipv6_hash(&plane.c, hi, lo, vlan)
    else:
        hash = ipv4_hash(&plane.c, <uint32_t>(lo >> 32), vlan)
    place.table = table
    place.line = hash >> table.shift
    place.hi = hi
    place.lo = lo
    place.value = <uint32_t>vlan << 20 | owner_of(vnas)
    return place


cdef inline int n_together(const Place* place) noexcept nogil:
    return VNAS_IPV6_TOGETHER if place.ipv6 else VNAS_TOGETHER


cdef inline VnasLine* ipv4_line(const Place* place, int beside) noexcept nogil:
    return &place.table.lines[place.line ^ <size_t>beside]


cdef inline VnasIpv6Line* ipv6_line(const Place* place, int beside) noexcept nogil:
    return &(<VnasIpv6Line*>place.table.lines)[place.line ^ <size_t>beside]


cdef inline uint32_t* miss_of(const Place* place) noexcept nogil:
    """What a miss in the address's own line means."""
    if place.ipv6:
        return &ipv6_line(place, 0).values[VNAS_IPV6_SLOTS]
    return &ipv4_line(place, 0).values[VNAS_LINE_SLOTS]


cdef bint put_in_line(const Place* place, int beside) noexcept nogil:
    """Add to a line; False if it is full."""
    cdef VnasIpv6Line* wide = ipv6_line(place, beside)
    cdef VnasLine* line = ipv4_line(place, beside)
    cdef int i
    if place.ipv6:
        for i in range(VNAS_IPV6_SLOTS):
            if wide.values[i] == 0:
                wide.hi[i] = place.hi
                wide.lo[i] = place.lo
                store_word(wide.values[i], place.value)
                return True
        return False
    for i in range(VNAS_LINE_SLOTS):
        if line.values[i] == 0:
            store_word(line.keys[i], <uint32_t>(place.lo >> 32))
            store_word(line.values[i], place.value)
            return True
    return False


cdef bint put(const Place* place) noexcept nogil:
    """Add an address to its line or one beside it; False if all are full. The first one says so."""
    cdef int beside
    for beside in range(n_together(place)):
        if put_in_line(place, beside):
            if beside > 0 and miss_of(place)[0] != VNAS_ELSEWHERE:
                store_word(miss_of(place)[0], VNAS_BESIDE)
            return True
    store_word(miss_of(place)[0], VNAS_ELSEWHERE)
    return False


cdef int find_in_line(const Place* place, int beside, uint32_t compared) noexcept nogil:
    """The slot that has the address and, in the bits compared, the value; -1 if there is none."""
    cdef const VnasIpv6Line* wide = ipv6_line(place, beside)
    cdef const VnasLine* line = ipv4_line(place, beside)
    cdef int i
    if place.ipv6:
        for i in range(VNAS_IPV6_SLOTS):
            if wide.hi[i] == place.hi and wide.lo[i] == place.lo and wide.values[i] != 0 and (
                    wide.values[i] ^ place.value) & compared == 0:
                return i
        return -1
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == <uint32_t>(place.lo >> 32) and line.values[i] != 0 and (line.values[i] ^ place.value) & compared == 0:
            return i
    return -1


cdef bint take(const Place* place) noexcept nogil:
    """Take an address out of its line or one beside it; False if it is in none."""
    cdef int beside, i
    for beside in range(n_together(place)):
        i = find_in_line(place, beside, ~VNAS_OWNER_MASK)
        if i >= 0:
            if place.ipv6:
                store_word(ipv6_line(place, beside).values[i], 0)
                ipv6_line(place, beside).hi[i] = ipv6_line(place, beside).lo[i] = 0
            else:
                store_word(ipv4_line(place, beside).values[i], 0)
                store_word(ipv4_line(place, beside).keys[i], 0)     # or it would hide the same address on another VLAN behind it
            return True
        if miss_of(place)[0] == 0:
            break
    return False


cdef int lines_reserve(Plane* plane, bint ipv6) except -1:
    cdef const VnasLines* table = plane.c.ipv6 if ipv6 else plane.c.ipv4
    cdef uint64_t tenths = 10 * (<uint64_t>plane.n_lined[ipv6] + plane.n_elsewhere[ipv6] + 1)
    cdef uint64_t load = IPV6_LINE_LOAD_TENTHS if ipv6 else LINE_LOAD_TENTHS
    cdef uint32_t log2_lines = log2_lines_of(table)
    if plane.next_lines[ipv6].lines == NULL and tenths > load << log2_lines and log2_lines < MOST_LINES_LOG2:
        while tenths > load << log2_lines and log2_lines < MOST_LINES_LOG2:
            log2_lines += 1
        plane.next_lines[ipv6].lines = new_lines(log2_lines)
        plane.next_lines[ipv6].filled = 0
        plane.next_lines[ipv6].n_lined = plane.next_lines[ipv6].n_elsewhere = 0
    return 0


cdef void lines_fill(Plane* plane, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef NextLines* following = &plane.next_lines[not is_ipv4(hi, lo)]
    cdef Place place = place_of(plane, following.lines, hi, lo, vlan, vnas)
    if put(&place):
        following.n_lined += 1
    else:
        following.n_elsewhere += 1


cdef void lines_use_next(Plane* plane, bint ipv6) noexcept nogil:
    cdef NextLines* following = &plane.next_lines[ipv6]
    cdef VnasLines* old = plane.c.ipv6 if ipv6 else plane.c.ipv4
    if ipv6:
        store_pointer(plane.c.ipv6, following.lines)
    else:
        store_pointer(plane.c.ipv4, following.lines)
    plane.n_lined[ipv6] = following.n_lined
    plane.n_elsewhere[ipv6] = following.n_elsewhere
    following.lines = NULL
    readers_retire(&plane.readers, old, lines_bytes(old), lines_piece(old))
    plane_settle(plane)
    plane_measure(plane)


cdef void lines_add(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef Place place = place_of(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, hi, lo, vlan, vnas)
    begin_change(plane.c.address_changes)
    if put(&place):
        plane.n_lined[ipv6] += 1
    else:
        plane.n_elsewhere[ipv6] += 1
    end_change(plane.c.address_changes)
    if plane.next_lines[ipv6].lines != NULL and row < plane.next_lines[ipv6].filled:
        lines_fill(plane, hi, lo, vlan, vnas)


cdef void lines_remove(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef NextLines* following = &plane.next_lines[ipv6]
    cdef Place place = place_of(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, hi, lo, vlan, 0)
    begin_change(plane.c.address_changes)       # also for a reader that is just asking the control plane for it
    if take(&place):
        plane.n_lined[ipv6] -= 1
    else:
        plane.n_elsewhere[ipv6] -= 1
    end_change(plane.c.address_changes)
    if following.lines != NULL and row < following.filled:
        place = place_of(plane, following.lines, hi, lo, vlan, 0)
        if take(&place):
            following.n_lined -= 1
        else:
            following.n_elsewhere -= 1


cdef int lines_find(const Plane* plane, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef Place place = place_of(plane, plane.c.ipv4 if is_ipv4(hi, lo) else plane.c.ipv6, hi, lo, vlan, vnas)
    cdef int beside
    for beside in range(n_together(&place)):
        if find_in_line(&place, beside, UINT32_MAX) >= 0:
            return 1 if beside == 0 or miss_of(&place)[0] != 0 else -1
    return 0 if miss_of(&place)[0] == VNAS_ELSEWHERE else -1
