# Link layer: where a frame's network header lies, and what the link header says it is.

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.typedefs cimport MALFORMED, NOT_IP, TRUNCATED
from vnasfast.parse.load cimport load_be16, load_be32, load_le32

cdef enum LinkType:
    LINK_NULL = 0               # BSD loopback: address family in the byte order of the writing machine
    LINK_ETHERNET = 1
    LINK_RAW_BSD = 12
    LINK_RAW_OPENBSD = 14
    LINK_RAW = 101
    LINK_LOOP = 108             # OpenBSD loopback: address family in network byte order
    LINK_SLL = 113              # Linux cooked
    LINK_IPV4 = 228
    LINK_IPV6 = 229
    LINK_SLL2 = 276             # Linux cooked, version 2

cdef enum Ethertype:
    ETHERTYPE_IPV4 = 0x0800
    ETHERTYPE_IPV6 = 0x86DD
    ETHERTYPE_PPPOE = 0x8864
    ETHERTYPE_MPLS = 0x8847
    ETHERTYPE_MPLS_MULTICAST = 0x8848
    ETHERTYPE_SMALLEST = 0x0600     # below, the field is a length (Ethernet) or a Linux ETH_P number (cooked)
    LINUX_802_2 = 0x0004            # Linux cooked: an LLC header follows


cdef inline bint link_is_known(uint32_t link_type) noexcept nogil:
    return (
        link_type == LINK_ETHERNET or link_type == LINK_SLL or link_type == LINK_SLL2
        or link_type == LINK_NULL or link_type == LINK_LOOP
        or link_type == LINK_RAW or link_type == LINK_RAW_BSD or link_type == LINK_RAW_OPENBSD
        or link_type == LINK_IPV4 or link_type == LINK_IPV6
    )


cdef inline int cut_outcome(uint32_t length, uint32_t wire_length) noexcept nogil:
    # What a header that ends behind the captured bytes means: the capture cut it, or it never was whole.
    return TRUNCATED if length < wire_length else MALFORMED


cdef inline bint ethertype_is_tag(uint32_t ethertype) noexcept nogil:
    # 802.1Q, 802.1ad, and the numbers that switches used for outer tags before 802.1ad.
    return (
        ethertype == 0x8100 or ethertype == 0x88A8
        or ethertype == 0x9100 or ethertype == 0x9200 or ethertype == 0x9300
    )


cdef inline uint32_t ethertype_of_nibble(uint8_t first) noexcept nogil:
    # Where nothing says which IP it is, its version does; 0: neither.
    if first >> 4 == 4:
        return ETHERTYPE_IPV4
    return ETHERTYPE_IPV6 if first >> 4 == 6 else 0


