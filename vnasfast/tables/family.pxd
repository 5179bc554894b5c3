# What an address is, asked of its two little-endian words. IPv4 is kept as ::ffff:a.b.c.d, so one compare serves both.

from libc.stdint cimport uint64_t

cdef enum:
    IPV4 = 0
    IPV6 = 1

cdef inline bint is_ipv4(uint64_t hi, uint64_t lo) noexcept nogil:
    return hi == 0 and (lo & <uint64_t>0xffffffff) == <uint64_t>0xffff0000

cdef inline int family_of(uint64_t hi, uint64_t lo) noexcept nogil:
    return IPV4 if is_ipv4(hi, lo) else IPV6

cdef inline bint is_loopback(uint64_t hi, uint64_t lo) noexcept nogil:
    """127.0.0.0/8, ::1 and ::ffff:127.0.0.0/104."""
    if hi != 0:
        return False
    return (lo & <uint64_t>0xffffffffff) == <uint64_t>0x7fffff0000 or lo == <uint64_t>1 << 56

cdef inline bint is_any(uint64_t hi, uint64_t lo) noexcept nogil:
    """0.0.0.0 or ::."""
    return hi == 0 and (lo == 0 or lo == <uint64_t>0xffff0000)
