# What a frame shows of who serves: written into the tables of evidence.pxd. One writer at a time.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from vnasfast.parse.frame cimport parse_frame
from vnasfast.parse.ip cimport DCCP, SCTP, TCP, UDP, UDPLITE, ip_read
from vnasfast.parse.link cimport (
    ETHERTYPE_IPV4, ETHERTYPE_IPV6, LINK_ETHERNET, LINK_SLL, LINK_SLL2, ethertype_is_tag, link_read,
)
from vnasfast.parse.load cimport likely, load_be16
from vnasfast.replay.evidence cimport (
    ANSWERED, ASKED, ASKED_HERE, BY_ANSWER, CALLED_IS_SENDER, CONTINUED, REFUSED, TWO_WAY,
    ClaimRow, EndpointRow, EndpointTable, EvidenceTables, FlowRow, endpoint_hash, flow_hash, roll_add, roll_find,
)
from vnasfast.tables.family cimport is_any, is_ipv4, is_loopback
from vnasfast.tables.hashing cimport hash_address, load64
from vnasfast.typedefs cimport NO_TRANSPORT, NOT_IP, FlowKey

cdef enum:
    ICMP = 1
    ICMPV6 = 58
    ETHERTYPE_ARP = 0x0806
    TCP_FLAGS = 13
    TCP_SYN_ACK = 0x12
    TCP_FIN_RST = 0x05
    SCTP_FIRST_CHUNK = 12
    SCTP_INIT_ACK = 2
    DCCP_TYPE = 8
    DCCP_RESPONSE = 1
    # No system picks a caller's port below this one: those that want a reserved port take it from 512 to 1023.
    CALLERS_FROM = 512
    RESERVED_BELOW = 1024


cdef inline int32_t _endpoint(
    EvidenceTables* tables, EndpointTable* table, uint64_t hash, const uint8_t* address, uint32_t vlan,
    uint32_t protocol, uint32_t port, uint32_t interface,
) noexcept nogil:
    """Find or add an endpoint; -1: the table is full."""
    cdef int32_t number = roll_find(&table.roll, hash)
    cdef EndpointRow* row
    if number >= 0:
        return number
    number = roll_add(&table.roll, hash)
    if number < 0:
        return -1
    row = &table.rows[number]
    memset(row, 0, sizeof(EndpointRow))
    memcpy(row.address, address, 16)
    row.first_frame = tables.n_frames
    row.interface = interface
    row.vlan = <uint16_t>vlan
    row.port = <uint16_t>port
    row.protocol = <uint8_t>protocol
    return number


# --- addresses --------------------------------------------------------------------------------------------------------

cdef inline bint _is_group(const uint8_t* address) noexcept nogil:
    """Multicast, or IPv4 broadcast to all."""
    cdef uint64_t hi = load64(address), lo = load64(address + 8)
    if is_ipv4(hi, lo):
        return address[12] >> 4 == 0xE or lo >> 32 == <uint64_t>0xFFFFFFFF
    return address[0] == 0xFF


cdef inline bint _is_host(const uint8_t* address) noexcept nogil:
    """An address that one machine can have."""
    return not is_any(load64(address), load64(address + 8)) and not _is_group(address)


cdef inline bint _sent_to_group(uint32_t link_type, const uint8_t* frame) noexcept nogil:
    """What the link layer says; the frame holds an IP header, so its link header is whole."""
    if link_type == LINK_ETHERNET:
        return frame[0] & 1
    if link_type == LINK_SLL:
        return frame[0] == 0 and (frame[1] == 1 or frame[1] == 2)
    if link_type == LINK_SLL2:
        return frame[10] == 1 or frame[10] == 2
    return False


# --- what frames show -------------------------------------------------------------------------------------------------

cdef inline void _see_acceptance(EvidenceTables* tables, const FlowKey* key, uint32_t interface) noexcept nogil:
    cdef uint64_t hash
    if key.source_port == 0 or not _is_host(key.source):
        return
    hash = endpoint_hash(&tables.seed, key.source, key.vlan, key.protocol, key.source_port)
    cdef int32_t row = _endpoint(
        tables, &tables.acceptors, hash, key.source, key.vlan, key.protocol, key.source_port, interface)
    if row >= 0:
        tables.acceptors.rows[row].flags = ANSWERED


