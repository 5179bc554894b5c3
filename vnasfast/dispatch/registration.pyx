"""The policy `registration` where sockets share a port or have a specific address."""

from libc.stdint cimport int32_t, uint64_t

from vnasfast.tables.hashing cimport hash_flow
from vnasfast.tables.sockets cimport Endpoint, endpoint_find
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport NO_SOCKET, FlowKey


cdef int32_t choose_member(const MachineTables* tables, int32_t endpoint_row, const FlowKey* key) noexcept nogil:
    """Choose among the sockets that share an endpoint: the same flow, the same socket."""
    cdef const Endpoint* endpoint = &tables.sockets.endpoints[endpoint_row]
    if endpoint.n_members == 1:
        return endpoint.first
    # A multiplication instead of a remainder: it needs no division and takes the hash's better, upper bits.
    return endpoint.members[((hash_flow(&tables.seed, key) >> 32) * <uint64_t>endpoint.n_members) >> 32]


cdef int32_t choose_specific(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, int32_t port_row,
                             int32_t vnas, int32_t verdict) noexcept nogil:
    """Choose on a port that has sockets with a specific address; `verdict` is the answer of its ANY sockets, or -1."""
    cdef int32_t specific = endpoint_find(&tables.sockets, &tables.seed, port_row, vnas, hi, lo, False)
    cdef int32_t first
    if verdict < 0:
        return choose_member(tables, specific, key) if specific >= 0 else NO_SOCKET
    first = tables.sockets.endpoints[verdict >> 1].first if verdict & 1 else verdict >> 1
    if specific >= 0 and (tables.sockets.rows[tables.sockets.endpoints[specific].first].order
                          < tables.sockets.rows[first].order):
        return choose_member(tables, specific, key)
    return choose_member(tables, verdict >> 1, key) if verdict & 1 else first
