# The policy `registration`, the default: of a port's sockets in order of registration the first that is
# (ANY, with the destination's VNAS) or (the destination's address, with its VNAS).
#
# The tables keep the answer for ANY sockets ready (see tables/sockets.pxd), so no socket is looked at twice and no list is
# scanned; only ports that have sockets with a specific address compare two answers.

from libc.stdint cimport int32_t, uint64_t

from vnasfast.tables.family cimport family_of
from vnasfast.tables.sockets cimport PortRow
from vnasfast.tables.tables cimport MachineTables
from vnasfast.tables.verdicts cimport verdict_find
from vnasfast.typedefs cimport NO_SOCKET, FlowKey

# Sharing and specific addresses are compiled apart, as they would make every packet's path longer.
cdef int32_t choose_member(const MachineTables* tables, int32_t endpoint_row, const FlowKey* key) noexcept nogil
cdef int32_t choose_specific(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, int32_t port_row,
                             int32_t vnas, int32_t verdict) noexcept nogil

cdef inline int32_t choose_socket(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo,
                                  int32_t port_row, int32_t vnas) noexcept nogil:
    """Step 4: a socket, or NO_SOCKET. `hi` and `lo` are the destination, `vnas` its VNAS number."""
    cdef const PortRow* port = &tables.sockets.ports[port_row]
    cdef int32_t verdict = verdict_find(&port.by_vnas[family_of(hi, lo)], vnas)
    if port.n_specific != 0:
        return choose_specific(tables, key, hi, lo, port_row, vnas, verdict)
    if verdict < 0:
        return NO_SOCKET
    if verdict & 1:
        return choose_member(tables, verdict >> 1, key)
    return verdict >> 1
