# The process table: PID → VNAS, parent, resources used.

from libc.stdint cimport int32_t, uint32_t

from vnasfast.tables.hashing cimport HashSeed, hash_word
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag
from vnasfast.tables.usage cimport Usage

cdef struct ProcessRow:
    int32_t pid             # 0: the row is free
    int32_t vnas            # VNAS number
    int32_t parent          # row; -1 for process 1
    int32_t first_child     # children and siblings are a doubly linked list, so that exit hands them over without a scan
    int32_t previous_sibling
    int32_t next_sibling
    int32_t first_socket    # linked through the socket rows

cdef struct ProcessTable:
    HashIndex index         # PID → row
    RowPool pool
    ProcessRow* rows        # row 0 is process 1
    Usage* closed           # by row: of its sockets that are closed; open sockets hold their own
    size_t closed_bytes

cdef inline int32_t process_find(const ProcessTable* table, const HashSeed* seed, int32_t pid) noexcept nogil:
    cdef uint32_t tag = index_tag(hash_word(seed, <uint32_t>pid))
    cdef uint32_t position = index_home(&table.index, tag)
    while table.index.slots[position].taken != 0:
        if table.index.slots[position].tag == tag and table.rows[table.index.slots[position].taken - 1].pid == pid:
            return table.index.slots[position].taken - 1
        position = (position + 1) & table.index.mask
    return -1

cdef int process_init(ProcessTable* table) except -1
cdef void process_free(ProcessTable* table) noexcept nogil
cdef int32_t process_add(ProcessTable* table, const HashSeed* seed, int32_t pid, int32_t parent, int32_t vnas) except -1
cdef void process_remove(ProcessTable* table, const HashSeed* seed, int32_t row) noexcept nogil   # children go to process 1
