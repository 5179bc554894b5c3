"""Why the policy `linux` chooses a socket: its candidates in the kernel's order, each with its score."""

from libc.stdint cimport int32_t, uint64_t

from vnasfast.dispatch.linux cimport LinuxPacket, linux_connection, linux_member, linux_packet, linux_score
from vnasfast.tables.family cimport IPV4, family_of, is_any
from vnasfast.tables.linux cimport LinuxGroup, LinuxSocket, LinuxTable, connections_apart, is_datagram, list_find
from vnasfast.tables.sockets cimport protocol_number
from vnasfast.tables.tables cimport Tables
from vnasfast.typedefs cimport NO_SOCKET, FlowKey

from vnasfast.parse.text import address_text


cdef str address(uint64_t hi, uint64_t lo):
    cdef uint64_t[2] words
    words[0] = hi
    words[1] = lo
    return address_text((<char*>words)[:16])


cdef str peer_text(const LinuxSocket* row):
    where = address(row.peer_hi, row.peer_lo)
    return f"{where}:{row.peer_port}" if family_of(row.peer_hi, row.peer_lo) == IPV4 else f"[{where}]:{row.peer_port}"


cdef str described(Tables tables, int32_t socket):
    """Say of a socket what its score is made of."""
    cdef const LinuxSocket* row = &tables.c.as_linux.sockets[socket]
    words = [("0.0.0.0" if row.lo != 0 else "::") if is_any(row.hi, row.lo) else address(row.hi, row.lo)]
    if row.ipv6 and family_of(row.hi, row.lo) == IPV4:
        words.append("mapped")
    if row.v6only and is_any(row.hi, row.lo):
        words.append("IPv6 only")
    if row.device >= 0:
        words.append(f"device {tables.interfaces.name(row.device)}")
    if row.connected != 0:
        words.append(f"connected to {peer_text(row)}")
    if row.group >= 0:
        words.append(f"one of {tables.c.as_linux.groups[row.group].n} that share the port")
    return f"socket {socket}: {', '.join(words)}"


cdef str mismatch(const LinuxPacket* packet, const LinuxSocket* row):
    if packet.ipv4 and row.v6only:
        return "IPv6 only"
    if not packet.ipv4 and (not row.ipv6 or row.lo != packet.lo and row.lo != 0):
        return "IPv4 only"
    if row.device >= 0 and row.device != packet.device:
        return "another device"
    return "another peer"


cdef int32_t look_in_chain(Tables tables, const LinuxPacket* packet, bint any_address, list rows, list answer) except? -100:
    cdef const LinuxTable* table = &tables.c.as_linux
    cdef bint datagram = is_datagram(packet.place >> 16)
    cdef int32_t chain = list_find(table, &tables.c.seed, packet.place, packet.vnas, 0 if any_address else packet.hi,
                                   0 if any_address else packet.lo, True)
    cdef int32_t socket = table.lists[chain].first if chain >= 0 else -1
    cdef int32_t best = -1, member
    cdef int score, best_score = -1 if datagram and not packet.ipv4 else 0
    cdef const LinuxSocket* row
    cdef const LinuxGroup* group
    where = "on ANY" if any_address else "on the destination's address"
    while socket >= 0:
        row = &table.sockets[socket]
        score = linux_score(table, packet, row, any_address)
        said = described(tables, socket)
        if score < 0:
            rows.append(f"{said}: {mismatch(packet, row)}")
        elif score <= best_score:
            rows.append(f"{said}: score {score}, not above {best_score}")
        else:
            rows.append(f"{said}: score {score}, the best so far")
            best = socket
            best_score = score
            answer[:] = [f"the best score of those {where}"]
            if row.group >= 0 and row.connected == 0:
                group = &table.groups[row.group]
                member = linux_member(&tables.c, packet, group, any_address)
                if member >= 0:
                    best = member
                    answer[:] = [f"the flow's hash chooses among the {group.n} that share the port of socket {socket}, the best so"
                                 f" far of those {where}"]
                    if not datagram or not group.has_connections:
                        answer[0] += "; the kernel looks no further"
                        return best
                    best_score = max(best_score, linux_score(table, packet, &table.sockets[member], any_address))
        socket = row.next
    return best


cdef int32_t look_as_linux(Tables tables, const FlowKey* key, uint64_t hi, uint64_t lo, int32_t vnas, list rows,
                           list answer) except? -100:
    cdef LinuxPacket packet = linux_packet(&tables.c, key, hi, lo, protocol_number(key.protocol), vnas)
    cdef int32_t socket
    device = tables.interfaces.name(packet.device) if packet.device >= 0 else "none"
    rows.append(f"the packet comes in on device {device}")
    if connections_apart(&tables.c.as_linux, packet.place >> 16):
        socket = linux_connection(&tables.c, &packet)
        if socket >= 0:
            rows.append(f"{described(tables, socket)}: matches")
            answer[:] = ["connected sockets come first"]
            return socket
        rows.append("no connected socket has both addresses and ports")
    socket = look_in_chain(tables, &packet, False, rows, answer)
    if socket < 0:
        socket = look_in_chain(tables, &packet, True, rows, answer)
    return socket if socket >= 0 else NO_SOCKET
