"""The ANY-address table."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.counts cimport count_add, count_free, count_init, count_remove
from vnasfast.tables.family cimport IPV6, family_of
from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport (
    INDEX_COMPACT, INDEX_FAST,
    index_add, index_free, index_init, index_remove, index_reserve, index_tag, pool_free, pool_give, pool_take,
)
from vnasfast.tables.plane cimport (
    Plane, VnasLines, plane_add_address, plane_larger_lines, plane_put_address, plane_remove_address, plane_reserve_address,
    plane_use_lines,
)


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


cdef int grow_lines(AddressTable* table, Plane* plane, int family) except -1:
    """Give the data plane a larger table of a family's addresses."""
    cdef VnasLines* lines = plane_larger_lines(plane, family == IPV6)
    cdef uint32_t n_lined = 0, n_elsewhere = 0
    cdef int32_t row = table.first
    cdef const AddressRow* address
    while row >= 0:
        address = &table.rows[row]
        if family_of(address.hi, address.lo) == family:
            if plane_put_address(plane, lines, row, address.hi, address.lo, address.vlan, address.vnas):
                n_lined += 1
            else:
                n_elsewhere += 1
        row = address.next
    plane_use_lines(plane, family == IPV6, lines, n_lined, n_elsewhere)
    return 0


cdef int32_t address_add(AddressTable* table, Plane* plane, const HashSeed* seed, uint64_t hi, uint64_t lo, uint16_t vlan,
                         int32_t vnas, int32_t interface) except -1:
    cdef int32_t row, source
    cdef int family = family_of(hi, lo)
    cdef AddressRow* address
    index_reserve(&table.index)
    row = pool_take(&table.pool, <void**>&table.rows, sizeof(AddressRow))
    try:
        if plane_reserve_address(plane, row, family == IPV6):
            grow_lines(table, plane, family)
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
    plane_add_address(plane, row, hi, lo, vlan, vnas)
    return row


cdef void address_remove(AddressTable* table, Plane* plane, const HashSeed* seed, int32_t row) noexcept nogil:
    cdef AddressRow* address = &table.rows[row]
    cdef SourceList* source = &table.sources[address.source_list]
    plane_remove_address(plane, row, address.hi, address.lo, address.vlan)
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
