# The policy `linux` in words.

from libc.stdint cimport int32_t, uint64_t

from vnasfast.tables.tables cimport Tables
from vnasfast.typedefs cimport FlowKey

# The socket or NO_SOCKET; `rows` receives what was looked at, and `answer` the reason.
cdef int32_t look_as_linux(Tables tables, const FlowKey* key, uint64_t hi, uint64_t lo, int32_t vnas, list rows,
                           list answer) except? -100
