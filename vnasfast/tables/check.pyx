"""A self-check that walks every table and holds every invariant."""

cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.addresses cimport AddressTable, address_find, source_find
from vnasfast.tables.choices cimport block_stored
from vnasfast.tables.counts cimport count_find
from vnasfast.tables.family cimport IPV4, IPV6, family_of, is_any, is_loopback
from vnasfast.tables.index cimport HashIndex, RowPool, index_check, pool_n_live
from vnasfast.tables.lines cimport lines_find
from vnasfast.tables.linux_check cimport check_linux
from vnasfast.tables.plane cimport (
    FIRST_SLOT, NO_PORT_SLOT, SPARSE_IPV6_SLOT, SPARSE_SLOT, VNAS_ASK, VNAS_FIRST_OWNER, VNAS_MEMBERS, VNAS_PLACES, VNAS_SPECIFIC,
    VNAS_STORED, Plane, block_of, names_block, plane_check, specific_answer, stored_answer,
)
from vnasfast.tables.ports cimport answers_get, answers_next
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.routes cimport RoutingTable, prefix_word, route_find
from vnasfast.tables.sockets cimport N_PROTOCOLS, Endpoint, PortRow, SocketTable, endpoint_find
from vnasfast.tables.sparse cimport sparse_check
from vnasfast.tables.tables cimport MachineTables, Tables, endpoint_of, members_of
from vnasfast.tables.vnases cimport vnas_find
from vnasfast.typedefs cimport NO_SOCKET

from gc import disable, enable, isenabled


cdef int check_pool(const RowPool* pool, str name) except -1:
    cdef int32_t i
    assert 0 <= pool.n_free <= pool.n_rows <= pool.capacity, f"{name}: the pool's counts disagree"
    free_rows = {pool.free_rows[i] for i in range(pool.n_free)}
    assert len(free_rows) == pool.n_free, f"{name}: a row was given back twice"
    assert all(0 <= row < pool.n_rows for row in free_rows), f"{name}: a free row outside the table"
    return 0


cdef int check_indexed(const HashIndex* index, const RowPool* pool, str name) except -1:
    """Check an index that holds each live row once."""
    cdef uint32_t position
    index_check(index)
    check_pool(pool, name)
    rows = [index.slots[position].taken for position in range(index.mask + 1) if index.slots[position].taken != 0]
    assert len(set(rows)) == len(rows) == pool_n_live(pool), f"{name}: the index does not hold each live row once"
    return 0


cdef int check_vnases(const MachineTables* c) except -1:
    cdef int32_t row
    users = {}
    check_indexed(&c.vnases.index, &c.vnases.pool, "vnases")
    for row in range(c.processes.pool.n_rows):
        if c.processes.rows[row].pid != 0:
            users[c.processes.rows[row].vnas] = users.get(c.processes.rows[row].vnas, 0) + 1
    for row in range(c.addresses.pool.n_rows):
        if c.addresses.rows[row].source_list >= 0:
            users[c.addresses.rows[row].vnas] = users.get(c.addresses.rows[row].vnas, 0) + 1
    for row, n in users.items():
        assert c.vnases.rows[row].n_users == n, "vnases: n_users is not its processes and addresses"
        assert vnas_find(&c.vnases, &c.seed, c.vnases.rows[row].id) == row, "vnases: an ID is not found"
    assert len(users) == pool_n_live(&c.vnases.pool), "vnases: a VNAS without process or address"
    return 0


