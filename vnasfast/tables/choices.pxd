# Where a packet decides among the sockets of a port and VNAS: blocks of the data plane (plane.h), each made from endpoints.
#
#   sockets that share an endpoint                  → the flow's hash chooses a member
#   ANY sockets, and those of specific addresses    → the address's own, where it was registered before ANY's
#
# A block that readers may see is changed in place only by what is one store: a member more, or what one address gets. Else
# another is made aside, and the old one is given back when nothing names it. Where there is no memory for one, its number is
# 0, and the control plane is asked.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.plane cimport VNAS_ASK, Plane

# The number of a block of these sockets; `block`, of `n_before` of them, or 0, where only the last is new and there is room.
cdef uint32_t members_block(Plane* plane, uint32_t block, uint32_t n_before, const int32_t* members, uint32_t n) noexcept nogil
cdef void members_give(Plane* plane, uint32_t block, uint32_t n) noexcept nogil

# A block of `n_places` places, all unused, with the stored answers of ANY for both families; or 0.
cdef uint32_t specific_block(Plane* plane, uint32_t n_places, int32_t any_ipv4, int32_t any_ipv6) noexcept nogil
cdef void specific_give(Plane* plane, uint32_t block) noexcept nogil
cdef uint32_t specific_places(const Plane* plane, uint32_t block) noexcept nogil
# Whether a block says this of ANY; VNAS_ASK is not to be relied on.
cdef bint specific_says(const Plane* plane, uint32_t block, int32_t any_ipv4, int32_t any_ipv6) noexcept nogil
# Say what an address gets; False: there is no place for it.
cdef bint specific_put(Plane* plane, uint32_t block, uint64_t hi, uint64_t lo, int32_t stored) noexcept nogil
# The address in a place; False: it was never used.
cdef bint specific_address(const Plane* plane, uint32_t block, uint32_t place, uint64_t* address) noexcept nogil

cdef inline int32_t block_stored(uint32_t block, uint32_t kind) noexcept nogil:
    """Give the stored answer that names a block: VNAS_ASK where there was no memory for one."""
    return ~<int32_t>(block << 1 | kind) if block != 0 else VNAS_ASK
