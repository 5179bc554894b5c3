# The walk through a capture: from window to window, with what is met on the way. From C: see Capture in reader.pxd, or read
# windows by capture_walk.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from vnasfast.capture.pcap cimport PcapState, pcap_columns
from vnasfast.capture.pcapng cimport PcapngState, pcapng_columns
from vnasfast.capture.times cimport TimeUnit
from vnasfast.capture.walk cimport Records
from vnasfast.capture.window cimport Window, WindowSource
from vnasfast.typedefs cimport FrameBlock

# A row of the capture's interface list; FrameBlock.interfaces holds its number.
cdef struct InterfaceRow:
    TimeUnit time
    uint32_t link_type
    uint32_t snaplen            # 0: no limit


cdef class Walker:
    cdef InterfaceRow* rows     # of `n_rows`; later ones may lie elsewhere, but these stay as they are until the end
    cdef size_t n_rows
    cdef readonly str name
    cdef readonly str format
    cdef WindowSource windows   # of a capture that is no stream
    cdef uint64_t next_start    # where the next record begins, in bytes of the capture, unpacked
    cdef bint is_stream
    cdef bint ended             # nothing comes any more; `error` says why, if it was not the end
    cdef object error           # met, and raised by every read from now on
    cdef PcapState pcap
    cdef PcapngState pcapng
    cdef bint is_pcapng
    cdef Window own_window      # of read(), and the only one of a stream; None: closed
    cdef uint64_t ready_ns      # when it was made ready
    cdef size_t needed          # bytes from next_start that a stream must give
    cdef object source
    cdef object stream_damage   # met while filling the buffer; an error once the buffer is used up
    cdef list interface_list
    cdef list old_rows          # memory of earlier `rows`, which other threads may still look at

    cdef Window new_window(self)
    cdef int next_run(self, Window window, Records* records, size_t limit) except -1
    cdef int next_window(self, Window window) except -1
    cdef int fill(self, Window window) except -1
    cdef int meet(self, Window window, int status) except -1
    cdef int fail(self, str problem) except -1
    cdef object damaged(self, uint64_t offset, str problem)
    cdef int start(self) except -1
    cdef int describe_interface(self, Window window) except -1
    cdef int add_interface(self, object interface) except -1

# For code that reads windows of its own, also in several threads: each makes windows ready by itself, and walks them when
# it is their turn. One caller at a time, in the order of the windows, between Capture.begin_reading() and reading = False.
# Appends the records of the window from next_start on; gives a WalkStatus:
#   WALK_FULL      call again: `records` is full, or what follows is read by another `pcapng` state
#   WALK_PASSED    the window is done
#   WALK_NEEDS     of a stream: the window is done, and there may be more
#   WALK_DAMAGED   `ended`: all is done
cdef int capture_walk(Walker capture, Window window, Records* records) noexcept nogil


cdef inline void records_columns(
    const PcapState* pcap, const PcapngState* pcapng, const uint8_t* base, const uint32_t* starts, size_t n,
    FrameBlock* block,
) noexcept nogil:
    """Fill the columns of records that capture_walk found. `pcapng` is NULL in a pcap. Any thread, with states of its own."""
    if pcapng != NULL:
        pcapng_columns(pcapng, base, starts, n, block)
    else:
        pcap_columns(pcap, base, starts, n, block)
