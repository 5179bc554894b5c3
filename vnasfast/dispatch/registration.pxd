# The policy `registration`, the default: of a port's sockets in order of registration the first that is
# (ANY, with the destination's VNAS) or (the destination's address, with its VNAS).
#
# The tables keep the answer for ANY sockets ready (see tables/sockets.pxd), so no socket is looked at twice and no list is
# scanned; only ports that have sockets with a specific address compare two answers.

from libc.stdint cimport int32_t, uint64_t

from vnasfast.tables.family cimport family_of
from vnasfast.tables.hashing cimport hash_flow
from vnasfast.tables.sockets cimport Endpoint, PortRow, endpoint_find, verdict_find
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport NO_SOCKET, FlowKey

cdef inline int32_t choose_member(const MachineTables* tables, int32_t endpoint_row, const FlowKey* key) noexcept nogil:
    """Choose among the sockets that share an endpoint: the same flow, the same socket."""
    cdef const Endpoint* endpoint = &tables.sockets.endpoints[endpoint_row]
    if endpoint.n_members == 1:
        return endpoint.first
    # A multiplication instead of a remainder: it needs no division and takes the hash's better, upper bits.
    return endpoint.members[((hash_flow(&tables.seed, key) >> 32) * <uint64_t>endpoint.n_members) >> 32]

cdef inline int32_t choose_socket(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo,
                                  int32_t port_row, int32_t vnas) noexcept nogil:
    """Step 4: a socket, or NO_SOCKET. `hi` and `lo` are the destination, `vnas` its VNAS number."""
    cdef const PortRow* port = &tables.sockets.ports[port_row]
    cdef int32_t verdict = verdict_find(&port.by_vnas[family_of(hi, lo)], vnas)
    cdef int32_t specific, first
    if port.n_specific != 0:
        specific = endpoint_find(&tables.sockets, &tables.seed, port_row, vnas, hi, lo, False)
        if specific >= 0:
            if verdict < 0:
                return choose_member(tables, specific, key)
            first = verdict >> 1
            if verdict & 1:
                first = tables.sockets.endpoints[first].first
            if (tables.sockets.rows[tables.sockets.endpoints[specific].first].order
                    < tables.sockets.rows[first].order):
                return choose_member(tables, specific, key)
    if verdict < 0:
        return NO_SOCKET
    if verdict & 1:
        return choose_member(tables, verdict >> 1, key)
    return verdict >> 1
