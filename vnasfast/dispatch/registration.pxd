# The policy `registration`, the default: of a port's sockets in order of registration the first that is
# (ANY, with the destination's VNAS) or (the destination's address, with its VNAS).
#
# The data plane keeps the answer ready, so no socket is looked at twice and no list is scanned.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.family cimport family_of
from vnasfast.tables.plane cimport VNAS_FIRST_OWNER, VNAS_STORED, plane_has_owner, stored_answer
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport FlowKey

# Compiled apart, as it would make every packet's path longer.
cdef int32_t choose_slowly(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                           int32_t vnas) noexcept nogil

cdef inline int32_t choose_socket(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                                  int32_t vnas) noexcept nogil:
    """Steps 3 and 4: a socket, NO_PORT or NO_SOCKET. `hi` and `lo` are the destination, `vnas` its VNAS number."""
    cdef int32_t stored
    if plane_has_owner(vnas):
        stored = stored_answer(&tables.plane.c, family_of(hi, lo), protocol << 16 | key.destination_port,
                               VNAS_FIRST_OWNER + <uint32_t>vnas)
        if stored >= 0:
            return stored - VNAS_STORED
    return choose_slowly(tables, key, hi, lo, protocol, vnas)
