# pcap: a header of 24 bytes, then records: a header of 16 bytes (24 in the modified format), and the frame.

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from vnasfast.capture.walk cimport WALK_DAMAGED, WALK_FULL, WALK_NEEDS, WALK_PASSED, Records, load_32
from vnasfast.typedefs cimport FrameBlock

cdef extern from *:
    """
    /* Keeps GCC from seeing that a length which was compared with another, and differed, is that other. */
    #define vnas_hidden(length) __asm__ volatile("" : "+r"(length))
    """
    void hidden "vnas_hidden"(uint32_t length) noexcept nogil

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
    bint steady                 # most records of the last walk had as many captured bytes as the one before


cdef inline uint32_t pcap_captured(
    const PcapState* state, const uint8_t* record, const bint swapped, const bint plain,
) noexcept nogil:
    cdef uint32_t first = load_32(record + 8, swapped)
    cdef uint32_t second
    if plain:
        return first
    second = load_32(record + 12, swapped)
    if state.length_order == PCAP_WIRE_FIRST or (state.length_order == PCAP_SMALLER_FIRST and first > second):
        return second
    return first


cdef inline int pcap_walk_as(
    PcapState* state, const uint8_t* base, size_t visible, size_t until, size_t* position, Records* records,
    const bint swapped, const bint plain,
) noexcept nogil:
    """The walk of pcap_walk. Compiled once for each pair of the constants `swapped` and `plain`, so that neither
    is asked for a record; `plain` means a 16-byte record header with the captured length first.
    """
    cdef size_t at = position[0]
    cdef size_t n = records.n
    cdef size_t capacity = records.capacity
    cdef size_t header = PCAP_RECORD_BYTES if plain else state.record_bytes
    cdef uint32_t allowed = state.allowed
    cdef uint32_t captured
    cdef uint32_t usual = 0
    cdef size_t changes = 0, end
    cdef uint32_t* starts = records.starts
    cdef int status = WALK_PASSED
    cdef size_t sure = min(until, visible - header) if visible > header else 0
    # While nothing is the matter: four conditions a record. Why it ended, the loops below find out.
    #
    # Where most records are as long as the one before, a branch says so, and a core goes on by the usual length while the length itself
    # is loaded still: 2 to 3 ns less a record. Where lengths change it would guess wrong, which takes longer than the load.
    if state.steady:
        while at < sure and n < capacity:
            captured = pcap_captured(state, base + at, swapped, plain)
            if captured != usual:
                usual = captured
                hidden(usual)
                changes += 1
            end = at + header + usual
            if usual > allowed or end > visible:
                break
            starts[n] = <uint32_t>at
            n += 1
            at = end
    else:
        while at < sure and n < capacity:
            captured = pcap_captured(state, base + at, swapped, plain)
            changes += captured != usual
            usual = captured
            end = at + header + captured
            if captured > allowed or end > visible:
                break
            starts[n] = <uint32_t>at
            n += 1
            at = end
    state.steady = 8 * changes < n - records.n
    while at < until:
        if n == capacity:
            status = WALK_FULL
            break
        end = at + header
        if end > visible:
            state.needed = header
            status = WALK_NEEDS
            break
        captured = pcap_captured(state, base + at, swapped, plain)
        if captured > allowed:
            state.problem = PCAP_TOO_LONG
            state.found = captured
            status = WALK_DAMAGED
            break
        end += captured
        if end > visible:
            state.needed = end - at
            status = WALK_NEEDS
            break
        starts[n] = <uint32_t>at
        n += 1
        at = end
    records.n = n
    position[0] = at
    return status


cdef inline int pcap_walk(
    PcapState* state, const uint8_t* base, size_t visible, size_t until, size_t* position, Records* records,
) noexcept nogil:
    """Append the records that begin from `position` to before `until`; a WalkStatus says why it ended.

    `position` moves past every record appended. `visible` bytes can be read from `base`; `until` is at most 2**31.
    One thread a state.
    """
    if state.record_bytes == PCAP_RECORD_BYTES and state.length_order == PCAP_CAPTURED_FIRST:
        if state.swapped:
            return pcap_walk_as(state, base, visible, until, position, records, True, True)
        return pcap_walk_as(state, base, visible, until, position, records, False, True)
    return pcap_walk_as(state, base, visible, until, position, records, state.swapped, False)


cdef inline void pcap_columns_as(
    const PcapState* state, const uint8_t* base, const uint32_t* starts, size_t n, FrameBlock* block,
    const bint swapped, const bint plain,
) noexcept nogil:
    cdef size_t header = PCAP_RECORD_BYTES if plain else state.record_bytes
    cdef uint64_t units = state.units
    cdef uint32_t captured
    cdef const uint8_t* record
    cdef size_t i
    for i in range(n):
        record = base + starts[i]
        captured = pcap_captured(state, record, swapped, plain)
        block.offsets[i] = starts[i] + header
        block.lengths[i] = captured
        # Whichever of the two it is not.
        block.wire_lengths[i] = (
            load_32(record + 12, swapped) if plain
            else load_32(record + 8, swapped) ^ load_32(record + 12, swapped) ^ captured
        )
        # A fraction of a second or more is not refused: it carries into the seconds.
        block.ticks[i] = load_32(record, swapped) * units + load_32(record + 4, swapped)
        block.interfaces[i] = 0


cdef inline void pcap_columns(
    const PcapState* state, const uint8_t* base, const uint32_t* starts, size_t n, FrameBlock* block,
) noexcept nogil:
    """Fill the columns of records that pcap_walk found; the block's base is `base`. Any thread."""
    if state.record_bytes == PCAP_RECORD_BYTES and state.length_order == PCAP_CAPTURED_FIRST:
        if state.swapped:
            pcap_columns_as(state, base, starts, n, block, True, True)
        else:
            pcap_columns_as(state, base, starts, n, block, False, True)
    else:
        pcap_columns_as(state, base, starts, n, block, state.swapped, False)
    block.base = base
    block.n = n


cdef object pcap_start(PcapState* state, bytes header, str name)
cdef str pcap_problem(const PcapState* state, uint32_t link_type)
cdef str pcap_description(const PcapState* state)