cdef int check_processes(const MachineTables* c) except -1:
    cdef int32_t row, child, socket, n_children = 0, n_sockets = 0
    check_indexed(&c.processes.index, &c.processes.pool, "processes")
    for row in range(c.processes.pool.n_rows):
        if c.processes.rows[row].pid == 0:
            continue
        assert process_find(&c.processes, &c.seed, c.processes.rows[row].pid) == row, "processes: a PID is not found"
        child = c.processes.rows[row].first_child
        while child >= 0:
            assert c.processes.rows[child].parent == row, "processes: a child names another parent"
            n_children += 1
            child = c.processes.rows[child].next_sibling
        socket = c.processes.rows[row].first_socket
        while socket >= 0:
            assert c.sockets.rows[socket].process == row, "processes: a socket names another process"
            n_sockets += 1
            socket = c.sockets.rows[socket].next_of_process
    assert n_children == pool_n_live(&c.processes.pool) - 1, "processes: not every process but the first is a child"
    assert n_sockets == pool_n_live(&c.sockets.pool), "processes: not every socket is in its process's list"
    return 0


cdef int check_addresses(const MachineTables* c) except -1:
    cdef const AddressTable* table = &c.addresses
    cdef int32_t row = table.first, previous = -1, source, n = 0, n_listed = 0
    check_indexed(&table.index, &table.pool, "addresses")
    check_indexed(&table.source_index, &table.source_pool, "source lists")
    check_indexed(&table.owners.index, &table.owners.pool, "owners")
    owners = {}
    sources = set()
    while row >= 0:
        address = &table.rows[row]
        assert address.previous == previous, "addresses: the order of registration is broken"
        assert address_find(table, &c.seed, address.hi, address.lo, address.vlan) == row, "addresses: a key is not found"
        source = source_find(table, &c.seed, address.vnas, address.interface, family_of(address.hi, address.lo))
        assert source == address.source_list >= 0, "addresses: a row is in another source list"
        sources.add(source)
        if address.vlan != 0:
            key = (address.hi, address.lo, address.vnas)
            owners[key] = owners.get(key, 0) + 1
        previous = row
        row = address.next
        n += 1
    assert previous == table.last and n == pool_n_live(&table.pool), "addresses: the order misses rows"
    for source in sources:
        row, previous = table.sources[source].first, -1
        while row >= 0:
            assert table.rows[row].previous_source == previous, "source lists: an order is broken"
            previous = row
            row = table.rows[row].next_source
            n_listed += 1
        assert table.sources[source].last == previous, "source lists: the last is another"
    assert n_listed == n and len(sources) == pool_n_live(&table.source_pool), "source lists: they miss rows"
    for (hi, lo, vnas), count in owners.items():
        row = count_find(&table.owners, &c.seed, hi, lo, vnas)
        assert row >= 0 and table.owners.rows[row].n == count, "owners: a count is wrong"
    assert len(owners) == pool_n_live(&table.owners.pool), "owners: too many rows"
    return 0


cdef int check_port(const MachineTables* c, int32_t row, n_sparse) except -1:
    """Check a port by a scan of its sockets; its answers in lines are counted in `n_sparse`."""
    cdef const SocketTable* table = &c.sockets
    cdef const PortRow* port = &table.ports[row]
    cdef int32_t socket = port.first, previous = -1, n = 0
    cdef uint64_t order = 0
    cdef Endpoint endpoint
    winners = ({}, {})      # VNAS number → (its first ANY socket, its endpoint or -1)
    plain, others = [], set()
    specific = {}
    assert table.directory[port.place] == row + 1, "ports: the directory names another row"
    while socket >= 0:
        endpoint = endpoint_of(c, socket)
        assert endpoint.port == row, "ports: a socket's endpoint names another port"
        if table.rows[socket].endpoint < 0:
            plain.append(endpoint.vnas)
        else:
            others.add(endpoint.vnas)
        assert table.rows[socket].previous_on_port == previous and table.rows[socket].order > order, "ports: order is broken"
        if not endpoint.any:
            specific.setdefault(endpoint.vnas, set()).add(table.rows[socket].endpoint)
        else:
            if not endpoint.v6only:
                winners[IPV4].setdefault(endpoint.vnas, (socket, table.rows[socket].endpoint))
            if not family_of(endpoint.hi, endpoint.lo) == IPV4:
                winners[IPV6].setdefault(endpoint.vnas, (socket, table.rows[socket].endpoint))
        order = table.rows[socket].order
        previous = socket
        socket = table.rows[socket].next_on_port
        n += 1
    assert previous == port.last and n == port.n_sockets > 0, "ports: the order misses sockets"
    assert len(set(plain)) == len(plain) and not others.intersection(plain), "ports: a plain socket is not its VNAS's only one"
    for vnas, endpoints in specific.items():
        socket = count_find(&table.specific, &c.seed, 0, vnas, row)
        assert socket >= 0 and table.specific.rows[socket].n == len(endpoints), "ports: a VNAS's specific endpoints are miscounted"
    for family in (IPV4, IPV6):
        assert port.n_vnases[<int>family] == len(winners[family]), "ports: n_vnases is wrong"
        assert port.vnas_sum[<int>family] == sum(winners[family]) % 2**32, "ports: vnas_sum is wrong"
        n_answers = check_answers(c, port, family, winners[family], specific)
        if port.slots[<int>family] < FIRST_SLOT and (family == IPV4 or port.slots[IPV6] != port.slots[IPV4]):
            n_sparse[0] += n_answers
        if port.next_slots[<int>family] != NO_PORT_SLOT and (family == IPV4 or port.slots[IPV6] != port.slots[IPV4]):
            n_answers = check_move(c, port, family)
            if port.next_slots[<int>family] < FIRST_SLOT:
                n_sparse[0] += n_answers
    return n


