"""Sockets under the policy `linux`: registered, connected, listed."""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from vnasfast.tables.family cimport IPV4, family_of, is_any
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.linux cimport (
    LINUX_6_12, LINUX_6_18, LinuxOptions, LinuxSecrets, LinuxSocket, LinuxTable, is_datagram,
)
from vnasfast.tables.linux_groups cimport group_join, group_leave
from vnasfast.tables.linux_lists cimport alike, chain_put, chain_unlink, linux_add, linux_connect, linux_in_use, linux_init
from vnasfast.tables.locks cimport pthread_rwlock_unlock, rwlock_wrlock
from vnasfast.tables.plane cimport plane_ask
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.sockets cimport protocol_number
from vnasfast.tables.tables cimport REFUSED_IN_USE, REFUSED_MEMORY, REFUSED_PROCESS, Tables, address_bytes

from vnasfast.errors import AddressInUse, FrozenError, InvalidValue

KERNELS = {"linux": LINUX_6_18, "linux-6.12": LINUX_6_12, "linux-6.18": LINUX_6_18}


@cython.critical_section
def rule_as_linux(Tables tables not None, str policy not None):
    """Have fresh tables dispatch as a Linux kernel does, by one of `KERNELS`."""
    linux_init(&tables.c.as_linux, KERNELS[policy], tables.interfaces.acquire("lo"))
    plane_ask(&tables.c.plane)


def set_secrets(Tables tables not None, secrets):
    """Say what seeds the kernel's hashes.

    Parameters
    ----------
    tables : Tables
    secrets : mapping of str to int or tuple of int
        ``tcp``, ``udp``, and for IPv6 ``tcp6``, ``udp6``, each with the secret of the peer's address.
    """
    cdef LinuxSecrets[2] known = tables.c.as_linux.secrets
    cdef LinuxSecrets* of_protocol
    for name, value in secrets.items():
        of_protocol = &known[1 if name.startswith("udp") else 0]
        if name.endswith("6"):
            of_protocol.ipv6, of_protocol.peer_ipv6 = value
            of_protocol.knows_ipv6 = True
        else:
            of_protocol.ipv4 = value
            of_protocol.knows_ipv4 = True
    with cython.critical_section(tables):
        rwlock_wrlock(&tables.changing)
        tables.c.as_linux.secrets = known
        pthread_rwlock_unlock(&tables.changing)


def policy_of(Tables tables not None):
    """Name the policy of tables."""
    if tables.c.as_linux.kernel == 0:
        return "registration"
    return f"linux-{tables.c.as_linux.kernel // 100}.{tables.c.as_linux.kernel % 100}"


