# A captured frame's FlowKey: link layer, IP, ports.

from libc.stdint cimport int8_t, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from vnasfast.parse.ip cimport ip_plain, ip_read
from vnasfast.parse.link cimport ETHERTYPE_IPV4, ETHERTYPE_IPV6, LINK_ETHERNET, link_read
from vnasfast.parse.load cimport likely, load_be16
from vnasfast.typedefs cimport FlowKey


cdef inline uint32_t _frame_read(
    uint32_t link_type, const uint8_t* frame, uint32_t length, uint32_t wire_length, FlowKey* key,
) noexcept nogil:
    cdef uint32_t ethertype, following
    cdef uint16_t vlan
    cdef int64_t offset = link_read(link_type, frame, length, wire_length, &ethertype, &vlan)
    memset(key, 0, sizeof(FlowKey))
    key.vlan = vlan
    if offset < 0:
        key.status = <int8_t>offset
        return 0
    if offset + 24 <= length:
        following = ip_plain(ethertype, frame, offset, length, vlan, key)
        if following:
            return following
    return ip_read(ethertype, frame, offset, length, wire_length, key)


cdef inline uint32_t parse_frame(
    uint32_t link_type, const uint8_t* frame, uint32_t length, uint32_t wire_length, FlowKey* key,
) noexcept nogil:
    # Fills the whole key of a frame of which `length` bytes were captured and `wire_length` were on the wire.
    # Returns the offset of what follows the last IP header, or 0 where none of that is captured.
    cdef uint32_t ethertype, tagged, tag, following
    # Ethernet with at most one tag, passed by arithmetic: 18 bytes of link header and 24 of IP are there.
    if link_type == LINK_ETHERNET and length >= 42:
        ethertype = load_be16(frame + 12)
        tagged = (ethertype == 0x8100) | (ethertype == 0x88A8)
        tag = load_be16(frame + 14) & 0x0FFF & (0 - tagged)
        ethertype = load_be16(frame + 12 + 4 * tagged)
        if (ethertype == ETHERTYPE_IPV4) | (ethertype == ETHERTYPE_IPV6):
            following = ip_plain(ethertype, frame, 14 + 4 * tagged, length, tag, key)
            if likely(following != 0):
                return following
    return _frame_read(link_type, frame, length, wire_length, key)
