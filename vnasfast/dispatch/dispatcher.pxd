# The class that embeds steps 1 to 4: one packet, many keys, many frames.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.dispatch.delivery cimport Delivery
from vnasfast.parse.fragments cimport FragmentTable
from vnasfast.tables.tables cimport Tables
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4

cdef class Dispatcher:
    cdef readonly Tables tables
    cdef readonly FragmentTable fragments

    cdef int32_t dispatch_one(self, FlowKey* key, uint64_t n_bytes, int64_t time_ns, bint count, int32_t* vnas) noexcept
    cdef int32_t dispatch_frame(self, object frame, object link_type, object source_pid, object time_ns,
                                object wire_length, bint count, int32_t* vnas) except? -100
    cdef Delivery delivery(self, int32_t result, int32_t vnas)

# A frame as people have it, and what they say of it; checked.
cdef uint32_t read_frame(object frame, object link_type, object source_pid, object wire_length, object time_ns,
                         FlowKey* key, int64_t* time) except? 0
# For Cython code that has frames in memory already, such as the replayer: first parse_block, then dispatch_block. Both take
# the locks themselves and need no GIL. A block is at most BLOCK long, as changes of the tables may wait for its end.
cdef void parse_block(Dispatcher dispatcher, uint32_t link_type, const uint8_t* base, uint64_t n_bytes, size_t n,
                      const uint64_t* offsets, const uint32_t* lengths, const uint32_t* wire_lengths,
                      const int64_t* times_ns, FlowKey* keys) noexcept nogil
# `vnases` (NULL: not wanted) receives the destinations' VNAS IDs, -1 where there is none. With `count`, wire_lengths and
# times_ns (NULL: not known) go to the counters. Returns the number of keys that reached no socket.
cdef size_t dispatch_block(Dispatcher dispatcher, const FlowKey* keys, size_t n, int32_t* results, int32_t* vnases,
                           bint count, const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil
cdef size_t dispatch_block_ipv4(Dispatcher dispatcher, const FlowKeyIpv4* keys, size_t n, int32_t* results, bint count,
                                const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil
