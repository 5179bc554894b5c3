# The ANY-address table: (VLAN ID, address) → VNAS, interface; in order of registration.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.counts cimport CountTable, count_find
from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag
from vnasfast.tables.plane cimport Plane

cdef struct AddressRow:
    uint64_t hi, lo
    int32_t vnas                        # VNAS number
    int32_t interface                   # number of the interface's name
    int32_t source_list                 # row of the list below; -1: the row is free
    int32_t previous, next              # order of registration, whole table
    int32_t previous_source, next_source    # order of registration, this VNAS, interface and family
    uint16_t vlan

# The addresses of one VNAS, interface and family: source address setting takes the first.
cdef struct SourceList:
    int32_t vnas, interface, family
    int32_t first, last

cdef struct AddressTable:
    HashIndex index                     # (VLAN ID, address) → row
    RowPool pool
    AddressRow* rows
    int32_t first, last
    HashIndex source_index              # (VNAS, interface, family) → source list
    RowPool source_pool
    SourceList* sources
    CountTable owners                   # (address, VNAS) → on how many VLANs; untagged ones are found by their address

cdef inline int32_t address_find(const AddressTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo,
                                 uint16_t vlan) noexcept nogil:
    cdef uint32_t tag = index_tag(hash_address(seed, hi, lo, vlan))
    cdef uint32_t position = index_home(&table.index, tag)
    cdef const AddressRow* row
    while table.index.slots[position].taken != 0:
        if table.index.slots[position].tag == tag:
            row = &table.rows[table.index.slots[position].taken - 1]
            if row.lo == lo and row.hi == hi and row.vlan == vlan:
                return table.index.slots[position].taken - 1
        position = (position + 1) & table.index.mask
    return -1

cdef inline bint address_owned(const AddressTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo,
                               int32_t vnas) noexcept nogil:
    """Whether a VNAS has an address, untagged or on any VLAN."""
    cdef int32_t row = address_find(table, seed, hi, lo, 0)
    return (row >= 0 and table.rows[row].vnas == vnas) or count_find(&table.owners, seed, hi, lo, vnas) >= 0

cdef inline uint32_t source_tag(const HashSeed* seed, int32_t vnas, int32_t interface, int32_t family) noexcept nogil:
    return index_tag(hash_address(seed, <uint32_t>vnas, <uint32_t>interface, <uint32_t>family))

cdef inline int32_t source_find(const AddressTable* table, const HashSeed* seed, int32_t vnas, int32_t interface,
                                int32_t family) noexcept nogil:
    cdef uint32_t tag = source_tag(seed, vnas, interface, family)
    cdef uint32_t position = index_home(&table.source_index, tag)
    cdef const SourceList* source
    while table.source_index.slots[position].taken != 0:
        if table.source_index.slots[position].tag == tag:
            source = &table.sources[table.source_index.slots[position].taken - 1]
            if source.vnas == vnas and source.interface == interface and source.family == family:
                return table.source_index.slots[position].taken - 1
        position = (position + 1) & table.source_index.mask
    return -1

cdef int address_init(AddressTable* table) except -1
cdef void address_free(AddressTable* table) noexcept nogil
cdef int32_t address_add(AddressTable* table, Plane* plane, const HashSeed* seed, uint64_t hi, uint64_t lo, uint16_t vlan,
                         int32_t vnas, int32_t interface) except -1
cdef void address_remove(AddressTable* table, Plane* plane, const HashSeed* seed, int32_t row) noexcept nogil