@cython.critical_section
def bind_linux(Tables tables not None, int32_t pid, uint8_t protocol, uint16_t port, const uint8_t[::1] address not None,
               bint v6only, bint sharing, bint freebind, *, device=None, bint mapped=False, uint32_t uid=0, bint reuseaddr=False,
               peer=None, bint anyway=False):
    """Register a socket; its ID. The arguments' values have been checked. `anyway`: beside whatever there is."""
    cdef uint64_t hi = load64(&address[0]), lo = load64(&address[8])
    cdef uint32_t number = protocol_number(protocol)
    cdef const uint8_t[::1] peer_address
    cdef LinuxOptions options
    cdef int32_t process, vnas = -1
    cdef int32_t socket = REFUSED_PROCESS
    options.mapped = mapped
    options.reuseaddr = reuseaddr
    options.uid = uid
    options.peer_hi = options.peer_lo = options.peer_port = 0
    options.connected = peer is not None
    if options.connected:
        peer_address = peer[0]
        options.peer_hi = load64(&peer_address[0])
        options.peer_lo = load64(&peer_address[8])
        options.peer_port = peer[1]
    options.device = -1 if device is None else tables.interfaces.acquire(device)
    process = process_find(&tables.c.processes, &tables.c.seed, pid)
    if process >= 0:
        vnas = tables.c.processes.rows[process].vnas
        rwlock_wrlock(&tables.changing)
        try:
            if not anyway and linux_in_use(&tables.c.as_linux, &tables.c.seed, number << 16 | port, vnas, hi, lo,
                                           v6only and is_any(hi, lo), sharing, &options):
                socket = REFUSED_IN_USE
            else:   # the socket table takes all of them, as if all shared: what may be is decided here
                socket = tables.bind_row(process, number, port, hi, lo, v6only, True, freebind)
            if socket >= 0:
                linux_add(&tables.c.as_linux, &tables.c.seed, socket, number << 16 | port, vnas, hi, lo,
                          v6only and is_any(hi, lo), sharing, &options)
        except MemoryError:
            if socket >= 0:
                tables.drop_socket(socket)
            socket = REFUSED_MEMORY
        finally:
            pthread_rwlock_unlock(&tables.changing)
    if socket < 0 and options.device >= 0:
        tables.interfaces.release(options.device)
    if socket == REFUSED_MEMORY:
        raise MemoryError("no memory for another socket")
    if socket == REFUSED_PROCESS:
        tables.process_row(pid)
    if socket == REFUSED_IN_USE:
        raise AddressInUse(
            f"VNAS {tables.c.vnases.rows[vnas].id} has a socket on port {port} beside which a Linux kernel refuses this one: close"
            " it, let both ask for port sharing under one UID or, with UDP, for reuseaddr, or bind them to different devices"
        )
    if socket < 0:
        tables.refuse(socket, process, port)
    return socket


@cython.critical_section
def connect_linux(Tables tables not None, int32_t socket, const uint8_t[::1] address, const uint8_t[::1] peer not None,
                  uint16_t peer_port):
    """Connect a datagram socket; its address becomes this one if it was ANY."""
    cdef const LinuxSocket* row
    cdef uint64_t hi, lo
    if tables.c.image != NULL:
        raise FrozenError("connect a socket")
    tables.check_open(socket)
    if socket >= tables.c.as_linux.capacity:
        raise InvalidValue("only the policy linux knows connected sockets")
    row = &tables.c.as_linux.sockets[socket]
    hi = row.hi
    lo = row.lo
    if not is_datagram(tables.c.as_linux.lists[row.port_list].place >> 16):
        raise InvalidValue(f"socket {socket} is a listener, which can't connect: bind another, with a peer")
    if row.connected != 0:
        raise InvalidValue(f"socket {socket} is connected already: close it and bind another")
    if is_any(hi, lo):
        if address is None:
            raise InvalidValue(f"socket {socket} is on ANY: say which address the kernel chose for it")
        hi = load64(&address[0])
        lo = load64(&address[8])
    if (family_of(hi, lo) == IPV4) != (family_of(load64(&peer[0]), load64(&peer[8])) == IPV4):
        raise InvalidValue("a peer's address is of the family of the socket's own")
    if row.v6only if family_of(hi, lo) == IPV4 else family_of(row.hi, row.lo) == IPV4:
        raise InvalidValue(f"socket {socket} is not of the peer's family")
    rwlock_wrlock(&tables.changing)
    try:
        linux_connect(&tables.c.as_linux, &tables.c.seed, socket, hi, lo, load64(&peer[0]), load64(&peer[8]), peer_port)
    finally:
        pthread_rwlock_unlock(&tables.changing)


