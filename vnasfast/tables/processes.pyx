"""The process table."""

from libc.stdint cimport int32_t, uint32_t
from libc.string cimport memset

from vnasfast.tables.hashing cimport HashSeed, hash_word
from vnasfast.tables.index cimport (
    INDEX_COMPACT,
    index_add, index_free, index_init, index_remove, index_reserve, index_tag, pool_free, pool_give, pool_take,
)
from vnasfast.tables.memory cimport give_back
from vnasfast.tables.usage cimport Usage, usage_reserve


cdef int process_init(ProcessTable* table) except -1:
    return index_init(&table.index, INDEX_COMPACT)


cdef void process_free(ProcessTable* table) noexcept nogil:
    index_free(&table.index)
    pool_free(&table.pool, <void**>&table.rows)
    give_back(table.closed, table.closed_bytes)
    table.closed = NULL


cdef inline void link_child(ProcessTable* table, int32_t parent, int32_t child) noexcept nogil:
    cdef int32_t next_sibling = table.rows[parent].first_child
    table.rows[child].parent = parent
    table.rows[child].previous_sibling = -1
    table.rows[child].next_sibling = next_sibling
    if next_sibling >= 0:
        table.rows[next_sibling].previous_sibling = child
    table.rows[parent].first_child = child


cdef int32_t process_add(ProcessTable* table, const HashSeed* seed, int32_t pid, int32_t parent, int32_t vnas) except -1:
    cdef int32_t row
    index_reserve(&table.index)
    usage_reserve(&table.closed, &table.closed_bytes, table.pool.n_rows + 1)
    row = pool_take(&table.pool, <void**>&table.rows, sizeof(ProcessRow))
    table.rows[row].pid = pid
    if table.closed[row].packets != 0:
        memset(&table.closed[row], 0, sizeof(Usage))
    table.rows[row].vnas = vnas
    table.rows[row].first_child = -1
    table.rows[row].first_socket = -1
    if parent >= 0:
        link_child(table, parent, row)
    else:
        table.rows[row].parent = table.rows[row].previous_sibling = table.rows[row].next_sibling = -1
    index_add(&table.index, index_tag(hash_word(seed, <uint32_t>pid)), row)
    return row


cdef void process_remove(ProcessTable* table, const HashSeed* seed, int32_t row) noexcept nogil:
    cdef ProcessRow* process = &table.rows[row]
    cdef int32_t child = process.first_child
    cdef int32_t next_child
    while child >= 0:
        next_child = table.rows[child].next_sibling
        link_child(table, 0, child)
        child = next_child
    if process.previous_sibling >= 0:
        table.rows[process.previous_sibling].next_sibling = process.next_sibling
    else:
        table.rows[process.parent].first_child = process.next_sibling
    if process.next_sibling >= 0:
        table.rows[process.next_sibling].previous_sibling = process.previous_sibling
    index_remove(&table.index, index_tag(hash_word(seed, <uint32_t>process.pid)), row)
    process.pid = 0
    pool_give(&table.pool, row)
