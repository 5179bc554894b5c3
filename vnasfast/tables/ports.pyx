"""What the data plane says of each port: its answers, worked out from its sockets when one comes or goes."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.choices cimport (
    block_stored, specific_address, specific_block, specific_give, specific_places, specific_put, specific_says,
)
from vnasfast.tables.counts cimport count_find
from vnasfast.tables.family cimport IPV4, IPV6, family_of, is_any
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport pool_give, pool_take
from vnasfast.tables.plane cimport (
    FIRST_SLOT, NO_PORT_SLOT, SPARSE_IPV6_SLOT, SPARSE_SLOT, VNAS_LIKE_ANY, VNAS_MEMBERS, VNAS_PLACES, VNAS_SPECIFIC, VNAS_STORED,
    Plane, plane_affords_slot, plane_copy_slot, plane_get, plane_give_full_slot, plane_give_slot, plane_has_owner, plane_keeps_slot,
    plane_point, plane_put, plane_reserve_vnas, plane_take_slot,
)
from vnasfast.tables.processes cimport ProcessTable
from vnasfast.tables.sockets cimport Endpoint, PortRow, SocketTable, endpoint_find
from vnasfast.tables.sparse cimport sparse_get, sparse_put, sparse_reserve
from vnasfast.typedefs cimport NO_SOCKET

cdef uint64_t ANY_IPV4_LO = 0xffff0000

cdef enum:
    # Sockets whose answers are put elsewhere with each socket that comes or goes, of a port whose answers are to lie there: 6 µs.
    MOVED = 64
    LOOKED_AT = 16      # ports, with each VNAS number


cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1:
    """Find the row of a port, or begin it."""
    cdef uint32_t place = protocol << 16 | port
    cdef int32_t row = table.directory[place] - 1
    if row >= 0:
        return row
    row = pool_take(&table.port_pool, <void**>&table.ports, sizeof(PortRow))
    table.ports[row].slots[IPV4] = table.ports[row].slots[IPV6] = SPARSE_SLOT
    table.ports[row].first = table.ports[row].last = table.ports[row].filled = -1
    table.ports[row].place = place
    table.directory[place] = row + 1
    return row


cdef void port_give(SocketTable* table, Plane* plane, int32_t row, int32_t vnas) noexcept nogil:
    """Take a port away that has no sockets left; the last was of this VNAS."""
    cdef PortRow* port = &table.ports[row]
    table.directory[port.place] = 0
    # Before its answer goes: else a reader might see NO_SOCKET, which was never right.
    plane_point(plane, IPV4, port.place, NO_PORT_SLOT)
    plane_point(plane, IPV6, port.place, NO_PORT_SLOT)
    give_slots(plane, port, port.slots, vnas)
    give_slots(plane, port, port.next_slots, vnas)
    pool_give(&table.port_pool, row)


# ---- arrays and lines -----------------------------------------------------------------------------------------------

cdef inline bint in_array(uint32_t slot) noexcept nogil:
    return slot >= FIRST_SLOT


cdef inline bint families_differ(const PortRow* port) noexcept nogil:
    """Whether ANY sockets of one family came here since the port opened, so that each family has answers of its own."""
    return port.slots[IPV4] != port.slots[IPV6]


cdef int32_t slot_get(const Plane* plane, uint32_t slot, uint32_t place, int32_t vnas) noexcept nogil:
    if in_array(slot):
        return plane_get(plane, slot, vnas)
    return sparse_get(plane, place + VNAS_PLACES if slot == SPARSE_IPV6_SLOT else place, vnas)


cdef void slot_put(Plane* plane, uint32_t slot, uint32_t place, int32_t vnas, int32_t stored) noexcept nogil:
    if in_array(slot):
        plane_put(plane, slot, vnas, stored)
    else:
        sparse_put(plane, place + VNAS_PLACES if slot == SPARSE_IPV6_SLOT else place, vnas, stored)


cdef void give_slots(Plane* plane, const PortRow* port, const uint32_t* slots, int32_t vnas) noexcept nogil:
    """Give both families' slots back; none but this VNAS may have answers there."""
    cdef int family
    for family in range(2):
        if slots[family] == NO_PORT_SLOT or (family == IPV6 and slots[IPV6] == slots[IPV4]):
            continue
        if in_array(slots[family]):
            plane_give_slot(plane, slots[family], vnas)
        else:
            slot_put(plane, slots[family], port.place, vnas, NO_SOCKET + VNAS_STORED)


