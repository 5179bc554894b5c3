"""The data plane's writer: all but the lines of addresses."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from vnasfast.tables.hashing cimport FLOW_SEEDS, splitmix64
from vnasfast.tables.lines cimport lines_bytes, lines_free, lines_init, new_lines
from vnasfast.tables.memory cimport (
    HUGE_PAGE, PAGE, enlarge, give_back, map_small_pages, map_zeroed, prefer_huge_pages, unmap, whole_pages,
)
from vnasfast.tables.publish cimport store_answer, store_pointer, store_word
from vnasfast.tables.readers cimport (
    Retired, readers_drop_first, readers_first_free, readers_free, readers_reserve, readers_retire, readers_retire_slot,
)

cdef enum:
    FIRST_WIDTH = 64
    MOST_WIDTH = 1 << 20        # of the VNAS numbers that the data plane can name
    # Arrays begin this much further apart than a power of two, or the same VNAS's answers on all ports would fight for one
    # set of the cache.
    SKEW = 16
    FIRST_SLOTS = 16
    FREE_ANSWERS = 1 << 20      # answers that ports may have, however few sockets they have: 4 MiB
    ANSWERS_A_SOCKET = 8        # of a port's array for each of its sockets, beyond that: 32 bytes, as lines take 18 to 37
    KEPT_ANSWERS_A_SOCKET = 32  # of an array that a port has: so that a socket more or less moves none to and fro
    FIRST_UNITS = 256           # of blocks
    # Address space for answers, 256 MiB: what no port uses takes no memory.
    ROOM = 1 << 26
    UNWRITTEN = 1 << 30         # bytes of it given back at a time
    STEP = 1024                 # answers copied with each change while there are more to be: a microsecond
    CLEARED = 8 * STEP          # answers looked at with each change where all of a slot may have to be cleared
    IN_A_PAGE = 1024            # of the directory
    DIRECTORY_PAGES = 2 * VNAS_PLACES // IN_A_PAGE


cdef inline size_t answers_bytes(uint32_t width, uint32_t slot_capacity) noexcept nogil:
    return whole_pages(<size_t>width * slot_capacity * sizeof(int32_t))


cdef inline size_t whole_huge_pages(size_t n_bytes) noexcept nogil:
    return (n_bytes + HUGE_PAGE - 1) // HUGE_PAGE * HUGE_PAGE


cdef inline bint wants_huge_pages(uint32_t width, uint32_t n_slots) noexcept nogil:
    """What is small would take a page of 2 MiB for little."""
    return answers_bytes(width, max(n_slots, <uint32_t>FIRST_SLOTS)) >= HUGE_PAGE


cdef inline void begin_slot(int32_t* answers) noexcept nogil:
    """What the owners that are no VNAS get, on each port: NO_VNAS, and that more must be asked."""
    answers[VNAS_NOBODY] = VNAS_NO_VNAS + VNAS_STORED
    answers[VNAS_BESIDE] = answers[VNAS_ELSEWHERE] = VNAS_ASK


cdef inline void copy_answers(int32_t* target, const int32_t* source, uint32_t begin, uint32_t end) noexcept nogil:
    """Copy what isn't zero: pages that were never written stay so."""
    cdef uint32_t i
    for i in range(begin, end):
        if source[i] != 0:
            target[i] = source[i]


cdef int plane_init(Plane* plane, uint64_t seed) except -1:
    cdef uint64_t word = seed
    cdef int i
    memset(plane, 0, sizeof(Plane))
    for i in range(0, FLOW_SEEDS, 2):
        word = splitmix64(word)
        plane.c.flow_seed[i] = <uint32_t>word
        plane.c.flow_seed[i + 1] = <uint32_t>(word >> 32)
    plane.c.flow_seed[FLOW_SEEDS - 2] |= 1
    plane.c.flow_seed[FLOW_SEEDS - 1] |= 1
    plane.free_answers = FREE_ANSWERS
    for i in range(3):
        seed = splitmix64(seed)
        plane.c.ipv4_seed[i] = <uint32_t>seed | 1
        seed = splitmix64(seed)
        plane.c.ipv6_seed[i] = seed | 1
    for i in range(4):
        seed = splitmix64(seed)
        plane.c.sparse_seed[i] = <uint32_t>seed | 1
    lines_init(plane)
    plane.c.sparse = new_lines(VNAS_SPARSE_LEAST)
    plane.unit_capacity = FIRST_UNITS
    plane.n_units = 1
    plane.c.blocks = <int32_t*>map_zeroed(FIRST_UNITS * VNAS_UNIT * sizeof(int32_t))
    if plane.c.blocks == NULL:
        raise MemoryError("no memory for the data plane")
    plane.n_slots = FIRST_SLOT
    begin_layout(plane, FIRST_WIDTH + SKEW, room_for_slots(FIRST_WIDTH + SKEW, 0))
    finish_layout(plane)
    return 0


