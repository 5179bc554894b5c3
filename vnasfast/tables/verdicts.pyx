"""VNAS number → verdict, for one port and family."""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from vnasfast.tables.index cimport INDEX_COMPACT, index_check, index_free, index_init, index_remove, index_reserve


cdef int verdict_init(VerdictMap* map) except -1:
    memset(map, 0, sizeof(VerdictMap))
    return index_init(&map.sparse, INDEX_COMPACT)


cdef void verdict_free(VerdictMap* map) noexcept nogil:
    free(map.dense)
    index_free(&map.sparse)
    memset(map, 0, sizeof(VerdictMap))


cdef inline uint32_t room_for(uint32_t vnas) noexcept nogil:
    """The array that holds a VNAS number: a power of two, so that growing is rare."""
    cdef uint32_t n = 16
    while n <= vnas:
        n *= 2
    return n


cdef int grow_dense(VerdictMap* map, uint32_t n) except -1:
    cdef int32_t* dense = <int32_t*>realloc(map.dense, n * sizeof(int32_t))
    if dense == NULL:
        raise MemoryError(f"no memory for the verdicts of {n} VNASs")
    memset(dense + map.n_dense, 0xff, (n - map.n_dense) * sizeof(int32_t))
    map.dense = dense
    map.n_dense = n
    return 0


cdef int make_dense(VerdictMap* map, uint32_t n) except -1:
    """Move the verdicts from the index to an array. A tag's VNAS number is the tag times the multiplier's inverse."""
    cdef uint32_t position
    grow_dense(map, n)
    for position in range(map.sparse.mask + 1):
        if map.sparse.slots[position].row >= 0:
            map.dense[map.sparse.slots[position].tag * <uint32_t>0x0E8B2F51] = map.sparse.slots[position].row
    index_free(&map.sparse)
    return 0


cdef int make_sparse(VerdictMap* map) except -1:
    """Move the verdicts from the array to an index."""
    cdef VerdictMap made
    cdef uint32_t vnas
    memset(&made, 0, sizeof(made))
    index_init(&made.sparse, INDEX_COMPACT)
    try:
        for vnas in range(map.n_dense):
            if map.dense[vnas] >= 0:
                index_reserve(&made.sparse)
                verdict_put(&made, <int32_t>vnas, map.dense[vnas])
    except MemoryError:
        index_free(&made.sparse)
        raise
    free(map.dense)
    made.most = map.most
    map[0] = made
    return 0


cdef int verdict_reserve(VerdictMap* map, int32_t vnas) except -1:
    cdef uint32_t n
    cdef uint32_t most = max(map.most, <uint32_t>vnas) if map.n_used != 0 else <uint32_t>vnas
    if map.n_dense == 0:
        index_reserve(&map.sparse)
        n = room_for(most)
        if n <= 2 * (map.sparse.mask + 1):      # 4 bytes an element against 8 a slot
            make_dense(map, n)
    elif <uint32_t>vnas >= map.n_dense:
        n = room_for(most)
        if n <= 8 * (map.n_used + 1):           # an index would have two to four slots for each
            grow_dense(map, n)
        else:
            make_sparse(map)
            index_reserve(&map.sparse)
    map.most = most
    return 0


cdef int verdict_put(VerdictMap* map, int32_t vnas, int32_t verdict) noexcept nogil:
    cdef uint32_t tag, position
    cdef int change
    if map.n_dense != 0:
        if <uint32_t>vnas >= map.n_dense:
            return 0        # nothing to remove
        change = (verdict >= 0) - (map.dense[vnas] >= 0)
        map.dense[vnas] = verdict
        map.n_used += change
        return change
    tag = vnas_tag(vnas)
    position = tag >> map.sparse.shift
    while map.sparse.slots[position].row >= 0:
        if map.sparse.slots[position].tag == tag:
            if verdict >= 0:
                map.sparse.slots[position].row = verdict
                return 0
            index_remove(&map.sparse, tag, map.sparse.slots[position].row)
            map.n_used -= 1
            return -1
        position = (position + 1) & map.sparse.mask
    if verdict < 0:
        return 0
    map.sparse.slots[position].tag = tag
    map.sparse.slots[position].row = verdict
    map.sparse.n_used += 1
    map.n_used += 1
    return 1


cdef int verdict_check(const VerdictMap* map) except -1:
    cdef uint32_t vnas, n = 0
    if map.n_dense == 0:
        assert map.dense == NULL, "verdicts: an array beside an index"
        index_check(&map.sparse)
        assert map.sparse.n_used == map.n_used, "verdicts: n_used is wrong"
        return 0
    assert map.sparse.slots == NULL, "verdicts: an index beside an array"
    for vnas in range(map.n_dense):
        n += map.dense[vnas] >= 0
    assert n == map.n_used, "verdicts: n_used is wrong"
    return 0
