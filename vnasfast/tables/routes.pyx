"""The routing table."""

from libc.stdint cimport int32_t, uint8_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, pool_free, pool_give, pool_take,
)


cdef int route_init(RoutingTable* table) except -1:
    table.first = table.last = table.default_interface = -1
    return index_init(&table.index, INDEX_COMPACT)


cdef void route_free(RoutingTable* table) noexcept nogil:
    index_free(&table.index)
    pool_free(&table.pool, <void**>&table.rows)


cdef void note_lengths(RoutingTable* table) noexcept nogil:
    """Write down the prefix lengths in use, longest first."""
    cdef int length
    table.n_lengths = 0
    for length in range(128, -1, -1):
        if table.n_of_length[length] > 0:
            table.lengths[table.n_lengths] = <uint8_t>length
            table.n_lengths += 1


cdef int32_t route_add(RoutingTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t length,
                       int32_t interface) except -1:
    cdef int32_t row
    cdef RouteRow* route
    index_reserve(&table.index)
    row = pool_take(&table.pool, <void**>&table.rows, sizeof(RouteRow))
    route = &table.rows[row]
    route.hi = hi
    route.lo = lo
    route.length = length
    route.interface = interface
    route.next = -1
    route.previous = table.last
    if table.last >= 0:
        table.rows[table.last].next = row
    else:
        table.first = row
    table.last = row
    index_add(&table.index, route_tag(seed, hi, lo, length), row)
    table.n_of_length[length] += 1
    note_lengths(table)
    return row


cdef void route_remove(RoutingTable* table, const HashSeed* seed, int32_t row) noexcept nogil:
    cdef RouteRow* route = &table.rows[row]
    if route.previous >= 0:
        table.rows[route.previous].next = route.next
    else:
        table.first = route.next
    if route.next >= 0:
        table.rows[route.next].previous = route.previous
    else:
        table.last = route.previous
    index_remove(&table.index, route_tag(seed, route.hi, route.lo, route.length), row)
    table.n_of_length[route.length] -= 1
    note_lengths(table)
    route.interface = -1
    pool_give(&table.pool, row)