def linux_rows(Tables tables not None):
    """Map socket to what it has under the policy `linux`, for all sockets.

    Returns
    -------
    dict of int to tuple
        (address, v6only, sharing, device, mapped, uid, reuseaddr, peer's address or None, its port, order of connecting, group,
        place in the group, whether the group knows of connections, place in the chain).
    """
    cdef LinuxSocket* rows
    cdef int32_t* places
    cdef bint* knows
    cdef int32_t n, socket, number, place
    with cython.critical_section(tables):       # copied before any Python code runs, as in listing.pyx
        n = min(tables.c.sockets.pool.n_rows, tables.c.as_linux.capacity)
        rows = <LinuxSocket*>malloc((n + 1) * (sizeof(LinuxSocket) + sizeof(int32_t) + sizeof(bint)))
        if rows == NULL:
            raise MemoryError(f"no memory to list {n} sockets")
        places = <int32_t*>(rows + n + 1)
        knows = <bint*>(places + n + 1)
        for socket in range(n):
            rows[socket] = tables.c.as_linux.sockets[socket]
            knows[socket] = (rows[socket].port_list >= 0 and rows[socket].group >= 0
                             and tables.c.as_linux.groups[rows[socket].group].has_connections)
            if rows[socket].port_list < 0 or rows[socket].chain < 0:
                places[socket] = -1
                continue
            if rows[socket].previous < 0:
                number = socket
                place = 0
                while number >= 0:
                    places[number] = place
                    place += 1
                    number = tables.c.as_linux.sockets[number].next
        names = tables.interfaces.all_names()
    try:
        return {
            socket: (
                address_bytes(rows[socket].hi, rows[socket].lo), bool(rows[socket].v6only and is_any(rows[socket].hi, rows[socket].lo)),
                bool(rows[socket].sharing), names[rows[socket].device] if rows[socket].device >= 0 else None,
                bool(rows[socket].ipv6 and family_of(rows[socket].hi, rows[socket].lo) == IPV4), rows[socket].uid,
                bool(rows[socket].reuseaddr),
                address_bytes(rows[socket].peer_hi, rows[socket].peer_lo) if rows[socket].connected != 0 else None,
                rows[socket].peer_port, rows[socket].connected, rows[socket].group, rows[socket].member, bool(knows[socket]),
                places[socket],
            )
            for socket in range(n) if rows[socket].port_list >= 0
        }
    finally:
        free(rows)


@cython.critical_section
def restore_linux(Tables tables not None, histories):
    """Give the sockets of tables that were just filled what operations on the tables that they are of had left behind.

    Parameters
    ----------
    tables : Tables
    histories : list of tuple
        (socket, place in its chain, order of connecting, group or None, place in the group, whether the group knows of
        connections), of all sockets.

    Raises
    ------
    InvalidValue
        A group's sockets are not alike. Its second argument is the socket.
    """
    cdef LinuxTable* table = &tables.c.as_linux
    cdef int32_t socket, group
    cdef dict first = {}
    by_group = sorted([row for row in histories if row[3] is not None], key=lambda row: (row[3], row[4]))
    for row in by_group:
        socket = first.setdefault(row[3], row[0])
        if (table.sockets[socket].port_list != table.sockets[<int32_t>row[0]].port_list
                or not alike(&table.sockets[socket], &table.sockets[<int32_t>row[0]])):
            raise InvalidValue(f"the sockets of group {row[3]} can't share a port: they differ in more than their process", row[0])
    by_place = sorted(histories, key=lambda row: row[1])
    by_connecting = sorted(histories, key=lambda row: row[2])
    rwlock_wrlock(&tables.changing)
    try:
        for row in histories:
            group_leave(table, row[0])
        for row in by_group:
            socket = first[row[3]]
            group_join(table, row[0], table.sockets[socket].group if socket != row[0] else -1)
            group = table.sockets[socket].group
            table.groups[group].has_connections = table.groups[group].has_connections or row[5]
        for row in by_place:
            socket = row[0]
            if table.sockets[socket].chain >= 0:
                chain_unlink(table, socket)
                chain_put(table, table.sockets[socket].chain, socket, True)
        for row in by_connecting:
            socket = row[0]
            if table.sockets[socket].connected != 0:
                table.last_connected += 1
                table.sockets[socket].connected = table.last_connected
    finally:
        pthread_rwlock_unlock(&tables.changing)
