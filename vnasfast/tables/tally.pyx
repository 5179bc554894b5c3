"""Counters of one of several threads, added to the tables' counters at the end."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memset

from vnasfast.tables.usage cimport Usage, usage_add, usage_count

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t* lock, const void* attributes) noexcept
    int pthread_mutex_destroy(pthread_mutex_t* lock) noexcept
    int pthread_mutex_lock(pthread_mutex_t* lock) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* lock) noexcept


cdef void tally_init(Tally* tally) noexcept nogil:
    memset(tally, 0, sizeof(Tally))
    pthread_mutex_init(&tally.lock, NULL)


cdef void tally_free(Tally* tally) noexcept nogil:
    pthread_mutex_destroy(&tally.lock)
    free(tally.usage)
    free(tally.counted)


cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil:
    cdef Usage* usage
    cdef int32_t* counted
    if n <= tally.capacity:
        return True
    # All zero, so nothing needs to be kept; and pages of sockets without packets are never touched.
    usage = <Usage*>calloc(n, sizeof(Usage))
    counted = <int32_t*>malloc(n * sizeof(int32_t))
    if usage == NULL or counted == NULL:
        free(usage)
        free(counted)
        return False
    free(tally.usage)
    free(tally.counted)
    tally.usage = usage
    tally.counted = counted
    tally.capacity = n
    return True


cdef void tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                      const int64_t* times_ns) noexcept nogil:
    cdef Usage delivered
    cdef Usage* usage
    cdef size_t i
    cdef size_t n_counted = tally.n_counted
    cdef uint64_t n_delivered = 0, delivered_bytes = 0
    cdef int64_t first_ns = INT64_MAX, last_ns = INT64_MIN
    for i in range(n):
        if results[i] >= 0:
            usage = &tally.usage[results[i]]
            if usage.packets == 0:
                tally.counted[n_counted] = results[i]
                n_counted += 1
            usage_count(usage, wire_lengths[i], times_ns[i])
            n_delivered += 1
            delivered_bytes += wire_lengths[i]
            if times_ns[i] != 0:
                first_ns = min(first_ns, times_ns[i])
                last_ns = max(last_ns, times_ns[i])
        else:
            usage_count(&tally.outcomes[-results[i]], wire_lengths[i], times_ns[i])
    tally.n_counted = n_counted
    delivered.packets = n_delivered
    delivered.bytes = delivered_bytes
    delivered.first_ns = first_ns if first_ns <= last_ns else 0
    delivered.last_ns = last_ns if first_ns <= last_ns else 0
    usage_add(&tally.outcomes[0], &delivered)


cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil:
    cdef size_t i
    cdef int outcome
    cdef int32_t socket
    for i in range(tally.n_counted):
        socket = tally.counted[i]
        usage_add(&sockets[socket], &tally.usage[socket])
        memset(&tally.usage[socket], 0, sizeof(Usage))
    tally.n_counted = 0
    for outcome in range(TALLY_OUTCOMES):
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
        pthread_mutex_lock(&tally.lock)
        if <size_t>socket < tally.capacity and tally.usage[socket].packets:
            usage_add(usage, &tally.usage[socket])
            forget(tally, socket)
        pthread_mutex_unlock(&tally.lock)
        tally = tally.following
