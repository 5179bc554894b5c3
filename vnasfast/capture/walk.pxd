# What the two walkers share: how a walk ends, the reading of bytes, and the look ahead.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from * nogil:
    uint16_t byte_swap_16 "__builtin_bswap16"(uint16_t value) noexcept
    uint32_t byte_swap_32 "__builtin_bswap32"(uint32_t value) noexcept
    void prefetch "__builtin_prefetch"(const void* address) noexcept

cdef enum WalkStatus:
    WALK_FULL           # the block holds `capacity` frames
    WALK_NEEDS          # the window ends before the next record does: state.needed bytes from `position`
    WALK_DAMAGED        # state.problem, with state.found and state.allowed, at `position`
    WALK_INTERFACE      # pcapng: an interface description block of state.needed bytes lies at `position`

cdef enum:
    CACHE_LINE = 64
    # The walk is a chain of dependent loads, one a record. Lines are asked for this far ahead of it, in the order
    # of the file, so that they come at the pace of the memory and not of the chain.
    LOOK_AHEAD = 8192


cdef inline uint16_t load_16(const uint8_t* place, bint swapped) noexcept nogil:
    cdef uint16_t value
    memcpy(&value, place, 2)
    return byte_swap_16(value) if swapped else value


cdef inline uint32_t load_32(const uint8_t* place, bint swapped) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, place, 4)
    return byte_swap_32(value) if swapped else value


cdef inline size_t look_ahead(const uint8_t* window, size_t size, size_t position, size_t asked) noexcept nogil:
    """Ask for the lines of the window up to LOOK_AHEAD bytes past `position`; those before `asked` were asked for."""
    cdef size_t end = position + LOOK_AHEAD
    if end > size:
        end = size
    while asked < end:
        prefetch(window + asked)
        asked += CACHE_LINE
    return asked
