"""The data plane's lines of addresses."""

from libc.stdint cimport UINT32_MAX, int32_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from vnasfast.tables.family cimport IPV6, is_ipv4
from vnasfast.tables.memory cimport HUGE_PAGE, map_small_pages, map_zeroed, prefer_huge_pages, unmap, whole_pages
from vnasfast.tables.plane cimport (
    VNAS_ELSEWHERE, VNAS_FIRST_IPV6_ROW, VNAS_IPV6_ELSEWHERE, VNAS_LINE_SLOTS, VNAS_OWNER_MASK, NextLines, VnasIpv6Row, VnasLine,
    VnasLines, Plane, ipv4_hash, ipv6_hash, ipv6_key, owner_of, plane_measure, plane_settle,
)
from vnasfast.tables.publish cimport begin_change, end_change, store_pointer, store_word
from vnasfast.tables.readers cimport readers_reserve, readers_retire

cdef enum:
    FIRST_LINES_LOG2 = 1
    MOST_LINES_LOG2 = 26
    # Addresses for each line at the most, on average: 2.5 of 7. Then 1 address in 440 lies in the line beside its own, which takes a look
    # more, and 1 in 12,000 is answered by the control plane; with 3.5 it were 1 in 85 and 1 in 700. The larger table costs no time: 4.8 ns a
    # packet at 1M sockets with 3.0 and with 1.5.
    LINE_LOAD_TWICE = 5
    FEW_IPV6_ROWS = 16
    # Address space for the rows of IPv6 addresses once there is one, 400 MB; beyond, all are copied at once.
    IPV6_ROWS = 1 << 24


cdef inline size_t bytes_of(uint32_t log2_lines) noexcept nogil:
    return whole_pages(sizeof(VnasLines) + (sizeof(VnasLine) << log2_lines))


cdef size_t lines_bytes(const VnasLines* lines) noexcept nogil:
    return bytes_of(log2_lines_of(lines))


cdef uint32_t lines_piece(const VnasLines* lines) noexcept nogil:
    return HUGE_PAGE if lines_bytes(lines) >= HUGE_PAGE else HUGE_PAGE // 8


cdef inline size_t ipv6_bytes(uint32_t n) noexcept nogil:
    return whole_pages(n * sizeof(VnasIpv6Row))


cdef VnasLines* new_lines(uint32_t log2_lines) except NULL:
    cdef VnasLines* table = <VnasLines*>map_zeroed(bytes_of(log2_lines))
    if table == NULL:
        raise MemoryError(f"no memory for {7 << log2_lines} addresses")
    table.shift = 32 - log2_lines
    return table


cdef int lines_init(Plane* plane) except -1:
    plane.c.ipv4 = new_lines(FIRST_LINES_LOG2)
    plane.c.ipv6 = new_lines(FIRST_LINES_LOG2)
    return reserve_ipv6_rows(plane, FEW_IPV6_ROWS - VNAS_FIRST_IPV6_ROW)


cdef void lines_free(Plane* plane) noexcept nogil:
    cdef int family
    if plane.c.ipv4 != NULL:
        unmap(plane.c.ipv4, lines_bytes(plane.c.ipv4))
    if plane.c.ipv6 != NULL:
        unmap(plane.c.ipv6, lines_bytes(plane.c.ipv6))
    for family in range(2):
        if plane.next_lines[family].lines != NULL:
            unmap(plane.next_lines[family].lines, lines_bytes(plane.next_lines[family].lines))
    unmap(plane.c.ipv6_rows, ipv6_bytes(plane.ipv6_capacity))


cdef inline VnasLine* line_of(const Plane* plane, VnasLines* table, bint ipv6, uint64_t hi, uint64_t lo, uint16_t vlan,
                              uint32_t* key) noexcept nogil:
    """The line of an address, and its key there."""
    cdef uint64_t hash
    if ipv6:
        hash = ipv6_hash(&plane.c, hi, lo, vlan)
        key[0] = ipv6_key(hash)
        return &table.lines[<uint32_t>(hash >> 32) >> table.shift]
    key[0] = <uint32_t>(lo >> 32)
    return &table.lines[ipv4_hash(&plane.c, key[0], vlan) >> table.shift]


