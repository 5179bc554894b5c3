# pcap: a header of 24 bytes, then records: a header of 16 bytes (24 in the modified format), and the frame.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from vnasfast.capture.walk cimport WALK_DAMAGED, WALK_FULL, WALK_NEEDS, load_32, look_ahead
from vnasfast.typedefs cimport FrameBlock

cdef enum:
    PCAP_HEADER_BYTES = 24
    PCAP_RECORD_BYTES = 16
    PCAP_MODIFIED_RECORD_BYTES = 24

# Which of a record's two lengths comes first. It changed with version 2.3, whose writers did not agree.
cdef enum PcapLengthOrder:
    PCAP_CAPTURED_FIRST
    PCAP_WIRE_FIRST
    PCAP_SMALLER_FIRST

cdef enum PcapProblem:
    PCAP_TOO_LONG       # a record of state.found captured bytes; state.allowed are allowed

cdef struct PcapState:
    bint swapped                # the file's byte order is not this machine's
    uint32_t record_bytes       # of a record's header
    uint32_t units              # ticks in a second
    uint32_t allowed            # the most captured bytes that a record of this link type can have
    int length_order            # PcapLengthOrder
    int problem                 # PcapProblem, after WALK_DAMAGED
    uint64_t found
    uint64_t needed             # after WALK_NEEDS


cdef inline int pcap_walk_as(
    PcapState* state, const uint8_t* window, size_t size, size_t* position, FrameBlock* block,
    const bint swapped, const bint plain,
) noexcept nogil:
    """The walk of pcap_walk. Compiled once for each pair of the constants `swapped` and `plain`, so that neither
    is asked for a record; `plain` means a 16-byte record header with the captured length first.
    """
    cdef size_t at = position[0]
    cdef size_t asked = at
    cdef size_t n = block.n
    cdef size_t capacity = block.capacity
    cdef size_t header = PCAP_RECORD_BYTES if plain else state.record_bytes
    cdef uint64_t units = state.units
    cdef uint32_t allowed = state.allowed
    cdef uint32_t captured, wire
    cdef const uint8_t* record
    cdef int status = WALK_FULL
    while n < capacity:
        if size - at < header:
            state.needed = header
            status = WALK_NEEDS
            break
        record = window + at
        captured = load_32(record + 8, swapped)
        wire = load_32(record + 12, swapped)
        if not plain:
            if state.length_order == PCAP_WIRE_FIRST or (
                state.length_order == PCAP_SMALLER_FIRST and captured > wire
            ):
                captured, wire = wire, captured
        if captured > allowed:
            state.problem = PCAP_TOO_LONG
            state.found = captured
            status = WALK_DAMAGED
            break
        if size - at - header < captured:
            state.needed = header + captured
            status = WALK_NEEDS
            break
        asked = look_ahead(window, size, at, asked)
        block.offsets[n] = at + header
        block.lengths[n] = captured
        block.wire_lengths[n] = wire
        # A fraction of a second or more is not refused: it carries into the seconds.
        block.ticks[n] = load_32(record, swapped) * units + load_32(record + 4, swapped)
        block.interfaces[n] = 0
        n += 1
        at += header + captured
    block.n = n
    position[0] = at
    return status


cdef inline int pcap_walk(
    PcapState* state, const uint8_t* window, size_t size, size_t* position, FrameBlock* block,
) noexcept nogil:
    """Append the records of the window from `position` to the block; a WalkStatus says why it ended.

    `position` moves past every record appended. The block's base is the window. One thread a state.
    """
    if state.record_bytes == PCAP_RECORD_BYTES and state.length_order == PCAP_CAPTURED_FIRST:
        if state.swapped:
            return pcap_walk_as(state, window, size, position, block, True, True)
        return pcap_walk_as(state, window, size, position, block, False, True)
    return pcap_walk_as(state, window, size, position, block, state.swapped, False)




cdef object pcap_start(PcapState* state, bytes header, str name)
cdef str pcap_problem(const PcapState* state, uint32_t link_type)
cdef str pcap_description(const PcapState* state)
