"""How many rows share an (address, number)."""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, index_tag, pool_free, pool_give, pool_take,
)


cdef int count_init(CountTable* table) except -1:
    return index_init(&table.index, INDEX_COMPACT)


cdef void count_free(CountTable* table) noexcept nogil:
    index_free(&table.index)
    pool_free(&table.pool, <void**>&table.rows)


cdef int count_add(CountTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t number,
                   uint32_t item) except -1:
    cdef int32_t row = count_find(table, seed, hi, lo, number)
    if row < 0:
        index_reserve(&table.index)
        row = pool_take(&table.pool, <void**>&table.rows, sizeof(CountRow))
        table.rows[row].hi = hi
        table.rows[row].lo = lo
        table.rows[row].number = number
        index_add(&table.index, index_tag(hash_address(seed, hi, lo, <uint32_t>number)), row)
    table.rows[row].n += 1
    table.rows[row].sum += item
    return 0


cdef void count_remove(CountTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t number,
                       uint32_t item) noexcept nogil:
    cdef int32_t row = count_find(table, seed, hi, lo, number)
    table.rows[row].n -= 1
    table.rows[row].sum -= item
    if table.rows[row].n == 0:
        index_remove(&table.index, index_tag(hash_address(seed, hi, lo, <uint32_t>number)), row)
        pool_give(&table.pool, row)
