"""The tables' "resources used" columns."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from vnasfast.tables.memory cimport MAPPED, STRIDE, enlarge

cdef extern from "vnasfast/tables/counting.h" nogil:
    enum:
        PACKETS_BITS "VNAS_PACKETS_BITS"
        LENGTH_BITS "VNAS_LENGTH_BITS"
    ctypedef struct Counted "VnasCounted":
        uint64_t bytes
        size_t n_late
        size_t n_fresh
    bint in_order "vnas_in_order"(const int64_t* times_ns, size_t n) noexcept
    bint positive "vnas_positive"(const int64_t* times_ns, size_t n) noexcept
    bint fit_packed "vnas_fit_packed"(const uint32_t* lengths, size_t n) noexcept
    uint64_t count_packed "vnas_count_packed"(uint64_t* counts, const int32_t* results, const uint32_t* lengths, size_t n) noexcept
    Counted count_times "vnas_count_times"(Usage* rows, const int32_t* results, const uint32_t* lengths, const int64_t* times_ns,
                                           size_t n, uint16_t* late, int32_t* fresh) noexcept

cdef size_t FIRST_ROWS = 128


cdef int reserve(void** rows, size_t* n_bytes, size_t n, size_t row_bytes) except -1:
    cdef size_t larger = max(n_bytes[0], FIRST_ROWS * row_bytes)
    cdef void* memory
    while larger < n * row_bytes:
        larger *= 2 if larger < MAPPED else STRIDE
    if larger > n_bytes[0]:
        memory = enlarge(rows[0], n_bytes[0], larger)
        if memory == NULL:
            raise MemoryError(f"no memory for the counters of {n} rows")
        rows[0] = memory
        n_bytes[0] = larger
    return 0


cdef int usage_reserve(Usage** usage, size_t* n_bytes, size_t n) except -1:
    return reserve(<void**>usage, n_bytes, n, sizeof(Usage))


cdef int packed_reserve(PackedCounts* packed, size_t n) except -1:
    cdef uint64_t* counts = packed.counts - ROWS_BEFORE if packed.counts != NULL else NULL
    reserve(<void**>&counts, &packed.n_bytes, n + ROWS_BEFORE, sizeof(uint64_t))
    packed.counts = counts + ROWS_BEFORE
    return 0


cdef void span_delivered(Usage* delivered, const int32_t* results, size_t n, const int64_t* times_ns, bint ordered) noexcept nogil:
    """Take in the times of those packets that reached a socket."""
    cdef size_t first = 0, last = n, i
    cdef int64_t first_ns = INT64_MAX, last_ns = INT64_MIN
    if ordered:
        while first < n and results[first] < 0:
            first += 1
        while last > first and results[last - 1] < 0:
            last -= 1
        if first < last:
            usage_span(delivered, times_ns[first], times_ns[last - 1])
        return
    for i in range(n):
        if results[i] >= 0 and times_ns[i] != 0:
            first_ns = min(first_ns, times_ns[i])
            last_ns = max(last_ns, times_ns[i])
    if first_ns <= last_ns:
        usage_span(delivered, first_ns, last_ns)


cdef uint64_t count_positive(Usage* rows, const int32_t* results, size_t n, const uint32_t* wire_lengths, const int64_t* times_ns,
                             int32_t* fresh, size_t* n_fresh) noexcept nogil:
    """Count packets with times above 0; the sum of their bytes."""
    cdef uint16_t[MOST_COUNTED] late
    cdef Counted counted = count_times(rows, results, wire_lengths, times_ns, n, late, fresh)
    cdef size_t i
    for i in range(counted.n_late):
        usage_span(&rows[results[late[i]]], times_ns[late[i]], times_ns[late[i]])
    n_fresh[0] = counted.n_fresh
    return counted.bytes


cdef uint64_t count_any(Usage* rows, const int32_t* results, size_t n, const uint32_t* wire_lengths, const int64_t* times_ns,
                        int32_t* fresh, size_t* n_fresh) noexcept nogil:
    """The same with any times or none, and with lengths or without."""
    cdef uint64_t n_bytes = 0, length
    cdef size_t i
    for i in range(n):
        if results[i] >= 0 and rows[results[i]].packets == 0:
            fresh[n_fresh[0]] = results[i]
            n_fresh[0] += 1
        length = wire_lengths[i] if wire_lengths != NULL else 0
        n_bytes += length
        usage_count(&rows[results[i]], length, times_ns[i] if times_ns != NULL else 0)
    return n_bytes


cdef size_t usage_count_many(Usage* rows, Usage* outcomes, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                             const int64_t* times_ns, int32_t* fresh, size_t* n_fresh) noexcept nogil:
    cdef Usage* row
    cdef bint ordered
    cdef int32_t[MOST_COUNTED] unwanted
    cdef size_t n_unwanted
    cdef uint64_t n_bytes = 0, missed = 0, missed_bytes = 0
    cdef int outcome
    if fresh == NULL:
        fresh = unwanted
        n_fresh = &n_unwanted
    n_fresh[0] = 0
    ordered = times_ns != NULL and in_order(times_ns, n)
    if wire_lengths != NULL and times_ns != NULL and (ordered or positive(times_ns, n)):
        n_bytes = count_positive(rows, results, n, wire_lengths, times_ns, fresh, n_fresh)
    else:
        n_bytes = count_any(rows, results, n, wire_lengths, times_ns, fresh, n_fresh)
    if times_ns != NULL:
        span_delivered(&outcomes[0], results, n, times_ns, ordered)
    for outcome in range(1, N_OUTCOMES):
        row = rows - outcome
        if row.packets != 0:
            missed += row.packets
            missed_bytes += row.bytes
            usage_add(&outcomes[outcome], row)
            memset(row, 0, sizeof(Usage))
    outcomes[0].packets += n - missed
    outcomes[0].bytes += n_bytes - missed_bytes
    return missed


cdef void packed_settle(PackedCounts* packed, Usage* rows, size_t n_rows) noexcept nogil:
    cdef size_t i
    if packed.packets == 0:
        return
    for i in range(n_rows):
        if packed.counts[i] != 0:
            usage_unpack(&rows[i], packed.counts[i])
            packed.counts[i] = 0
    packed.packets = packed.bytes = 0


cdef bint packed_fit(const uint32_t* wire_lengths, size_t n) noexcept nogil:
    return wire_lengths == NULL or fit_packed(wire_lengths, n)


cdef bint packed_full(const PackedCounts* packed) noexcept nogil:
    return ((packed.packets + MOST_COUNTED) >> PACKETS_BITS != 0
            or (packed.bytes + (<uint64_t>MOST_COUNTED << LENGTH_BITS)) >> BYTES_BITS != 0)


cdef size_t packed_count(PackedCounts* packed, Usage* outcomes, const int32_t* results, size_t n,
                         const uint32_t* wire_lengths) noexcept nogil:
    cdef Usage missed = Usage(0, 0, 0, 0)
    cdef uint64_t n_bytes = count_packed(packed.counts, results, wire_lengths, n)
    cdef int outcome
    packed.packets += n
    packed.bytes += n_bytes
    for outcome in range(1, N_OUTCOMES):
        if packed.counts[-outcome] != 0:
            usage_unpack(&missed, packed.counts[-outcome])
            usage_unpack(&outcomes[outcome], packed.counts[-outcome])
            packed.counts[-outcome] = 0
    outcomes[0].packets += n - missed.packets
    outcomes[0].bytes += n_bytes - missed.bytes
    return missed.packets
