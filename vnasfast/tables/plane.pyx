"""The data plane's writer."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from vnasfast.tables.family cimport IPV4, IPV6, is_ipv4
from vnasfast.tables.hashing cimport splitmix64
from vnasfast.tables.memory cimport PAGE, map_zeroed, unmap, whole_pages
from vnasfast.tables.readers cimport Retired, readers_next_free, readers_reserve, readers_retire

cdef extern from *:
    void store_pointer "VNAS_STORE"(void* place, void* value) noexcept nogil
    void store_word "VNAS_STORE"(uint32_t place, uint32_t value) noexcept nogil
    void store_answer "VNAS_STORE"(int32_t place, int32_t value) noexcept nogil
    void begin_change "vnas_begin_change"(uint64_t place) noexcept nogil

cdef extern from *:
    """
    /* The fence keeps what is changed after the first count from being seen before it. */
    #define vnas_begin_change(place) do { __atomic_fetch_add(&(place), 1, __ATOMIC_RELAXED); \\
                                          __atomic_thread_fence(__ATOMIC_SEQ_CST); } while (0)
    #define vnas_end_change(place) __atomic_fetch_add(&(place), 1, __ATOMIC_RELEASE)
    """
    void end_change "vnas_end_change"(uint64_t place) noexcept nogil

cdef enum:
    FIRST_LINES_LOG2 = 1
    # Addresses for each line at the most, on average: 2.5 of 7. Then 1 line in 240 overflows, and 1 address in 440 is answered by the
    # control plane; with 3.5 it was 1 in 85. The larger table costs no time: 4.8 ns a packet at 1M sockets with 3.0 and with 1.5.
    LINE_LOAD_TWICE = 5
    FIRST_WIDTH = 64
    # Arrays begin this much further apart than a power of two, or the same VNAS's answers on all ports would fight for one
    # set of the cache.
    SKEW = 16
    FIRST_SLOTS = 16
    FREE_ANSWERS = 1 << 20      # answers that ports may have, however few sockets they have: 4 MiB
    ANSWERS_A_SOCKET = 8        # of a port's array for each of its sockets, beyond that: 32 bytes


cdef inline size_t lines_bytes(uint32_t log2_lines) noexcept nogil:
    return whole_pages(sizeof(VnasLines) + (sizeof(VnasLine) << log2_lines))


cdef inline uint32_t log2_lines_of(const VnasLines* table) noexcept nogil:
    return 32 - table.shift


cdef VnasLines* new_lines(uint32_t log2_lines) except NULL:
    cdef VnasLines* table = <VnasLines*>map_zeroed(lines_bytes(log2_lines))
    if table == NULL:
        raise MemoryError(f"no memory for {7 << log2_lines} addresses")
    table.shift = 32 - log2_lines
    return table


cdef inline size_t answers_bytes(uint32_t width, uint32_t slot_capacity) noexcept nogil:
    return whole_pages(<size_t>width * slot_capacity * sizeof(int32_t))


cdef void fill_slot(int32_t* answers, uint32_t width, int32_t stored) noexcept nogil:
    cdef uint32_t i
    for i in range(VNAS_FIRST_OWNER, width):
        answers[i] = stored


cdef inline void begin_slot(int32_t* answers) noexcept nogil:
    """What the two owners that are no VNAS get, on each port: NO_VNAS, and the control plane's answer."""
    answers[VNAS_NOBODY] = -1 + VNAS_STORED
    answers[VNAS_ELSEWHERE] = VNAS_ASK


cdef void copy_answers(int32_t* target, const int32_t* source, uint32_t n) noexcept nogil:
    """Copy what isn't zero: pages that were never written stay so."""
    cdef uint32_t i
    for i in range(n):
        if source[i] != 0:
            target[i] = source[i]


cdef int plane_init(Plane* plane, uint64_t seed) except -1:
    cdef int i
    memset(plane, 0, sizeof(Plane))
    for i in range(3):
        seed = splitmix64(seed)
        plane.c.ipv4_seed[i] = <uint32_t>seed | 1
        seed = splitmix64(seed)
        plane.c.ipv6_seed[i] = seed | 1
    plane.c.ipv4 = new_lines(FIRST_LINES_LOG2)
    plane.c.ipv6 = new_lines(FIRST_LINES_LOG2)
    reserve_ipv6_rows(plane, 14)
    lay_out(plane, FIRST_WIDTH + SKEW, FIRST_SLOTS)
    measure(plane)
    return 0


cdef void unmap_ports(VnasPorts* ports, size_t n_bytes) noexcept nogil:
    unmap(ports.answers, n_bytes)
    unmap(ports.directory, 2 * VNAS_PLACES * sizeof(uint32_t))
    unmap(ports, PAGE)


