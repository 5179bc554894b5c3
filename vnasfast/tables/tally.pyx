"""Counters of one of several threads, added to the tables' counters at the end."""

from libc.stdint cimport int32_t, int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from vnasfast.tables.locks cimport mutex_lock, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_unlock
from vnasfast.tables.memory cimport enlarge, give_back
from vnasfast.tables.usage cimport N_OUTCOMES, ROWS_BEFORE, Usage, usage_add, usage_count_many


cdef void tally_init(Tally* tally) noexcept nogil:
    memset(tally, 0, sizeof(Tally))
    pthread_mutex_init(&tally.lock, NULL)


cdef void give_rows_back(Tally* tally) noexcept nogil:
    if tally.usage != NULL:
        give_back(tally.usage - ROWS_BEFORE, tally.usage_bytes)
    free(tally.counted)


cdef void tally_free(Tally* tally) noexcept nogil:
    pthread_mutex_destroy(&tally.lock)
    give_rows_back(tally)


cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil:
    cdef size_t n_bytes = (n + ROWS_BEFORE) * sizeof(Usage)
    cdef Usage* usage
    cdef int32_t* counted
    if n <= tally.capacity:
        return True
    # All zero, so nothing needs to be kept; and pages of sockets without packets are never touched.
    usage = <Usage*>enlarge(NULL, 0, n_bytes)
    counted = <int32_t*>malloc(n * sizeof(int32_t))
    if usage == NULL or counted == NULL:
        if usage != NULL:
            give_back(usage, n_bytes)
        free(counted)
        return False
    give_rows_back(tally)
    tally.usage = usage + ROWS_BEFORE
    tally.usage_bytes = n_bytes
    tally.counted = counted
    tally.capacity = n
    return True


cdef size_t tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                        const int64_t* times_ns) noexcept nogil:
    cdef size_t n_fresh = 0
    cdef size_t missed = usage_count_many(
        tally.usage, tally.outcomes, results, n, wire_lengths, times_ns, tally.counted + tally.n_counted, &n_fresh)
    tally.n_counted += n_fresh
    return missed


cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil:
    cdef size_t i
    cdef int outcome
    cdef int32_t socket
    for i in range(tally.n_counted):
        socket = tally.counted[i]
        usage_add(&sockets[socket], &tally.usage[socket])
        memset(&tally.usage[socket], 0, sizeof(Usage))
    tally.n_counted = 0
    for outcome in range(N_OUTCOMES):
        usage_add(&outcomes[outcome], &tally.outcomes[outcome])
    memset(tally.outcomes, 0, sizeof(tally.outcomes))


cdef void forget(Tally* tally, int32_t socket) noexcept nogil:
    cdef size_t i = 0
    memset(&tally.usage[socket], 0, sizeof(Usage))
    while tally.counted[i] != socket:
        i += 1
    tally.n_counted -= 1
    tally.counted[i] = tally.counted[tally.n_counted]


cdef void tallies_move(Tally* first, int32_t socket, Usage* usage) noexcept nogil:
    cdef Tally* tally = first
    while tally != NULL:
        mutex_lock(&tally.lock)
        if <size_t>socket < tally.capacity and tally.usage[socket].packets:
            usage_add(usage, &tally.usage[socket])
            forget(tally, socket)
        pthread_mutex_unlock(&tally.lock)
        tally = tally.following
