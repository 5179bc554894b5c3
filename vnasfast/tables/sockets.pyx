"""The port table and the socket table."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from vnasfast.tables.counts cimport count_add, count_free, count_init, count_remove
from vnasfast.tables.family cimport IPV4, IPV6, is_any, is_loopback
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, pool_free, pool_give, pool_take,
)
from vnasfast.tables.verdicts cimport verdict_free, verdict_init, verdict_put, verdict_reserve

cdef uint64_t ANY_IPV4_LO = 0xffff0000


cdef int socket_init(SocketTable* table) except -1:
    # 1.3 MB of address space; only the pages of ports in use are ever touched.
    table.directory = <int32_t*>calloc(N_PROTOCOLS << 16, sizeof(int32_t))
    if table.directory == NULL:
        raise MemoryError("no memory for the port directory")
    index_init(&table.endpoint_index, INDEX_COMPACT)
    return count_init(&table.loopback_owners)


cdef void socket_free(SocketTable* table) noexcept nogil:
    cdef int32_t row
    for row in range(table.port_pool.n_rows):
        verdict_free(&table.ports[row].by_vnas[IPV4])
        verdict_free(&table.ports[row].by_vnas[IPV6])
    for row in range(table.endpoint_pool.n_rows):
        free(table.endpoints[row].members)
    free(table.directory)
    table.directory = NULL
    pool_free(&table.port_pool, <void**>&table.ports)
    index_free(&table.endpoint_index)
    pool_free(&table.endpoint_pool, <void**>&table.endpoints)
    pool_free(&table.pool, <void**>&table.rows)
    free(table.usage)
    table.usage = NULL
    count_free(&table.loopback_owners)


# ---- ports ----------------------------------------------------------------------------------------------------------

cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1:
    """Find the row of a port, or begin it."""
    cdef uint32_t place = protocol << 16 | port
    cdef int32_t row = table.directory[place] - 1
    if row >= 0:
        return row
    row = pool_take(&table.port_pool, <void**>&table.ports, sizeof(PortRow))
    try:
        verdict_init(&table.ports[row].by_vnas[IPV4])
        verdict_init(&table.ports[row].by_vnas[IPV6])
    except MemoryError:
        verdict_free(&table.ports[row].by_vnas[IPV4])
        pool_give(&table.port_pool, row)
        raise
    table.ports[row].first = table.ports[row].last = -1
    table.ports[row].place = place
    table.directory[place] = row + 1
    return row


cdef void port_give(SocketTable* table, int32_t row) noexcept nogil:
    """Take a port away that has no sockets left."""
    table.directory[table.ports[row].place] = 0
    verdict_free(&table.ports[row].by_vnas[IPV4])
    verdict_free(&table.ports[row].by_vnas[IPV6])
    pool_give(&table.port_pool, row)


cdef inline int32_t earlier(const SocketTable* table, int32_t endpoint, int32_t other) noexcept nogil:
    """Choose the endpoint whose first socket was registered first; -1 stands for none."""
    if endpoint < 0:
        return other
    if other < 0:
        return endpoint
    if table.rows[table.endpoints[endpoint].first].order < table.rows[table.endpoints[other].first].order:
        return endpoint
    return other


cdef inline int32_t verdict_of(const SocketTable* table, int32_t endpoint) noexcept nogil:
    if endpoint < 0:
        return -1
    if table.endpoints[endpoint].n_members == 1:
        return 2 * table.endpoints[endpoint].first
    return 2 * endpoint + 1


cdef inline void port_verdict(PortRow* port, int family, int32_t vnas, int32_t verdict) noexcept nogil:
    port.vnas_sum[family] += <uint32_t>vnas * <uint32_t>verdict_put(&port.by_vnas[family], vnas, verdict)


cdef void verdicts_refresh(SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas) noexcept nogil:
    """Work out again who gets what arrives for (port, VNAS) on an ANY address."""
    cdef int32_t any_ipv4 = endpoint_find(table, seed, port, vnas, 0, ANY_IPV4_LO, False)
    cdef int32_t any_both = endpoint_find(table, seed, port, vnas, 0, 0, False)
    cdef int32_t any_ipv6 = endpoint_find(table, seed, port, vnas, 0, 0, True)
    port_verdict(&table.ports[port], IPV4, vnas, verdict_of(table, earlier(table, any_ipv4, any_both)))
    port_verdict(&table.ports[port], IPV6, vnas, verdict_of(table, earlier(table, any_both, any_ipv6)))


# ---- endpoints ------------------------------------------------------------------------------------------------------

cdef int32_t endpoint_take(SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, uint64_t hi, uint64_t lo,
                           bint v6only) except -1:
    """Find the endpoint, or begin it; room for one more member is made."""
    cdef int32_t row = endpoint_find(table, seed, port, vnas, hi, lo, v6only)
    cdef Endpoint* endpoint
    cdef int32_t* members
    cdef int32_t capacity
    if row < 0:
        index_reserve(&table.endpoint_index)
        row = pool_take(&table.endpoint_pool, <void**>&table.endpoints, sizeof(Endpoint))
        endpoint = &table.endpoints[row]
        endpoint.hi = hi
        endpoint.lo = lo
        endpoint.port = port
        endpoint.vnas = vnas
        endpoint.any = is_any(hi, lo)
        endpoint.v6only = v6only
        if not endpoint.any and is_loopback(hi, lo):
            try:
                count_add(&table.loopback_owners, seed, hi, lo, port, <uint32_t>vnas)
            except MemoryError:
                endpoint.port = -1
                pool_give(&table.endpoint_pool, row)
                raise
        if not endpoint.any:
            table.ports[port].n_specific += 1
        index_add(&table.endpoint_index, endpoint_tag(seed, port, vnas, hi, lo, v6only), row)
        return row
    endpoint = &table.endpoints[row]
    if endpoint.n_members >= endpoint.capacity:
        capacity = 2 * endpoint.capacity if endpoint.capacity else 4
        members = <int32_t*>realloc(endpoint.members, capacity * sizeof(int32_t))
        if members == NULL:
            raise MemoryError(f"no memory for {capacity} sockets that share a port")
        if endpoint.members == NULL:
            members[0] = endpoint.first
        endpoint.members = members
        endpoint.capacity = capacity
    return row


cdef void endpoint_give(SocketTable* table, const HashSeed* seed, int32_t row) noexcept nogil:
    """Take an endpoint away that has no sockets left."""
    cdef Endpoint* endpoint = &table.endpoints[row]
    if not endpoint.any:
        table.ports[endpoint.port].n_specific -= 1
        if is_loopback(endpoint.hi, endpoint.lo):
            count_remove(&table.loopback_owners, seed, endpoint.hi, endpoint.lo, endpoint.port, <uint32_t>endpoint.vnas)
    index_remove(&table.endpoint_index,
                 endpoint_tag(seed, endpoint.port, endpoint.vnas, endpoint.hi, endpoint.lo, endpoint.v6only), row)
    free(endpoint.members)
    memset(endpoint, 0, sizeof(Endpoint))
    endpoint.port = -1
    pool_give(&table.endpoint_pool, row)


cdef void member_remove(SocketTable* table, int32_t row, int32_t socket) noexcept nogil:
    """Take a socket out of its endpoint; the others keep their order."""
    cdef Endpoint* endpoint = &table.endpoints[row]
    cdef uint64_t order = table.rows[socket].order
    cdef int32_t low = 0, high = endpoint.n_members, middle
    endpoint.n_members -= 1
    if endpoint.n_members == 0:
        return
    while high - low > 1:       # the members' order numbers rise
        middle = (low + high) // 2
        if table.rows[endpoint.members[middle]].order <= order:
            low = middle
        else:
            high = middle
    memmove(endpoint.members + low, endpoint.members + low + 1, (endpoint.n_members - low) * sizeof(int32_t))
    endpoint.first = endpoint.members[0]
    if endpoint.n_members == 1:
        free(endpoint.members)
        endpoint.members = NULL
        endpoint.capacity = 0


# ---- sockets --------------------------------------------------------------------------------------------------------

cdef inline bint forbids(const SocketTable* table, int32_t endpoint, bint sharing) noexcept nogil:
    return endpoint >= 0 and not (sharing and table.rows[table.endpoints[endpoint].first].sharing)


cdef bint socket_in_use(const SocketTable* table, const HashSeed* seed, uint32_t protocol, uint16_t port, uint64_t hi,
                        uint64_t lo, bint sharing, int32_t vnas) noexcept nogil:
    cdef int32_t row = port_find(table, protocol, port)
    if row < 0:
        return False
    return (forbids(table, endpoint_find(table, seed, row, vnas, hi, lo, False), sharing)
            or forbids(table, endpoint_find(table, seed, row, vnas, hi, lo, True), sharing))


cdef int usage_reserve(SocketTable* table) except -1:
    cdef Usage* usage
    if table.usage_capacity < table.pool.capacity:
        usage = <Usage*>realloc(table.usage, table.pool.capacity * sizeof(Usage))
        if usage == NULL:
            raise MemoryError(f"no memory for the counters of {table.pool.capacity} sockets")
        table.usage = usage
        table.usage_capacity = table.pool.capacity
    return 0


cdef int32_t socket_add(SocketTable* table, const HashSeed* seed, uint32_t protocol, uint16_t port, uint64_t hi,
                        uint64_t lo, bint v6only, bint sharing, int32_t vnas, int32_t process) except -1:
    cdef int32_t port_row = -1, endpoint_row = -1
    cdef int32_t socket = pool_take(&table.pool, <void**>&table.rows, sizeof(SocketRow))
    cdef Endpoint* endpoint
    cdef SocketRow* row
    try:
        usage_reserve(table)
        port_row = port_take(table, protocol, port)
        verdict_reserve(&table.ports[port_row].by_vnas[IPV4], vnas)
        verdict_reserve(&table.ports[port_row].by_vnas[IPV6], vnas)
        endpoint_row = endpoint_take(table, seed, port_row, vnas, hi, lo, v6only)
    except MemoryError:     # nothing that can fail comes after endpoint_take
        if port_row >= 0 and table.ports[port_row].n_sockets == 0:
            port_give(table, port_row)
        pool_give(&table.pool, socket)
        raise
    memset(&table.usage[socket], 0, sizeof(Usage))
    table.last_order += 1
    row = &table.rows[socket]
    row.order = table.last_order
    row.endpoint = endpoint_row
    row.process = process
    row.sharing = sharing
    row.next_on_port = -1
    row.previous_on_port = table.ports[port_row].last
    if row.previous_on_port >= 0:
        table.rows[row.previous_on_port].next_on_port = socket
    else:
        table.ports[port_row].first = socket
    table.ports[port_row].last = socket
    table.ports[port_row].n_sockets += 1
    endpoint = &table.endpoints[endpoint_row]
    if endpoint.n_members == 0:
        endpoint.first = socket
    else:
        endpoint.members[endpoint.n_members] = socket
    endpoint.n_members += 1
    if endpoint.any:
        verdicts_refresh(table, seed, port_row, vnas)
    return socket


cdef void socket_remove(SocketTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef SocketRow* row = &table.rows[socket]
    cdef int32_t endpoint_row = row.endpoint
    cdef int32_t port_row = table.endpoints[endpoint_row].port
    cdef int32_t vnas = table.endpoints[endpoint_row].vnas
    cdef bint any_address = table.endpoints[endpoint_row].any
    if row.previous_on_port >= 0:
        table.rows[row.previous_on_port].next_on_port = row.next_on_port
    else:
        table.ports[port_row].first = row.next_on_port
    if row.next_on_port >= 0:
        table.rows[row.next_on_port].previous_on_port = row.previous_on_port
    else:
        table.ports[port_row].last = row.previous_on_port
    table.ports[port_row].n_sockets -= 1
    member_remove(table, endpoint_row, socket)
    row.order = 0
    if table.endpoints[endpoint_row].n_members == 0:
        endpoint_give(table, seed, endpoint_row)
    if any_address:
        verdicts_refresh(table, seed, port_row, vnas)
    if table.ports[port_row].n_sockets == 0:
        port_give(table, port_row)
    pool_give(&table.pool, socket)
