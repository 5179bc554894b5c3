"""The policy `linux`: which socket a Linux kernel chooses."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.addresses cimport address_find
from vnasfast.tables.family cimport IPV4, family_of, is_loopback
from vnasfast.tables.hashing cimport hash_flow, load64
from vnasfast.tables.linux cimport (
    LINUX_6_12, LinuxGroup, LinuxSecrets, LinuxSocket, LinuxTable, connection_hash, connections_apart, is_datagram, list_find,
)
from vnasfast.tables.sockets cimport port_find
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport NO_PORT, NO_SOCKET, FlowKey


cdef LinuxPacket linux_packet(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                              int32_t vnas) noexcept nogil:
    cdef LinuxPacket packet
    cdef int32_t row
    packet.key = key
    packet.hi = hi
    packet.lo = lo
    packet.peer_hi = load64(key.source)
    packet.peer_lo = load64(key.source + 8)
    packet.place = protocol << 16 | key.destination_port
    packet.vnas = vnas
    packet.ipv4 = family_of(hi, lo) == IPV4
    # A packet comes in on the interface that its destination is registered on.
    if is_loopback(hi, lo):
        packet.device = tables.as_linux.loopback
    else:
        row = address_find(&tables.addresses, &tables.seed, hi, lo, key.vlan)
        packet.device = tables.addresses.rows[row].interface if row >= 0 else -1
    return packet


cdef inline bint for_device(const LinuxSocket* row, const LinuxPacket* packet) noexcept nogil:
    return row.device < 0 or row.device == packet.device


cdef int linux_score(const LinuxTable* table, const LinuxPacket* packet, const LinuxSocket* row, bint any_address) noexcept nogil:
    cdef bint datagram = is_datagram(packet.place >> 16)
    cdef int score
    if packet.ipv4:
        if row.v6only:
            return -1
        score = 1 + (not row.ipv6)
    else:
        # 0.0.0.0 is in the chain of ANY, and nothing for IPv6.
        if not row.ipv6 or (any_address and row.lo != 0):
            return -1
        score = 0 if datagram else 1
    if not for_device(row, packet):
        return -1
    if row.device >= 0:
        score += 4 if datagram and packet.ipv4 else 1
    if row.connected != 0:
        if row.peer_port != packet.key.source_port or row.peer_lo != packet.peer_lo or row.peer_hi != packet.peer_hi:
            return -1
        score += 8 if packet.ipv4 else 2
    return score


cdef int32_t linux_connection(const MachineTables* tables, const LinuxPacket* packet) noexcept nogil:
    """Find the connected socket of a packet, the one that connected last if there are several; or -1."""
    cdef const LinuxTable* table = &tables.as_linux
    cdef const LinuxSocket* row
    cdef int32_t best = -1
    cdef int32_t socket = table.connection_buckets.heads[table.connection_buckets.mask & connection_hash(
        &tables.seed, packet.place, packet.vnas, packet.hi, packet.lo, packet.peer_hi, packet.peer_lo, packet.key.source_port)]
    while socket >= 0:
        row = &table.sockets[socket]
        if (row.lo == packet.lo and row.hi == packet.hi and row.peer_lo == packet.peer_lo and row.peer_hi == packet.peer_hi
                and row.peer_port == packet.key.source_port and for_device(row, packet)
                and table.lists[row.port_list].place == packet.place and table.lists[row.port_list].vnas == packet.vnas
                and (best < 0 or row.connected > table.sockets[best].connected)):
            best = socket
        socket = row.same_bucket
    return best


# ---- port sharing ---------------------------------------------------------------------------------------------------

cdef inline uint32_t rotate(uint32_t word, int n) noexcept nogil:
    return word << n | word >> (32 - n)


cdef inline uint32_t jhash(uint32_t a, uint32_t b, uint32_t c, uint32_t seed) noexcept nogil:
    """Hash three words as the kernel does: the end of Bob Jenkins's lookup3."""
    cdef uint32_t begin = seed + <uint32_t>0xDEADBEEF + (3 << 2)
    a += begin
    b += begin
    c += begin
    c = (c ^ b) - rotate(b, 14)
    a = (a ^ c) - rotate(c, 11)
    b = (b ^ a) - rotate(a, 25)
    c = (c ^ b) - rotate(b, 16)
    a = (a ^ c) - rotate(c, 4)
    b = (b ^ a) - rotate(a, 14)
    return (c ^ b) - rotate(b, 24)


