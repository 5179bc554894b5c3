"""The port table and the socket table."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memmove, memset

from vnasfast.tables.choices cimport members_block, members_give, specific_give
from vnasfast.tables.counts cimport count_add, count_find, count_free, count_init, count_remove
from vnasfast.tables.family cimport IPV4, IPV6, family_of, is_any, is_loopback
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, pool_free, pool_give, pool_take,
)
from vnasfast.tables.memory cimport give_back
from vnasfast.tables.plane cimport VNAS_STORED, Plane, plane_advance, plane_point
from vnasfast.tables.ports cimport (
    answers_get, answers_put, answers_refresh, count_vnas, families_of, port_give, port_release, port_reserve, port_take,
)
from vnasfast.tables.processes cimport ProcessTable
from vnasfast.tables.usage cimport ROWS_BEFORE, Usage, packed_reserve, usage_reserve
from vnasfast.typedefs cimport NO_SOCKET

cdef enum:
    BOTH_FAMILIES = 3       # bit IPV4 and bit IPV6


cdef int socket_init(SocketTable* table) except -1:
    # 1.3 MB of address space; only the pages of ports in use are ever touched.
    table.directory = <int32_t*>calloc(N_PROTOCOLS << 16, sizeof(int32_t))
    if table.directory == NULL:
        raise MemoryError("no memory for the port directory")
    usage_enlarge(table, 1)
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
    if table.usage != NULL:
        give_back(table.usage - ROWS_BEFORE, table.usage_bytes)
    if table.packed.counts != NULL:
        give_back(table.packed.counts - ROWS_BEFORE, table.packed.n_bytes)
    table.usage = NULL
    table.packed.counts = NULL
    count_free(&table.loopback_owners)
    count_free(&table.specific)


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
    return endpoint >= 0 and not (sharing and shares_port(&table.rows[table.endpoints[endpoint].first]))


cdef int32_t plain_find(const SocketTable* table, const Plane* plane, int32_t port_row, int32_t vnas) noexcept nogil:
    """Find the plain socket of a VNAS on a port, or -1."""
    cdef int32_t stored = answers_get(plane, &table.ports[port_row], vnas, IPV4)
    return stored - VNAS_STORED if stored >= VNAS_STORED and table.rows[stored - VNAS_STORED].endpoint < 0 else -1


cdef bint may_be_plain(const SocketTable* table, const Plane* plane, int32_t port_row, int32_t vnas) noexcept nogil:
    """Whether a VNAS has no socket on a port, and the data plane can name it."""
    cdef const PortRow* port = &table.ports[port_row]
    return (answers_get(plane, port, vnas, IPV4) == NO_SOCKET + VNAS_STORED
            and (port.slots[IPV6] == port.slots[IPV4] or answers_get(plane, port, vnas, IPV6) == NO_SOCKET + VNAS_STORED))


cdef bint socket_in_use(const SocketTable* table, const Plane* plane, const HashSeed* seed, uint32_t protocol, uint16_t port,
                        uint64_t hi, uint64_t lo, bint sharing, int32_t vnas) noexcept nogil:
    cdef int32_t row = port_find(table, protocol, port)
    cdef int32_t plain
    if row < 0 or may_be_plain(table, plane, row, vnas):
        return False
    plain = plain_find(table, plane, row, vnas)
    if plain >= 0:
        return hi == 0 and lo == 0 and not (sharing and shares_port(&table.rows[plain]))
    return (forbids(table, endpoint_find(table, seed, row, vnas, hi, lo, False), sharing)
            or forbids(table, endpoint_find(table, seed, row, vnas, hi, lo, True), sharing))


cdef int usage_enlarge(SocketTable* table, size_t n) except -1:
    cdef Usage* rows = table.usage - ROWS_BEFORE if table.usage != NULL else NULL
    packed_reserve(&table.packed, n)
    usage_reserve(&rows, &table.usage_bytes, n + ROWS_BEFORE)
    table.usage = rows + ROWS_BEFORE
    return 0


cdef void link_socket(SocketTable* table, int32_t port_row, int32_t socket) noexcept nogil:
    """Put a socket last on its port."""
    cdef PortRow* port = &table.ports[port_row]
    cdef SocketRow* row = &table.rows[socket]
    row.next_on_port = -1
    row.previous_on_port = port.last
    if port.last >= 0:
        table.rows[port.last].next_on_port = socket
    else:
        port.first = socket
    port.last = socket
    port.n_sockets += 1


cdef void unlink_socket(SocketTable* table, int32_t port_row, int32_t socket) noexcept nogil:
    cdef PortRow* port = &table.ports[port_row]
    cdef SocketRow* row = &table.rows[socket]
    if row.previous_on_port >= 0:
        table.rows[row.previous_on_port].next_on_port = row.next_on_port
    else:
        port.first = row.next_on_port
    if row.next_on_port >= 0:
        table.rows[row.next_on_port].previous_on_port = row.previous_on_port
    else:
        port.last = row.previous_on_port
    if port.filled == socket:
        port.filled = row.next_on_port
    port.n_sockets -= 1


cdef void join(SocketTable* table, int32_t endpoint_row, int32_t socket) noexcept nogil:
    """Make a socket the last member of an endpoint, which has room."""
    cdef Endpoint* endpoint = &table.endpoints[endpoint_row]
    if endpoint.n_members == 0:
        endpoint.first = socket
    else:
        endpoint.members[endpoint.n_members] = socket
    endpoint.n_members += 1
    table.rows[socket].endpoint = endpoint_row


cdef uint32_t members_changed(SocketTable* table, Plane* plane, int32_t endpoint_row, int32_t n_before) noexcept nogil:
    """Have the data plane know the members of an endpoint. Returns the block to give back once nothing names it, or 0."""
    cdef Endpoint* endpoint = &table.endpoints[endpoint_row]
    cdef uint32_t before = endpoint.block
    endpoint.block = 0
    if endpoint.n_members > 1 and not plane.asks:
        endpoint.block = members_block(plane, before, n_before, endpoint.members, endpoint.n_members)
    return before if endpoint.block != before else 0


cdef int32_t socket_add(SocketTable* table, Plane* plane, const HashSeed* seed, const ProcessTable* processes, uint32_t protocol,
                        uint16_t port, uint64_t hi, uint64_t lo, bint v6only, bint sharing, int32_t vnas, int32_t process) except -1:
    cdef int32_t port_row = -1, endpoint_row = -1, plain
    cdef int32_t socket = pool_take(&table.pool, <void**>&table.rows, sizeof(SocketRow))
    cdef bint any_address = is_any(hi, lo)
    cdef int families = 0
    cdef uint32_t block
    cdef SocketRow* row
    try:
        plane_advance(plane)
        port_row = port_take(table, protocol, port)
        port_reserve(table, plane, processes, port_row, any_address and (v6only or family_of(hi, lo) == IPV4))
        if hi != 0 or lo != 0 or v6only or not may_be_plain(table, plane, port_row, vnas):
            plain = plain_find(table, plane, port_row, vnas)
            if plain >= 0:      # it is plain no more
                join(table, endpoint_take(table, seed, port_row, vnas, 0, 0, False), plain)
            families = families_of(table, seed, port_row, vnas)
            endpoint_row = endpoint_take(table, seed, port_row, vnas, hi, lo, v6only)
    except MemoryError:
        if port_row >= 0 and table.ports[port_row].n_sockets == 0:
            port_give(table, plane, port_row, vnas)
        pool_give(&table.pool, socket)
        raise
    table.last_order += 2
    row = &table.rows[socket]
    row.order = table.last_order | sharing
    row.process = process
    link_socket(table, port_row, socket)
    if endpoint_row >= 0:
        join(table, endpoint_row, socket)
        count_vnas(&table.ports[port_row], vnas, families, families_of(table, seed, port_row, vnas))
        block = members_changed(table, plane, endpoint_row, table.endpoints[endpoint_row].n_members - 1)
        answers_refresh(table, plane, seed, port_row, vnas, hi, lo)
        members_give(plane, block, table.endpoints[endpoint_row].n_members - 1)
    else:
        row.endpoint = ~port_row
        count_vnas(&table.ports[port_row], vnas, 0, BOTH_FAMILIES)
        answers_put(plane, &table.ports[port_row], vnas, socket + VNAS_STORED)
    if table.ports[port_row].n_sockets == 1:        # its answers are all there: the port opens
        plane_point(plane, IPV4, table.ports[port_row].place, table.ports[port_row].slots[IPV4])
        plane_point(plane, IPV6, table.ports[port_row].place, table.ports[port_row].slots[IPV6])
    return socket


cdef uint32_t endpoint_leave(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t endpoint_row, int32_t socket,
                             uint32_t* specific) noexcept nogil:
    """Take a socket out of its endpoint, and the endpoint away if it was the last. Returns the block of the members, and gives that of
    the specific addresses, which are to be given back once nothing names them, or 0.
    """
    cdef Endpoint* endpoint = &table.endpoints[endpoint_row]
    cdef int32_t counted
    cdef int32_t n_before = endpoint.n_members
    member_remove(table, endpoint_row, socket)
    if endpoint.n_members > 0:
        return members_changed(table, plane, endpoint_row, n_before)
    if not endpoint.any:
        counted = count_find(&table.specific, seed, 0, <uint32_t>endpoint.vnas, endpoint.port)
        if table.specific.rows[counted].n == 1:
            specific[0] = table.specific.rows[counted].sum
    endpoint_give(table, seed, endpoint_row)
    return 0


cdef void socket_remove(SocketTable* table, Plane* plane, const HashSeed* seed, const ProcessTable* processes, int32_t socket,
                        int32_t vnas) noexcept:
    cdef SocketRow* row = &table.rows[socket]
    cdef int32_t endpoint_row = row.endpoint
    cdef int32_t port_row = table.endpoints[endpoint_row].port if endpoint_row >= 0 else ~endpoint_row
    cdef int families = families_of(table, seed, port_row, vnas) if endpoint_row >= 0 else BOTH_FAMILIES
    cdef uint64_t hi = 0, lo = 0
    cdef uint32_t n_members = 0, members = 0, specific = 0
    unlink_socket(table, port_row, socket)
    if endpoint_row >= 0:
        hi = table.endpoints[endpoint_row].hi
        lo = table.endpoints[endpoint_row].lo
        n_members = <uint32_t>table.endpoints[endpoint_row].n_members
        members = endpoint_leave(table, plane, seed, endpoint_row, socket, &specific)
    row.order = 0
    if table.ports[port_row].n_sockets == 0:
        port_give(table, plane, port_row, vnas)
    elif endpoint_row >= 0:
        count_vnas(&table.ports[port_row], vnas, families, families_of(table, seed, port_row, vnas))
        answers_refresh(table, plane, seed, port_row, vnas, hi, lo)
    else:
        count_vnas(&table.ports[port_row], vnas, BOTH_FAMILIES, 0)
        answers_put(plane, &table.ports[port_row], vnas, NO_SOCKET + VNAS_STORED)
    members_give(plane, members, n_members)
    specific_give(plane, specific)
    pool_give(&table.pool, socket)
    if table.ports[port_row].n_sockets > 0:
        port_release(table, plane, processes, port_row)