cdef void plane_free(Plane* plane) noexcept nogil:
    cdef uint32_t i
    for i in range(plane.readers.n_retired):
        if plane.readers.retired[i].memory != NULL:
            unmap(plane.readers.retired[i].memory, plane.readers.retired[i].n_bytes)
    free(plane.readers.retired)
    if plane.c.ipv4 != NULL:
        unmap(plane.c.ipv4, lines_bytes(log2_lines_of(plane.c.ipv4)))
    if plane.c.ipv6 != NULL:
        unmap(plane.c.ipv6, lines_bytes(log2_lines_of(plane.c.ipv6)))
    if plane.c.ipv6_rows != NULL:
        unmap(plane.c.ipv6_rows, whole_pages(plane.ipv6_capacity * sizeof(VnasIpv6Row)))
    if plane.c.ports != NULL:
        unmap_ports(plane.c.ports, answers_bytes(plane.width, plane.slot_capacity))
    free(plane.free_slots)
    memset(plane, 0, sizeof(Plane))


cdef void plane_settle(Plane* plane) noexcept nogil:
    cdef Retired retired
    while readers_next_free(&plane.readers, &retired):
        if retired.memory != NULL:
            unmap(retired.memory, retired.n_bytes)
        elif retired.slot < plane.n_slots:
            memset(plane.c.ports.answers + <size_t>retired.slot * plane.width, 0, plane.width * sizeof(int32_t))
            plane.free_slots[plane.n_free_slots] = retired.slot
            plane.n_free_slots += 1


cdef void measure(Plane* plane) noexcept nogil:
    plane.c.bytes = (lines_bytes(log2_lines_of(plane.c.ipv4)) + lines_bytes(log2_lines_of(plane.c.ipv6))
                     + plane.n_lined[IPV6] * sizeof(VnasIpv6Row) + <size_t>plane.n_slots * plane.width * sizeof(int32_t))


# ---- addresses ------------------------------------------------------------------------------------------------------

cdef inline uint32_t owner_of(int32_t vnas) noexcept nogil:
    return VNAS_FIRST_OWNER + <uint32_t>vnas if plane_has_owner(vnas) else VNAS_ELSEWHERE


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


cdef bint put_in_line(VnasLine* line, uint32_t key, uint32_t value) noexcept nogil:
    """Add to a line; False, and the line says ELSEWHERE, if it is full."""
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.values[i] == 0:
            store_word(line.keys[i], key)
            store_word(line.values[i], value)
            return True
    store_word(line.values[VNAS_LINE_SLOTS], VNAS_ELSEWHERE)      # VNAS_IPV6_ELSEWHERE is the same number
    return False


cdef int reserve_ipv6_rows(Plane* plane, uint32_t n) except -1:
    cdef uint32_t capacity
    cdef VnasIpv6Row* rows
    cdef VnasIpv6Row* old
    n += VNAS_FIRST_IPV6_ROW
    if n <= plane.ipv6_capacity:
        return 0
    capacity = max(2 * plane.ipv6_capacity, n)
    rows = <VnasIpv6Row*>map_zeroed(whole_pages(capacity * sizeof(VnasIpv6Row)))
    if rows == NULL:
        raise MemoryError(f"no memory for {capacity} IPv6 addresses")
    old = plane.c.ipv6_rows
    if old != NULL:
        memcpy(rows, old, plane.ipv6_capacity * sizeof(VnasIpv6Row))
    rows[VNAS_IPV6_ELSEWHERE].value = VNAS_ELSEWHERE
    store_pointer(plane.c.ipv6_rows, rows)
    if old != NULL:     # only now can nobody come upon it any more
        readers_retire(&plane.readers, old, whole_pages(plane.ipv6_capacity * sizeof(VnasIpv6Row)), 0)
    plane.ipv6_capacity = capacity
    plane_settle(plane)
    return 0


cdef bint plane_reserve_address(Plane* plane, int32_t row, bint ipv6) except -1:
    cdef const VnasLines* table = plane.c.ipv6 if ipv6 else plane.c.ipv4
    readers_reserve(&plane.readers, 2 + plane.n_slots)
    if ipv6:
        reserve_ipv6_rows(plane, row + 1)
    return (2 * (<uint64_t>plane.n_lined[ipv6] + plane.n_elsewhere[ipv6] + 1)
            > <uint64_t>LINE_LOAD_TWICE << log2_lines_of(table)) and log2_lines_of(table) < 26


cdef VnasLines* plane_larger_lines(Plane* plane, bint ipv6) except NULL:
    return new_lines(log2_lines_of(plane.c.ipv6 if ipv6 else plane.c.ipv4) + 1)


