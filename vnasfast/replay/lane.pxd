# What one thread needs to take frames from a window to the counters: memory of its own for each step.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.capture.pcapng cimport PcapngState
from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walker cimport InterfaceRow
from vnasfast.capture.walk cimport Records
from vnasfast.capture.window cimport Window
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.parse.plain cimport ParsedBlock
from vnasfast.replay.deliveries cimport DeliveryWriter, RowBuffer
from vnasfast.replay.misses cimport MissTable
from vnasfast.replay.turns cimport Turn
from vnasfast.tables.tally cimport Tally
from vnasfast.typedefs cimport FrameBlock

cdef enum:
    # Frames between two looks ahead.
    CHUNK = 32
    # Bytes asked for by one of them: no more lines than a core has on their way at a time, or it waits for them.
    AHEAD_BYTES = 24 * 64
    # Records found by one walk: as many as a window of 256 KiB can hold. Power of two, for the table of their misses.
    RUN = 16384

# What frames of one capture came to.
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

# One run of frames: what the walk left for the steps after it.
cdef struct Run:
    uint64_t number             # of the first frame, in the deliveries
    const uint8_t* base         # that the records are counted from
    PcapngState pcapng          # that the records are read by
    const InterfaceRow* rows
    size_t n_rows

cdef class Lane:
    cdef Capture capture
    cdef Dispatcher dispatcher
    cdef DeliveryWriter deliveries  # its texts; None: not wanted
    cdef Window window
    cdef Window other_window        # for a mapped window that is fetched while the first is worked on
    cdef bint in_other              # where the lane's next window is
    cdef Records records
    cdef Run run
    cdef FrameBlock block           # of a piece
    cdef int64_t* times_ns
    cdef ParsedBlock parsed         # the keys of the piece; or all of them in order, as wide keys
    cdef int32_t* results
    cdef int32_t* vnases            # NULL: not wanted
    cdef RowBuffer text             # of deliveries, not yet handed over
    cdef const uint8_t* ahead       # the first line of the following window that was not asked for
    cdef const uint8_t* ahead_end
    cdef size_t ahead_share         # bytes to ask for each time
    cdef MissTable misses           # not yet handed over
    cdef Tally* tally               # what the lane counts to beside other lanes; NULL: to the tables
    cdef CaptureTotals totals
    cdef StageTimes times
    cdef uint64_t* row_packets      # by row of the capture's interface list
    cdef size_t n_row_packets       # room
    cdef bint failed                # no memory

    cdef int begin(self, Capture capture) except -1

# Takes the records of the run to the counters. Fragments wait until it is this run's turn to hand over, so that they see
# all earlier ones. Any thread, one at a time a lane.
cdef void lane_process(Lane lane, Turn* handing_over, uint64_t ticket) noexcept nogil
# Meanwhile fetches the window that comes next, which lies mapped.
cdef void lane_process_ahead(Lane lane, Window following, Turn* handing_over, uint64_t ticket) noexcept nogil
# Hands over what depends on the order of frames. When it is the run's turn.
cdef void lane_hand_over(Lane lane, MissTable misses, DeliveryWriter deliveries) noexcept nogil


cdef extern from * nogil:
    """
    #include <time.h>
    static inline unsigned long long vnas_now_ns(void) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        return (unsigned long long)now.tv_sec * 1000000000u + (unsigned long long)now.tv_nsec;
    }
    """
    uint64_t now_ns "vnas_now_ns"() noexcept
