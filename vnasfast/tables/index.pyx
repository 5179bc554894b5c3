"""The hash index below every table, and the pool of dense rows."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from vnasfast.tables.memory cimport MAPPED, STRIDE, enlarge, give_back

cdef enum:
    FIRST_LOG2 = 3      # 8 slots: one cache line
    STEP = 8            # slots moved with each key that is added; four would do
    FEW = 64            # slots that are set aside on the stack while they are moved


cdef int make_room(HashIndex* index, uint32_t n_slots) except -1:
    cdef void* slots
    if index.room < n_slots:
        if n_slots * sizeof(Slot) >= MAPPED:
            n_slots = min(STRIDE * <uint64_t>n_slots, <uint64_t>1 << 31)
        slots = enlarge(index.slots, index.room * sizeof(Slot), n_slots * sizeof(Slot))
        if slots == NULL:
            raise MemoryError(f"no memory for a hash index of {n_slots * sizeof(Slot)} bytes")
        index.slots = <Slot*>slots
        index.room = n_slots
    return 0


cdef int index_init(HashIndex* index, uint32_t spare) except -1:
    memset(index, 0, sizeof(HashIndex))
    make_room(index, 1 << FIRST_LOG2)
    index.mask = (1 << FIRST_LOG2) - 1
    index.shift = 32 - FIRST_LOG2
    index.spare = spare
    return 0


cdef void index_free(HashIndex* index) noexcept nogil:
    give_back(index.slots, index.room * sizeof(Slot))
    memset(index, 0, sizeof(HashIndex))


cdef inline void place(HashIndex* index, Slot slot) noexcept nogil:
    cdef uint32_t position = index_home(index, slot.tag)
    while index.slots[position].taken != 0:
        position = (position + 1) & index.mask
    index.slots[position] = slot


cdef int move_slots(HashIndex* index) except -1:
    """Move the slots before the split, STEP of them and as many more as make whole runs, to where they are to be."""
    cdef uint32_t begin = index.split - min(index.split, <uint32_t>STEP)
    cdef uint32_t end = index.split, wrapped = 0, n = 0, position
    cdef Slot[FEW] few
    cdef Slot* aside = few
    while begin > 0 and index.slots[begin - 1].taken != 0:
        begin -= 1
    while index.slots[end].taken != 0:      # the last run before the split may have grown beyond it
        end += 1
    if index.split == (index.mask + 1) // 2 and begin > 0:      # the first step: where the smaller index ended, its runs went on at 0
        while index.slots[wrapped].taken != 0:
            wrapped += 1
    if end - begin + wrapped > FEW:
        aside = <Slot*>malloc((end - begin + wrapped) * sizeof(Slot))
        if aside == NULL:
            raise MemoryError(f"no memory to move {end - begin + wrapped} slots of a hash index")
    for position in range(begin, end):
        aside[n] = index.slots[position]
        n += aside[n].taken != 0
    for position in range(wrapped):
        aside[n] = index.slots[position]
        n += 1
    memset(index.slots + begin, 0, (end - begin) * sizeof(Slot))
    memset(index.slots, 0, wrapped * sizeof(Slot))
    index.split = begin
    for position in range(n):
        place(index, aside[position])
    if aside != few:
        free(aside)
    return 0


cdef int index_reserve(HashIndex* index) except -1:
    if index.split > 0:
        move_slots(index)
    if index.spare * (index.n_used + 1) <= index.mask + 1:
        return 0
    while index.split > 0:      # a key for each two slots came since it began: never
        move_slots(index)
    if index.shift == 1:
        raise MemoryError("a hash index holds at most 2**30 keys")
    make_room(index, 2 * (index.mask + 1))
    index.split = index.mask + 1
    index.mask = 2 * index.mask + 1
    index.shift -= 1
    try:
        move_slots(index)
    except MemoryError:
        index.split = 0
        index.mask = index.mask // 2
        index.shift += 1
        raise
    return 0


cdef int index_add(HashIndex* index, uint32_t tag, int32_t row) except -1:
    cdef Slot slot
    index_reserve(index)
    slot.tag = tag
    slot.taken = row + 1
    place(index, slot)
    index.n_used += 1
    return 0


cdef void index_remove(HashIndex* index, uint32_t tag, int32_t row) noexcept nogil:
    cdef uint32_t mask = index.mask
    cdef uint32_t hole = index_home(index, tag)
    cdef uint32_t position, home
    while index.slots[hole].taken != row + 1:
        hole = (hole + 1) & mask
    position = hole
    while True:
        position = (position + 1) & mask
        if index.slots[position].taken == 0:
            break
        home = index_home(index, index.slots[position].tag)
        # A slot may move back into the hole unless its home lies behind the hole (both measured around the ring).
        if ((position - home) & mask) >= ((position - hole) & mask):
            index.slots[hole] = index.slots[position]
            hole = position
    index.slots[hole].taken = 0
    index.n_used -= 1


cdef int index_check(const HashIndex* index) except -1:
    cdef uint32_t position, home, n = 0
    assert index.mask + 1 == <uint32_t>1 << (32 - index.shift), "index: mask and shift disagree"
    assert index.split < (index.mask + 1) // 2, "index: more slots are to be moved than there were"
    for position in range(index.mask + 1):
        if index.slots[position].taken == 0:
            continue
        n += 1
        home = index_home(index, index.slots[position].tag)
        while home != position:
            assert index.slots[home].taken != 0, "index: an empty slot between a key and its home"
            home = (home + 1) & index.mask
    assert n == index.n_used, "index: n_used is not the number of used slots"
    assert index.spare * n <= index.mask + 1, "index: too full"
    return 0


cdef uint32_t index_longest_probe(const HashIndex* index) noexcept nogil:
    cdef uint32_t position, longest = 0
    for position in range(index.mask + 1):
        if index.slots[position].taken != 0:
            longest = max(longest, ((position - index_home(index, index.slots[position].tag)) & index.mask) + 1)
    return longest


cdef int pool_reserve(RowPool* pool, void** rows, size_t row_bytes, int32_t n) except -1:
    cdef int32_t capacity = max(pool.capacity, 8)
    cdef void* memory
    if n <= pool.capacity - pool.n_rows:
        return 0
    if n > (1 << 30) - pool.n_rows:
        raise MemoryError("a table holds at most 2**30 rows")
    while capacity - pool.n_rows < n:
        capacity *= 2
    if capacity * row_bytes >= MAPPED:
        capacity = min(STRIDE * <uint64_t>capacity, <uint64_t>1 << 30)
    pool.row_bytes = <uint32_t>row_bytes
    # Room for every row to be given back, so that pool_give can't fail.
    if pool.free_capacity < capacity:
        memory = enlarge(pool.free_rows, pool.free_capacity * sizeof(int32_t), capacity * sizeof(int32_t))
        if memory == NULL:
            raise MemoryError(f"no memory for {capacity} free rows")
        pool.free_rows = <int32_t*>memory
        pool.free_capacity = capacity
    memory = enlarge(rows[0], pool.capacity * row_bytes, capacity * row_bytes)
    if memory == NULL:
        raise MemoryError(f"no memory for {capacity} table rows")
    rows[0] = memory
    pool.capacity = capacity
    return 0


cdef int32_t pool_take(RowPool* pool, void** rows, size_t row_bytes) except -1:
    cdef int32_t row
    if pool.n_free > 0:
        pool.n_free -= 1
        row = pool.free_rows[pool.n_free]
    else:
        if pool.n_rows == pool.capacity:
            pool_reserve(pool, rows, row_bytes, 1)
        row = pool.n_rows
        pool.n_rows += 1
    memset(<char*>rows[0] + row * row_bytes, 0, row_bytes)
    return row


cdef void pool_give(RowPool* pool, int32_t row) noexcept nogil:
    pool.free_rows[pool.n_free] = row
    pool.n_free += 1


cdef void pool_free(RowPool* pool, void** rows) noexcept nogil:
    give_back(rows[0], <size_t>pool.capacity * pool.row_bytes)
    rows[0] = NULL
    give_back(pool.free_rows, pool.free_capacity * sizeof(int32_t))
    memset(pool, 0, sizeof(RowPool))
