"""A self-check that walks the lists of the policy `linux` and holds every invariant."""

from libc.stdint cimport int32_t, uint32_t

from vnasfast.tables.family cimport is_any
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.linux cimport LinuxList, LinuxSocket, LinuxTable, connection_hash, connections_apart, is_datagram, list_find
from vnasfast.tables.linux_lists cimport alike
from vnasfast.tables.tables cimport MachineTables


cdef int check_list(const LinuxTable* table, const HashSeed* seed, int32_t number, set in_port_lists, set in_chains) except -1:
    """Check a list's links, and that each socket in it belongs there."""
    cdef const LinuxList* found = &table.lists[number]
    cdef const LinuxSocket* row
    cdef int32_t socket = found.first, before = -1
    assert list_find(table, seed, found.place, found.vnas, found.hi, found.lo, found.is_chain) == number, "linux: a list is not found"
    while socket >= 0:
        row = &table.sockets[socket]
        if found.is_chain:
            assert row.chain == number and row.previous == before, "linux: a chain is broken"
            assert row.hi == found.hi and (row.lo == found.lo or is_any(row.hi, row.lo)), "linux: a socket waits on another address"
            assert row.connected == 0 or not connections_apart(table, found.place >> 16), "linux: a connection waits in a chain"
            in_chains.add(socket)
        else:
            assert row.port_list == number and row.sooner == before, "linux: a port list is broken"
            in_port_lists.add(socket)
        before = socket
        socket = row.next if found.is_chain else row.later
    assert found.last == before >= 0, "linux: a list's last is another, or it is empty"
    return 0


cdef int check_linux(const MachineTables* c) except -1:
    cdef const LinuxTable* table = &c.as_linux
    cdef const LinuxSocket* row
    cdef int32_t number, socket, i
    cdef uint32_t bucket, n
    if table.kernel == 0:
        assert table.capacity == 0 and table.list_pool.n_rows == 0, "linux: rows under another policy"
        return 0
    port_lists, in_chains, connected = set(), set(), set()
    n = 0
    for bucket in range(table.list_buckets.mask + 1):
        number = table.list_buckets.heads[bucket]
        while number >= 0:
            check_list(table, &c.seed, number, port_lists, in_chains)
            n += 1
            number = table.lists[number].same_bucket
    assert n == table.list_buckets.n == <uint32_t>(table.list_pool.n_rows - table.list_pool.n_free), "linux: lists are lost"
    for bucket in range(table.connection_buckets.mask + 1):
        socket = table.connection_buckets.heads[bucket]
        while socket >= 0:
            row = &table.sockets[socket]
            assert bucket == table.connection_buckets.mask & connection_hash(
                &c.seed, table.lists[row.port_list].place, table.lists[row.port_list].vnas, row.hi, row.lo, row.peer_hi,
                row.peer_lo, row.peer_port), "linux: a connection is in another's bucket"
            connected.add(socket)
            socket = row.same_bucket
    assert len(connected) == table.connection_buckets.n, "linux: connections are lost"
    assert not connected & in_chains, "linux: a connection waits"
    living = {socket for socket in range(c.sockets.pool.n_rows) if c.sockets.rows[socket].order != 0}
    assert port_lists == connected | in_chains == living, "linux: not every socket is in its lists"
    n = 0
    for number in range(table.group_pool.n_rows):
        for i in range(table.groups[number].n):
            socket = table.arena[table.groups[number].begin + i]
            row = &table.sockets[socket]
            assert row.group == number and row.member == i, "linux: a group's member is another's"
            assert alike(row, &table.sockets[table.arena[table.groups[number].begin]]), "linux: a group's members differ"
            n += 1
    for socket in living:
        row = &table.sockets[<int32_t>socket]
        n -= row.group >= 0
        if row.sharing and row.group < 0:
            assert row.connected != 0, "linux: a socket that shares its port is in no group"
        assert row.connected == 0 or row.connected <= table.last_connected, "linux: connected in the future"
        assert is_datagram(table.lists[row.port_list].place >> 16) or row.group < 0 or row.connected == 0, (
            "linux: a TCP connection is in a group")
    assert n == 0, "linux: a group misses a member"
    return 0
