# Counting what was dispatched: the tables' "resources used" columns.

from libc.stdint cimport int32_t, int64_t, uint64_t

from vnasfast.tables.tables cimport MachineTables
from vnasfast.tables.usage cimport usage_count
from vnasfast.typedefs cimport DELIVERED

cdef inline void account(MachineTables* tables, int32_t result, uint64_t n_bytes, int64_t time_ns) noexcept nogil:
    """Count one dispatched packet to its socket, or to its outcome. One writer at a time."""
    if result >= 0:
        usage_count(&tables.sockets.usage[result], n_bytes, time_ns)
        usage_count(&tables.outcomes[DELIVERED], n_bytes, time_ns)
    else:
        usage_count(&tables.outcomes[-result], n_bytes, time_ns)