cdef inline VnasLine* line_beside(VnasLines* table, const VnasLine* line) noexcept nogil:
    """The other line of a pair."""
    return &table.lines[<size_t>(line - table.lines) ^ 1]


cdef bint put_in_line(VnasLine* line, uint32_t key, uint32_t value) noexcept nogil:
    """Add to a line; False if it is full."""
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.values[i] == 0:
            store_word(line.keys[i], key)
            store_word(line.values[i], value)
            return True
    return False


cdef inline uint32_t line_value(int32_t row, bint ipv6, uint16_t vlan, int32_t vnas) noexcept nogil:
    return <uint32_t>row + VNAS_FIRST_IPV6_ROW if ipv6 else <uint32_t>vlan << 20 | owner_of(vnas)


cdef bint put(const Plane* plane, VnasLines* lines, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan,
              int32_t vnas) noexcept nogil:
    """Add an address to its line or the one beside it; False if both are full. The first one says so then."""
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key, value = line_value(row, ipv6, vlan, vnas)
    cdef VnasLine* line = line_of(plane, lines, ipv6, hi, lo, vlan, &key)
    if put_in_line(line, key, value):
        return True
    store_word(line.values[VNAS_LINE_SLOTS], VNAS_ELSEWHERE)      # VNAS_IPV6_ELSEWHERE is the same number
    if put_in_line(line_beside(lines, line), key, value):
        return True
    store_word(line.keys[VNAS_LINE_SLOTS], 1)
    return False


cdef bint take_from_line(VnasLine* line, uint32_t key, uint32_t value, uint32_t compared) noexcept nogil:
    """Take out what has the key and, in the bits compared, the value; False if it isn't there."""
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == key and line.values[i] != 0 and (line.values[i] ^ value) & compared == 0:
            store_word(line.values[i], 0)
            store_word(line.keys[i], 0)     # or it would hide the same address on another VLAN behind it
            return True
    return False