cdef inline int64_t _payload_offset(
    const uint8_t* frame, uint32_t length, uint32_t wire_length,
    uint64_t offset, bint llc, uint32_t* ethertype, uint16_t* vlan,
) noexcept nogil:
    # Passes tags, LLC/SNAP, PPPoE and MPLS from `offset` on. Each round eats at least four bytes, so it ends.
    # `ethertype` is in and out; `llc`: an LLC header lies at `offset`, and `ethertype` says nothing.
    while True:
        if llc:
            llc = False
            if offset + 3 > length:
                return cut_outcome(length, wire_length)
            if frame[offset] == 0x06 and frame[offset + 1] == 0x06 and frame[offset + 2] == 0x03:
                ethertype[0] = ETHERTYPE_IPV4
                return <int64_t>(offset + 3)
            if frame[offset] != 0xAA or frame[offset + 1] != 0xAA or frame[offset + 2] != 0x03:
                return NOT_IP
            if offset + 8 > length:
                return cut_outcome(length, wire_length)
            # Only the OUIs of RFC 1042 and of 802.1H bridging make the last two bytes an Ethertype.
            if frame[offset + 3] != 0 or frame[offset + 4] != 0 or frame[offset + 5] not in (0x00, 0xF8):
                return NOT_IP
            ethertype[0] = load_be16(frame + offset + 6)
            offset += 8
        if ethertype[0] == ETHERTYPE_IPV4 or ethertype[0] == ETHERTYPE_IPV6:
            return <int64_t>offset
        if ethertype_is_tag(ethertype[0]):
            if offset + 4 > length:
                return cut_outcome(length, wire_length)
            if vlan[0] == 0:
                vlan[0] = load_be16(frame + offset) & 0x0FFF
            ethertype[0] = load_be16(frame + offset + 2)
            offset += 4
            llc = ethertype[0] < ETHERTYPE_SMALLEST
        elif ethertype[0] == ETHERTYPE_PPPOE:
            if offset + 8 > length:
                return cut_outcome(length, wire_length)
            if load_be16(frame + offset + 6) == 0x0021:
                ethertype[0] = ETHERTYPE_IPV4
            elif load_be16(frame + offset + 6) == 0x0057:
                ethertype[0] = ETHERTYPE_IPV6
            else:
                return NOT_IP
            return <int64_t>(offset + 8)
        elif ethertype[0] == ETHERTYPE_MPLS or ethertype[0] == ETHERTYPE_MPLS_MULTICAST:
            while True:
                # One byte more than the label: the nibble that says what follows the last one.
                if offset + 5 > length:
                    return cut_outcome(length, wire_length)
                offset += 4
                if frame[offset - 2] & 1:
                    break
            ethertype[0] = ethertype_of_nibble(frame[offset])
            return <int64_t>offset if ethertype[0] else NOT_IP
        else:
            return NOT_IP


cdef inline int64_t link_read(
    uint32_t link_type, const uint8_t* frame, uint32_t length, uint32_t wire_length,
    uint32_t* ethertype, uint16_t* vlan,
) noexcept nogil:
    # The offset of the IP header, with `ethertype` IPv4 or IPv6; or an Outcome. `vlan` is set in both cases.
    # The IP header itself may lie behind the captured bytes: the returned offset is at most `length`.
    cdef uint32_t family
    vlan[0] = 0
    ethertype[0] = 0
    if link_type == LINK_ETHERNET:
        if length < 14:
            return cut_outcome(length, wire_length)
        ethertype[0] = load_be16(frame + 12)
        return _payload_offset(
            frame, length, wire_length, 14, ethertype[0] < ETHERTYPE_SMALLEST, ethertype, vlan)
    if link_type == LINK_SLL:
        if length < 16:
            return cut_outcome(length, wire_length)
        ethertype[0] = load_be16(frame + 14)
        return _payload_offset(
            frame, length, wire_length, 16, ethertype[0] == LINUX_802_2, ethertype, vlan)
    if link_type == LINK_SLL2:
        if length < 20:
            return cut_outcome(length, wire_length)
        ethertype[0] = load_be16(frame)
        return _payload_offset(
            frame, length, wire_length, 20, ethertype[0] == LINUX_802_2, ethertype, vlan)
    if link_type == LINK_NULL or link_type == LINK_LOOP:
        if length < 4:
            return cut_outcome(length, wire_length)
        # Families are small numbers: the byte order in which this one is small is the writer's.
        family = load_be32(frame)
        if family > 0xFFFF:
            family = load_le32(frame)
        if family == 2:
            ethertype[0] = ETHERTYPE_IPV4
        elif family == 10 or family == 23 or family == 24 or family == 28 or family == 30:
            # AF_INET6 of Linux, Windows, NetBSD and OpenBSD, FreeBSD, macOS.
            ethertype[0] = ETHERTYPE_IPV6
        else:
            return NOT_IP
        return 4
    if link_type == LINK_RAW or link_type == LINK_RAW_BSD or link_type == LINK_RAW_OPENBSD:
        if length == 0:
            return cut_outcome(length, wire_length)
        ethertype[0] = ethertype_of_nibble(frame[0])
        return 0 if ethertype[0] else NOT_IP
    if link_type == LINK_IPV4 or link_type == LINK_IPV6:
        ethertype[0] = ETHERTYPE_IPV4 if link_type == LINK_IPV4 else ETHERTYPE_IPV6
        return 0
    return NOT_IP
