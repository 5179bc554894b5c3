# Capture, parse and dispatch joined, a block of frames at a time.

from libc.stdint cimport int32_t, int64_t, uint64_t

from vnasfast.capture.reader cimport Capture
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.replay.deliveries cimport DeliveryWriter
from vnasfast.replay.misses cimport MissTable
from vnasfast.typedefs cimport FlowKey

cdef enum:
    # Frames parsed, dispatched and counted at a time: their keys, 24 KiB, stay in the first-level cache. Measured on 10M
    # frames of 60 bytes to 10k sockets, 256 to 2,048 differ by less than the noise (35 to 41 ns a frame on a busy machine).
    PIECE = 512

# What one capture held so far.
cdef struct CaptureTotals:
    uint64_t packets
    uint64_t bytes              # on the wire
    uint64_t captured_bytes
    int64_t first_ns            # 0: no time yet
    int64_t last_ns

# Nanoseconds spent in each stage.
cdef struct StageTimes:
    uint64_t reading
    uint64_t parsing
    uint64_t dispatching        # with counting
    uint64_t writing            # of deliveries

cdef class Pipeline:
    cdef readonly Dispatcher dispatcher
    cdef readonly MissTable misses
    cdef readonly DeliveryWriter deliveries     # None: not wanted
    cdef readonly Capture capture               # None before begin()
    cdef readonly bint reading                  # of an exception: it came from the capture
    cdef CaptureTotals totals
    cdef StageTimes times
    cdef FlowKey* keys
    cdef int32_t* results
    cdef int32_t* vnases                        # NULL: not wanted
    cdef int64_t* times_ns
    cdef uint64_t* row_packets                  # by row of the capture's interface list
    cdef size_t n_rows                          # room in row_packets

    cdef int _make_rows(self) except -1
    cdef int _piece(self, size_t start, size_t n) except -1