cdef inline uint32_t network_order(uint16_t port) noexcept nogil:
    return (port & 0xFF) << 8 | port >> 8


cdef uint32_t kernel_hash(const LinuxTable* table, const LinuxPacket* packet, const LinuxSecrets* secrets, bint any_address,
                          bint datagram) noexcept nogil:
    """Hash a flow as the kernel does. In the pass for ANY the local address is 0, so it does not spread load."""
    cdef uint32_t local = 0 if any_address else <uint32_t>(packet.lo >> 32)
    cdef uint32_t remote = <uint32_t>(packet.peer_lo >> 32)
    cdef uint32_t seed = secrets.ipv4
    cdef uint32_t port = packet.key.destination_port
    if not packet.ipv4:
        remote = jhash(<uint32_t>packet.peer_hi ^ <uint32_t>(packet.peer_hi >> 32), <uint32_t>packet.peer_lo,
                       <uint32_t>(packet.peer_lo >> 32), secrets.peer_ipv6)
        seed = secrets.ipv6
    if datagram or table.kernel <= LINUX_6_12:
        return jhash(local, remote, port << 16 | network_order(packet.key.source_port), seed)
    return port + jhash(local, remote, network_order(packet.key.source_port), seed)


cdef int32_t linux_member(const MachineTables* tables, const LinuxPacket* packet, const LinuxGroup* group,
                          bint any_address) noexcept nogil:
    """Choose among sockets that share a port; connected ones are passed over. Without the kernel's secret by a hash of our own."""
    cdef const LinuxTable* table = &tables.as_linux
    cdef bint datagram = is_datagram(packet.place >> 16)
    cdef const LinuxSecrets* secrets = &table.secrets[1 if datagram else 0]
    cdef uint32_t hashed
    cdef int32_t begin, place, socket
    if secrets.knows_ipv4 if packet.ipv4 else secrets.knows_ipv6:
        hashed = kernel_hash(table, packet, secrets, any_address, datagram)
    else:
        hashed = hash_flow(tables.plane.c.flow_seed, packet.key)
    begin = place = <int32_t>(<uint64_t>hashed * <uint32_t>group.n >> 32)
    while True:
        socket = table.arena[group.begin + place]
        if table.sockets[socket].connected == 0:
            return socket
        place = place + 1 if place + 1 < group.n else 0
        if place == begin:
            return -1


# ---- the choice -----------------------------------------------------------------------------------------------------

cdef int32_t best_in_chain(const MachineTables* tables, const LinuxPacket* packet, bint any_address) noexcept nogil:
    """Look through a chain: a better score than those before it counts, and the first group that has one ends the search.

    But if the group knows of connections, which may be in the chain (until Linux 6.12), its choice only counts as the best so far.
    """
    cdef const LinuxTable* table = &tables.as_linux
    cdef int32_t chain = list_find(table, &tables.seed, packet.place, packet.vnas, 0 if any_address else packet.hi,
                                   0 if any_address else packet.lo, True)
    cdef int32_t socket = table.lists[chain].first if chain >= 0 else -1
    cdef bint datagram = is_datagram(packet.place >> 16)
    cdef int best_score = -1 if datagram and not packet.ipv4 else 0
    cdef int32_t best = -1, member
    cdef const LinuxSocket* row
    cdef int score
    while socket >= 0:
        row = &table.sockets[socket]
        score = linux_score(table, packet, row, any_address)
        if score > best_score:
            best_score = score
            best = socket
            if row.group >= 0 and row.connected == 0:
                member = linux_member(tables, packet, &table.groups[row.group], any_address)
                if member >= 0:
                    if not datagram or not table.groups[row.group].has_connections:
                        return member
                    best = member
                    best_score = max(best_score, linux_score(table, packet, &table.sockets[member], any_address))
        socket = row.next
    return best


cdef int32_t choose_as_linux(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                             int32_t vnas) noexcept nogil:
    cdef LinuxPacket packet
    cdef int32_t socket = -1
    if port_find(&tables.sockets, protocol, key.destination_port) < 0:
        return NO_PORT
    packet = linux_packet(tables, key, hi, lo, protocol, vnas)
    if connections_apart(&tables.as_linux, protocol):
        socket = linux_connection(tables, &packet)
    if socket < 0:
        socket = best_in_chain(tables, &packet, False)
    if socket < 0:
        socket = best_in_chain(tables, &packet, True)
    return socket if socket >= 0 else NO_SOCKET
