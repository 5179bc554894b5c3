"""Counters of one of several threads, added to the tables' counters when somebody reads those."""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from vnasfast.tables.locks cimport mutex_lock, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_unlock
from vnasfast.tables.memory cimport enlarge, give_back
from vnasfast.tables.usage cimport (
    MOST_COUNTED, N_OUTCOMES, ROWS_BEFORE, Usage, packed_count, packed_fit, packed_full, packed_settle, usage_add,
    usage_count_many, usage_unpack,
)


cdef Tally* tally_new() noexcept nogil:
    cdef Tally* tally = <Tally*>calloc(1, sizeof(Tally))
    if tally != NULL:
        pthread_mutex_init(&tally.lock, NULL)
    return tally


cdef void give_rows_back(Tally* tally) noexcept nogil:
    if tally.usage != NULL:
        give_back(tally.usage - ROWS_BEFORE, tally.usage_bytes)
        give_back(tally.packed.counts - ROWS_BEFORE, tally.packed.n_bytes)
    free(tally.counted)


cdef void tallies_free(Tally* first) noexcept nogil:
    cdef Tally* tally
    while first != NULL:
        tally = first
        first = tally.following
        pthread_mutex_destroy(&tally.lock)
        give_rows_back(tally)
        free(tally)


cdef bint tally_has_room(const Tally* tally, size_t n) noexcept nogil:
    return n <= tally.capacity and tally.n_counted <= 2 * tally.capacity


cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil:
    cdef size_t n_rows = n + ROWS_BEFORE
    cdef Usage* usage
    cdef uint64_t* counts
    cdef int32_t* counted
    if n <= tally.capacity:
        return True
    # All zero, so nothing needs to be kept; and pages of sockets without packets are never touched.
    usage = <Usage*>enlarge(NULL, 0, n_rows * sizeof(Usage))
    counts = <uint64_t*>enlarge(NULL, 0, n_rows * sizeof(uint64_t))
    counted = <int32_t*>malloc((2 * n + MOST_COUNTED) * sizeof(int32_t))
    if usage == NULL or counts == NULL or counted == NULL:
        if usage != NULL:
            give_back(usage, n_rows * sizeof(Usage))
        if counts != NULL:
            give_back(counts, n_rows * sizeof(uint64_t))
        free(counted)
        return False
    give_rows_back(tally)
    tally.usage = usage + ROWS_BEFORE
    tally.usage_bytes = n_rows * sizeof(Usage)
    tally.packed.counts = counts + ROWS_BEFORE
    tally.packed.n_bytes = n_rows * sizeof(uint64_t)
    tally.counted = counted
    tally.capacity = n
    return True


cdef size_t tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                        const int64_t* times_ns) noexcept nogil:
    cdef size_t n_fresh = 0, missed
    if times_ns == NULL and packed_fit(wire_lengths, n) and not packed_full(&tally.packed):
        return packed_count(&tally.packed, tally.outcomes, results, n, wire_lengths)
    missed = usage_count_many(
        tally.usage, tally.outcomes, results, n, wire_lengths, times_ns, tally.counted + tally.n_counted, &n_fresh)
    tally.n_counted += n_fresh
    return missed


cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil:
    cdef size_t i
    cdef int outcome
    cdef int32_t socket
    packed_settle(&tally.packed, sockets, tally.capacity)
    for i in range(tally.n_counted):
        socket = tally.counted[i]
        usage_add(&sockets[socket], &tally.usage[socket])
        memset(&tally.usage[socket], 0, sizeof(Usage))
    tally.n_counted = 0
    for outcome in range(N_OUTCOMES):
        usage_add(&outcomes[outcome], &tally.outcomes[outcome])
    memset(tally.outcomes, 0, sizeof(tally.outcomes))


cdef void tallies_add_to(Tally* first, Usage* sockets, Usage* outcomes) noexcept nogil:
    cdef Tally* tally = first
    while tally != NULL:
        mutex_lock(&tally.lock)
        tally_add_to(tally, sockets, outcomes)
        pthread_mutex_unlock(&tally.lock)
        tally = tally.following


cdef void tallies_move(Tally* first, int32_t socket, Usage* usage) noexcept nogil:
    cdef Tally* tally = first
    while tally != NULL:
        mutex_lock(&tally.lock)
        if <size_t>socket < tally.capacity:
            usage_unpack(usage, tally.packed.counts[socket])
            tally.packed.counts[socket] = 0
            # It stays in `counted`: looking for it there would take as long as there are sockets.
            usage_add(usage, &tally.usage[socket])
            memset(&tally.usage[socket], 0, sizeof(Usage))
        pthread_mutex_unlock(&tally.lock)
        tally = tally.following
