# Plain frames, which are most of them, to keys by arithmetic alone (plain.h); all others to theirs by parse_frame.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from vnasfast.parse.link cimport LINK_ETHERNET
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4
from vnasfast.vector cimport vector_path

cdef extern from "vnasfast/parse/plain.h":
    # Places of frames in their block, by kind, each list in order.
    ctypedef struct Kinds "VnasKinds":
        size_t n_ipv4, n_ipv6, n_others
        uint16_t* ipv4
        uint16_t* ipv6
        uint16_t* others

    void _parse_plain "vnas_parse_plain"(
        int vector, const uint8_t* base, uint64_t n_bytes, const uint64_t* offsets, const uint32_t* lengths, size_t first,
        size_t end, void* ipv4_keys, void* ipv6_keys, Kinds* kinds) noexcept nogil
    bint _outside "vnas_outside"(
        int vector, uint64_t n_bytes, const uint64_t* offsets, const uint32_t* lengths, size_t n) noexcept nogil

cdef enum:
    BLOCK = 512     # packets handled together; their keys take 24 KiB at the most, so they stay in the cache

# Frames of a block and their keys: those of plain IPv4 frames, those of plain IPv6 frames, and behind these those of all others.
cdef struct ParsedBlock:
    Kinds kinds
    FlowKeyIpv4 narrow[BLOCK]
    FlowKey wide[BLOCK]


cdef inline size_t first_outside(size_t n, const uint64_t* offsets, const uint32_t* lengths, uint64_t n_bytes) noexcept nogil:
    """The first of n frames that does not lie inside a buffer; n where all do."""
    cdef size_t i
    if _outside(vector_path, n_bytes, offsets, lengths, n):
        for i in range(n):
            if offsets[i] > n_bytes or lengths[i] > n_bytes - offsets[i]:
                return i
    return n


cdef inline void parse_begin(ParsedBlock* block) noexcept nogil:
    """Empty a block."""
    block.kinds.n_ipv4 = block.kinds.n_ipv6 = block.kinds.n_others = 0


cdef inline void parse_plain(
    uint32_t link_type, const uint8_t* base, uint64_t n_bytes, const uint64_t* offsets, const uint32_t* lengths, size_t first,
    size_t end, ParsedBlock* block,
) noexcept nogil:
    """Parse the plain ones of frames `first` to `end` of a block, and list the others.

    Every frame before `first` is in the block already. A frame that does not lie inside the `n_bytes` at `base` is not
    looked at: it is listed among the others. What the key of a plain frame says is what parse_frame's says.
    """
    cdef size_t i
    if link_type == LINK_ETHERNET:
        _parse_plain(vector_path, base, n_bytes, offsets, lengths, first, end, block.narrow, block.wide, &block.kinds)
        return
    for i in range(first, end):
        block.kinds.others[block.kinds.n_others] = <uint16_t>i
        block.kinds.n_others += 1


cdef inline const uint16_t* wide_places(ParsedBlock* block) noexcept nogil:
    """The places of all wide keys, once there are all: those of plain IPv6 frames, and of all others."""
    memcpy(block.kinds.ipv6 + block.kinds.n_ipv6, block.kinds.others, block.kinds.n_others * sizeof(uint16_t))
    return block.kinds.ipv6


cdef inline void widen_key(const FlowKeyIpv4* narrow, FlowKey* key) noexcept nogil:
    """The FlowKey that says what a narrow key says."""
    cdef uint64_t mapped = 0xFFFF0000
    memset(key, 0, sizeof(FlowKey))
    memcpy(key.destination + 8, &mapped, 4)
    memcpy(key.destination + 12, narrow.destination, 4)
    memcpy(key.source + 8, &mapped, 4)
    memcpy(key.source + 12, narrow.source, 4)
    memcpy(&key.destination_port, &narrow.destination_port, 8)
