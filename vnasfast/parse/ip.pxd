# IPv4, IPv6 and the ports behind them, written into a FlowKey.
#
# ip_plain is the common case in few branches; ip_read is everything, and agrees with it wherever both answer.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from vnasfast.parse.link cimport ETHERTYPE_IPV4, ETHERTYPE_IPV6, cut_outcome
from vnasfast.parse.load cimport likely, load_be16, load_be32, load_word
from vnasfast.typedefs cimport FIRST_FRAGMENT, LATER_FRAGMENT, MALFORMED, NO_TRANSPORT, WHOLE, FlowKey

cdef enum Protocol:
    HOP_BY_HOP = 0
    TCP = 6
    UDP = 17
    DCCP = 33
    ROUTING = 43
    FRAGMENT = 44
    AUTHENTICATION = 51
    DESTINATION_OPTIONS = 60
    SCTP = 132
    MOBILITY = 135
    UDPLITE = 136
    HIP = 139
    SHIM6 = 140

cdef enum IpLimit:
    # More than any sender makes; bounds the work that one hostile frame can ask for.
    IPV6_EXTENSIONS_MAX = 32
    PORTS_BYTES = 4

cdef enum KeyWord:
    # Where VLAN and protocol lie in the key's fifth word, when it is stored as one little-endian number.
    KEY_VLAN = 32
    KEY_PROTOCOL = 48


cdef extern from *:
    """
    /* TCP, UDP, DCCP, SCTP, UDP-Lite: one load instead of five compares, and no branch, since traffic mixes them. */
    static const unsigned char vnasfast_has_ports[256] = {[6] = 1, [17] = 1, [33] = 1, [132] = 1, [136] = 1};
    """
    const uint8_t* _has_ports "vnasfast_has_ports"


cdef inline bint protocol_has_ports(uint32_t protocol) noexcept nogil:
    # `protocol` is a byte.
    return _has_ports[protocol]


cdef inline bint protocol_is_extension(uint32_t protocol) noexcept nogil:
    return (
        protocol == HOP_BY_HOP or protocol == ROUTING or protocol == FRAGMENT
        or protocol == DESTINATION_OPTIONS or protocol == AUTHENTICATION
        or protocol == MOBILITY or protocol == HIP or protocol == SHIM6
    )


cdef inline uint32_t ip_plain(
    uint32_t ethertype, const uint8_t* frame, uint64_t offset, uint32_t length, uint32_t vlan, FlowKey* key,
) noexcept nogil:
    # The key of an unfragmented IPv4 packet without options, or IPv6 without extension headers, whose ports
    # are captured: the offset of its ports. 0, and the key untouched, for anything else.
    # The caller knows that 24 bytes lie at `offset`, and that `ethertype` is one of the two.
    #
    # Measured: 6 to 7 ns a 60-byte Ethernet/IPv4/TCP frame in L2, 11 ns with IPv4 and IPv6 in random order.
    # Reading both versions by the same instructions, all differences selected by masks, took 11 and 15 ns:
    # the branch that is guessed wrong costs less than the loads that wait for the selected offsets.
    cdef const uint8_t* header = frame + offset
    cdef uint64_t protocol, ports, first, second, third, fourth
    if ethertype == ETHERTYPE_IPV4:
        protocol = header[9]
        if not likely(
            (header[0] == 0x45) & ((load_be16(header + 6) & 0x3FFF) == 0) & (load_be16(header + 2) >= 24)
            & protocol_has_ports(protocol)
        ):
            return 0
        offset += 20
        first = third = 0
        fourth = <uint64_t>0xFFFF0000 | (load_word(header + 12) << 32)
        second = <uint64_t>0xFFFF0000 | (load_word(header + 16) << 32)
    else:
        protocol = header[6]
        if not likely(
            (header[0] >> 4 == 6) & (load_be16(header + 4) >= 4)
            & protocol_has_ports(protocol) & (offset + 44 <= length)
        ):
            return 0
        offset += 40
        third = load_word(header + 8)
        fourth = load_word(header + 16)
        first = load_word(header + 24)
        second = load_word(header + 32)
    ports = load_be32(frame + offset)
    memcpy(key.destination, &first, 8)
    memcpy(key.destination + 8, &second, 8)
    memcpy(key.source, &third, 8)
    memcpy(key.source + 8, &fourth, 8)
    # Ports, VLAN, protocol, status and PID, fragment: two words instead of seven stores.
    ports |= (<uint64_t>vlan << KEY_VLAN) | (protocol << KEY_PROTOCOL)
    memcpy(&key.destination_port, &ports, 8)
    memset(&key.source_pid, 0, 8)
    return <uint32_t>offset


cdef inline void _address_from_ipv4(uint8_t* address, const uint8_t* at) noexcept nogil:
    address[10] = 0xFF
    address[11] = 0xFF
    memcpy(address + 12, at, 4)


