# One CSV row a frame, written into a buffer.

from libc.stdint cimport int32_t, uint64_t

from vnasfast.capture.reader cimport Capture
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.typedefs cimport FlowKey

cdef enum:
    DELIVERY_ROW_BYTES = 512        # more than any row takes

# Texts of fixed width, their length in the last byte.
cdef struct DeliveryTexts:
    char protocols[256][16]
    char outcomes[10][16]
    char octets[256][4]

cdef class DeliveryWriter:
    cdef DeliveryTexts texts
    cdef char* buffer
    cdef size_t capacity
    cdef size_t used
    cdef uint64_t n_rows
    cdef object _file

    cdef int write_frames(self, Dispatcher dispatcher, Capture capture, size_t start, size_t n, const FlowKey* keys,
                          const int32_t* results, const int32_t* vnases) except -1