cdef bint take(const Plane* plane, VnasLines* lines, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil:
    """Take an address out of its line or the one beside it; False if it is in neither."""
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key, value = line_value(row, ipv6, vlan, 0)
    cdef uint32_t compared = UINT32_MAX if ipv6 else ~VNAS_OWNER_MASK
    cdef VnasLine* line = line_of(plane, lines, ipv6, hi, lo, vlan, &key)
    return (take_from_line(line, key, value, compared)
            or line.values[VNAS_LINE_SLOTS] != 0 and take_from_line(line_beside(lines, line), key, value, compared))


cdef int reserve_ipv6_rows(Plane* plane, uint32_t n) except -1:
    cdef uint32_t capacity
    cdef VnasIpv6Row* rows
    cdef VnasIpv6Row* old = plane.c.ipv6_rows
    n += VNAS_FIRST_IPV6_ROW
    if n <= plane.ipv6_capacity:
        return 0
    capacity = FEW_IPV6_ROWS if plane.ipv6_capacity == 0 else max(<uint32_t>IPV6_ROWS, 2 * plane.ipv6_capacity)
    rows = <VnasIpv6Row*>map_small_pages(ipv6_bytes(max(n, capacity)))
    if rows == NULL:
        raise MemoryError(f"no memory for {max(n, capacity)} IPv6 addresses")
    if ipv6_bytes(n) >= HUGE_PAGE:
        prefer_huge_pages(rows, ipv6_bytes(max(n, capacity)), True)
    if old != NULL:
        memcpy(rows, old, plane.ipv6_capacity * sizeof(VnasIpv6Row))
    rows[VNAS_IPV6_ELSEWHERE].value = VNAS_ELSEWHERE
    store_pointer(plane.c.ipv6_rows, rows)
    if old != NULL:     # only now can nobody come upon it any more
        readers_retire(&plane.readers, old, ipv6_bytes(plane.ipv6_capacity), HUGE_PAGE)
    plane.ipv6_capacity = max(n, capacity)
    return 0


cdef int lines_reserve(Plane* plane, int32_t row, bint ipv6) except -1:
    cdef const VnasLines* table = plane.c.ipv6 if ipv6 else plane.c.ipv4
    cdef uint64_t n = <uint64_t>plane.n_lined[ipv6] + plane.n_elsewhere[ipv6] + 1
    cdef uint32_t log2_lines = log2_lines_of(table)
    if ipv6:
        reserve_ipv6_rows(plane, row + 1)
        if ipv6_bytes(row) < HUGE_PAGE and ipv6_bytes(row + 1) >= HUGE_PAGE:
            prefer_huge_pages(plane.c.ipv6_rows, ipv6_bytes(plane.ipv6_capacity), True)
    if plane.next_lines[ipv6].lines == NULL and 2 * n > <uint64_t>LINE_LOAD_TWICE << log2_lines and log2_lines < MOST_LINES_LOG2:
        while 2 * n > <uint64_t>LINE_LOAD_TWICE << log2_lines and log2_lines < MOST_LINES_LOG2:
            log2_lines += 1
        plane.next_lines[ipv6].lines = new_lines(log2_lines)
        plane.next_lines[ipv6].filled = 0
        plane.next_lines[ipv6].n_lined = plane.next_lines[ipv6].n_elsewhere = 0
    return 0


cdef void lines_fill(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef NextLines* following = &plane.next_lines[not is_ipv4(hi, lo)]
    if put(plane, following.lines, row, hi, lo, vlan, vnas):
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
    cdef VnasIpv6Row* place = &plane.c.ipv6_rows[row + VNAS_FIRST_IPV6_ROW]
    begin_change(plane.c.address_changes)
    if ipv6:
        place.hi = hi
        place.lo = lo
        place.value = <uint32_t>vlan << 20 | owner_of(vnas)
    if put(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, row, hi, lo, vlan, vnas):
        plane.n_lined[ipv6] += 1
    else:
        plane.n_elsewhere[ipv6] += 1
    end_change(plane.c.address_changes)
    if plane.next_lines[ipv6].lines != NULL and row < plane.next_lines[ipv6].filled:
        lines_fill(plane, row, hi, lo, vlan, vnas)


cdef void lines_remove(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef NextLines* following = &plane.next_lines[ipv6]
    begin_change(plane.c.address_changes)       # also for a reader that is just asking the control plane for it
    if take(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, row, hi, lo, vlan):
        plane.n_lined[ipv6] -= 1
    else:
        plane.n_elsewhere[ipv6] -= 1
    end_change(plane.c.address_changes)
    if following.lines != NULL and row < following.filled:
        if take(plane, following.lines, row, hi, lo, vlan):
            following.n_lined -= 1
        else:
            following.n_elsewhere -= 1


cdef bint in_line(const VnasLine* line, uint32_t key, uint32_t value) noexcept nogil:
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == key and line.values[i] == value:
            return True
    return False


cdef int lines_find(const Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key
    cdef uint32_t value = line_value(row, ipv6, vlan, vnas)
    cdef const VnasIpv6Row* place = &plane.c.ipv6_rows[row + VNAS_FIRST_IPV6_ROW]
    cdef VnasLines* lines = plane.c.ipv6 if ipv6 else plane.c.ipv4
    cdef const VnasLine* line = line_of(plane, lines, ipv6, hi, lo, vlan, &key)
    if in_line(line, key, value) or line.values[VNAS_LINE_SLOTS] != 0 and in_line(line_beside(lines, line), key, value):
        if not ipv6:
            return 1
        return 1 if place.hi == hi and place.lo == lo and place.value == (<uint32_t>vlan << 20 | owner_of(vnas)) else -1
    return 0 if line.values[VNAS_LINE_SLOTS] == VNAS_ELSEWHERE and line.keys[VNAS_LINE_SLOTS] else -1
