# The headers of most pcap records to columns, many at a time: pcap_columns.h.

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.capture.pcap cimport PCAP_CAPTURED_FIRST, PCAP_RECORD_BYTES, PcapState
from vnasfast.vector cimport vector_path

cdef extern from "vnasfast/capture/pcap_columns.h" nogil:
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
    void _columns_of "vnas_columns_of"(
        int vector, const uint8_t* base, const uint32_t* starts, size_t first, size_t end, uint32_t tick_ns,
        const FrameColumns* columns, FrameSums* sums) noexcept


cdef inline bint pcap_is_common(const PcapState* state) noexcept nogil:
    """Whether pcap_common_columns reads these records."""
    return state.record_bytes == PCAP_RECORD_BYTES and state.length_order == PCAP_CAPTURED_FIRST and not state.swapped


cdef inline void pcap_common_columns(
    const PcapState* state, const uint8_t* base, const uint32_t* starts, size_t first, size_t end,
    const FrameColumns* columns, FrameSums* sums,
) noexcept nogil:
    """What pcap_columns does of records `first` to `end`, but for ticks and interfaces; with times and sums. Any thread."""
    _columns_of(vector_path, base, starts, first, end, 1000000000 // state.units, columns, sums)