cdef inline uint32_t _ports_read(
    const uint8_t* frame, uint64_t offset, uint64_t end, uint32_t length, uint32_t wire_length,
    bint first_fragment, FlowKey* key,
) noexcept nogil:
    # `offset`: behind the last IP header, which is captured; `end`: of the IP payload, perhaps not captured.
    cdef uint32_t following = <uint32_t>offset if offset < length and offset < end else 0
    if not protocol_has_ports(key.protocol):
        key.status = NO_TRANSPORT
    elif offset + PORTS_BYTES > end:
        key.status = MALFORMED
    elif offset + PORTS_BYTES > length:
        key.status = cut_outcome(length, wire_length)
    else:
        key.source_port = <uint16_t>load_be16(frame + offset)
        key.destination_port = <uint16_t>load_be16(frame + offset + 2)
        key.status = FIRST_FRAGMENT if first_fragment else WHOLE
    return following


cdef inline uint32_t _ipv4_read(
    const uint8_t* frame, uint64_t offset, uint32_t length, uint32_t wire_length, FlowKey* key,
) noexcept nogil:
    cdef const uint8_t* header = frame + offset
    cdef uint64_t captured = length - offset
    cdef uint64_t header_bytes, total_bytes
    cdef uint32_t fragment
    if captured >= 1 and header[0] >> 4 != 4:
        key.status = MALFORMED
        return 0
    if captured >= 10:
        key.protocol = header[9]
    if captured >= 16:
        _address_from_ipv4(key.source, header + 12)
    if captured < 20:
        key.status = cut_outcome(length, wire_length)
        return 0
    _address_from_ipv4(key.destination, header + 16)
    header_bytes = 4 * <uint64_t>(header[0] & 0x0F)
    total_bytes = load_be16(header + 2)
    if total_bytes == 0:
        # The sender's card was to cut this into segments: as long as the frame.
        total_bytes = (length if length > wire_length else wire_length) - offset
    if header_bytes < 20 or total_bytes < header_bytes:
        key.status = MALFORMED
        return 0
    if header_bytes > captured:
        key.status = cut_outcome(length, wire_length)
        return 0
    fragment = load_be16(header + 6) & 0x3FFF
    if fragment:
        key.fragment_id = load_be16(header + 4)
        if fragment & 0x1FFF:
            key.status = LATER_FRAGMENT
            offset += header_bytes
            return <uint32_t>offset if offset < length and header_bytes < total_bytes else 0
    return _ports_read(
        frame, offset + header_bytes, offset + total_bytes, length, wire_length, fragment != 0, key)


cdef inline uint32_t _ipv6_read(
    const uint8_t* frame, uint64_t offset, uint32_t length, uint32_t wire_length, FlowKey* key,
) noexcept nogil:
    cdef const uint8_t* header = frame + offset
    cdef uint64_t captured = length - offset
    cdef uint64_t end, extension_bytes
    cdef uint32_t n_extensions = 0
    cdef uint32_t fragment
    cdef bint first_fragment = False
    if captured >= 1 and header[0] >> 4 != 6:
        key.status = MALFORMED
        return 0
    if captured >= 7:
        key.protocol = header[6]
    if captured >= 24:
        memcpy(key.source, header + 8, 16)
    if captured < 40:
        key.status = cut_outcome(length, wire_length)
        return 0
    memcpy(key.destination, header + 24, 16)
    end = offset + 40 + load_be16(header + 4)
    offset += 40
    if end == offset and key.protocol == HOP_BY_HOP:
        # A jumbogram, or segmentation left to the sender's card: as long as the frame.
        end = length if length > wire_length else wire_length
    while protocol_is_extension(key.protocol):
        # `offset` <= `length` and `offset` <= `end` here. key.protocol names the header at `offset`.
        n_extensions += 1
        if offset + 8 > end or n_extensions > IPV6_EXTENSIONS_MAX:
            key.status = MALFORMED
            return 0
        if offset + 8 > length:
            key.status = cut_outcome(length, wire_length)
            return 0
        header = frame + offset
        if key.protocol == FRAGMENT:
            extension_bytes = 8
            fragment = load_be16(header + 2) & 0xFFF9
            if fragment:
                key.fragment_id = load_be32(header + 4)
            if fragment & 0xFFF8:
                key.protocol = header[0]
                key.status = LATER_FRAGMENT
                offset += 8
                return <uint32_t>offset if offset < length and offset < end else 0
            first_fragment = first_fragment or fragment != 0
        elif key.protocol == AUTHENTICATION:
            extension_bytes = 4 * (<uint64_t>header[1] + 2)
        else:
            extension_bytes = 8 * (<uint64_t>header[1] + 1)
        if offset + extension_bytes > end:
            key.status = MALFORMED
            return 0
        if offset + extension_bytes > length:
            key.status = cut_outcome(length, wire_length)
            return 0
        key.protocol = header[0]
        offset += extension_bytes
    return _ports_read(frame, offset, end, length, wire_length, first_fragment, key)


cdef inline uint32_t ip_read(
    uint32_t ethertype, const uint8_t* frame, uint64_t offset, uint32_t length, uint32_t wire_length,
    FlowKey* key,
) noexcept nogil:
    # Fills all but the VLAN of a key that was all zero. `offset` <= `length`. Returns like parse_frame.
    if ethertype == ETHERTYPE_IPV4:
        return _ipv4_read(frame, offset, length, wire_length, key)
    return _ipv6_read(frame, offset, length, wire_length, key)
