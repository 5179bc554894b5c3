"""Why the policy `linux` chooses a socket: its candidates in the kernel's order, each with its score.

What is looked at is copied before any of it is put in words, as other threads may change the tables then.
"""

cimport cython
from libc.stdint cimport int32_t, uint64_t
from libc.stdlib cimport free, malloc

from vnasfast.dispatch.linux cimport LinuxPacket, linux_connection, linux_member, linux_packet, linux_score
from vnasfast.tables.family cimport IPV4, family_of, is_any
from vnasfast.tables.linux cimport LinuxGroup, LinuxSocket, LinuxTable, connections_apart, is_datagram, list_find
from vnasfast.tables.sockets cimport protocol_number
from vnasfast.tables.tables cimport Tables, address_bytes
from vnasfast.typedefs cimport NO_SOCKET, FlowKey

from vnasfast.parse.text import address_text

cdef struct Looked:
    LinuxSocket row
    int32_t socket
    int score
    int32_t n_sharing           # in its group; 0: it has none
    int32_t member              # whom the flow's hash chooses there
    int member_score
    bint has_connections


cdef str address(uint64_t hi, uint64_t lo):
    return address_text(address_bytes(hi, lo))


cdef str peer_text(const LinuxSocket* row):
    where = address(row.peer_hi, row.peer_lo)
    return f"{where}:{row.peer_port}" if family_of(row.peer_hi, row.peer_lo) == IPV4 else f"[{where}]:{row.peer_port}"


cdef Looked looked_at(Tables tables, const LinuxPacket* packet, int32_t socket, bint any_address) noexcept:
    cdef const LinuxTable* table = &tables.c.as_linux
    cdef const LinuxGroup* group
    cdef Looked found
    found.row = table.sockets[socket]
    found.socket = socket
    found.score = linux_score(table, packet, &found.row, any_address)
    found.n_sharing = found.member_score = 0
    found.member = -1
    found.has_connections = False
    if found.row.group >= 0:
        group = &table.groups[found.row.group]
        found.n_sharing = group.n
        found.has_connections = group.has_connections
        if found.row.connected == 0:
            found.member = linux_member(&tables.c, packet, group, any_address)
            if found.member >= 0:
                found.member_score = linux_score(table, packet, &table.sockets[found.member], any_address)
    return found


cdef str described(const Looked* found, list names):
    """Say of a socket what its score is made of."""
    cdef const LinuxSocket* row = &found.row
    words = [("0.0.0.0" if row.lo != 0 else "::") if is_any(row.hi, row.lo) else address(row.hi, row.lo)]
    if row.ipv6 and family_of(row.hi, row.lo) == IPV4:
        words.append("mapped")
    if row.v6only and is_any(row.hi, row.lo):
        words.append("IPv6 only")
    if row.device >= 0:
        words.append(f"device {names[row.device]}")
    if row.connected != 0:
        words.append(f"connected to {peer_text(row)}")
    if found.n_sharing > 0:
        words.append(f"one of {found.n_sharing} that share the port")
    return f"socket {found.socket}: {', '.join(words)}"


cdef str mismatch(const LinuxPacket* packet, const LinuxSocket* row):
    if packet.ipv4 and row.v6only:
        return "IPv6 only"
    if not packet.ipv4 and (not row.ipv6 or row.lo != packet.lo and row.lo != 0):
        return "IPv4 only"
    if row.device >= 0 and row.device != packet.device:
        return "another device"
    return "another peer"


cdef Looked* copy_chain(Tables tables, const LinuxPacket* packet, bint any_address, size_t* n) except NULL:
    cdef const LinuxTable* table = &tables.c.as_linux
    cdef int32_t chain = list_find(table, &tables.c.seed, packet.place, packet.vnas, 0 if any_address else packet.hi,
                                   0 if any_address else packet.lo, True)
    cdef int32_t first = table.lists[chain].first if chain >= 0 else -1
    cdef int32_t socket = first
    cdef Looked* copied
    n[0] = 0
    while socket >= 0:
        n[0] += 1
        socket = table.sockets[socket].next
    copied = <Looked*>malloc((n[0] + 1) * sizeof(Looked))
    if copied == NULL:
        raise MemoryError(f"no memory to explain {n[0]} sockets")
    n[0] = 0
    socket = first
    while socket >= 0:
        copied[n[0]] = looked_at(tables, packet, socket, any_address)
        n[0] += 1
        socket = table.sockets[socket].next
    return copied


cdef int32_t look_in_chain(const Looked* copied, size_t n, const LinuxPacket* packet, bint any_address, list names, list rows,
                           list answer) except? -100:
    cdef bint datagram = is_datagram(packet.place >> 16)
    cdef int32_t best = -1
    cdef int best_score = -1 if datagram and not packet.ipv4 else 0
    cdef const Looked* found
    cdef size_t i
    where = "on ANY" if any_address else "on the destination's address"
    for i in range(n):
        found = &copied[i]
        said = described(found, names)
        if found.score < 0:
            rows.append(f"{said}: {mismatch(packet, &found.row)}")
        elif found.score <= best_score:
            rows.append(f"{said}: score {found.score}, not above {best_score}")
        else:
            rows.append(f"{said}: score {found.score}, the best so far")
            best = found.socket
            best_score = found.score
            answer[:] = [f"the best score of those {where}"]
            if found.member >= 0:
                best = found.member
                answer[:] = [f"the flow's hash chooses among the {found.n_sharing} that share the port of socket {found.socket}, the"
                             f" best so far of those {where}"]
                if not datagram or not found.has_connections:
                    answer[0] += "; the kernel looks no further"
                    return best
                best_score = max(best_score, found.member_score)
    return best


cdef int32_t look_as_linux(Tables tables, const FlowKey* key, uint64_t hi, uint64_t lo, int32_t vnas, list rows,
                           list answer) except? -100:
    cdef LinuxPacket packet
    cdef Looked connection
    cdef Looked* own = NULL
    cdef Looked* anywhere = NULL
    cdef size_t n_own = 0, n_anywhere = 0
    cdef bint apart
    cdef int32_t socket = -1
    try:
        with cython.critical_section(tables):
            packet = linux_packet(&tables.c, key, hi, lo, protocol_number(key.protocol), vnas)
            apart = connections_apart(&tables.c.as_linux, packet.place >> 16)
            if apart:
                socket = linux_connection(&tables.c, &packet)
            if socket >= 0:
                connection = looked_at(tables, &packet, socket, False)
            own = copy_chain(tables, &packet, False, &n_own)
            anywhere = copy_chain(tables, &packet, True, &n_anywhere)
            names = tables.interfaces.all_names()
        rows.append(f"the packet comes in on device {names[packet.device] if packet.device >= 0 else 'none'}")
        if socket >= 0:
            rows.append(f"{described(&connection, names)}: matches")
            answer[:] = ["connected sockets come first"]
            return socket
        if apart:
            rows.append("no connected socket has both addresses and ports")
        socket = look_in_chain(own, n_own, &packet, False, names, rows, answer)
        if socket < 0:
            socket = look_in_chain(anywhere, n_anywhere, &packet, True, names, rows, answer)
        return socket if socket >= 0 else NO_SOCKET
    finally:
        free(own)
        free(anywhere)
