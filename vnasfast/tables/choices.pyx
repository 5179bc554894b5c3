"""Where a packet decides among the sockets of a port and VNAS."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from vnasfast.tables.memory cimport HUGE_PAGE, map_zeroed
from vnasfast.tables.plane cimport (
    BLOCK_SIZES, VNAS_ASK, VNAS_SPECIFIC_HEAD, VNAS_SPECIFIC_PLACE, VNAS_SPECIFIC_PROBES, VNAS_UNIT, Plane, plane_measure,
    plane_settle, specific_home,
)
from vnasfast.tables.publish cimport store_answer, store_pointer
from vnasfast.tables.readers cimport readers_have_room, readers_retire

cdef enum:
    UNIT_BYTES = 16
    LINE_UNITS = 4      # no block of a line or less lies on two lines


cdef inline uint32_t size_of(uint32_t n_words) noexcept nogil:
    """Give the size of a block, as log2 of its units."""
    cdef uint32_t size = 0
    while <uint32_t>VNAS_UNIT << size < n_words:
        size += 1
    return size


cdef inline uint32_t words_of(uint32_t n_places) noexcept nogil:
    return VNAS_SPECIFIC_HEAD + VNAS_SPECIFIC_PLACE * n_places


cdef inline int32_t* words(const Plane* plane, uint32_t block) noexcept nogil:
    return plane.c.blocks + <size_t>block * VNAS_UNIT


# ---- blocks ---------------------------------------------------------------------------------------------------------

cdef bint have_units(Plane* plane, uint64_t n) noexcept nogil:
    """Make room for n units in a row; False where there is no memory."""
    cdef uint64_t capacity = plane.unit_capacity
    cdef int32_t* blocks
    if plane.n_units + n <= capacity:
        return True
    while plane.n_units + n > capacity:
        capacity *= 2
    if capacity >> 29 or not readers_have_room(&plane.readers, 4 + plane.n_slots):
        return False
    blocks = <int32_t*>map_zeroed(capacity * UNIT_BYTES)
    if blocks == NULL:
        return False
    memcpy(blocks, plane.c.blocks, <size_t>plane.n_units * UNIT_BYTES)
    readers_retire(&plane.readers, plane.c.blocks, <size_t>plane.unit_capacity * UNIT_BYTES, HUGE_PAGE)
    store_pointer(plane.c.blocks, blocks)
    plane.unit_capacity = <uint32_t>capacity
    return True


cdef uint32_t block_take(Plane* plane, uint32_t n_words) noexcept nogil:
    """Take a block; 0 where there is no memory."""
    cdef uint32_t size = size_of(n_words), block, align
    if size >= BLOCK_SIZES:
        return 0
    block = plane.free_blocks[size]
    if block != 0:
        plane.free_blocks[size] = <uint32_t>words(plane, block)[0]
        return block
    align = min(<uint32_t>1 << size, <uint32_t>LINE_UNITS)
    if not have_units(plane, (<uint64_t>1 << size) + align):
        return 0
    while plane.n_units & (align - 1):      # what is left over becomes blocks too
        put_free(plane, plane.n_units, 0)
        plane.n_units += 1
    block = plane.n_units
    plane.n_units += <uint32_t>1 << size
    plane_measure(plane)
    return block


cdef inline void put_free(Plane* plane, uint32_t block, uint32_t size) noexcept nogil:
    words(plane, block)[0] = <int32_t>plane.free_blocks[size]
    plane.free_blocks[size] = block


cdef void block_give(Plane* plane, uint32_t block, uint32_t n_words) noexcept nogil:
    """Give a block back that nothing names any more."""
    # Without memory to remember it by it is lost: the only other way would be to wait for readers.
    if block != 0 and readers_have_room(&plane.readers, 4 + plane.n_slots):
        readers_retire(&plane.readers, NULL, <size_t>UNIT_BYTES << size_of(n_words), block)
        plane_settle(plane)


# ---- sockets that share an endpoint ---------------------------------------------------------------------------------

cdef uint32_t members_block(Plane* plane, uint32_t block, uint32_t n_before, const int32_t* members, uint32_t n) noexcept nogil:
    cdef int32_t* made
    if block != 0 and n == n_before + 1 and size_of(n + 1) == size_of(n_before + 1):
        made = words(plane, block)
        made[n] = members[n - 1]
        store_answer(made[0], <int32_t>n)
        return block
    block = block_take(plane, n + 1)
    if block != 0:
        made = words(plane, block)
        made[0] = <int32_t>n
        memcpy(made + 1, members, n * sizeof(int32_t))
    return block


cdef void members_give(Plane* plane, uint32_t block, uint32_t n) noexcept nogil:
    block_give(plane, block, n + 1)


# ---- specific addresses beside ANY ----------------------------------------------------------------------------------

cdef uint32_t specific_block(Plane* plane, uint32_t n_places, int32_t any_ipv4, int32_t any_ipv6) noexcept nogil:
    cdef uint32_t block = block_take(plane, words_of(n_places))
    cdef int32_t* made
    if block != 0:
        made = words(plane, block)
        made[0] = <int32_t>(n_places - 1)
        made[1] = any_ipv4
        made[2] = any_ipv6
        memset(made + VNAS_SPECIFIC_HEAD, 0, VNAS_SPECIFIC_PLACE * n_places * sizeof(int32_t))
    return block


cdef uint32_t specific_places(const Plane* plane, uint32_t block) noexcept nogil:
    return <uint32_t>words(plane, block)[0] + 1


cdef bint specific_says(const Plane* plane, uint32_t block, int32_t any_ipv4, int32_t any_ipv6) noexcept nogil:
    cdef const int32_t* made = words(plane, block)
    return made[1] == any_ipv4 and made[2] == any_ipv6 and any_ipv4 != VNAS_ASK and any_ipv6 != VNAS_ASK


cdef void specific_give(Plane* plane, uint32_t block) noexcept nogil:
    if block != 0:
        block_give(plane, block, words_of(specific_places(plane, block)))


cdef bint specific_put(Plane* plane, uint32_t block, uint64_t hi, uint64_t lo, int32_t stored) noexcept nogil:
    cdef int32_t* made = words(plane, block)
    cdef uint32_t mask = <uint32_t>made[0], at = 0, n
    cdef uint64_t[2] address
    cdef int32_t* place
    address[0] = hi
    address[1] = lo
    if mask > 1:
        at = specific_home(&plane.c, address)
    for n in range(min(mask + 1, <uint32_t>VNAS_SPECIFIC_PROBES)):
        place = made + VNAS_SPECIFIC_HEAD + <size_t>((at + n) & mask) * VNAS_SPECIFIC_PLACE
        if place[4] == 0:
            memcpy(place, address, sizeof(address))
            store_answer(place[4], stored)
            return True
        if memcmp(place, address, sizeof(address)) == 0:
            store_answer(place[4], stored)
            return True
    return False


cdef bint specific_address(const Plane* plane, uint32_t block, uint32_t place, uint64_t* address) noexcept nogil:
    cdef const int32_t* found = words(plane, block) + VNAS_SPECIFIC_HEAD + <size_t>place * VNAS_SPECIFIC_PLACE
    memcpy(address, found, 2 * sizeof(uint64_t))
    return found[4] != 0
