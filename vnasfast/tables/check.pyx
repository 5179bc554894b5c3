"""A self-check that walks every table and holds every invariant."""

cimport cython
from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.addresses cimport AddressTable, address_find, source_find
from vnasfast.tables.counts cimport count_find
from vnasfast.tables.family cimport IPV4, IPV6, family_of, is_any, is_loopback
from vnasfast.tables.index cimport HashIndex, RowPool, index_check, index_longest_probe, pool_n_live
from vnasfast.tables.lines cimport lines_find
from vnasfast.tables.linux_check cimport check_linux
from vnasfast.tables.plane cimport (
    ASK_SLOT, FIRST_SLOT, VNAS_ASK, VNAS_PLACES, VNAS_STORED, Plane, plane_check, plane_get,
)
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.routes cimport RoutingTable, prefix_word, route_find
from vnasfast.tables.sockets cimport (
    N_PROTOCOLS, Endpoint, PortRow, SocketTable, endpoint_find,
)
from vnasfast.tables.tables cimport MachineTables, Tables, endpoint_of, members_of
from vnasfast.tables.vnases cimport vnas_find
from vnasfast.typedefs cimport NO_SOCKET


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


cdef int check_port(const MachineTables* c, int32_t row) except -1:
    """Check a port by a scan of its sockets."""
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
    assert not plain or port.slots[IPV4] != ASK_SLOT, "ports: a plain socket on a port without answers"
    for vnas, endpoints in specific.items():
        socket = count_find(&table.specific, &c.seed, 0, vnas, row)
        assert socket >= 0 and table.specific.rows[socket].n == len(endpoints), "ports: a VNAS's specific endpoints are miscounted"
    for family in (IPV4, IPV6):
        assert port.n_vnases[<int>family] == len(winners[family]), "ports: n_vnases is wrong"
        assert port.vnas_sum[<int>family] == sum(winners[family]) % 2**32, "ports: vnas_sum is wrong"
        check_answers(c, port, family, winners[family], specific)
    return n


cdef int check_answers(const MachineTables* c, const PortRow* port, int family, winners, specific) except -1:
    """Check what the data plane says of a port, for every VNAS number there is room for."""
    cdef const Plane* plane = &c.plane
    cdef uint32_t slot = port.slots[family]
    cdef int32_t vnas, stored, right
    assert plane.c.ports.directory[family * VNAS_PLACES + port.place] == slot * plane.width, "ports: the data plane reads another slot"
    if slot == ASK_SLOT:
        return 0
    assert FIRST_SLOT <= slot < plane.n_slots, "ports: a slot outside the answers"
    for vnas in range(<int32_t>plane.width - 2):
        stored = plane_get(plane, slot, vnas)
        right = NO_SOCKET + VNAS_STORED
        if vnas in specific:
            right = VNAS_ASK
        elif vnas in winners:
            first, row = winners[vnas]
            right = first + VNAS_STORED if row < 0 or c.sockets.endpoints[<int32_t>row].n_members == 1 else VNAS_ASK
        assert stored == right, f"ports: the data plane's answer for VNAS number {vnas} is {stored}, not {right}"
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
        place = lines_find(&c.plane, row, address.hi, address.lo, address.vlan, address.vnas)
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
        n += check_port(c, row)
    assert n == n_members == pool_n_live(&table.pool), "sockets: some are on no port"
    assert len(ports) == pool_n_live(&table.port_pool), "ports: one without sockets"
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
    """Walk all tables and hold every invariant.

    Raises
    ------
    AssertionError
        Names the table and the invariant.
    """
    check_vnases(&tables.c)
    check_processes(&tables.c)
    check_addresses(&tables.c)
    check_sockets(&tables.c)
    check_linux(&tables.c)
    check_routes(&tables.c)
    check_plane_addresses(&tables.c)


@cython.critical_section
def probe_lengths(Tables tables not None):
    """Map each hash index to the slots looked at for its worst key, which an attacker would want to be many.

    Returns
    -------
    dict of str to int
    """
    cdef const MachineTables* c = &tables.c
    return {
        "processes": index_longest_probe(&c.processes.index),
        "vnases": index_longest_probe(&c.vnases.index),
        "addresses": index_longest_probe(&c.addresses.index),
        "source lists": index_longest_probe(&c.addresses.source_index),
        "address owners": index_longest_probe(&c.addresses.owners.index),
        "endpoints": index_longest_probe(&c.sockets.endpoint_index),
        "loopback owners": index_longest_probe(&c.sockets.loopback_owners.index),
        "specific": index_longest_probe(&c.sockets.specific.index),
        "routes": index_longest_probe(&c.routes.index),
    }


def crowded_out(Tables tables not None):
    """Count the addresses, IPv4 and IPv6, that found no room in their line of the data plane: the control plane answers for them.

    Returns
    -------
    tuple of (int, int)
    """
    return tables.c.plane.n_elsewhere[0], tables.c.plane.n_elsewhere[1]