cdef void unmap_ports(VnasPorts* ports, size_t n_bytes) noexcept nogil:
    if ports != NULL:
        unmap(ports.answers, n_bytes)
        unmap(ports.directory, DIRECTORY_PAGES * PAGE)
        unmap(ports, PAGE)


cdef void plane_free(Plane* plane) noexcept nogil:
    cdef uint32_t i
    for i in range(plane.readers.first, plane.readers.end):
        unmap(plane.readers.retired[i].memory, plane.readers.retired[i].n_bytes)
    readers_free(&plane.readers)
    lines_free(plane)
    if plane.c.sparse != NULL:
        unmap(plane.c.sparse, lines_bytes(plane.c.sparse))
    if plane.next_sparse.lines != NULL:
        unmap(plane.next_sparse.lines, lines_bytes(plane.next_sparse.lines))
    unmap(plane.c.blocks, <size_t>plane.unit_capacity * VNAS_UNIT * sizeof(int32_t))
    free(plane.sparse.crowded)
    free(plane.next_sparse.answers.crowded)
    unmap_ports(plane.c.ports, answers_bytes(plane.width, plane.slot_capacity))
    unmap_ports(plane.next_ports.ports, answers_bytes(plane.next_ports.width, plane.next_ports.slot_capacity))
    give_back(plane.free_slots, plane.free_capacity * sizeof(uint32_t))
    memset(plane, 0, sizeof(Plane))


cdef inline uint32_t bits_of(size_t number) noexcept nogil:
    """Count the bits that a number needs."""
    cdef uint32_t n = 0
    while number >> n:
        n += 1
    return n


cdef void clear_answers(Plane* plane, uint32_t slot, uint32_t begin, uint32_t end) noexcept nogil:
    """Have a slot that nobody reads be NO_SOCKET; pages that were never written stay so."""
    cdef int32_t* answers = plane.c.ports.answers + <size_t>slot * plane.width
    cdef uint32_t owner
    for owner in range(begin, end):
        if answers[owner] != 0:
            store_answers(plane, slot, owner, 0)


