# The data plane's lines of addresses (plane.h).
#
# A family's addresses that want a larger table get one, which whoever has them all fills, some with each address that comes.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.plane cimport Plane, VnasLines

cdef inline uint32_t log2_lines_of(const VnasLines* table) noexcept nogil:
    return 32 - table.shift

cdef size_t lines_bytes(const VnasLines* lines) noexcept nogil
cdef VnasLines* new_lines(uint32_t log2_lines) except NULL
# How many bytes of a table that is not needed any more are unmapped with each change.
cdef uint32_t lines_piece(const VnasLines* lines) noexcept nogil
cdef int lines_init(Plane* plane) except -1
cdef void lines_free(Plane* plane) noexcept nogil
# Room for an address, or MemoryError; then the changes, which can't fail.
cdef int lines_reserve(Plane* plane, bint ipv6) except -1
cdef void lines_add(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil
cdef void lines_remove(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil
# Puts an address that was there before into the larger table; with all in it, it is used.
cdef void lines_fill(Plane* plane, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil
cdef void lines_use_next(Plane* plane, bint ipv6) noexcept nogil
# 1: the address is in its line, or one beside it, with this VNAS; 0: it is in none, and its line says so; -1: it is lost.
cdef int lines_find(const Plane* plane, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil
