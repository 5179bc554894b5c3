# The tables' "resources used" columns: what was dispatched to a row.

from libc.stdint cimport int64_t, uint64_t

cdef struct Usage:
    uint64_t packets
    uint64_t bytes
    int64_t first_ns    # 0: no time was given yet
    int64_t last_ns

# Room for n rows, zero until they are counted, in memory that grows without a copy; or MemoryError. Nobody may count meanwhile.
cdef int usage_reserve(Usage** usage, size_t* n_bytes, size_t n) except -1

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

cdef inline void usage_add(Usage* total, const Usage* part) noexcept nogil:
    total.packets += part.packets
    total.bytes += part.bytes
    if part.first_ns != 0:
        usage_span(total, part.first_ns, part.last_ns)