cdef int check_move(const MachineTables* c, const PortRow* port, int family) except -1:
    """Check what is said where a port's answers are to lie, or lay. Returns how many are there."""
    cdef const Plane* plane = &c.plane
    cdef int32_t vnas, stored, socket = port.filled, n = 0
    assert socket >= 0, "ports: a move has come to its end and goes on"
    assert (port.next_slots[IPV4] == port.next_slots[IPV6]) == (port.slots[IPV4] == port.slots[IPV6]), (
        "ports: families part on a move")
    assert (port.next_slots[IPV4] < FIRST_SLOT) != (port.slots[IPV4] < FIRST_SLOT), "ports: a move between two arrays, or lines"
    ahead = set()
    while socket >= 0:
        ahead.add(endpoint_of(c, socket).vnas)
        socket = c.sockets.rows[socket].next_on_port
    for vnas in range(<int32_t>plane.width - VNAS_FIRST_OWNER):
        stored = answers_next(plane, port, vnas, family)
        n += stored != 0
        assert (stored == 0 and (port.emptying or vnas in ahead)) or stored == answers_get(plane, port, vnas, family), (
            "ports: an answer is lost on a move")
    return n


cdef int check_answers(const MachineTables* c, const PortRow* port, int family, winners, specific) except -1:
    """Check what the data plane says of a port, for every VNAS number there is room for. Returns how many have an answer."""
    cdef const Plane* plane = &c.plane
    cdef uint32_t slot = port.slots[family]
    cdef int32_t vnas, stored, n = 0
    assert plane.c.ports.directory[family * VNAS_PLACES + port.place] == slot * plane.width, (
        "ports: the data plane reads another slot")
    assert FIRST_SLOT <= slot < plane.n_slots or slot == SPARSE_SLOT or slot == SPARSE_IPV6_SLOT == family + 1, (
        "ports: a slot outside the answers")
    assert (port.slots[IPV4] < FIRST_SLOT) == (port.slots[IPV6] < FIRST_SLOT), "ports: one family in an array, the other in lines"
    for vnas in range(<int32_t>plane.width - VNAS_FIRST_OWNER):
        stored = answers_get(plane, port, vnas, family)
        if plane.asks:
            assert stored == stored_answer(&plane.c, family, port.place, VNAS_FIRST_OWNER + vnas) == VNAS_ASK, "ports: a packet does not ask"
            continue
        n += stored != 0
        if vnas in specific:
            check_specific(c, stored, family, winners.get(vnas), specific[vnas])
        else:
            check_answer(c, stored, winners.get(vnas))
    return n