cdef void use_slots(Plane* plane, PortRow* port, uint32_t ipv4, uint32_t ipv6) noexcept nogil:
    port.slots[IPV4] = ipv4
    port.slots[IPV6] = ipv6
    if port.n_sockets > 0:
        plane_point(plane, IPV4, port.place, ipv4)
        plane_point(plane, IPV6, port.place, ipv6)


cdef int port_part(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row) except -1:
    """Have each family have answers of its own: a port's first ANY socket of one family comes.

    All at once, 130 ns a socket of a port in lines, which are at most an eighth of the VNASs.
    """
    cdef PortRow* port = &table.ports[row]
    cdef uint32_t ipv6 = SPARSE_IPV6_SLOT
    cdef int32_t socket = port.first, vnas
    if in_array(port.slots[IPV4]):
        ipv6 = plane_take_slot(plane)
        plane_copy_slot(plane, port.slots[IPV4], ipv6)
    else:
        sparse_reserve(plane, <uint32_t>port.n_sockets)
        while socket >= 0:
            vnas = vnas_of(table, processes, socket)
            slot_put(plane, ipv6, port.place, vnas, slot_get(plane, port.slots[IPV4], port.place, vnas))
            socket = table.rows[socket].next_on_port
    use_slots(plane, port, port.slots[IPV4], ipv6)
    return 0


cdef inline int32_t vnas_of(const SocketTable* table, const ProcessTable* processes, int32_t socket) noexcept nogil:
    return processes.rows[table.rows[socket].process].vnas


cdef void begin_move(SocketTable* table, int32_t row, uint32_t ipv4, uint32_t ipv6) noexcept nogil:
    """Begin to have a port's answers read elsewhere.

    First they are put there, some with each change of the port, then the directory says so, then they go where they were: lines one
    by one, arrays as a whole. What a VNAS has there meanwhile is changed there too; what it has not yet comes with its socket.
    """
    cdef PortRow* port = &table.ports[row]
    port.next_slots[IPV4] = ipv4
    port.next_slots[IPV6] = ipv6
    port.filled = port.first
    port.emptying = False


cdef void end_move(SocketTable* table, Plane* plane, int32_t row) noexcept nogil:
    """All answers of a port are put where they are to be, or taken away from where they were."""
    cdef PortRow* port = &table.ports[row]
    cdef uint32_t ipv4 = port.slots[IPV4], ipv6 = port.slots[IPV6]
    if port.emptying or port.n_sockets == 0:
        if not port.emptying:
            use_slots(plane, port, port.next_slots[IPV4], port.next_slots[IPV6])
        port.next_slots[IPV4] = port.next_slots[IPV6] = NO_PORT_SLOT
        return
    use_slots(plane, port, port.next_slots[IPV4], port.next_slots[IPV6])
    if in_array(ipv4):
        port.next_slots[IPV4] = port.next_slots[IPV6] = NO_PORT_SLOT
        plane_give_full_slot(plane, ipv4)
        if ipv6 != ipv4:
            plane_give_full_slot(plane, ipv6)
    else:
        begin_move(table, row, ipv4, ipv6)
        port.emptying = True


cdef int port_move(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row, int32_t n) except -1:
    """Go on with a move: put the answers of n more sockets elsewhere, or take them away."""
    cdef PortRow* port = &table.ports[row]
    cdef int32_t vnas
    cdef int family
    if not port.emptying and not in_array(port.next_slots[IPV4]):
        sparse_reserve(plane, 2 * <uint32_t>n)
    while port.next_slots[IPV4] != NO_PORT_SLOT and n > 0:
        if port.filled >= 0:
            vnas = vnas_of(table, processes, port.filled)
            for family in range(2 if families_differ(port) else 1):
                slot_put(plane, port.next_slots[family], port.place, vnas, NO_SOCKET + VNAS_STORED if port.emptying
                         else slot_get(plane, port.slots[family], port.place, vnas))
            port.filled = table.rows[port.filled].next_on_port
            n -= 1
        if port.filled < 0:
            end_move(table, plane, row)
    return 0


