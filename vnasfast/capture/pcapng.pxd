# pcapng: sections of blocks. A block: type, length, body, length again. Packets lie in three types of block.

from libc.stdint cimport UINT32_MAX, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.capture.walk cimport (
    WALK_DAMAGED, WALK_FULL, WALK_INTERFACE, WALK_NEEDS, WALK_PASSED, WALK_SECTION, Records, load_16, load_32
)
from vnasfast.typedefs cimport FrameBlock

cdef enum PcapngBlock:
    PCAPNG_INTERFACE = 1
    PCAPNG_OBSOLETE_PACKET = 2
    PCAPNG_SIMPLE_PACKET = 3
    PCAPNG_ENHANCED_PACKET = 6
    PCAPNG_SECTION = 0x0A0D0D0A     # reads the same in both byte orders

cdef enum PcapngSize:
    PCAPNG_BLOCK_BYTES = 12         # the least: type and both lengths
    PCAPNG_INTERFACE_BYTES = 20
    PCAPNG_SIMPLE_BYTES = 16
    PCAPNG_SECTION_BYTES = 28
    PCAPNG_PACKET_BYTES = 32        # an enhanced or obsolete packet block without its frame

# What was wrong; state.found says the number met, state.allowed the number it should have been or kept below.
cdef enum PcapngProblem:
    PCAPNG_LENGTH_SMALL
    PCAPNG_LENGTH_UNALIGNED
    PCAPNG_LENGTH_LARGE
    PCAPNG_LENGTHS_DIFFER
    PCAPNG_CAPTURED_LARGE
    PCAPNG_NO_INTERFACE
    PCAPNG_BYTE_ORDER
    PCAPNG_VERSION

cdef struct PcapngState:
    bint swapped                # the section's byte order is not this machine's
    uint32_t section_row        # row of the section's interface 0 in the capture's list
    uint32_t n_interfaces       # of the section so far
    uint32_t first_snaplen      # of its interface 0; UINT32_MAX: no limit
    uint32_t block_limit        # the longest block believed
    int problem                 # PcapngProblem, after WALK_DAMAGED
    uint64_t found
    uint64_t allowed
    uint64_t needed             # after WALK_NEEDS and WALK_INTERFACE
    bint steady                 # most packets of the last walk had blocks as long as the one before


cdef inline int pcapng_damaged(PcapngState* state, int problem, uint64_t found, uint64_t allowed) noexcept nogil:
    state.problem = problem
    state.found = found
    state.allowed = allowed
    return WALK_DAMAGED


cdef inline int pcapng_needs(PcapngState* state, uint64_t needed) noexcept nogil:
    state.needed = needed
    return WALK_NEEDS


cdef inline int pcapng_check(
    PcapngState* state, const uint8_t* block, size_t size, uint32_t length, uint32_t least, const bint swapped
) noexcept nogil:
    """Check a block's two lengths; WALK_FULL if the block is sound and wholly in the `size` bytes given."""
    cdef uint32_t again
    if length < least:
        return pcapng_damaged(state, PCAPNG_LENGTH_SMALL, length, least)
    if length & 3:
        return pcapng_damaged(state, PCAPNG_LENGTH_UNALIGNED, length, 0)
    if length > state.block_limit:
        return pcapng_damaged(state, PCAPNG_LENGTH_LARGE, length, state.block_limit)
    if size < length:
        return pcapng_needs(state, length)
    again = load_32(block + length - 4, swapped)
    if again != length:
        return pcapng_damaged(state, PCAPNG_LENGTHS_DIFFER, again, length)
    return WALK_FULL


