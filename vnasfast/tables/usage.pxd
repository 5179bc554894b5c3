# The tables' "resources used" columns: what was dispatched to a row.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

cdef enum:
    N_OUTCOMES = 10
    ROWS_BEFORE = 16    # counters before those of socket 0: a block's misses go to usage[outcome], which is negative
    MOST_COUNTED = 512  # packets at a time

cdef extern from "vnasfast/tables/counting.h":
    enum:
        BYTES_BITS "VNAS_BYTES_BITS"

cdef struct Usage:
    uint64_t packets
    uint64_t bytes
    int64_t first_ns    # 0: no time was given yet
    int64_t last_ns

# What was counted without times, by packed counts: counting.h. It belongs to rows of usage.
cdef struct PackedCounts:
    uint64_t* counts    # by row, behind ROWS_BEFORE others, which are zero again after each block
    size_t n_bytes
    uint64_t packets    # in all counts: in none there are more
    uint64_t bytes

# Room for n rows, zero until they are counted, in memory that grows without a copy; or MemoryError. Nobody may count meanwhile.
cdef int usage_reserve(Usage** usage, size_t* n_bytes, size_t n) except -1
cdef int packed_reserve(PackedCounts* packed, size_t n) except -1

# Whether n packets are short enough for packed counts; and whether a count may get full by MOST_COUNTED packets more.
cdef bint packed_fit(const uint32_t* wire_lengths, size_t n) noexcept nogil
cdef bint packed_full(const PackedCounts* packed) noexcept nogil
# Counts at most MOST_COUNTED packets without times that fit, and then what reached no socket to `outcomes`, as usage_count_many. How many reached no socket.
cdef size_t packed_count(PackedCounts* packed, Usage* outcomes, const int32_t* results, size_t n,
                         const uint32_t* wire_lengths) noexcept nogil
# Adds what was counted to the rows that it belongs to; there are n_rows.
cdef void packed_settle(PackedCounts* packed, Usage* rows, size_t n_rows) noexcept nogil

# Counts at most MOST_COUNTED packets, each to rows[result], and then moves the rows before the first to `outcomes`, [-outcome], of which the
# first has what was delivered. How many reached no socket. `wire_lengths` and `times_ns` are NULL where they are not known. `fresh` receives
# the sockets that had no packet before, if there are times; it may be NULL.
cdef size_t usage_count_many(Usage* rows, Usage* outcomes, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                             const int64_t* times_ns, int32_t* fresh, size_t* n_fresh) noexcept nogil

cdef inline void usage_span(Usage* usage, int64_t first_ns, int64_t last_ns) noexcept nogil:
    """Take in what was counted between two times. Captures of several interfaces are not always in order: both ends are compared."""
    if usage.first_ns == 0 or first_ns < usage.first_ns:
        usage.first_ns = first_ns
    if usage.last_ns == 0 or last_ns > usage.last_ns:
        usage.last_ns = last_ns

cdef inline void usage_count(Usage* usage, uint64_t n_bytes, int64_t time_ns) noexcept nogil:
    usage.packets += 1
    usage.bytes += n_bytes
    if time_ns != 0:
        usage_span(usage, time_ns, time_ns)

cdef inline void usage_unpack(Usage* total, uint64_t count) noexcept nogil:
    """Add a packed count."""
    total.packets += count >> BYTES_BITS
    total.bytes += count & ((<uint64_t>1 << BYTES_BITS) - 1)

cdef inline void usage_add(Usage* total, const Usage* part) noexcept nogil:
    total.packets += part.packets
    total.bytes += part.bytes
    if part.first_ns != 0:
        usage_span(total, part.first_ns, part.last_ns)