cdef inline EndpointRow* _group_port(EvidenceTables* tables, const FlowKey* key, uint32_t port, bint add,
                              uint32_t interface) noexcept nogil:
    """The row of a port at any group of the frame's VLAN, or NULL."""
    cdef uint8_t nobody[16]
    cdef uint64_t hash
    cdef int32_t row
    memset(nobody, 0, 16)
    hash = endpoint_hash(&tables.seed, nobody, key.vlan, key.protocol, port)
    if add:
        row = _endpoint(tables, &tables.talkers, hash, nobody, key.vlan, key.protocol, port, interface)
    else:
        row = roll_find(&tables.talkers.roll, hash)
    return NULL if row < 0 else &tables.talkers.rows[row]


cdef inline bint _was_asked(EvidenceTables* tables, const FlowKey* key) noexcept nogil:
    """Tell whether somebody asked the source port at a group from the destination port. Equal ports tell nothing."""
    cdef const EndpointRow* port
    if key.source_port == key.destination_port:
        return False
    port = _group_port(tables, key, key.source_port, False, 0)
    return port != NULL and port.flags & ASKED_HERE and port.asked_port == key.destination_port


cdef inline void _see_group_packet(EvidenceTables* tables, const FlowKey* key, uint32_t interface) noexcept nogil:
    cdef int32_t sender = -1
    cdef EndpointRow* port
    cdef bint answer = _was_asked(tables, key)
    if _is_host(key.source):
        sender = _endpoint(
            tables, &tables.talkers,
            endpoint_hash(&tables.seed, key.source, key.vlan, key.protocol, key.source_port),
            key.source, key.vlan, key.protocol, key.source_port, interface)
    if answer:
        if sender >= 0:
            tables.talkers.rows[sender].flags |= ANSWERED
        return
    if sender >= 0:
        tables.talkers.rows[sender].flags |= ASKED
        tables.talkers.rows[sender].asked_port = key.destination_port
    port = _group_port(tables, key, key.destination_port, True, interface)
    if port != NULL:
        port.flags |= ASKED_HERE
        port.asked_port = key.source_port


cdef inline uint32_t _flow_flags(
    EvidenceTables* tables, const FlowKey* key, const EndpointRow* destination, uint32_t sender_address,
) noexcept nogil:
    """Who was called, as the first packet of a flow shows it."""
    if destination.flags & ASKED and destination.asked_port == key.source_port:
        return CALLED_IS_SENDER | BY_ANSWER
    if _was_asked(tables, key):
        return CALLED_IS_SENDER | BY_ANSWER
    if key.destination_port >= RESERVED_BELOW and key.source_port >= RESERVED_BELOW:
        if destination.last_called == sender_address:
            return CALLED_IS_SENDER | CONTINUED
        if destination.flags & ASKED and destination.asked_port != key.destination_port:
            return CALLED_IS_SENDER | CONTINUED
    if 0 < key.source_port < CALLERS_FROM and key.destination_port >= RESERVED_BELOW:
        return CALLED_IS_SENDER | BY_ANSWER
    return 0


