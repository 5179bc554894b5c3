# A capture under reading: from C, call next_block and look at `block`, `base` inside it, and `rows`.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.capture.pcap cimport PcapState
from vnasfast.capture.pcapng cimport PcapngState
from vnasfast.capture.times cimport TimeUnit
from vnasfast.typedefs cimport FrameBlock

# A row of the capture's interface list; FrameBlock.interfaces holds its number.
cdef struct InterfaceRow:
    TimeUnit time
    uint32_t link_type
    uint32_t snaplen            # 0: no limit


cdef class Capture:
    cdef FrameBlock block       # the frames of the last read
    cdef InterfaceRow* rows     # may move when the capture is read
    cdef size_t n_rows
    cdef readonly str name
    cdef readonly str format
    cdef readonly uint64_t n_frames
    cdef size_t _capacity
    cdef size_t _position       # in the window
    cdef size_t _visible        # bytes of the window that the walk may see
    cdef size_t _released       # bytes of a mapped file given back
    cdef uint64_t _dropped      # bytes of a stream that lay before the window
    cdef const uint8_t[::1] _window
    cdef PcapState _pcap
    cdef PcapngState _pcapng
    cdef bint _is_pcapng
    cdef bint _reading
    cdef object _source
    cdef object _buffer         # of a stream: the window's owner
    cdef object _error          # met, and raised by every read from now on
    cdef object _stream_damage  # met while filling the buffer; an error once the buffer is used up
    cdef list _interfaces
    cdef bytearray _offsets, _lengths, _wire_lengths, _ticks, _rows_of_frames, _times_ns

    cdef Py_ssize_t next_block(self, size_t limit) except -1
    cdef int _walk(self) except -1
    cdef int _see(self, size_t needed) except -1
    cdef int _fill(self, size_t needed) except -1
    cdef int _add_interface(self, object interface) except -1
    cdef int _describe_interface(self) except -1
    cdef int _fail(self, str problem) except -1
    cdef int _start(self) except -1
    cdef object _column(self, bytearray column, str dtype)
