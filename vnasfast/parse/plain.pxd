# Plain IPv4 frames, which are most of them, to narrow keys; all other frames are left to parse_frame.
#
# A plain frame is Ethernet with at most one VLAN tag, IPv4 without options, no fragment, with its ports captured.

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from vnasfast.parse.ip cimport KEY_PROTOCOL, KEY_VLAN, _has_ports, protocol_has_ports
from vnasfast.parse.link cimport LINK_ETHERNET
from vnasfast.parse.load cimport load_be16, load_be32, load_word
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4
from vnasfast.vector cimport VNAS_VECTOR_AVX2, vector_path

cdef enum:
    PLAIN_BYTES = 42            # a tagged link header, an IPv4 header and ports: what is looked at

cdef extern from *:
    """
    /* A frame that is not plain, in place of those that are too short to be looked at. */
    static const unsigned char vnasfast_blank_frame[64];

    #if defined(__x86_64__) && defined(__GNUC__)
    #include <immintrin.h>

    /* The header fields that make a frame plain are compared at once, and a shuffle makes the key of the 16 bytes in which all
       of its fields lie: 45 instructions a frame, against 66 of the portable loop below. */
    __attribute__((target("avx2,bmi,bmi2")))
    static size_t vnasfast_plain_avx2(const unsigned char *has_ports, const unsigned char *base, const uint64_t *offsets,
                                      const uint32_t *lengths, size_t first, size_t end, void *keys, uint16_t *places,
                                      uint16_t *others, size_t n_plain)
    {
        /* From byte 12 of an untagged frame: Ethertype, version and header length, and the fragment's place and flag. */
        const __m128i want = _mm_setr_epi8(8, 0, 0x45, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0);
        const __m128i mask = _mm_setr_epi8(-1, -1, -1, 0, 0, 0, 0, 0, 0x3F, -1, 0, 0, 0, 0, 0, 0);
        /* From byte 22: -, protocol, -, -, source, destination, source port, destination port. */
        const __m128i order = _mm_setr_epi8(8, 9, 10, 11, 4, 5, 6, 7, 15, 14, 13, 12, -1, -1, 1, -1);
        for (size_t i = first; i < end; i++) {
            const unsigned char *frame = lengths[i] >= 42 ? base + offsets[i] : vnasfast_blank_frame;
            uint16_t outer, tag, total;
            memcpy(&outer, frame + 12, 2);
            memcpy(&tag, frame + 14, 2);
            size_t tagged = (outer == 0x0081) | (outer == 0xA888);
            const unsigned char *at = frame + 4 * tagged;
            memcpy(&total, at + 16, 2);
            __m128i head = _mm_loadu_si128((const __m128i *)(at + 12));
            __m128i key = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 22)), order);
            unsigned plain = _mm_testz_si128(_mm_xor_si128(head, want), mask) & (__builtin_bswap16(total) >= 24)
                             & has_ports[at[23]];
            key = _mm_insert_epi16(key, __builtin_bswap16(tag) & 0x0FFF & -(int)tagged, 6);
            _mm_storeu_si128((__m128i *)keys + n_plain, key);
            places[n_plain] = (uint16_t)i;
            others[i - n_plain] = (uint16_t)i;
            n_plain += plain;
        }
        return n_plain;
    }
    #else
    static size_t vnasfast_plain_avx2(const unsigned char *has_ports, const unsigned char *base, const uint64_t *offsets,
                                      const uint32_t *lengths, size_t first, size_t end, void *keys, uint16_t *places,
                                      uint16_t *others, size_t n_plain)
    {
        return n_plain;     /* never chosen */
    }
    #endif
    """
    const uint8_t* _blank_frame "vnasfast_blank_frame"
    size_t _plain_avx2 "vnasfast_plain_avx2"(
        const uint8_t* has_ports, const uint8_t* base, const uint64_t* offsets, const uint32_t* lengths, size_t first,
        size_t end, void* keys, uint16_t* places, uint16_t* others, size_t n_plain) noexcept nogil


cdef inline size_t _plain_portable(
    const uint8_t* base, const uint64_t* offsets, const uint32_t* lengths, size_t first, size_t end,
    FlowKeyIpv4* keys, uint16_t* places, uint16_t* others, size_t n_plain,
) noexcept nogil:
    cdef size_t i
    cdef uint32_t outer, tagged, plain, vlan
    cdef uint64_t addresses, ports, protocol
    cdef const uint8_t* frame
    cdef const uint8_t* header
    for i in range(first, end):
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
        others[i - n_plain] = <uint16_t>i
        n_plain += plain
    return n_plain


cdef inline size_t parse_plain(
    uint32_t link_type, const uint8_t* base, const uint64_t* offsets, const uint32_t* lengths, size_t first, size_t n,
    FlowKeyIpv4* keys, uint16_t* places, uint16_t* others, size_t n_plain, size_t n_others,
) noexcept nogil:
    """Parse frames `first` to `first + n`: the number of plain ones, with `n_plain` from frames before.

    The key of a plain frame goes to keys[n_plain], its place among the frames to places[n_plain], and so on; the place of
    any other frame to others[n_others]. All three have room for first + n entries, and one more. Places are below 2**16;
    n_plain + n_others is `first`.

    Nothing here depends on what a frame is but by arithmetic, so mixed traffic costs what plain traffic does: no guess of a
    branch can fail. What the key of a plain frame says is what parse_frame's says.
    """
    cdef size_t i
    if link_type != LINK_ETHERNET:
        for i in range(first, first + n):
            others[i - n_plain] = <uint16_t>i
        return n_plain
    if vector_path == VNAS_VECTOR_AVX2:
        return _plain_avx2(_has_ports, base, offsets, lengths, first, first + n, keys, places, others, n_plain)
    return _plain_portable(base, offsets, lengths, first, first + n, keys, places, others, n_plain)


cdef inline void widen_key(const FlowKeyIpv4* narrow, FlowKey* key) noexcept nogil:
    """The FlowKey that says what a narrow key says."""
    cdef uint64_t mapped = 0xFFFF0000
    memset(key, 0, sizeof(FlowKey))
    memcpy(key.destination + 8, &mapped, 4)
    memcpy(key.destination + 12, narrow.destination, 4)
    memcpy(key.source + 8, &mapped, 4)
    memcpy(key.source + 12, narrow.source, 4)
    memcpy(&key.destination_port, &narrow.destination_port, 8)
