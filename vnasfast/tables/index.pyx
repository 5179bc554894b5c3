"""The hash index below every table, and the pool of dense rows."""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

cdef extern from *:
    """
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    /* Large tables on huge pages: a random row then costs one cache miss, without a walk of the page tables before it. Only
       the whole huge pages inside the memory can be asked for. Where there are none, nothing is lost. */
    static inline void vnas_prefer_huge_pages(void *memory, size_t n_bytes) {
    #ifdef MADV_HUGEPAGE
        const uintptr_t page = 2 << 20;
        uintptr_t begin = ((uintptr_t)memory + page - 1) & ~(page - 1);
        uintptr_t end = ((uintptr_t)memory + n_bytes) & ~(page - 1);
        if (end > begin)
            madvise((void *)begin, end - begin, MADV_HUGEPAGE);
    #endif
    }
    """
    int posix_memalign(void** memory, size_t alignment, size_t size) noexcept nogil
    void prefer_huge_pages "vnas_prefer_huge_pages"(void* memory, size_t n_bytes) noexcept nogil

cdef size_t HUGE_PAGE = 2 << 20
cdef uint32_t FIRST_LOG2 = 3     # 8 slots: one cache line


cdef Slot* new_slots(uint32_t log2_slots) except NULL:
    cdef void* memory = NULL
    cdef size_t n_bytes = sizeof(Slot) << log2_slots
    if posix_memalign(&memory, HUGE_PAGE if n_bytes >= HUGE_PAGE else 64, n_bytes) != 0:
        raise MemoryError(f"no memory for a hash index of {n_bytes} bytes")
    prefer_huge_pages(memory, n_bytes)
    memset(memory, 0xff, n_bytes)     # row -1 everywhere: empty
    return <Slot*>memory


cdef inline void place(Slot* slots, uint32_t mask, uint32_t shift, Slot slot) noexcept nogil:
    cdef uint32_t position = slot.tag >> shift
    while slots[position].row >= 0:
        position = (position + 1) & mask
    slots[position] = slot


cdef int index_init(HashIndex* index, uint32_t spare) except -1:
    index.slots = new_slots(FIRST_LOG2)
    index.mask = (1 << FIRST_LOG2) - 1
    index.shift = 32 - FIRST_LOG2
    index.n_used = 0
    index.spare = spare
    return 0


cdef void index_free(HashIndex* index) noexcept nogil:
    free(index.slots)
    memset(index, 0, sizeof(HashIndex))


cdef int index_reserve(HashIndex* index) except -1:
    cdef Slot* slots
    cdef uint32_t log2_slots, mask, position
    if index.spare * (index.n_used + 1) <= index.mask + 1:
        return 0
    log2_slots = 32 - index.shift + 1
    if log2_slots > 31:
        raise MemoryError("a hash index holds at most 2**30 keys")
    slots = new_slots(log2_slots)
    mask = (<uint32_t>1 << log2_slots) - 1
    for position in range(index.mask + 1):
        if index.slots[position].row >= 0:
            place(slots, mask, 32 - log2_slots, index.slots[position])
    free(index.slots)
    index.slots = slots
    index.mask = mask
    index.shift = 32 - log2_slots
    return 0


cdef int index_add(HashIndex* index, uint32_t tag, int32_t row) except -1:
    cdef Slot slot
    index_reserve(index)
    slot.tag = tag
    slot.row = row
    place(index.slots, index.mask, index.shift, slot)
    index.n_used += 1
    return 0


cdef void index_remove(HashIndex* index, uint32_t tag, int32_t row) noexcept nogil:
    cdef uint32_t mask = index.mask
    cdef uint32_t hole = tag >> index.shift
    cdef uint32_t position, home
    while index.slots[hole].row != row:
        hole = (hole + 1) & mask
    position = hole
    while True:
        position = (position + 1) & mask
        if index.slots[position].row < 0:
            break
        home = index.slots[position].tag >> index.shift
        # A slot may move back into the hole unless its home lies behind the hole (both measured around the ring).
        if ((position - home) & mask) >= ((position - hole) & mask):
            index.slots[hole] = index.slots[position]
            hole = position
    index.slots[hole].row = -1
    index.n_used -= 1


cdef int index_check(const HashIndex* index) except -1:
    cdef uint32_t position, home, n = 0
    assert index.mask + 1 == <uint32_t>1 << (32 - index.shift), "index: mask and shift disagree"
    for position in range(index.mask + 1):
        if index.slots[position].row < 0:
            continue
        n += 1
        home = index.slots[position].tag >> index.shift
        while home != position:
            assert index.slots[home].row >= 0, "index: an empty slot between a key and its home"
            home = (home + 1) & index.mask
    assert n == index.n_used, "index: n_used is not the number of used slots"
    assert index.spare * n <= index.mask + 1, "index: too full"
    return 0


cdef uint32_t index_longest_probe(const HashIndex* index) noexcept nogil:
    cdef uint32_t position, longest = 0
    for position in range(index.mask + 1):
        if index.slots[position].row >= 0:
            longest = max(longest, ((position - (index.slots[position].tag >> index.shift)) & index.mask) + 1)
    return longest


cdef int32_t pool_take(RowPool* pool, void** rows, size_t row_bytes) except -1:
    cdef int32_t row, capacity
    cdef void* memory
    if pool.n_free > 0:
        pool.n_free -= 1
        row = pool.free_rows[pool.n_free]
    else:
        if pool.n_rows == pool.capacity:
            if pool.capacity >= 1 << 29:
                raise MemoryError("a table holds at most 2**30 rows")
            capacity = 2 * pool.capacity if pool.capacity else 8
            memory = realloc(rows[0], capacity * row_bytes)
            if memory == NULL:
                raise MemoryError(f"no memory for {capacity} table rows")
            prefer_huge_pages(memory, capacity * row_bytes)
            rows[0] = memory
            # Room for every row to be given back, so that pool_give can't fail.
            memory = realloc(pool.free_rows, capacity * sizeof(int32_t))
            if memory == NULL:
                raise MemoryError(f"no memory for {capacity} free rows")
            pool.free_rows = <int32_t*>memory
            pool.capacity = capacity
        row = pool.n_rows
        pool.n_rows += 1
    memset(<char*>rows[0] + row * row_bytes, 0, row_bytes)
    return row


cdef void pool_give(RowPool* pool, int32_t row) noexcept nogil:
    pool.free_rows[pool.n_free] = row
    pool.n_free += 1


cdef void pool_free(RowPool* pool, void** rows) noexcept nogil:
    free(rows[0])
    rows[0] = NULL
    free(pool.free_rows)
    memset(pool, 0, sizeof(RowPool))