cdef int port_reserve(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row, bint one_family) except -1:
    """Make room for the answers of one more socket: in an array if the port may have one, each family's own if they will differ."""
    cdef PortRow* port = &table.ports[row]
    cdef bint parts = one_family and not families_differ(port)
    cdef uint32_t ipv4, ipv6
    if port.next_slots[IPV4] != NO_PORT_SLOT:
        # Families that part meanwhile: all at once.
        port_move(table, plane, processes, row, 2 * port.n_sockets if parts else MOVED)
    if parts:
        port_part(table, plane, processes, row)
    if (port.next_slots[IPV4] == NO_PORT_SLOT and not in_array(port.slots[IPV4])
            and plane_affords_slot(plane, port.n_sockets + 1)):
        ipv4 = ipv6 = plane_take_slot(plane)
        if families_differ(port):
            try:
                ipv6 = plane_take_slot(plane)
            except MemoryError:
                plane_give_slot(plane, ipv4, 0)
                raise
        begin_move(table, row, ipv4, ipv6)
        if port.n_sockets == 0:
            end_move(table, plane, row)
        else:
            port_move(table, plane, processes, row, MOVED)
    return 0 if in_array(port.slots[IPV4]) else sparse_reserve(plane, 2)


cdef void port_release(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row) noexcept:
    """Go on with a port's move, or begin to take its arrays away if too few of its sockets are left."""
    cdef PortRow* port = &table.ports[row]
    if port.n_sockets == 0:
        return
    if port.next_slots[IPV4] == NO_PORT_SLOT:
        if not in_array(port.slots[IPV4]) or plane_keeps_slot(plane, port.n_sockets):
            return
        begin_move(table, row, SPARSE_SLOT, SPARSE_IPV6_SLOT if families_differ(port) else SPARSE_SLOT)
    try:
        port_move(table, plane, processes, row, MOVED)
    except MemoryError:     # then it goes on with another socket of the port
        return


cdef int ports_reserve_vnas(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t vnas) except -1:
    """Make room for a VNAS number; arrays that are too long for their ports by then go, some with each number."""
    cdef int32_t n
    plane_reserve_vnas(plane, vnas)
    for n in range(min(LOOKED_AT, table.port_pool.n_rows)):
        table.looked_at = table.looked_at + 1 if table.looked_at + 1 < table.port_pool.n_rows else 0
        port_release(table, plane, processes, table.looked_at)
    return 0


# ---- answers --------------------------------------------------------------------------------------------------------

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
    cdef int32_t both = endpoint_find(table, seed, port, vnas, 0, 0, False)
    if not families_differ(&table.ports[port]):
        return both
    return earlier(table, both,
                   endpoint_find(table, seed, port, vnas, 0, ANY_IPV4_LO if family == IPV4 else 0, family == IPV6))


cdef inline int32_t endpoint_stored(const SocketTable* table, int32_t endpoint_row) noexcept nogil:
    cdef const Endpoint* endpoint = &table.endpoints[endpoint_row]
    if endpoint.n_members == 1:
        return endpoint.first + VNAS_STORED
    return block_stored(endpoint.block, VNAS_MEMBERS)


cdef int32_t any_stored(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, int family) noexcept nogil:
    cdef int32_t endpoint = first_any(table, seed, port, vnas, family)
    return endpoint_stored(table, endpoint) if endpoint >= 0 else NO_SOCKET + VNAS_STORED


cdef bint put_specific(const SocketTable* table, Plane* plane, const HashSeed* seed, int32_t port, int32_t vnas, uint32_t block,
                       uint64_t hi, uint64_t lo) noexcept nogil:
    """Say in a block what an address gets; False: there is no place for it."""
    cdef int32_t endpoint = endpoint_find(table, seed, port, vnas, hi, lo, False)
    if endpoint < 0 or earlier(table, endpoint, first_any(table, seed, port, vnas, family_of(hi, lo))) != endpoint:
        return specific_put(plane, block, hi, lo, VNAS_LIKE_ANY)
    return specific_put(plane, block, hi, lo, endpoint_stored(table, endpoint))