cdef int check_answer(const MachineTables* c, int32_t stored, winner) except -1:
    """Check a stored answer of sockets that share no VNAS and port with a specific address; `winner`: the first and its endpoint."""
    cdef const Endpoint* endpoint
    cdef const int32_t* members
    cdef int32_t i
    first, row = winner if winner is not None else (NO_SOCKET, -1)
    if row < 0 or c.sockets.endpoints[<int32_t>row].n_members == 1:
        assert stored == first + VNAS_STORED, f"ports: an answer of the data plane is {stored}, not {first + VNAS_STORED}"
        return 0
    endpoint = &c.sockets.endpoints[<int32_t>row]
    assert endpoint.block != 0 and stored == block_stored(endpoint.block, VNAS_MEMBERS), (
        "ports: the data plane does not name the sockets that share")
    members = block_of(c.plane.c.blocks, stored)
    assert members[0] == endpoint.n_members, "ports: the data plane has more or fewer sockets that share"
    for i in range(endpoint.n_members):
        assert members[i + 1] == members_of(c, endpoint)[i], "ports: the data plane has other sockets that share"
    return 0


cdef int check_specific(const MachineTables* c, int32_t stored, int family, winner, endpoints) except -1:
    """Check what the data plane says to the specific addresses of a VNAS on a port, and to the other addresses."""
    cdef const int32_t* block
    cdef const Endpoint* endpoint
    cdef int32_t first
    cdef uint64_t[2] address
    assert names_block(stored) and ~stored & 1 == VNAS_SPECIFIC, "ports: the data plane names no block for specific addresses"
    block = block_of(c.plane.c.blocks, stored)
    check_answer(c, block[1 + family], winner)
    for row in endpoints:
        endpoint = &c.sockets.endpoints[<int32_t>row]
        if family_of(endpoint.hi, endpoint.lo) != family:
            continue
        address[0] = endpoint.hi
        address[1] = endpoint.lo
        first = endpoint.first
        if winner is None or c.sockets.rows[first].order < c.sockets.rows[<int32_t>winner[0]].order:
            check_answer(c, specific_answer(&c.plane.c, block, family, address), (first, row))
        else:
            assert specific_answer(&c.plane.c, block, family, address) == block[1 + family], (
                "ports: a specific address gets what was registered after ANY")
    return 0


cdef int check_plane_addresses(const MachineTables* c) except -1:
    """Check that each address is in its line, or its line says that some are elsewhere."""
    cdef const AddressTable* table = &c.addresses
    cdef int32_t row = table.first
    cdef uint32_t[2] n_lined
    cdef uint32_t[2] n_elsewhere
    cdef int place
    n_lined[0] = n_lined[1] = n_elsewhere[0] = n_elsewhere[1] = 0
    while row >= 0:
        address = &table.rows[row]
        family = family_of(address.hi, address.lo)
        place = lines_find(&c.plane, address.hi, address.lo, address.vlan, address.vnas)
        assert place >= 0, "plane: an address is lost"
        if place > 0:
            n_lined[<int>family] += 1
        else:
            n_elsewhere[<int>family] += 1
        row = address.next
    for family in (IPV4, IPV6):
        assert n_lined[<int>family] == c.plane.n_lined[<int>family], "plane: n_lined is wrong"
        assert n_elsewhere[<int>family] == c.plane.n_elsewhere[<int>family], "plane: n_elsewhere is wrong"
    return plane_check(&c.plane)


