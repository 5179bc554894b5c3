# The headers of most captures' records to columns, many at a time: headers.h.

from libc.stdint cimport UINT32_MAX, int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.capture.pcap cimport PCAP_CAPTURED_FIRST, PCAP_RECORD_BYTES, PcapState
from vnasfast.capture.pcapng cimport PcapngState
from vnasfast.capture.times cimport TimeUnit, time_is_simple, time_most
from vnasfast.vector cimport vector_path

cdef extern from "vnasfast/capture/headers.h" nogil:
    ctypedef struct Headers "VnasHeaders":
        bint pcapng
        uint32_t tick_ns
        uint32_t most
        int64_t offset_ns
    ctypedef struct FrameColumns "VnasColumns":
        uint64_t* offsets
        uint32_t* lengths
        uint32_t* wire_lengths
        int64_t* times_ns
    # What loops over frames add up beside their columns.
    ctypedef struct FrameSums "VnasSums":
        uint64_t bytes              # on the wire
        uint64_t captured_bytes
        int64_t before              # the last time
        int64_t disorder            # negative: a time is, or lies before the one before it
        uint32_t others             # not 0: a block is no enhanced packet, or a time is too late; the columns mean nothing then
    void _to_columns "vnas_headers_to_columns"(
        int vector, const Headers* headers, const uint8_t* base, const uint32_t* starts, size_t first, size_t end,
        const FrameColumns* columns, FrameSums* sums) noexcept


cdef inline bint pcap_is_common(const PcapState* state, Headers* headers) noexcept nogil:
    """Whether headers_to_columns reads these records, and how."""
    headers.pcapng = False
    headers.tick_ns = 1000000000 // state.units
    headers.most = 0
    headers.offset_ns = 0
    return state.record_bytes == PCAP_RECORD_BYTES and state.length_order == PCAP_CAPTURED_FIRST and not state.swapped


cdef inline bint pcapng_is_common(const PcapngState* state, const TimeUnit* unit, Headers* headers) noexcept nogil:
    """The same of a capture with one interface; whether the blocks are all of the common kind only the sums will say."""
    if state.swapped or not time_is_simple(unit):
        return False
    headers.pcapng = True
    headers.tick_ns = <uint32_t>unit.tick_ns
    headers.most = <uint32_t>min(time_most(unit) >> 32, <uint64_t>UINT32_MAX)
    headers.offset_ns = unit.offset_seconds * 1000000000
    return headers.most > 0


cdef inline void headers_to_columns(
    const Headers* headers, const uint8_t* base, const uint32_t* starts, size_t first, size_t end,
    const FrameColumns* columns, FrameSums* sums,
) noexcept nogil:
    """Fill the columns of records `first` to `end`, but for ticks and interfaces; and times and sums. Any thread."""
    _to_columns(vector_path, headers, base, starts, first, end, columns, sums)