cdef uint32_t make_specific(const SocketTable* table, Plane* plane, const HashSeed* seed, int32_t port, int32_t vnas, uint32_t before,
                            int32_t any_ipv4, int32_t any_ipv6, uint32_t n, uint64_t hi, uint64_t lo) noexcept nogil:
    """Make the block of the n specific addresses of a VNAS on a port: those of the block before, and this one; or 0."""
    cdef uint32_t n_places = 1, block, place
    cdef uint64_t[2] address
    cdef bint all_put
    if before == 0 and (n > 1 or is_any(hi, lo)):
        return 0        # there was no memory: nobody knows the others
    if n > 1:
        while n_places < (n if n == 2 else 2 * n):
            n_places *= 2
    while True:
        block = specific_block(plane, n_places, any_ipv4, any_ipv6)
        if block == 0:
            return 0
        all_put = (is_any(hi, lo) or endpoint_find(table, seed, port, vnas, hi, lo, False) < 0
                   or put_specific(table, plane, seed, port, vnas, block, hi, lo))
        for place in range(specific_places(plane, before) if before != 0 else 0):
            if (specific_address(plane, before, place, address)
                    and endpoint_find(table, seed, port, vnas, address[0], address[1], False) >= 0):
                all_put &= put_specific(table, plane, seed, port, vnas, block, address[0], address[1])
        if all_put:
            return block
        specific_give(plane, block)
        n_places *= 2


cdef void answers_refresh(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, int32_t vnas, uint64_t hi,
                          uint64_t lo) noexcept nogil:
    cdef PortRow* port = &table.ports[row]
    cdef int32_t any_ipv4, any_ipv6, counted
    cdef uint32_t before, block, n
    if plane.asks or not plane_has_owner(vnas):
        return
    any_ipv4 = any_ipv6 = any_stored(table, seed, row, vnas, IPV4)
    if families_differ(port):
        any_ipv6 = any_stored(table, seed, row, vnas, IPV6)
    counted = count_find(&table.specific, seed, 0, <uint32_t>vnas, row)
    if counted < 0:
        put(plane, port, IPV4, vnas, any_ipv4)
        if families_differ(port):
            put(plane, port, IPV6, vnas, any_ipv6)
        return
    n = <uint32_t>table.specific.rows[counted].n
    before = block = table.specific.rows[counted].sum
    # In place if ANY gets what it got: then it was not registered anew, and no other address is concerned.
    if (before == 0 or not specific_says(plane, before, any_ipv4, any_ipv6) or specific_places(plane, before) > 16 * n
            or not (is_any(hi, lo) or put_specific(table, plane, seed, row, vnas, before, hi, lo))):
        block = make_specific(table, plane, seed, row, vnas, before, any_ipv4, any_ipv6, n, hi, lo)
        table.specific.rows[counted].sum = block
    answers_put(plane, port, vnas, block_stored(block, VNAS_SPECIFIC))
    if block != before:
        specific_give(plane, before)


cdef int families_of(const SocketTable* table, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil:
    """Tell in which families a VNAS has ANY sockets on a port: bit IPV4, bit IPV6."""
    return ((first_any(table, seed, row, vnas, IPV4) >= 0) << IPV4) | ((first_any(table, seed, row, vnas, IPV6) >= 0) << IPV6)


cdef void count_vnas(PortRow* port, int32_t vnas, int before, int after) noexcept nogil:
    cdef int family, change
    for family in range(2):
        change = (after >> family & 1) - (before >> family & 1)
        port.n_vnases[family] += change
        port.vnas_sum[family] += <uint32_t>(change * vnas)


cdef int32_t answers_get(const Plane* plane, const PortRow* port, int32_t vnas, int family) noexcept nogil:
    return slot_get(plane, port.slots[family], port.place, vnas)


cdef int32_t answers_next(const Plane* plane, const PortRow* port, int32_t vnas, int family) noexcept nogil:
    return slot_get(plane, port.next_slots[family], port.place, vnas)


cdef void answers_put(Plane* plane, const PortRow* port, int32_t vnas, int32_t stored) noexcept nogil:
    """Say the same to both families."""
    put(plane, port, IPV4, vnas, stored)
    if families_differ(port):
        put(plane, port, IPV6, vnas, stored)


cdef void put(Plane* plane, const PortRow* port, int family, int32_t vnas, int32_t stored) noexcept nogil:
    """Say what is stored for a port and a VNAS, also where the port's answers are to lie, or lay, if there is one."""
    slot_put(plane, port.slots[family], port.place, vnas, stored)
    if port.next_slots[family] != NO_PORT_SLOT and answers_next(plane, port, vnas, family) != NO_SOCKET + VNAS_STORED:
        slot_put(plane, port.next_slots[family], port.place, vnas, NO_SOCKET + VNAS_STORED if port.emptying else stored)
