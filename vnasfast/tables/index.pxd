# The hash index below every table, and the pool of dense rows that it points into.
#
# An index holds (tag, row) slots; the keys stay in the rows. Its user probes it in a loop of its own:
#
#     position = index_home(&index, tag)
#     while index.slots[position].taken != 0:
#         if index.slots[position].tag == tag and <the key of row `taken - 1` is the key>: found
#         position = (position + 1) & index.mask
#
# Linear probing at a load of at most one half or one quarter; an 8-slot index is one cache line. Removing shifts the run behind the hole
# back, so there are no tombstones: adding and removing forever neither grows nor slows an index. No key is special, since
# only `taken` says whether a slot is empty. Many readers or one writer.
#
# An index grows in its place, and a few slots with each key that is added, so that nobody waits for it. A home is the upper bits of a tag:
# in an index of twice the size a key's home is twice as far from the beginning, or one more. The slots are moved from the last
# to the first; those of homes below `split` still lie as they did in the smaller index.
#
#     0 ········ split ──── empty ──── 2 split ········ 2 n

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef struct Slot:
    uint32_t tag        # upper half of the key's hash; its upper bits choose the home position
    int32_t taken       # row + 1; 0: empty

cdef struct HashIndex:
    Slot* slots
    uint32_t mask       # number of slots - 1
    uint32_t n_used
    uint32_t shift      # 32 - log2(number of slots)
    uint32_t spare      # slots there are at least for each key: INDEX_COMPACT or INDEX_FAST
    uint32_t split      # homes, of the index of half the size, that are still to be moved
    uint32_t room       # slots that there is memory for

cdef enum:
    INDEX_COMPACT = 2
    # With four slots a key nearly every key lies at its home, so that the branch on it is foreseen: dispatch with the address
    # table's index so takes 6.5 ns a packet at 10k sockets, and 8.3 with two.
    INDEX_FAST = 4

cdef inline uint32_t index_tag(uint64_t hash) noexcept nogil:
    return <uint32_t>(hash >> 32)

cdef inline uint32_t index_home(const HashIndex* index, uint32_t tag) noexcept nogil:
    cdef uint32_t home = tag >> index.shift
    return home >> 1 if home >> 1 < index.split else home

cdef int index_init(HashIndex* index, uint32_t spare) except -1
cdef void index_free(HashIndex* index) noexcept nogil
cdef int index_reserve(HashIndex* index) except -1                                   # room for one more, or MemoryError
cdef int index_add(HashIndex* index, uint32_t tag, int32_t row) except -1            # the caller knows the key is new
cdef void index_remove(HashIndex* index, uint32_t tag, int32_t row) noexcept nogil   # the caller knows it is there
cdef int index_check(const HashIndex* index) except -1
cdef uint32_t index_longest_probe(const HashIndex* index) noexcept nogil     # slots looked at for the worst key

# Rows 0 .. n_rows - 1 of a dense array; those in `free_rows` are taken again first, the last given back first. Room that was never
# used takes no memory.
cdef struct RowPool:
    int32_t n_rows
    int32_t capacity
    int32_t n_free
    int32_t free_capacity
    uint32_t row_bytes
    int32_t* free_rows

cdef int pool_reserve(RowPool* pool, void** rows, size_t row_bytes, int32_t n) except -1     # room for n more, or MemoryError
cdef int32_t pool_take(RowPool* pool, void** rows, size_t row_bytes) except -1       # a zeroed row
cdef void pool_give(RowPool* pool, int32_t row) noexcept nogil
cdef void pool_free(RowPool* pool, void** rows) noexcept nogil
cdef inline int32_t pool_n_live(const RowPool* pool) noexcept nogil:
    return pool.n_rows - pool.n_free