cdef int check_sockets(const MachineTables* c) except -1:
    cdef const SocketTable* table = &c.sockets
    cdef int32_t row, i, n = 0, n_members = 0
    cdef const Endpoint* endpoint
    loopback = {}
    check_pool(&table.pool, "sockets")
    check_pool(&table.port_pool, "ports")
    check_indexed(&table.endpoint_index, &table.endpoint_pool, "endpoints")
    check_indexed(&table.loopback_owners.index, &table.loopback_owners.pool, "loopback owners")
    ports = set()
    n_sparse = [0]
    for row in range(table.endpoint_pool.n_rows):
        endpoint = &table.endpoints[row]
        if endpoint.port < 0:
            continue
        ports.add(endpoint.port)
        assert endpoint_find(table, &c.seed, endpoint.port, endpoint.vnas, endpoint.hi, endpoint.lo, endpoint.v6only) == row, (
            "endpoints: a key is not found")
        assert endpoint.any == is_any(endpoint.hi, endpoint.lo), "endpoints: `any` is wrong"
        assert (endpoint.members == NULL) == (endpoint.n_members == 1), "endpoints: members without need, or none"
        shared = members_of(c, endpoint)
        members = [shared[i] for i in range(endpoint.n_members)] if shared != NULL else [endpoint.first]
        assert members[0] == endpoint.first, "endpoints: the first member is another"
        orders = [table.rows[<int32_t>socket].order for socket in members]
        assert orders == sorted(orders), "endpoints: members are not in order of registration"
        assert all(table.rows[<int32_t>socket].endpoint == row for socket in members), "endpoints: a foreign member"
        n_members += endpoint.n_members
        if is_loopback(endpoint.hi, endpoint.lo):
            key = (endpoint.hi, endpoint.lo, endpoint.port)
            loopback.setdefault(key, set()).add(endpoint.vnas)
    for row in range(N_PROTOCOLS << 16):
        if table.directory[row] != 0:
            ports.add(table.directory[row] - 1)
    for row in range(table.pool.n_rows):
        n_members += table.rows[row].order != 0 and table.rows[row].endpoint < 0
    for row in ports:
        n += check_port(c, row, n_sparse)
    assert n == n_members == pool_n_live(&table.pool), "sockets: some are on no port"
    assert len(ports) == pool_n_live(&table.port_pool), "ports: one without sockets"
    assert n_sparse[0] == c.plane.sparse.n + c.plane.sparse.n_crowded, "sparse ports: answers of no port"
    sparse_check(&c.plane)
    for (hi, lo, port), vnases in loopback.items():
        row = count_find(&table.loopback_owners, &c.seed, hi, lo, port)
        assert row >= 0 and table.loopback_owners.rows[row].n == len(vnases), "loopback owners: a count is wrong"
        assert table.loopback_owners.rows[row].sum == sum(vnases) % 2**32, "loopback owners: a sum is wrong"
    assert len(loopback) == pool_n_live(&table.loopback_owners.pool), "loopback owners: too many rows"
    return 0


cdef int check_routes(const MachineTables* c) except -1:
    cdef const RoutingTable* table = &c.routes
    cdef int32_t row = table.first, previous = -1, n = 0, i
    lengths = set()
    check_indexed(&table.index, &table.pool, "routes")
    while row >= 0:
        route = &table.rows[row]
        assert route.previous == previous, "routes: the order of registration is broken"
        assert route_find(table, &c.seed, route.hi, route.lo, route.length) == row, "routes: a network is not found"
        assert prefix_word(route.hi, route.length) == route.hi, "routes: a network is not masked"
        assert prefix_word(route.lo, route.length - 64) == route.lo, "routes: a network is not masked"
        lengths.add(route.length)
        previous = row
        row = route.next
        n += 1
    assert previous == table.last and n == pool_n_live(&table.pool), "routes: the order misses rows"
    assert [table.lengths[i] for i in range(table.n_lengths)] == sorted(lengths, reverse=True), "routes: lengths are wrong"
    return 0


@cython.critical_section
def check_tables(Tables tables not None):
    """Walk all tables and hold every invariant. No garbage is collected meanwhile: that might let other threads change the tables.

    Raises
    ------
    AssertionError
        Names the table and the invariant.
    """
    cdef bint collected = isenabled()
    disable()
    try:
        check_vnases(&tables.c)
        check_processes(&tables.c)
        check_addresses(&tables.c)
        check_sockets(&tables.c)
        check_linux(&tables.c)
        check_routes(&tables.c)
        check_plane_addresses(&tables.c)
    finally:
        if collected:
            enable()
