"""Counters of one of several threads, added to the tables' counters at the end."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from vnasfast.tables.memory cimport enlarge, give_back
from vnasfast.tables.usage cimport (
    BYTES_BITS, LENGTH_BITS, MOST_COUNTED, N_OUTCOMES, PACKETS_BITS, ROWS_BEFORE, Usage, span_delivered, usage_add, usage_count_many,
    usage_span, usage_unpack,
)
from vnasfast.vector cimport vector_path

cdef extern from "vnasfast/tables/counting.h" nogil:
    bint fit_half_rows "vnas_fit_half_rows"(int vector, const uint32_t* lengths, const int64_t* times_ns, size_t n,
                                            int64_t newest_ns) noexcept
    uint64_t count_half_rows "vnas_count_half_rows"(HalfRow* rows, const int32_t* results, const uint32_t* lengths,
                                                    const int64_t* times_ns, size_t n, uint16_t* fresh, size_t* n_fresh) noexcept

cdef extern from "<pthread.h>" nogil:
    int pthread_mutex_init(pthread_mutex_t* lock, const void* attributes) noexcept
    int pthread_mutex_destroy(pthread_mutex_t* lock) noexcept
    int pthread_mutex_lock(pthread_mutex_t* lock) noexcept
    int pthread_mutex_unlock(pthread_mutex_t* lock) noexcept


cdef void tally_init(Tally* tally) noexcept nogil:
    memset(tally, 0, sizeof(Tally))
    pthread_mutex_init(&tally.lock, NULL)


cdef void give_rows_back(Tally* tally) noexcept nogil:
    if tally.half_rows != NULL:
        give_back(tally.half_rows - ROWS_BEFORE, tally.half_bytes)
    if tally.usage != NULL:
        give_back(tally.usage - ROWS_BEFORE, tally.usage_bytes)
    free(tally.counted)


cdef void tally_free(Tally* tally) noexcept nogil:
    pthread_mutex_destroy(&tally.lock)
    give_rows_back(tally)


cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil:
    cdef size_t half_bytes = (n + ROWS_BEFORE) * sizeof(HalfRow)
    cdef size_t usage_bytes = (n + ROWS_BEFORE) * sizeof(Usage)
    cdef HalfRow* half_rows
    cdef Usage* usage
    cdef int32_t* counted
    if n <= tally.capacity:
        return True
    # All zero, so nothing needs to be kept; and pages of sockets without packets are never touched.
    half_rows = <HalfRow*>enlarge(NULL, 0, half_bytes)
    usage = <Usage*>enlarge(NULL, 0, usage_bytes)
    counted = <int32_t*>malloc(n * sizeof(int32_t))
    if half_rows == NULL or usage == NULL or counted == NULL:
        if half_rows != NULL:
            give_back(half_rows, half_bytes)
        if usage != NULL:
            give_back(usage, usage_bytes)
        free(counted)
        return False
    give_rows_back(tally)
    tally.half_rows = half_rows + ROWS_BEFORE
    tally.half_bytes = half_bytes
    tally.usage = usage + ROWS_BEFORE
    tally.usage_bytes = usage_bytes
    tally.counted = counted
    tally.capacity = n
    return True


cdef inline uint64_t take_half_row(HalfRow* row, Usage* usage) noexcept nogil:
    """Add what a half row has to usage; its packets. Its first time is there already."""
    cdef uint64_t packets = row.counted >> BYTES_BITS
    if packets:
        usage_unpack(usage, row.counted)
        usage_span(usage, row.last_ns, row.last_ns)
        row.counted = 0
    return packets


cdef void settle(Tally* tally) noexcept nogil:
    """Take all half rows into the usage."""
    cdef size_t i
    for i in range(tally.n_counted):
        take_half_row(&tally.half_rows[tally.counted[i]], &tally.usage[tally.counted[i]])
    tally.half_packets = tally.half_sum = 0


cdef size_t count_in_order(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                           const int64_t* times_ns) noexcept nogil:
    """Count packets that fit half rows; how many reached no socket."""
    cdef uint16_t[MOST_COUNTED] fresh
    cdef size_t n_fresh, i
    cdef int32_t result
    cdef uint64_t n_bytes, missed = 0, missed_bytes
    cdef int outcome
    if ((tally.half_packets + MOST_COUNTED) >> PACKETS_BITS
            or (tally.half_sum + (<uint64_t>MOST_COUNTED << LENGTH_BITS)) >> BYTES_BITS):
        settle(tally)
    n_bytes = count_half_rows(tally.half_rows, results, wire_lengths, times_ns, n, fresh, &n_fresh)
    for i in range(n_fresh):
        result = results[fresh[i]]
        if result < 0:
            usage_span(&tally.outcomes[-result], times_ns[fresh[i]], times_ns[fresh[i]])
            continue
        if tally.usage[result].packets == 0:
            tally.counted[tally.n_counted] = result
            tally.n_counted += 1
        usage_span(&tally.usage[result], times_ns[fresh[i]], times_ns[fresh[i]])
    missed_bytes = 0
    for outcome in range(1, N_OUTCOMES):
        missed_bytes -= tally.outcomes[outcome].bytes
        missed += take_half_row(&tally.half_rows[-outcome], &tally.outcomes[outcome])
        missed_bytes += tally.outcomes[outcome].bytes
    tally.outcomes[0].packets += n - missed
    tally.outcomes[0].bytes += n_bytes - missed_bytes
    span_delivered(&tally.outcomes[0], results, n, times_ns, True)
    tally.half_packets += n
    tally.half_sum += n_bytes
    tally.newest_ns = times_ns[n - 1]
    return missed


cdef size_t tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                        const int64_t* times_ns) noexcept nogil:
    cdef int32_t[MOST_COUNTED] fresh
    cdef size_t n_fresh, missed, i
    if wire_lengths != NULL and times_ns != NULL and fit_half_rows(vector_path, wire_lengths, times_ns, n, tally.newest_ns):
        return count_in_order(tally, results, n, wire_lengths, times_ns)
    missed = usage_count_many(tally.usage, tally.outcomes, results, n, wire_lengths, times_ns, fresh, &n_fresh)
    for i in range(n_fresh):
        if tally.half_rows[fresh[i]].counted == 0:      # else it is there already
            tally.counted[tally.n_counted] = fresh[i]
            tally.n_counted += 1
    return missed


cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil:
    cdef size_t i
    cdef int outcome
    cdef int32_t socket
    settle(tally)
    tally.newest_ns = 0
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
        pthread_mutex_lock(&tally.lock)
        if <size_t>socket < tally.capacity:
            take_half_row(&tally.half_rows[socket], &tally.usage[socket])
            if tally.usage[socket].packets:
                usage_add(usage, &tally.usage[socket])
                forget(tally, socket)
        pthread_mutex_unlock(&tally.lock)
        tally = tally.following
