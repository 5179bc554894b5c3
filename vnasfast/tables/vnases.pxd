# VNAS ID ↔ VNAS number. IDs are free; numbers are dense, so that other tables can index by them.
# A VNAS exists as long as it has a process or an address.

from libc.stdint cimport int32_t, uint32_t

from vnasfast.tables.hashing cimport HashSeed, hash_word
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag
from vnasfast.tables.usage cimport Usage

cdef struct VnasRow:
    int32_t id
    int32_t n_users     # processes and addresses

cdef struct VnasTable:
    HashIndex index     # VNAS ID → row
    RowPool pool
    VnasRow* rows       # a row's number is the VNAS number
    Usage* closed       # by row: of its sockets that are closed; open sockets hold their own
    size_t closed_bytes

cdef inline int32_t vnas_find(const VnasTable* table, const HashSeed* seed, int32_t vnas_id) noexcept nogil:
    cdef uint32_t tag = index_tag(hash_word(seed, <uint32_t>vnas_id))
    cdef uint32_t position = index_home(&table.index, tag)
    while table.index.slots[position].taken != 0:
        if table.index.slots[position].tag == tag and table.rows[table.index.slots[position].taken - 1].id == vnas_id:
            return table.index.slots[position].taken - 1
        position = (position + 1) & table.index.mask
    return -1

cdef int vnas_init(VnasTable* table) except -1
cdef void vnas_free(VnasTable* table) noexcept nogil
cdef int32_t vnas_acquire(VnasTable* table, const HashSeed* seed, int32_t vnas_id) except -1
cdef void vnas_release(VnasTable* table, const HashSeed* seed, int32_t vnas) noexcept nogil
