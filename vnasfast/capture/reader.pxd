# A capture under reading: from C, call next_block and look at `block`, `base` inside it, and `rows`.

from libc.stdint cimport uint64_t

from vnasfast.capture.walk cimport Records
from vnasfast.capture.walker cimport InterfaceRow, Walker
from vnasfast.typedefs cimport FrameBlock

cdef class Capture(Walker):
    cdef FrameBlock block       # the frames of the last read
    cdef readonly uint64_t n_frames
    cdef bint reading
    cdef size_t _capacity
    cdef Records _records
    cdef bytearray _starts, _offsets, _lengths, _wire_lengths, _ticks, _rows_of_frames, _times_ns

    cdef Py_ssize_t next_block(self, size_t limit) except -1
    cdef int begin_reading(self) except -1
    cdef object _column(self, bytearray column, str dtype)
