"""What the data plane says of each port: its answers, worked out from its sockets when one comes or goes."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.counts cimport count_find
from vnasfast.tables.family cimport IPV4, IPV6
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport pool_give, pool_take
from vnasfast.tables.plane cimport (
    ASK_SLOT, NO_PORT_SLOT, VNAS_ASK, VNAS_STORED, Plane, plane_affords_slot, plane_copy_slot, plane_give_slot, plane_point,
    plane_put, plane_take_slot,
)
from vnasfast.tables.sockets cimport PortRow, SocketTable, endpoint_find
from vnasfast.typedefs cimport NO_SOCKET

cdef uint64_t ANY_IPV4_LO = 0xffff0000

cdef enum:
    # Sockets whose answers are worked out, with each one that comes, for a port that gets answers of its own.
    FILLED = 64


cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1:
    """Find the row of a port, or begin it."""
    cdef uint32_t place = protocol << 16 | port
    cdef int32_t row = table.directory[place] - 1
    if row >= 0:
        return row
    row = pool_take(&table.port_pool, <void**>&table.ports, sizeof(PortRow))
    table.ports[row].slots[IPV4] = table.ports[row].slots[IPV6] = ASK_SLOT
    table.ports[row].first = table.ports[row].last = table.ports[row].filled = -1
    table.ports[row].place = place
    table.directory[place] = row + 1
    return row


cdef void port_give(SocketTable* table, Plane* plane, int32_t row, int32_t vnas) noexcept nogil:
    """Take a port away that has no sockets left."""
    cdef PortRow* port = &table.ports[row]
    table.directory[port.place] = 0
    plane_point(plane, IPV4, port.place, NO_PORT_SLOT)
    plane_point(plane, IPV6, port.place, NO_PORT_SLOT)
    plane_give_slot(plane, port.slots[IPV4], vnas)
    if port.slots[IPV6] != port.slots[IPV4]:
        plane_give_slot(plane, port.slots[IPV6], vnas)
    plane_give_slot(plane, port.next_slots[IPV4], vnas)
    if port.next_slots[IPV6] != port.next_slots[IPV4]:
        plane_give_slot(plane, port.next_slots[IPV6], vnas)
    pool_give(&table.port_pool, row)


cdef int port_reserve(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, bint one_family) except -1:
    """Give a port answers of its own if it may have them, and each family its own before an ANY socket of one family comes."""
    cdef PortRow* port = &table.ports[row]
    cdef uint32_t ipv4, ipv6
    one_family = port.one_family = one_family or port.one_family
    if port.next_slots[IPV4] != 0:
        # Families that part meanwhile: all at once.
        fill_some(table, plane, seed, row,
                  port.n_sockets if one_family and port.next_slots[IPV6] == port.next_slots[IPV4] else FILLED)
        if port.next_slots[IPV4] != 0:
            return 0
    ipv4 = port.slots[IPV4]
    ipv6 = port.slots[IPV6]
    if ipv4 == ASK_SLOT:
        if not plane_affords_slot(plane, port.n_sockets + 1):
            return 0
        ipv4 = ipv6 = plane_take_slot(plane)
    if one_family and ipv6 == ipv4:
        try:
            ipv6 = plane_take_slot(plane)
        except MemoryError:
            if port.slots[IPV4] == ASK_SLOT:
                plane_give_slot(plane, ipv4, 0)
            raise
    if port.slots[IPV4] == ASK_SLOT:
        port.next_slots[IPV4] = ipv4
        port.next_slots[IPV6] = ipv6
        port.filled = port.first
        fill_some(table, plane, seed, row, FILLED)
    elif port.slots[IPV6] != ipv6:
        plane_copy_slot(plane, ipv4, ipv6)      # plain sockets have no endpoint to go by
        port_fill(table, plane, seed, row, ipv6, IPV6)
    return 0


cdef void fill_some(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, int32_t n) noexcept nogil:
    """Work out the answers of n more sockets of a port into the slots that it is to have; with all there, have them read."""
    cdef PortRow* port = &table.ports[row]
    cdef int family
    while port.filled >= 0 and n > 0:
        refresh(table, plane, seed, row, port.next_slots, table.endpoints[table.rows[port.filled].endpoint].vnas)
        port.filled = table.rows[port.filled].next_on_port
        n -= 1
    if port.filled < 0:
        for family in range(2):
            use_slot(table, plane, row, port.next_slots[family], family)
            port.next_slots[family] = 0


cdef inline void use_slot(SocketTable* table, Plane* plane, int32_t row, uint32_t slot, int family) noexcept nogil:
    table.ports[row].slots[family] = slot
    if table.ports[row].n_sockets > 0:
        plane_point(plane, family, table.ports[row].place, slot)


cdef void port_fill(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, uint32_t slot,
                    int family) noexcept nogil:
    """Work out the answers of a port's endpoints for a family into a slot, and have the slot read."""
    cdef PortRow* port = &table.ports[row]
    cdef int32_t socket = port.first
    cdef int32_t vnas
    while socket >= 0:
        if table.rows[socket].endpoint >= 0:
            vnas = table.endpoints[table.rows[socket].endpoint].vnas
            plane_put(plane, slot, vnas, stored_for(table, seed, row, vnas, family))
        socket = table.rows[socket].next_on_port
    use_slot(table, plane, row, slot, family)


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
    if not table.ports[port].one_family:
        return both
    return earlier(table, both,
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
    if port.slots[IPV4] != ASK_SLOT:
        refresh(table, plane, seed, row, port.slots, vnas)
    elif port.next_slots[IPV4] != 0:
        refresh(table, plane, seed, row, port.next_slots, vnas)


cdef inline void refresh(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, const uint32_t* slots,
                         int32_t vnas) noexcept nogil:
    plane_put(plane, slots[IPV4], vnas, stored_for(table, seed, row, vnas, IPV4))
    if slots[IPV6] != slots[IPV4]:
        plane_put(plane, slots[IPV6], vnas, stored_for(table, seed, row, vnas, IPV6))


cdef int families_of(const SocketTable* table, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil:
    """Tell in which families a VNAS has ANY sockets on a port: bit IPV4, bit IPV6."""
    return ((first_any(table, seed, row, vnas, IPV4) >= 0) << IPV4) | ((first_any(table, seed, row, vnas, IPV6) >= 0) << IPV6)


cdef void count_vnas(PortRow* port, int32_t vnas, int before, int after) noexcept nogil:
    cdef int family, change
    for family in range(2):
        change = (after >> family & 1) - (before >> family & 1)
        port.n_vnases[family] += change
        port.vnas_sum[family] += <uint32_t>(change * vnas)


cdef void answers_put(SocketTable* table, Plane* plane, int32_t port_row, int32_t vnas, int32_t stored) noexcept nogil:
    """Say the same to both families."""
    cdef const PortRow* port = &table.ports[port_row]
    plane_put(plane, port.slots[IPV4], vnas, stored)
    if port.slots[IPV6] != port.slots[IPV4]:
        plane_put(plane, port.slots[IPV6], vnas, stored)
