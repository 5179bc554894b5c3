# Numbers from unaligned bytes, byte by byte; gcc makes one load, and one swap, of it.
# And what the compiler is told about the common case.

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #define vnasfast_likely(condition) __builtin_expect(!!(condition), 1)
    """
    bint likely "vnasfast_likely"(bint condition) noexcept nogil


cdef inline uint32_t load_be16(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 8) | at[1]


cdef inline uint32_t load_be32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[0] << 24) | (<uint32_t>at[1] << 16) | (<uint32_t>at[2] << 8) | at[3]


cdef inline uint32_t load_le32(const uint8_t* at) noexcept nogil:
    return (<uint32_t>at[3] << 24) | (<uint32_t>at[2] << 16) | (<uint32_t>at[1] << 8) | at[0]


cdef inline uint64_t load_word(const uint8_t* at) noexcept nogil:
    # Eight bytes as they lie, to be stored again as they lie.
    cdef uint64_t word
    memcpy(&word, at, 8)
    return word
