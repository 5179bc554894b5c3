# How many rows share an (address, number): which VNASs own an address, which VNASs a loopback endpoint may belong to.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag

cdef struct CountRow:
    uint64_t hi, lo
    int32_t number
    int32_t n
    uint32_t sum        # of what was counted, mod 2**32: with n == 1 it names the one

cdef struct CountTable:
    HashIndex index
    RowPool pool
    CountRow* rows

cdef inline int32_t count_find(const CountTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo,
                               int32_t number) noexcept nogil:
    cdef uint32_t tag = index_tag(hash_address(seed, hi, lo, <uint32_t>number))
    cdef uint32_t position = index_home(&table.index, tag)
    cdef int32_t row
    while table.index.slots[position].taken != 0:
        row = table.index.slots[position].taken - 1
        if (table.index.slots[position].tag == tag and table.rows[row].lo == lo and table.rows[row].hi == hi
                and table.rows[row].number == number):
            return row
        position = (position + 1) & table.index.mask
    return -1

cdef int count_init(CountTable* table) except -1
cdef void count_free(CountTable* table) noexcept nogil
cdef int count_add(CountTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t number,
                   uint32_t item) except -1
cdef void count_remove(CountTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t number,
                       uint32_t item) noexcept nogil