cdef inline int pcapng_section(
    PcapngState* state, const uint8_t* window, size_t size, size_t* position
) noexcept nogil:
    """Begin the section whose header block lies at `position`; WALK_FULL once it has."""
    cdef const uint8_t* block = window + position[0]
    cdef size_t have = size - position[0]
    cdef uint32_t order, length
    cdef uint16_t major
    cdef bint swapped
    cdef int status
    if have < PCAPNG_SECTION_BYTES:
        return pcapng_needs(state, PCAPNG_SECTION_BYTES)
    order = load_32(block + 8, False)
    swapped = order == 0x4D3C2B1A
    if order != 0x1A2B3C4D and not swapped:
        return pcapng_damaged(state, PCAPNG_BYTE_ORDER, load_32(block + 8, True), 0x1A2B3C4D)
    length = load_32(block + 4, swapped)
    status = pcapng_check(state, block, have, length, PCAPNG_SECTION_BYTES, swapped)
    if status != WALK_FULL:
        return status
    major = load_16(block + 12, swapped)
    if major != 1:
        return pcapng_damaged(state, PCAPNG_VERSION, major, 1)
    state.swapped = swapped
    state.section_row += state.n_interfaces
    state.n_interfaces = 0
    state.first_snaplen = UINT32_MAX
    position[0] += length
    return WALK_FULL


cdef inline uint32_t pcapng_interface_of(const uint8_t* here, uint32_t kind, const bint swapped) noexcept nogil:
    # Two bytes of an obsolete block's four count the packets dropped.
    return load_32(here + 8, swapped) if kind == PCAPNG_ENHANCED_PACKET else load_16(here + 8, swapped)


cdef inline uint32_t pcapng_simple_captured(const PcapngState* state, const uint8_t* here, const bint swapped) noexcept nogil:
    cdef uint32_t wire = load_32(here + 8, swapped)
    return wire if wire < state.first_snaplen else state.first_snaplen


cdef inline bint pcapng_like(
    const PcapngState* state, const uint8_t* here, uint32_t length, const bint swapped
) noexcept nogil:
    """Whether a sound enhanced packet block of this length lies here, a length that one had before."""
    return (load_32(here, swapped) == PCAPNG_ENHANCED_PACKET and load_32(here + 4, swapped) == length
            and load_32(here + length - 4, swapped) == length and load_32(here + 8, swapped) < state.n_interfaces
            and load_32(here + 20, swapped) <= length - PCAPNG_PACKET_BYTES)


cdef inline int pcapng_walk_as(
    PcapngState* state, const uint8_t* base, size_t visible, size_t until, size_t* position, Records* records,
    const bint swapped,
) noexcept nogil:
    """The walk of pcapng_walk, compiled once for each byte order."""
    cdef size_t at = position[0]
    cdef size_t n = records.n
    cdef size_t capacity = records.capacity
    cdef uint32_t* starts = records.starts
    cdef uint32_t kind, length, captured, interface
    cdef uint32_t usual = 0
    cdef size_t changes = 0
    cdef const uint8_t* here
    cdef int status = WALK_PASSED
    while at < until:
        # As in pcap_walk_as: where most blocks are as long as the one before, a core goes on by that length while it is loaded still.
        if usual and state.steady:
            while n < capacity and at < until and at + usual <= visible and pcapng_like(state, base + at, usual, swapped):
                starts[n] = <uint32_t>at
                n += 1
                at += usual
            if at >= until:
                break
        if n == capacity:
            status = WALK_FULL
            break
        if at + PCAPNG_BLOCK_BYTES > visible:
            status = pcapng_needs(state, PCAPNG_BLOCK_BYTES)
            break
        here = base + at
        kind = load_32(here, swapped)
        if kind == PCAPNG_SECTION:
            status = WALK_SECTION
            break
        length = load_32(here + 4, swapped)
        status = pcapng_check(state, here, visible - at, length, PCAPNG_BLOCK_BYTES, swapped)
        if status != WALK_FULL:
            break
        status = WALK_PASSED
        at += length
        # From here `length` is the room that the block has for its frame.
        if kind == PCAPNG_ENHANCED_PACKET or kind == PCAPNG_OBSOLETE_PACKET:
            if length < PCAPNG_PACKET_BYTES:
                status = pcapng_damaged(state, PCAPNG_LENGTH_SMALL, length, PCAPNG_PACKET_BYTES)
                break
            interface = pcapng_interface_of(here, kind, swapped)
            captured = load_32(here + 20, swapped)
            changes += length != usual
            usual = length
            length -= PCAPNG_PACKET_BYTES
        elif kind == PCAPNG_SIMPLE_PACKET:
            if length < PCAPNG_SIMPLE_BYTES:
                status = pcapng_damaged(state, PCAPNG_LENGTH_SMALL, length, PCAPNG_SIMPLE_BYTES)
                break
            interface = 0
            captured = pcapng_simple_captured(state, here, swapped)
            length -= PCAPNG_SIMPLE_BYTES
        elif kind == PCAPNG_INTERFACE:
            state.needed = length
            status = WALK_INTERFACE
            break
        else:
            continue
        if interface >= state.n_interfaces:
            status = pcapng_damaged(state, PCAPNG_NO_INTERFACE, interface, state.n_interfaces)
            break
        if captured > length:
            status = pcapng_damaged(state, PCAPNG_CAPTURED_LARGE, captured, length)
            break
        starts[n] = <uint32_t>(here - base)
        n += 1
    state.steady = 8 * changes < n - records.n
    records.n = n
    # A block that could not be taken was passed already, except where it could not even be measured.
    if status == WALK_DAMAGED or status == WALK_INTERFACE:
        at = here - base
    position[0] = at
    return status