cdef inline void _see_flow(EvidenceTables* tables, const FlowKey* key, uint32_t interface) noexcept nogil:
    cdef uint64_t sender_hash = endpoint_hash(&tables.seed, key.source, key.vlan, key.protocol, key.source_port)
    cdef uint64_t destination_hash = endpoint_hash(
        &tables.seed, key.destination, key.vlan, key.protocol, key.destination_port)
    cdef uint64_t hash = flow_hash(&tables.seed, sender_hash, destination_hash)
    cdef int32_t number = roll_find(&tables.flows.roll, hash)
    cdef int32_t sender, destination
    cdef uint32_t sender_address
    cdef FlowRow* flow
    if likely(number >= 0):
        flow = &tables.flows.rows[number]
        if flow.sender_hash != <uint32_t>sender_hash:
            flow.flags |= TWO_WAY
        return
    if sender_hash == destination_hash or not _is_host(key.source) or not _is_host(key.destination):
        return
    sender = _endpoint(tables, &tables.talkers, sender_hash, key.source, key.vlan, key.protocol, key.source_port,
                       interface)
    destination = _endpoint(tables, &tables.talkers, destination_hash, key.destination, key.vlan, key.protocol,
                            key.destination_port, interface)
    if sender < 0 or destination < 0:
        tables.flows.roll.n_left_out += 1
        return
    number = roll_add(&tables.flows.roll, hash)
    if number < 0:
        return
    flow = &tables.flows.rows[number]
    flow.sender = sender
    flow.destination = destination
    flow.sender_hash = <uint32_t>sender_hash
    sender_address = <uint32_t>endpoint_hash(&tables.seed, key.source, key.vlan, 0, 0)
    flow.flags = _flow_flags(tables, key, &tables.talkers.rows[destination], sender_address)
    if flow.flags == 0 and key.destination_port < RESERVED_BELOW:
        tables.talkers.rows[sender].last_called = <uint32_t>endpoint_hash(
            &tables.seed, key.destination, key.vlan, 0, 0)


cdef inline void _see_refusal(
    EvidenceTables* tables, const FlowKey* key, const uint8_t* frame, uint32_t offset, uint32_t length,
    uint32_t wire_length, uint32_t interface,
) noexcept nogil:
    """Read the packet that an ICMP error quotes at `offset`."""
    cdef FlowKey quoted
    cdef int32_t row
    if offset >= length:
        return
    memset(&quoted, 0, sizeof(FlowKey))
    ip_read(ETHERTYPE_IPV4 if key.protocol == ICMP else ETHERTYPE_IPV6, frame, offset, length, wire_length, &quoted)
    if quoted.status < 0 or quoted.destination_port == 0 or not _is_host(quoted.destination):
        return
    if quoted.protocol != UDP and quoted.protocol != UDPLITE:
        return
    row = _endpoint(
        tables, &tables.talkers,
        endpoint_hash(&tables.seed, quoted.destination, key.vlan, quoted.protocol, quoted.destination_port),
        quoted.destination, key.vlan, quoted.protocol, quoted.destination_port, interface)
    if row >= 0:
        tables.talkers.rows[row].flags |= REFUSED


cdef inline void _see_claim(
    EvidenceTables* tables, uint32_t vlan, const uint8_t* mac, const uint8_t* address, uint32_t interface,
) noexcept nogil:
    cdef uint8_t words[8]
    cdef uint64_t hash
    cdef int32_t number
    cdef ClaimRow* row
    memset(words, 0, 8)
    memcpy(words, mac, 6)
    if mac[0] & 1 or load64(words) == 0 or not _is_host(address) or is_loopback(load64(address), load64(address + 8)):
        return
    hash = hash_address(
        &tables.seed, load64(address), load64(address + 8), load64(words) | (<uint64_t>vlan << 48))
    number = roll_find(&tables.claims.roll, hash)
    if number >= 0:
        return
    number = roll_add(&tables.claims.roll, hash)
    if number < 0:
        return
    row = &tables.claims.rows[number]
    memcpy(row.address, address, 16)
    memcpy(row.mac, mac, 6)
    row.vlan = <uint16_t>vlan
    row.interface = interface
    row.first_frame = tables.n_frames


cdef inline void _see_arp(
    EvidenceTables* tables, uint32_t vlan, const uint8_t* frame, uint32_t length, uint32_t interface,
) noexcept nogil:
    cdef uint8_t address[16]
    cdef uint32_t offset = 12
    while offset + 2 <= length and ethertype_is_tag(load_be16(frame + offset)):
        offset += 4
    if offset + 20 > length or load_be16(frame + offset) != ETHERTYPE_ARP:
        return
    # Hardware Ethernet, protocol IPv4, their lengths; then request or reply.
    if memcmp(frame + offset + 2, <const char*>b"\x00\x01\x08\x00\x06\x04\x00", 7) != 0:
        return
    if not 1 <= frame[offset + 9] <= 2:
        return
    memset(address, 0, 16)
    address[10] = address[11] = 0xFF
    memcpy(address + 12, frame + offset + 16, 4)
    _see_claim(tables, vlan, frame + offset + 10, address, interface)


