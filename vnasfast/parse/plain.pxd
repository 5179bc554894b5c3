# Plain IPv4 frames, which are most of them, to narrow keys; all other frames are left to parse_frame.
#
# A plain frame is Ethernet with at most one VLAN tag, IPv4 without options, no fragment, with its ports captured.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from vnasfast.parse.ip cimport KEY_PROTOCOL, KEY_VLAN, protocol_has_ports
from vnasfast.parse.link cimport LINK_ETHERNET
from vnasfast.parse.load cimport load_be16, load_be32, load_word
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4

cdef enum:
    PLAIN_BYTES = 42            # a tagged link header, an IPv4 header and ports: what is looked at

cdef extern from *:
    """
    /* A frame that is not plain, in place of those that are too short to be looked at. */
    static const unsigned char vnasfast_blank_frame[64];
    """
    const uint8_t* _blank_frame "vnasfast_blank_frame"


cdef inline size_t parse_plain(
    uint32_t link_type, const uint8_t* base, const uint64_t* offsets, const uint32_t* lengths, size_t first, size_t n,
    FlowKeyIpv4* keys, uint16_t* places, uint16_t* others, size_t n_plain, size_t n_others,
) noexcept nogil:
    """Parse frames `first` to `first + n`: the number of plain ones, with `n_plain` from frames before.

    The key of a plain frame goes to keys[n_plain], its place among the frames to places[n_plain], and so on; the place of
    any other frame to others[n_others]. All three have room for first + n entries, and one more. Places are below 2**16.

    Nothing here depends on what a frame is but by arithmetic, so mixed traffic costs what plain traffic does: no guess of a
    branch can fail. What the key of a plain frame says is what parse_frame's says.
    """
    cdef size_t i
    cdef uint32_t outer, tagged, plain, vlan
    cdef uint64_t addresses, ports, protocol
    cdef const uint8_t* frame
    cdef const uint8_t* header
    if link_type != LINK_ETHERNET:
        for i in range(first, first + n):
            others[n_others] = <uint16_t>i
            n_others += 1
        return n_plain
    for i in range(first, first + n):
        frame = base + offsets[i] if lengths[i] >= PLAIN_BYTES else _blank_frame
        outer = load_be16(frame + 12)
        tagged = (outer == 0x8100) | (outer == 0x88A8)
        vlan = load_be16(frame + 14) & 0x0FFF & (0 - tagged)
        header = frame + 14 + 4 * tagged
        protocol = header[9]
        # Ethertype, version and header length in one compare.
        plain = (
            (load_be32(header - 2) >> 8 == 0x080045) & ((load_be16(header + 6) & 0x3FFF) == 0)
            & (load_be16(header + 2) >= 24) & protocol_has_ports(<uint32_t>protocol)
        )
        # Source and destination change places.
        addresses = load_word(header + 12)
        addresses = addresses << 32 | addresses >> 32
        ports = load_be32(header + 20) | (<uint64_t>vlan << KEY_VLAN) | (protocol << KEY_PROTOCOL)
        memcpy(&keys[n_plain], &addresses, 8)
        memcpy(&keys[n_plain].destination_port, &ports, 8)
        places[n_plain] = <uint16_t>i
        others[n_others] = <uint16_t>i
        n_plain += plain
        n_others += 1 - plain
    return n_plain


cdef inline void widen_key(const FlowKeyIpv4* narrow, FlowKey* key) noexcept nogil:
    """The FlowKey that says what a narrow key says."""
    cdef uint64_t mapped = 0xFFFF0000
    memset(key, 0, sizeof(FlowKey))
    memcpy(key.destination + 8, &mapped, 4)
    memcpy(key.destination + 12, narrow.destination, 4)
    memcpy(key.source + 8, &mapped, 4)
    memcpy(key.source + 12, narrow.source, 4)
    memcpy(&key.destination_port, &narrow.destination_port, 8)