cdef inline int pcapng_walk(
    PcapngState* state, const uint8_t* base, size_t visible, size_t until, size_t* position, Records* records,
) noexcept nogil:
    """Append the packets that begin from `position` to before `until`; a WalkStatus says why it ended.

    `position` moves past every block read. After WALK_INTERFACE the caller reads the interface description there, adds
    it to the capture's list and to the state, and passes over it; after WALK_SECTION it calls pcapng_section, which
    changes what pcapng_columns needs. `visible` bytes can be read from `base`; `until` is at most 2**31. One thread a state.
    """
    if state.swapped:
        return pcapng_walk_as(state, base, visible, until, position, records, True)
    return pcapng_walk_as(state, base, visible, until, position, records, False)


cdef inline void pcapng_columns_as(
    const PcapngState* state, const uint8_t* base, const uint32_t* starts, size_t n, FrameBlock* block,
    const bint swapped,
) noexcept nogil:
    cdef size_t i
    cdef uint32_t kind
    cdef const uint8_t* here
    for i in range(n):
        here = base + starts[i]
        kind = load_32(here, swapped)
        if kind == PCAPNG_SIMPLE_PACKET:
            block.offsets[i] = starts[i] + 12
            block.lengths[i] = pcapng_simple_captured(state, here, swapped)
            block.wire_lengths[i] = load_32(here + 8, swapped)
            block.ticks[i] = 0
            block.interfaces[i] = <uint16_t>state.section_row
        else:
            block.offsets[i] = starts[i] + 28
            block.lengths[i] = load_32(here + 20, swapped)
            block.wire_lengths[i] = load_32(here + 24, swapped)
            block.ticks[i] = <uint64_t>load_32(here + 12, swapped) << 32 | load_32(here + 16, swapped)
            block.interfaces[i] = <uint16_t>(state.section_row + pcapng_interface_of(here, kind, swapped))


cdef inline void pcapng_columns(
    const PcapngState* state, const uint8_t* base, const uint32_t* starts, size_t n, FrameBlock* block,
) noexcept nogil:
    """Fill the columns of packets that pcapng_walk found; the block's base is `base`.

    `state` is that of the walk, or a copy of it made before the next section began. Any thread.
    """
    if state.swapped:
        pcapng_columns_as(state, base, starts, n, block, True)
    else:
        pcapng_columns_as(state, base, starts, n, block, False)
    block.base = base
    block.n = n


cdef object pcapng_interface(const PcapngState* state, bytes block)
cdef str pcapng_problem(const PcapngState* state)
cdef str pcapng_description(const PcapngState* state)
