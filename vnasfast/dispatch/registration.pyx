"""The policy `registration` where more is looked at than one stored answer."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.dispatch.linux cimport choose_as_linux
from vnasfast.tables.family cimport family_of
from vnasfast.tables.hashing cimport hash_flow, load64
from vnasfast.tables.plane cimport VNAS_ASK, VNAS_STORED, choose_in_block
from vnasfast.tables.ports cimport answers_get, first_any
from vnasfast.tables.sockets cimport Endpoint, endpoint_find, port_find
from vnasfast.tables.tables cimport MachineTables, members_of
from vnasfast.typedefs cimport NO_PORT, NO_SOCKET, FlowKey


cdef inline int32_t choose_member(const MachineTables* tables, int32_t endpoint_row, const FlowKey* key) noexcept nogil:
    """Choose among the sockets that share an endpoint: the same flow, the same socket."""
    cdef const Endpoint* endpoint = &tables.sockets.endpoints[endpoint_row]
    if endpoint.n_members == 1:
        return endpoint.first
    # A multiplication instead of a remainder: it needs no division and takes the hash's better, upper bits.
    return members_of(tables, endpoint)[hash_flow(tables.plane.c.flow_seed, key) * <uint64_t>endpoint.n_members >> 32]


cdef int32_t choose_slowly(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                           int32_t vnas) noexcept nogil:
    cdef int32_t port, any_address, specific, stored
    cdef uint64_t[2] destination
    cdef uint64_t[2] source
    if tables.as_linux.kernel != 0:
        return choose_as_linux(tables, key, hi, lo, protocol, vnas)
    port = port_find(&tables.sockets, protocol, key.destination_port)
    if port < 0:
        return NO_PORT
    stored = answers_get(&tables.plane, &tables.sockets.ports[port], vnas, family_of(hi, lo))
    if stored != VNAS_ASK:
        destination[0] = hi
        destination[1] = lo
        source[0] = load64(key.source)
        source[1] = load64(key.source + 8)
        stored = choose_in_block(&tables.plane.c, tables.plane.c.blocks, stored, destination, source, key.destination_port,
                                 key.source_port, key.protocol)
        if stored != VNAS_ASK:
            return stored - VNAS_STORED
    # A VNAS that the data plane can't name, or there was no memory for its block.
    any_address = first_any(&tables.sockets, &tables.seed, port, vnas, family_of(hi, lo))
    specific = endpoint_find(&tables.sockets, &tables.seed, port, vnas, hi, lo, False)
    if specific < 0:
        return choose_member(tables, any_address, key) if any_address >= 0 else NO_SOCKET
    if any_address >= 0 and (tables.sockets.rows[tables.sockets.endpoints[any_address].first].order
                             < tables.sockets.rows[tables.sockets.endpoints[specific].first].order):
        return choose_member(tables, any_address, key)
    return choose_member(tables, specific, key)
