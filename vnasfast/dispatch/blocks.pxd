# Blocks of parsed keys to sockets, beside changes of the tables. All need no GIL; at most BLOCK keys at a time.

from libc.stdint cimport int32_t, int64_t, uint32_t

from vnasfast.tables.tables cimport Tables
from vnasfast.tables.tally cimport Tally
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4

cdef enum:
    BLOCK = 512     # packets between two looks at the locks; their keys take 24 KiB, so they stay in the cache

ctypedef fused AnyKey:
    FlowKey
    FlowKeyIpv4

# Only what the data plane can't answer waits until a change is made.
cdef void dispatch_keys(Tables tables, const AnyKey* keys, size_t n, int32_t* results) noexcept nogil
# Counts to the tally, which may be NULL: to the tables.
cdef void dispatch_and_count(Tables tables, const AnyKey* keys, size_t n, int32_t* results, const uint32_t* wire_lengths,
                             const int64_t* times_ns, Tally* tally) noexcept nogil
# For whoever also wants the VNAS IDs of the destinations: changes wait.
cdef void dispatch_with_vnases(Tables tables, const FlowKey* keys, size_t n, int32_t* results, int32_t* vnases, bint count,
                               const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil
# Links a tally, so that dispatch_and_count may count to it; and adds to the tables what it counted.
cdef bint tally_begin(Tables tables, Tally* tally) noexcept nogil
cdef void tally_end(Tables tables, Tally* tally) noexcept nogil
cdef size_t n_missed(const int32_t* results, size_t n) noexcept nogil