cdef inline void _see_neighbour(
    EvidenceTables* tables, const FlowKey* key, const uint8_t* frame, uint32_t offset, uint32_t length,
    uint32_t wire_length, uint32_t interface,
) noexcept nogil:
    """Read a message of neighbour discovery: the option that says which MAC its sender has."""
    cdef uint32_t ethertype, option
    cdef uint16_t vlan
    cdef uint32_t kind = frame[offset]
    cdef int64_t ip = link_read(LINK_ETHERNET, frame, length, wire_length, &ethertype, &vlan)
    # A router passes nothing on with hop limit 255: its sender is on this link.
    if ip < 0 or frame[ip + 7] != 255:
        return
    option = offset + (8 if kind == 133 else 16 if kind == 134 else 24)
    while option + 8 <= length and frame[option + 1]:
        if kind == 136 and frame[option] == 2:
            _see_claim(tables, key.vlan, frame + option + 2, frame + offset + 8, interface)
            return
        if kind != 136 and frame[option] == 1:
            _see_claim(tables, key.vlan, frame + option + 2, key.source, interface)
            return
        option += 8 * frame[option + 1]


cdef inline void _see_other(
    EvidenceTables* tables, uint32_t link_type, const FlowKey* key, const uint8_t* frame, uint32_t offset,
    uint32_t length, uint32_t wire_length, uint32_t interface,
) noexcept nogil:
    """A frame without ports: ARP, ICMP and ICMPv6 tell something."""
    cdef uint32_t kind
    if key.status == NOT_IP:
        if link_type == LINK_ETHERNET:
            _see_arp(tables, key.vlan, frame, length, interface)
        return
    if key.status != NO_TRANSPORT or offset == 0 or offset + 8 > length:
        return
    kind = frame[offset]
    if key.protocol == ICMP:
        # Unreachable, but for "too large" (code 4), and time exceeded.
        if (kind == 3 and frame[offset + 1] != 4) or kind == 11:
            _see_refusal(tables, key, frame, offset + 8, length, wire_length, interface)
    elif key.protocol == ICMPV6:
        if kind == 1 or kind == 3:
            _see_refusal(tables, key, frame, offset + 8, length, wire_length, interface)
        elif 133 <= kind <= 136 and link_type == LINK_ETHERNET:
            _see_neighbour(tables, key, frame, offset, length, wire_length, interface)


cdef inline void see_frame(
    EvidenceTables* tables, uint32_t link_type, const uint8_t* frame, uint32_t length, uint32_t wire_length,
    uint32_t interface,
) noexcept nogil:
    cdef FlowKey key
    cdef uint32_t offset = parse_frame(link_type, frame, length, wire_length, &key)
    tables.n_frames += 1
    if key.status < 0:
        _see_other(tables, link_type, &key, frame, offset, length, wire_length, interface)
    elif likely(key.protocol == TCP):
        tables.n_connection_frames += 1
        if offset + TCP_FLAGS < length and (frame[offset + TCP_FLAGS] & (TCP_SYN_ACK | TCP_FIN_RST)) == TCP_SYN_ACK:
            _see_acceptance(tables, &key, interface)
    elif key.protocol == UDP or key.protocol == UDPLITE:
        if key.destination_port == 0:
            return
        if _is_group(key.destination) or _sent_to_group(link_type, frame):
            _see_group_packet(tables, &key, interface)
        else:
            _see_flow(tables, &key, interface)
    elif key.protocol == SCTP:
        tables.n_connection_frames += 1
        if offset + SCTP_FIRST_CHUNK < length and frame[offset + SCTP_FIRST_CHUNK] == SCTP_INIT_ACK:
            _see_acceptance(tables, &key, interface)
    elif key.protocol == DCCP:
        tables.n_connection_frames += 1
        if offset + DCCP_TYPE < length and (frame[offset + DCCP_TYPE] >> 1) & 0x0F == DCCP_RESPONSE:
            _see_acceptance(tables, &key, interface)