cdef void plane_use_lines(Plane* plane, bint ipv6, VnasLines* lines, uint32_t n_lined, uint32_t n_elsewhere) noexcept nogil:
    cdef VnasLines* old = plane.c.ipv6 if ipv6 else plane.c.ipv4
    if ipv6:
        store_pointer(plane.c.ipv6, lines)
    else:
        store_pointer(plane.c.ipv4, lines)
    plane.n_lined[ipv6] = n_lined
    plane.n_elsewhere[ipv6] = n_elsewhere
    readers_retire(&plane.readers, old, lines_bytes(log2_lines_of(old)), 0)
    plane_settle(plane)
    measure(plane)


cdef bint plane_put_address(const Plane* plane, VnasLines* lines, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan,
                            int32_t vnas) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key
    cdef VnasLine* line = line_of(plane, lines, ipv6, hi, lo, vlan, &key)
    return put_in_line(line, key, <uint32_t>row + VNAS_FIRST_IPV6_ROW if ipv6 else <uint32_t>vlan << 20 | owner_of(vnas))


cdef void plane_add_address(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef VnasIpv6Row* place = &plane.c.ipv6_rows[row + VNAS_FIRST_IPV6_ROW]
    begin_change(plane.c.address_changes)
    if ipv6:
        place.hi = hi
        place.lo = lo
        place.value = <uint32_t>vlan << 20 | owner_of(vnas)
    if plane_put_address(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, row, hi, lo, vlan, vnas):
        plane.n_lined[ipv6] += 1
    else:
        plane.n_elsewhere[ipv6] += 1
    end_change(plane.c.address_changes)


cdef void plane_remove_address(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key
    cdef VnasLine* line = line_of(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, ipv6, hi, lo, vlan, &key)
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == key and line.values[i] != 0 and (
                line.values[i] == <uint32_t>row + VNAS_FIRST_IPV6_ROW if ipv6 else line.values[i] >> 20 == vlan):
            begin_change(plane.c.address_changes)
            store_word(line.values[i], 0)
            store_word(line.keys[i], 0)     # or it would hide the same address on another VLAN behind it
            end_change(plane.c.address_changes)
            plane.n_lined[ipv6] -= 1
            return
    # A reader may just be asking the control plane for it: it has changed for it too.
    begin_change(plane.c.address_changes)
    end_change(plane.c.address_changes)
    plane.n_elsewhere[ipv6] -= 1


# ---- answers --------------------------------------------------------------------------------------------------------

cdef int lay_out(Plane* plane, uint32_t width, uint32_t slot_capacity) except -1:
    """Give each slot `width` answers, and room for so many slots; all at once for whoever reads."""
    cdef VnasPorts* old = plane.c.ports
    cdef VnasPorts* made = <VnasPorts*>map_zeroed(PAGE)
    cdef uint32_t* free_slots = <uint32_t*>malloc(slot_capacity * sizeof(uint32_t))
    cdef uint32_t slot, place
    readers_reserve(&plane.readers, 3 + plane.n_slots)
    if made != NULL:
        made.answers = <int32_t*>map_zeroed(answers_bytes(width, slot_capacity))
        made.directory = <uint32_t*>map_zeroed(2 * VNAS_PLACES * sizeof(uint32_t))
    if made == NULL or made.answers == NULL or made.directory == NULL or free_slots == NULL:
        free(free_slots)
        if made != NULL:
            if made.answers != NULL:
                unmap(made.answers, answers_bytes(width, slot_capacity))
            if made.directory != NULL:
                unmap(made.directory, 2 * VNAS_PLACES * sizeof(uint32_t))
            unmap(made, PAGE)
        raise MemoryError(f"no memory for the answers of {width} VNASs on {slot_capacity} ports")
    fill_slot(made.answers + NO_PORT_SLOT * width, width, -2 + VNAS_STORED)
    fill_slot(made.answers + ASK_SLOT * width, width, VNAS_ASK)
    for slot in range(max(plane.n_slots, <uint32_t>FIRST_SLOT)):
        if slot >= FIRST_SLOT:
            copy_answers(made.answers + <size_t>slot * width, old.answers + <size_t>slot * plane.width, plane.width)
        begin_slot(made.answers + <size_t>slot * width)
    if old != NULL:
        for place in range(2 * VNAS_PLACES):
            if old.directory[place] != 0:
                made.directory[place] = old.directory[place] // plane.width * width
        memcpy(free_slots, plane.free_slots, plane.n_free_slots * sizeof(uint32_t))
        free(plane.free_slots)
    else:
        plane.n_slots = FIRST_SLOT
    store_pointer(plane.c.ports, made)
    if old != NULL:
        readers_retire(&plane.readers, old.answers, answers_bytes(plane.width, plane.slot_capacity), 0)
        readers_retire(&plane.readers, old.directory, 2 * VNAS_PLACES * sizeof(uint32_t), 0)
        readers_retire(&plane.readers, old, PAGE, 0)
    plane.free_slots = free_slots
    plane.width = width
    plane.slot_capacity = slot_capacity
    plane_settle(plane)
    return 0


cdef int plane_reserve_vnas(Plane* plane, int32_t vnas) except -1:
    cdef uint32_t needed = owner_of(vnas) + 1
    cdef uint32_t width = plane.width - SKEW
    if needed <= width:
        return 0
    while width < needed:
        width *= 2
    lay_out(plane, width + SKEW, plane.slot_capacity)
    measure(plane)
    return 0


cdef bint plane_affords_slot(const Plane* plane, int32_t n_sockets) noexcept nogil:
    if <uint64_t>(plane.n_slots + 1) * plane.width >= <uint64_t>1 << 32:
        return False
    return (<uint64_t>(plane.n_slots - plane.n_free_slots) * plane.width <= FREE_ANSWERS
            or <uint64_t>n_sockets * ANSWERS_A_SOCKET >= plane.width)


cdef uint32_t plane_take_slot(Plane* plane) except 0:
    cdef uint32_t slot
    readers_reserve(&plane.readers, 4 + plane.n_slots)
    if plane.n_free_slots != 0:
        plane.n_free_slots -= 1
        slot = plane.free_slots[plane.n_free_slots]
    else:
        if plane.n_slots == plane.slot_capacity:
            lay_out(plane, plane.width, 2 * plane.slot_capacity)
        slot = plane.n_slots
        plane.n_slots += 1
        measure(plane)
    begin_slot(plane.c.ports.answers + <size_t>slot * plane.width)
    return slot


cdef void plane_give_slot(Plane* plane, uint32_t slot) noexcept nogil:
    if slot >= FIRST_SLOT:
        readers_retire(&plane.readers, NULL, 0, slot)
        plane_settle(plane)


cdef void plane_copy_slot(Plane* plane, uint32_t source, uint32_t target) noexcept nogil:
    copy_answers(plane.c.ports.answers + <size_t>target * plane.width,
                 plane.c.ports.answers + <size_t>source * plane.width, plane.width)


cdef void plane_point(Plane* plane, uint32_t family, uint32_t place, uint32_t slot) noexcept nogil:
    store_word(plane.c.ports.directory[family * VNAS_PLACES + place], slot * plane.width)


cdef void plane_put(Plane* plane, uint32_t slot, int32_t vnas, int32_t stored) noexcept nogil:
    if slot >= FIRST_SLOT and owner_of(vnas) != VNAS_ELSEWHERE:
        store_answer(plane.c.ports.answers[<size_t>slot * plane.width + owner_of(vnas)], stored)


cdef int32_t plane_get(const Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil:
    return plane.c.ports.answers[<size_t>slot * plane.width + owner_of(vnas)]


cdef int plane_check(const Plane* plane) except -1:
    cdef uint32_t slot
    assert plane.n_free_slots + FIRST_SLOT <= plane.n_slots <= plane.slot_capacity, "plane: the slots' counts disagree"
    assert plane.c.address_changes % 2 == 0, "plane: a change of an address was begun and not ended"
    free_slots = {plane.free_slots[slot] for slot in range(plane.n_free_slots)}
    assert len(free_slots) == plane.n_free_slots, "plane: a slot was given back twice"
    for slot in free_slots:
        assert FIRST_SLOT <= slot < plane.n_slots, "plane: a free slot outside the answers"
    return 0


cdef int plane_find_address(const Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil:
    cdef bint ipv6 = not is_ipv4(hi, lo)
    cdef uint32_t key
    cdef uint32_t value = <uint32_t>vlan << 20 | owner_of(vnas)
    cdef const VnasIpv6Row* place = &plane.c.ipv6_rows[row + VNAS_FIRST_IPV6_ROW]
    cdef const VnasLine* line = line_of(plane, plane.c.ipv6 if ipv6 else plane.c.ipv4, ipv6, hi, lo, vlan, &key)
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == key and line.values[i] == (<uint32_t>row + VNAS_FIRST_IPV6_ROW if ipv6 else value):
            return 1 if not ipv6 or (place.hi == hi and place.lo == lo and place.value == value) else -1
    return 0 if line.values[VNAS_LINE_SLOTS] == VNAS_ELSEWHERE else -1
