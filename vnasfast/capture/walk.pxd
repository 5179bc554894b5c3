# What the two walks share: how one ends, what it leaves, and the reading of bytes.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    uint16_t byte_swap_16 "__builtin_bswap16"(uint16_t value) noexcept
    uint32_t byte_swap_32 "__builtin_bswap32"(uint32_t value) noexcept

cdef enum WalkStatus:
    WALK_FULL           # as many records were found as there was room for
    WALK_PASSED         # the next record begins at or behind the window's `until`
    WALK_NEEDS          # the visible bytes end before the next record does: state.needed bytes from `position`
    WALK_DAMAGED        # state.problem, with state.found and state.allowed, at `position`
    WALK_INTERFACE      # pcapng: an interface description block of state.needed bytes lies at `position`
    WALK_SECTION        # pcapng: a section header block lies at `position`

# A walk is a chain of dependent loads, one a record, and in a capture on two cores the part that runs on one at a time.
# So it leaves only where records begin; what their headers say is read afterwards, each record independent of the others.
# Measured beside a walk that wrote all five columns: see the comment of pcap_walk.
cdef struct Records:
    uint32_t* starts            # from the window's base to the record's first byte
    size_t n
    size_t capacity


cdef inline uint16_t load_16(const uint8_t* place, bint swapped) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, place, 2)
    return byte_swap_16(value) if swapped else value


cdef inline uint32_t load_32(const uint8_t* place, bint swapped) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return byte_swap_32(value) if swapped else value
