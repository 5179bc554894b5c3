"""VNAS ID ↔ VNAS number."""

from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memset

from vnasfast.tables.hashing cimport HashSeed, hash_word
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, index_tag, pool_free, pool_give, pool_take,
)
from vnasfast.tables.memory cimport give_back
from vnasfast.tables.usage cimport Usage, usage_reserve


cdef int vnas_init(VnasTable* table) except -1:
    return index_init(&table.index, INDEX_COMPACT)


cdef void vnas_free(VnasTable* table) noexcept nogil:
    index_free(&table.index)
    pool_free(&table.pool, <void**>&table.rows)
    give_back(table.closed, table.closed_bytes)
    table.closed = NULL


cdef int32_t vnas_acquire(VnasTable* table, const HashSeed* seed, int32_t vnas_id) except -1:
    cdef int32_t vnas = vnas_find(table, seed, vnas_id)
    if vnas < 0:
        index_reserve(&table.index)
        usage_reserve(&table.closed, &table.closed_bytes, table.pool.n_rows + 1)
        vnas = pool_take(&table.pool, <void**>&table.rows, sizeof(VnasRow))
        table.rows[vnas].id = vnas_id
        if table.closed[vnas].packets != 0:
            memset(&table.closed[vnas], 0, sizeof(Usage))
        index_add(&table.index, index_tag(hash_word(seed, <uint32_t>vnas_id)), vnas)
    table.rows[vnas].n_users += 1
    return vnas


cdef void vnas_release(VnasTable* table, const HashSeed* seed, int32_t vnas) noexcept nogil:
    table.rows[vnas].n_users -= 1
    if table.rows[vnas].n_users == 0:
        index_remove(&table.index, index_tag(hash_word(seed, <uint32_t>table.rows[vnas].id)), vnas)
        pool_give(&table.pool, vnas)
