"""The ANY-address table."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.counts cimport count_add, count_free, count_init, count_remove
from vnasfast.tables.family cimport IPV6, family_of
from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport (
    INDEX_COMPACT, INDEX_FAST,
    index_add, index_free, index_init, index_remove, index_reserve, index_tag, pool_free, pool_give, pool_take,
)
from vnasfast.tables.lines cimport lines_add, lines_fill, lines_remove, lines_reserve, lines_use_next
from vnasfast.tables.plane cimport Plane, plane_advance

cdef enum:
    # Addresses put into a larger table of the data plane with each one that comes, and rows looked at for them. Meanwhile the
    # smaller one holds a sixteenth more than it should.
    FILLED = 16
    LOOKED_AT = 256


cdef int address_init(AddressTable* table) except -1:
    table.first = table.last = -1
    index_init(&table.index, INDEX_FAST)
    index_init(&table.source_index, INDEX_COMPACT)
    return count_init(&table.owners)


cdef void address_free(AddressTable* table) noexcept nogil:
    index_free(&table.index)
    pool_free(&table.pool, <void**>&table.rows)
    index_free(&table.source_index)
    pool_free(&table.source_pool, <void**>&table.sources)
    count_free(&table.owners)


cdef int32_t source_take(AddressTable* table, const HashSeed* seed, int32_t vnas, int32_t interface,
                         int32_t family) except -1:
    """Find the source list of (VNAS, interface, family), or begin it."""
    cdef int32_t source = source_find(table, seed, vnas, interface, family)
    if source < 0:
        index_reserve(&table.source_index)
        source = pool_take(&table.source_pool, <void**>&table.sources, sizeof(SourceList))
        table.sources[source].vnas = vnas
        table.sources[source].interface = interface
        table.sources[source].family = family
        table.sources[source].first = table.sources[source].last = -1
        index_add(&table.source_index, source_tag(seed, vnas, interface, family), source)
    return source


cdef void fill_lines(AddressTable* table, Plane* plane, int family) noexcept nogil:
    """Put some more addresses of a family into its larger table of the data plane."""
    cdef int32_t row = plane.next_lines[family].filled
    cdef int32_t end = min(table.pool.n_rows, row + LOOKED_AT)
    cdef int n = 0
    cdef const AddressRow* address
    while row < end and n < FILLED:
        address = &table.rows[row]
        if address.source_list >= 0 and family_of(address.hi, address.lo) == family:
            lines_fill(plane, address.hi, address.lo, address.vlan, address.vnas)
            n += 1
        row += 1
    plane.next_lines[family].filled = row
    if row == table.pool.n_rows:
        lines_use_next(plane, family == IPV6)


cdef int32_t address_add(AddressTable* table, Plane* plane, const HashSeed* seed, uint64_t hi, uint64_t lo, uint16_t vlan,
                         int32_t vnas, int32_t interface) except -1:
    cdef int32_t row, source
    cdef int family = family_of(hi, lo)
    cdef AddressRow* address
    index_reserve(&table.index)
    row = pool_take(&table.pool, <void**>&table.rows, sizeof(AddressRow))
    try:
        plane_advance(plane)
        lines_reserve(plane, family == IPV6)
        source = source_take(table, seed, vnas, interface, family)
        if vlan != 0:
            count_add(&table.owners, seed, hi, lo, vnas, 0)
    except MemoryError:     # a source list without an address does no harm: the next one finds it
        table.rows[row].source_list = -1
        pool_give(&table.pool, row)
        raise
    address = &table.rows[row]
    address.hi = hi
    address.lo = lo
    address.vlan = vlan
    address.vnas = vnas
    address.interface = interface
    address.source_list = source
    address.next = address.next_source = -1
    address.previous = table.last
    if table.last >= 0:
        table.rows[table.last].next = row
    else:
        table.first = row
    table.last = row
    address.previous_source = table.sources[source].last
    if table.sources[source].last >= 0:
        table.rows[table.sources[source].last].next_source = row
    else:
        table.sources[source].first = row
    table.sources[source].last = row
    index_add(&table.index, index_tag(hash_address(seed, hi, lo, vlan)), row)
    lines_add(plane, row, hi, lo, vlan, vnas)
    if plane.next_lines[family].lines != NULL:
        fill_lines(table, plane, family)
    return row


cdef void address_remove(AddressTable* table, Plane* plane, const HashSeed* seed, int32_t row) noexcept nogil:
    cdef AddressRow* address = &table.rows[row]
    cdef SourceList* source = &table.sources[address.source_list]
    lines_remove(plane, row, address.hi, address.lo, address.vlan)
    if address.previous >= 0:
        table.rows[address.previous].next = address.next
    else:
        table.first = address.next
    if address.next >= 0:
        table.rows[address.next].previous = address.previous
    else:
        table.last = address.previous
    if address.previous_source >= 0:
        table.rows[address.previous_source].next_source = address.next_source
    else:
        source.first = address.next_source
    if address.next_source >= 0:
        table.rows[address.next_source].previous_source = address.previous_source
    else:
        source.last = address.previous_source
    if source.first < 0:
        index_remove(&table.source_index, source_tag(seed, source.vnas, source.interface, source.family),
                     address.source_list)
        pool_give(&table.source_pool, address.source_list)
    if address.vlan != 0:
        count_remove(&table.owners, seed, address.hi, address.lo, address.vnas, 0)
    index_remove(&table.index, index_tag(hash_address(seed, address.hi, address.lo, address.vlan)), row)
    address.source_list = -1
    pool_give(&table.pool, row)