cdef void plane_settle(Plane* plane) noexcept nogil:
    cdef Retired* retired = readers_first_free(&plane.readers)
    cdef size_t n_bytes
    cdef uint32_t begin, log2_units
    while retired != NULL:
        if retired.memory != NULL:      # a piece at a time: to unmap 64 MiB of small pages takes 7 ms
            n_bytes = min(retired.n_bytes, <size_t>retired.number)
            unmap(retired.memory, n_bytes)
            retired.memory = <char*>retired.memory + n_bytes
            retired.n_bytes -= n_bytes
            if retired.n_bytes == 0:
                readers_drop_first(&plane.readers)
            return
        if retired.n_bytes != 0:
            log2_units = bits_of(retired.n_bytes // (VNAS_UNIT * sizeof(int32_t)) - 1)
            plane.c.blocks[<size_t>retired.number * VNAS_UNIT] = <int32_t>plane.free_blocks[log2_units]
            plane.free_blocks[log2_units] = retired.number
        else:
            begin = retired.begin
            retired.begin = min(retired.end, begin + <uint32_t>CLEARED)
            clear_answers(plane, retired.number, begin, retired.begin)
            if retired.begin != retired.end:
                return
            plane.free_slots[plane.n_free_slots] = retired.number
            plane.n_free_slots += 1
        readers_drop_first(&plane.readers)
        retired = readers_first_free(&plane.readers)


cdef void plane_measure(Plane* plane) noexcept nogil:
    plane.c.bytes = (lines_bytes(plane.c.ipv4) + lines_bytes(plane.c.ipv6)
                     + <size_t>plane.n_slots * plane.width * sizeof(int32_t)
                     + (lines_bytes(plane.c.sparse) if plane.sparse.n != 0 else 0)
                     + <size_t>plane.n_units * VNAS_UNIT * sizeof(int32_t))


# ---- a layout of the answers, made aside ----------------------------------------------------------------------------

cdef inline uint32_t room_for_slots(uint32_t width, uint32_t n_slots) noexcept nogil:
    return max(min(ROOM // width, <uint32_t>(2 * VNAS_PLACES + FIRST_SLOTS)), max(<uint32_t>FIRST_SLOTS, 2 * n_slots))


cdef int begin_layout(Plane* plane, uint32_t width, uint32_t slot_capacity) except -1:
    """Begin to give each slot `width` answers, and room for so many slots, in place of what was begun before."""
    cdef size_t n_bytes = answers_bytes(width, slot_capacity)
    cdef VnasPorts* made
    cdef void* free_slots
    unmap_ports(plane.next_ports.ports, answers_bytes(plane.next_ports.width, plane.next_ports.slot_capacity))
    memset(&plane.next_ports, 0, sizeof(NextPorts))
    if <uint64_t>width * plane.n_slots >= <uint64_t>1 << 32:
        raise MemoryError(f"the answers of {width} VNASs on {plane.n_slots} ports are more than 2**32")
    if plane.free_capacity < slot_capacity:
        free_slots = enlarge(plane.free_slots, plane.free_capacity * sizeof(uint32_t), slot_capacity * sizeof(uint32_t))
        if free_slots == NULL:
            raise MemoryError(f"no memory for {slot_capacity} free slots")
        plane.free_slots = <uint32_t*>free_slots
        plane.free_capacity = slot_capacity
    made = <VnasPorts*>map_small_pages(PAGE)
    if made != NULL:
        made.answers = <int32_t*>map_small_pages(n_bytes)
        made.directory = <uint32_t*>map_small_pages(DIRECTORY_PAGES * PAGE)
        if made.answers == NULL or made.directory == NULL:
            unmap_ports(made, n_bytes)
            made = NULL
    if made == NULL:
        raise MemoryError(f"no memory for the answers of {width} VNASs on {slot_capacity} ports")
    if wants_huge_pages(width, plane.n_slots):
        prefer_huge_pages(made.answers, n_bytes, True)
    plane.next_ports.ports = made
    plane.next_ports.width = width
    plane.next_ports.slot_capacity = slot_capacity
    return 0


cdef inline int32_t stored_in(const Plane* plane, uint32_t slot) noexcept nogil:
    """What each VNAS gets in a slot that no port has for itself."""
    if slot == NO_PORT_SLOT:
        return VNAS_NO_PORT + VNAS_STORED
    if plane.asks:
        return VNAS_ASK
    return VNAS_SPARSE if slot == SPARSE_SLOT else VNAS_SPARSE_IPV6


cdef void fill_some(Plane* plane) noexcept nogil:
    """Fill or copy at most STEP answers of one slot."""
    cdef NextPorts* following = &plane.next_ports
    cdef int32_t* answers = following.ports.answers + <size_t>following.slot * following.width
    cdef uint32_t begin = following.filled, i
    cdef int32_t stored
    cdef uint32_t end = min(begin + STEP, following.width if following.slot < FIRST_SLOT else plane.width)
    if following.slot < FIRST_SLOT:
        stored = stored_in(plane, following.slot)
        for i in range(begin, end):
            answers[i] = stored
    else:
        copy_answers(answers, plane.c.ports.answers + <size_t>following.slot * plane.width, begin, end)
    if begin == 0:
        begin_slot(answers)
    following.filled = end
    if end == (following.width if following.slot < FIRST_SLOT else plane.width):
        following.slot += 1
        following.filled = 0


cdef void copy_page(Plane* plane) noexcept nogil:
    """Copy a page of the directory: where in the answers each port's slot begins."""
    cdef const uint32_t* source = plane.c.ports.directory + plane.next_ports.page * IN_A_PAGE
    cdef uint32_t* target = plane.next_ports.ports.directory + plane.next_ports.page * IN_A_PAGE
    cdef uint32_t i
    for i in range(<uint32_t>IN_A_PAGE):
        if source[i] != 0:
            target[i] = source[i] // plane.width * plane.next_ports.width


cdef inline void retire_answers(Plane* plane, int32_t* answers, size_t n_bytes) noexcept nogil:
    # Nothing was ever written behind the last slot: in pieces as small as those before it, this address space took a
    # thousand calls, and four times as many while 500 VNASs came.
    cdef size_t written = whole_huge_pages(<size_t>plane.n_slots * plane.width * sizeof(int32_t))
    if written < n_bytes:
        readers_retire(&plane.readers, <char*>answers + written, n_bytes - written, UNWRITTEN)
        n_bytes = written
    readers_retire(&plane.readers, answers, n_bytes, HUGE_PAGE if wants_huge_pages(plane.width, 0) else HUGE_PAGE // 8)


cdef bint layout_step(Plane* plane) noexcept nogil:
    """Make some more of it; True when it is all there, and used."""
    cdef NextPorts* following = &plane.next_ports
    cdef VnasPorts* old = plane.c.ports
    if following.slot < plane.n_slots:
        fill_some(plane)
        return False
    while following.page < DIRECTORY_PAGES and not plane.touched[following.page // 64] >> (following.page % 64) & 1:
        following.page += 1
    if following.page < DIRECTORY_PAGES:
        copy_page(plane)
        following.page += 1
        return False
    store_pointer(plane.c.ports, following.ports)
    if old != NULL:
        retire_answers(plane, old.answers, answers_bytes(plane.width, plane.slot_capacity))
        readers_retire(&plane.readers, old.directory, DIRECTORY_PAGES * PAGE, HUGE_PAGE // 8)
        readers_retire(&plane.readers, old, PAGE, PAGE)
    plane.width = following.width
    plane.slot_capacity = following.slot_capacity
    memset(following, 0, sizeof(NextPorts))
    plane_measure(plane)
    return True


cdef void finish_layout(Plane* plane) noexcept nogil:
    while not layout_step(plane):
        pass


cdef int advance(Plane* plane, uint32_t n_steps) except -1:
    cdef uint32_t n
    readers_reserve(&plane.readers, 10 + plane.n_slots)
    if plane.readers.first != plane.readers.end:
        plane_settle(plane)
    for n in range(n_steps):
        if plane.next_ports.ports == NULL or layout_step(plane):
            break
    return 0


cdef int plane_advance(Plane* plane) except -1:
    return advance(plane, 2)


cdef int plane_reserve_vnas(Plane* plane, int32_t vnas) except -1:
    cdef uint32_t needed = owner_of(vnas) + 1
    cdef uint32_t width = plane.width - SKEW
    # So many steps that all is done before the eighth of the numbers that was left is used up.
    advance(plane, (plane.n_slots + plane.n_touched + 4) * 8 // min(width, <uint32_t>STEP) + 1)
    while needed > width - width // 8 and width < MOST_WIDTH:
        width *= 2
    if width > plane.width - SKEW and width > plane.next_ports.width:
        begin_layout(plane, width + SKEW, room_for_slots(width + SKEW, plane.n_slots))
    if needed > plane.width - SKEW:
        finish_layout(plane)
    return 0


# ---- answers --------------------------------------------------------------------------------------------------------

cdef void plane_ask(Plane* plane) noexcept nogil:
    cdef uint32_t owner
    plane.asks = True
    for owner in range(VNAS_FIRST_OWNER, plane.width):
        plane.c.ports.answers[SPARSE_SLOT * plane.width + owner] = stored_in(plane, SPARSE_SLOT)
        plane.c.ports.answers[SPARSE_IPV6_SLOT * plane.width + owner] = stored_in(plane, SPARSE_IPV6_SLOT)


cdef bint plane_affords_slot(const Plane* plane, int32_t n_sockets) noexcept nogil:
    if plane.asks or <uint64_t>(plane.n_slots + 1) * max(plane.width, plane.next_ports.width) >= <uint64_t>1 << 32:
        return False
    return (<uint64_t>(plane.n_slots - plane.n_free_slots + 1) * plane.width <= plane.free_answers
            or <uint64_t>n_sockets * ANSWERS_A_SOCKET >= plane.width)


cdef bint plane_keeps_slot(const Plane* plane, int32_t n_sockets) noexcept nogil:
    cdef uint32_t width = max(plane.width, plane.next_ports.width)
    return (<uint64_t>(plane.n_slots - plane.n_free_slots) * width <= 2 * plane.free_answers
            or <uint64_t>n_sockets * KEPT_ANSWERS_A_SOCKET >= width)


cdef uint32_t plane_take_slot(Plane* plane) except 0:
    cdef uint32_t slot
    readers_reserve(&plane.readers, 10 + plane.n_slots)
    if plane.n_free_slots != 0:
        plane.n_free_slots -= 1
        slot = plane.free_slots[plane.n_free_slots]
    else:
        slot = plane.n_slots
        if slot == plane.slot_capacity or (plane.next_ports.ports != NULL and slot == plane.next_ports.slot_capacity):
            begin_layout(plane, max(plane.width, plane.next_ports.width), 2 * slot)
            finish_layout(plane)
        elif slot == plane.slot_capacity - plane.slot_capacity // 8 and plane.next_ports.ports == NULL:
            begin_layout(plane, plane.width, 2 * plane.slot_capacity)
        if wants_huge_pages(plane.width, slot + 1) and not wants_huge_pages(plane.width, slot):
            prefer_huge_pages(plane.c.ports.answers, answers_bytes(plane.width, plane.slot_capacity), True)
        plane.n_slots += 1
        plane_measure(plane)
    begin_slot(plane.c.ports.answers + <size_t>slot * plane.width)
    if plane.next_ports.ports != NULL:
        begin_slot(plane.next_ports.ports.answers + <size_t>slot * plane.next_ports.width)
    return slot


cdef void plane_give_slot(Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil:
    if slot >= FIRST_SLOT:
        readers_retire_slot(&plane.readers, slot, owner_of(vnas), owner_of(vnas) + 1)
        plane_settle(plane)


cdef void plane_give_full_slot(Plane* plane, uint32_t slot) noexcept nogil:
    readers_retire_slot(&plane.readers, slot, VNAS_FIRST_OWNER, plane.width)
    plane_settle(plane)


cdef void plane_copy_slot(Plane* plane, uint32_t source, uint32_t target) noexcept nogil:
    cdef const int32_t* answers = plane.c.ports.answers + <size_t>source * plane.width
    copy_answers(plane.c.ports.answers + <size_t>target * plane.width, answers, 0, plane.width)
    if plane.next_ports.ports != NULL:
        copy_answers(plane.next_ports.ports.answers + <size_t>target * plane.next_ports.width, answers, 0, plane.width)


cdef void plane_point(Plane* plane, uint32_t family, uint32_t place, uint32_t slot) noexcept nogil:
    point(plane, family * VNAS_PLACES + place, slot)


cdef inline void point(Plane* plane, uint32_t place, uint32_t slot) noexcept nogil:
    cdef uint64_t* pages = &plane.touched[place // IN_A_PAGE // 64]
    cdef uint64_t page = <uint64_t>1 << (place // IN_A_PAGE % 64)
    if not pages[0] & page:
        pages[0] |= page
        plane.n_touched += 1
    plane.c.n_open += <uint64_t>(slot != NO_PORT_SLOT) - <uint64_t>(plane.c.ports.directory[place] != 0)
    store_word(plane.c.ports.directory[place], slot * plane.width)
    if plane.next_ports.ports != NULL:
        plane.next_ports.ports.directory[place] = slot * plane.next_ports.width


cdef inline void store_answers(Plane* plane, uint32_t slot, uint32_t owner, int32_t stored) noexcept nogil:
    store_answer(plane.c.ports.answers[<size_t>slot * plane.width + owner], stored)
    if plane.next_ports.ports != NULL:
        plane.next_ports.ports.answers[<size_t>slot * plane.next_ports.width + owner] = stored


cdef void plane_put(Plane* plane, uint32_t slot, int32_t vnas, int32_t stored) noexcept nogil:
    if slot >= FIRST_SLOT and owner_of(vnas) != VNAS_ELSEWHERE:
        store_answers(plane, slot, owner_of(vnas), stored)


cdef int32_t plane_get(const Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil:
    return plane.c.ports.answers[<size_t>slot * plane.width + owner_of(vnas)]


cdef int plane_check(const Plane* plane) except -1:
    cdef uint32_t i, owner
    assert plane.n_free_slots + FIRST_SLOT <= plane.n_slots <= plane.slot_capacity, "plane: the slots' counts disagree"
    assert plane.c.address_changes % 2 == 0, "plane: a change of an address was begun and not ended"
    free_slots = {plane.free_slots[i] for i in range(plane.n_free_slots)}
    assert len(free_slots) == plane.n_free_slots, "plane: a slot was given back twice"
    for slot in free_slots:
        assert FIRST_SLOT <= slot < plane.n_slots, "plane: a free slot outside the answers"
        for owner in range(VNAS_FIRST_OWNER, plane.width):
            assert plane.c.ports.answers[<size_t>slot * plane.width + owner] == 0, "plane: a free slot has answers"
    return 0
