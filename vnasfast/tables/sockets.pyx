"""The port table and the socket table."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from vnasfast.tables.counts cimport count_add, count_find, count_free, count_init, count_remove
from vnasfast.tables.family cimport IPV4, IPV6, family_of, is_any, is_loopback
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, pool_free, pool_give, pool_take,
)
from vnasfast.tables.plane cimport (
    ASK_SLOT, NO_PORT_SLOT, VNAS_ASK, VNAS_STORED, Plane, plane_affords_slot, plane_give_slot, plane_point,
    plane_put, plane_take_slot,
)
from vnasfast.tables.readers cimport readers_reserve
from vnasfast.typedefs cimport NO_SOCKET

cdef uint64_t ANY_IPV4_LO = 0xffff0000


cdef int socket_init(SocketTable* table) except -1:
    # 1.3 MB of address space; only the pages of ports in use are ever touched.
    table.directory = <int32_t*>calloc(N_PROTOCOLS << 16, sizeof(int32_t))
    if table.directory == NULL:
        raise MemoryError("no memory for the port directory")
    index_init(&table.endpoint_index, INDEX_COMPACT)
    count_init(&table.loopback_owners)
    return count_init(&table.specific)


cdef void socket_free(SocketTable* table) noexcept nogil:
    cdef int32_t row
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
    count_free(&table.specific)


# ---- ports ----------------------------------------------------------------------------------------------------------

cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1:
    """Find the row of a port, or begin it."""
    cdef uint32_t place = protocol << 16 | port
    cdef int32_t row = table.directory[place] - 1
    if row >= 0:
        return row
    row = pool_take(&table.port_pool, <void**>&table.ports, sizeof(PortRow))
    table.ports[row].slots[IPV4] = table.ports[row].slots[IPV6] = ASK_SLOT
    table.ports[row].first = table.ports[row].last = -1
    table.ports[row].place = place
    table.directory[place] = row + 1
    return row


cdef void port_give(SocketTable* table, Plane* plane, int32_t row) noexcept nogil:
    """Take a port away that has no sockets left."""
    cdef PortRow* port = &table.ports[row]
    table.directory[port.place] = 0
    plane_point(plane, IPV4, port.place, NO_PORT_SLOT)
    plane_point(plane, IPV6, port.place, NO_PORT_SLOT)
    plane_give_slot(plane, port.slots[IPV4])
    if port.slots[IPV6] != port.slots[IPV4]:
        plane_give_slot(plane, port.slots[IPV6])
    pool_give(&table.port_pool, row)


cdef int port_reserve(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, bint one_family) except -1:
    """Give a port answers of its own if it may have them, and each family its own before an ANY socket of one family comes."""
    cdef PortRow* port = &table.ports[row]
    cdef uint32_t ipv4 = port.slots[IPV4], ipv6 = port.slots[IPV6]
    if ipv4 == ASK_SLOT:
        if not plane_affords_slot(plane, port.n_sockets + 1):
            return 0
        ipv4 = ipv6 = plane_take_slot(plane)
        one_family = one_family or families_differ(table, row)
    if one_family and ipv6 == ipv4:
        try:
            ipv6 = plane_take_slot(plane)
        except MemoryError:
            if port.slots[IPV4] == ASK_SLOT:
                plane_give_slot(plane, ipv4)
            raise
    if port.slots[IPV4] != ipv4:
        port_fill(table, plane, seed, row, ipv4, IPV4)
    if port.slots[IPV6] != ipv6:
        port_fill(table, plane, seed, row, ipv6, IPV6)
    return 0


cdef void port_fill(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, uint32_t slot,
                    int family) noexcept nogil:
    """Work out all answers of a port for a family into a slot, and have them read."""
    cdef PortRow* port = &table.ports[row]
    cdef int32_t socket = port.first
    cdef int32_t vnas
    while socket >= 0:
        vnas = table.endpoints[table.rows[socket].endpoint].vnas
        plane_put(plane, slot, vnas, stored_for(table, seed, row, vnas, family))
        socket = table.rows[socket].next_on_port
    port.slots[family] = slot
    if port.n_sockets > 0:
        plane_point(plane, family, port.place, slot)


cdef bint families_differ(const SocketTable* table, int32_t row) noexcept nogil:
    """Whether a port has ANY sockets of one family only."""
    cdef int32_t socket = table.ports[row].first
    cdef const Endpoint* endpoint
    while socket >= 0:
        endpoint = &table.endpoints[table.rows[socket].endpoint]
        if endpoint.any and (endpoint.v6only or family_of(endpoint.hi, endpoint.lo) == IPV4):
            return True
        socket = table.rows[socket].next_on_port
    return False


cdef inline int32_t earlier(const SocketTable* table, int32_t endpoint, int32_t other) noexcept nogil:
    """Choose the endpoint whose first socket was registered first; -1 stands for none."""
    if endpoint < 0:
        return other
    if other < 0:
        return endpoint
    if table.rows[table.endpoints[endpoint].first].order < table.rows[table.endpoints[other].first].order:
        return endpoint
    return other


cdef int32_t first_any(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, int family) noexcept nogil:
    return earlier(table, endpoint_find(table, seed, port, vnas, 0, 0, False),
                   endpoint_find(table, seed, port, vnas, 0, ANY_IPV4_LO if family == IPV4 else 0, family == IPV6))


cdef int32_t stored_for(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, int family) noexcept nogil:
    cdef int32_t endpoint
    if count_find(&table.specific, seed, 0, <uint32_t>vnas, port) >= 0:
        return VNAS_ASK
    endpoint = first_any(table, seed, port, vnas, family)
    if endpoint < 0:
        return NO_SOCKET + VNAS_STORED
    if table.endpoints[endpoint].n_members > 1:
        return VNAS_ASK
    return table.endpoints[endpoint].first + VNAS_STORED


cdef void answers_refresh(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil:
    """Work out again what the data plane says of (port, VNAS)."""
    cdef PortRow* port = &table.ports[row]
    if port.slots[IPV4] == ASK_SLOT:
        return
    plane_put(plane, port.slots[IPV4], vnas, stored_for(table, seed, row, vnas, IPV4))
    if port.slots[IPV6] != port.slots[IPV4]:
        plane_put(plane, port.slots[IPV6], vnas, stored_for(table, seed, row, vnas, IPV6))


cdef inline int families_of(const SocketTable* table, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil:
    """Tell in which families a VNAS has ANY sockets on a port: bit IPV4, bit IPV6."""
    return ((first_any(table, seed, row, vnas, IPV4) >= 0) << IPV4) | ((first_any(table, seed, row, vnas, IPV6) >= 0) << IPV6)


cdef inline void count_vnas(PortRow* port, int32_t vnas, int before, int after) noexcept nogil:
    cdef int family, change
    for family in range(2):
        change = (after >> family & 1) - (before >> family & 1)
        port.n_vnases[family] += change
        port.vnas_sum[family] += <uint32_t>(change * vnas)


# ---- endpoints ------------------------------------------------------------------------------------------------------

cdef int count_specific(SocketTable* table, const HashSeed* seed, const Endpoint* endpoint) except -1:
    """Count a new endpoint with a specific address, all or nothing."""
    count_add(&table.specific, seed, 0, <uint32_t>endpoint.vnas, endpoint.port, 0)
    if is_loopback(endpoint.hi, endpoint.lo):
        try:
            count_add(&table.loopback_owners, seed, endpoint.hi, endpoint.lo, endpoint.port, <uint32_t>endpoint.vnas)
        except MemoryError:
            count_remove(&table.specific, seed, 0, <uint32_t>endpoint.vnas, endpoint.port, 0)
            raise
    return 0


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
        if not endpoint.any:
            try:
                count_specific(table, seed, endpoint)
            except MemoryError:
                endpoint.port = -1
                pool_give(&table.endpoint_pool, row)
                raise
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
        count_remove(&table.specific, seed, 0, <uint32_t>endpoint.vnas, endpoint.port, 0)
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


cdef int32_t socket_add(SocketTable* table, Plane* plane, const HashSeed* seed, uint32_t protocol, uint16_t port, uint64_t hi,
                        uint64_t lo, bint v6only, bint sharing, int32_t vnas, int32_t process) except -1:
    cdef int32_t port_row = -1, endpoint_row = -1
    cdef int32_t socket = pool_take(&table.pool, <void**>&table.rows, sizeof(SocketRow))
    cdef bint any_address = is_any(hi, lo)
    cdef int families
    cdef Endpoint* endpoint
    cdef SocketRow* row
    try:
        usage_reserve(table)
        readers_reserve(&plane.readers, 8)
        port_row = port_take(table, protocol, port)
        port_reserve(table, plane, seed, port_row, any_address and (v6only or family_of(hi, lo) == IPV4))
        families = families_of(table, seed, port_row, vnas)
        endpoint_row = endpoint_take(table, seed, port_row, vnas, hi, lo, v6only)
    except MemoryError:
        if port_row >= 0 and table.ports[port_row].n_sockets == 0:
            port_give(table, plane, port_row)
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
    count_vnas(&table.ports[port_row], vnas, families, families_of(table, seed, port_row, vnas))
    answers_refresh(table, plane, seed, port_row, vnas)
    if table.ports[port_row].n_sockets == 1:        # its answers are all there: the port opens
        plane_point(plane, IPV4, table.ports[port_row].place, table.ports[port_row].slots[IPV4])
        plane_point(plane, IPV6, table.ports[port_row].place, table.ports[port_row].slots[IPV6])
    return socket


cdef void socket_remove(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef SocketRow* row = &table.rows[socket]
    cdef int32_t endpoint_row = row.endpoint
    cdef int32_t port_row = table.endpoints[endpoint_row].port
    cdef int32_t vnas = table.endpoints[endpoint_row].vnas
    cdef int families = families_of(table, seed, port_row, vnas)
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
    if table.ports[port_row].n_sockets == 0:
        port_give(table, plane, port_row)       # before the answer goes: else NO_SOCKET, which was never right, might be read
    else:
        count_vnas(&table.ports[port_row], vnas, families, families_of(table, seed, port_row, vnas))
        answers_refresh(table, plane, seed, port_row, vnas)
    pool_give(&table.pool, socket)
