# One CSV row a frame, written into a buffer.

from libc.stdint cimport int32_t, uint64_t

from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walker cimport InterfaceRow
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.typedefs cimport FlowKey, FrameBlock

cdef enum:
    DELIVERY_ROW_BYTES = 512        # more than any row takes
    # Frames parsed, dispatched, counted and written at a time: their keys, 24 KiB, stay in the first-level cache. Measured on
    # 10M frames of 60 bytes to 10k sockets, 256 to 2,048 differ by less than the noise (35 to 41 ns a frame on a busy machine).
    PIECE = 512

# Texts of fixed width, their length in the last byte.
cdef struct DeliveryTexts:
    char protocols[256][16]
    char outcomes[10][16]
    char octets[256][4]

# Whole rows, not yet written to the file.
cdef struct RowBuffer:
    char* text
    size_t used
    size_t capacity

cdef class DeliveryWriter:
    cdef DeliveryTexts texts
    cdef RowBuffer buffer
    cdef uint64_t n_rows            # of frames, handed over to be written
    cdef object _file

cdef bint rows_reserve(RowBuffer* buffer, size_t n) noexcept nogil
cdef bint rows_append(RowBuffer* buffer, RowBuffer* part) noexcept nogil
# Appends the rows of a block of at most PIECE frames, of which the first is frame `number`; False without memory. Any thread, with a
# buffer of its own.
cdef bint rows_of_block(RowBuffer* buffer, const DeliveryTexts* texts, Dispatcher dispatcher, Capture capture,
                        const InterfaceRow* interfaces, const FrameBlock* block, uint64_t number, const FlowKey* keys,
                        const int32_t* results, const int32_t* vnases) noexcept nogil
