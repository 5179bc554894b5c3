/* Plain frames, which are most of them, to keys: at most 512 at a time, and no branch that depends on what a single frame is, so that
 * mixed traffic costs what any other does. All other frames are listed, and left to parse_frame. Eight frames of one kind, which most are,
 * go to their keys at once (AVX2).
 *
 *   sort      frame → its kind: the list that its place goes to; where its IP header lies; its VLAN
 *   keys      each list → keys, one behind the other
 *
 * A plain frame is Ethernet with at most two VLAN tags, then IPv4 without options that is no fragment, or IPv6 without extension
 * headers, then a protocol with ports. Its ports are captured, and so are VNAS_PLAIN_BYTES.
 */
#ifndef VNASFAST_PARSE_PLAIN_H
#define VNASFAST_PARSE_PLAIN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "vnasfast/vector.h"
#if VNAS_HAS_AVX2
#include <immintrin.h>
#endif

enum {
    VNAS_FRAMES = 512,
    VNAS_FRAMES_TOGETHER = 64,  /* sorted, and then made keys of while their lines are in the cache next to the core */
    VNAS_FRAMES_AHEAD = 32,     /* asked for before they are looked at: 1 ns less for small frames from memory; 16 or 64 gave 0.6 */
    VNAS_PLAIN_BYTES = 46,      /* two tags, and an IPv4 header with ports: what is looked at before the kind is known */
    VNAS_IPV6_BYTES = 58,       /* up to the end of the ports, without tags */
};

/* The places of frames in their block, by kind, each list in order. What lies behind a list's end is scratch. */
typedef struct {
    size_t n_ipv4, n_ipv6, n_others;
    uint16_t ipv4[VNAS_FRAMES + 8];
    uint16_t ipv6[VNAS_FRAMES + 8];
    uint16_t others[VNAS_FRAMES + 8];
} VnasKinds;

/* By place; 8 are written at a time, from any place on. */
typedef struct {
    const unsigned char *link[VNAS_FRAMES + 8];     /* 14 bytes before the IP header, wherever tags end */
    uint32_t vlan[VNAS_FRAMES + 8];
} __attribute__((aligned(32))) VnasHeads;

/* In place of frames that are too short to be looked at. */
static const unsigned char vnas_blank_frame[64];

/* TCP, UDP, DCCP, SCTP, UDP-Lite: one load instead of five compares, and no branch, since traffic mixes them. */
static const unsigned char vnas_has_ports[256] = {[6] = 1, [17] = 1, [33] = 1, [132] = 1, [136] = 1};

static inline uint32_t vnas_be16(const unsigned char *at)
{
    return (uint32_t)at[0] << 8 | at[1];
}

static inline uint32_t vnas_be32(const unsigned char *at)
{
    return vnas_be16(at) << 16 | vnas_be16(at + 2);
}

static inline uint32_t vnas_is_tag(uint32_t ethertype)
{
    return (ethertype == 0x8100) | (ethertype == 0x88A8);
}

static inline __attribute__((always_inline)) uint64_t vnas_outside_of(uint64_t n_bytes, const uint64_t *offsets,
                                                                      const uint32_t *lengths, size_t n)
{
    /* A difference that is negative has its uppermost bit set, and wraps for no offset below 2^62. */
    uint64_t beyond = 0, outside = 0;
    for (size_t i = 0; i < n; i++) {
        beyond |= offsets[i];
        outside |= n_bytes - (offsets[i] + lengths[i]);
    }
    return beyond >> 62 | outside >> 63;
}

static void vnas_portable_plain(const unsigned char *base, uint64_t n_bytes, const uint64_t *offsets, const uint32_t *lengths,
                                size_t first, size_t end, unsigned char *ipv4_keys, unsigned char *ipv6_keys, VnasKinds *kinds)
{
    VnasHeads heads;
    size_t n_ipv4 = kinds->n_ipv4, n_ipv6 = kinds->n_ipv6, n_others = kinds->n_others;
    for (size_t i = first; i < end; i++) {
        uint64_t length = lengths[i], behind = n_bytes - offsets[i];
        int unseen = (int)((offsets[i] | behind | (behind - length) | (length - VNAS_PLAIN_BYTES)) >> 63);
        const unsigned char *at = unseen ? vnas_blank_frame : base + offsets[i];
        uint32_t tagged = vnas_is_tag(vnas_be16(at + 12));
        uint32_t vlan = vnas_be16(at + 14) & 0x0FFF & (0 - tagged);
        at += 4 * tagged;
        length -= 4 * tagged;
        if (__builtin_expect(tagged & vnas_is_tag(vnas_be16(at + 12)), 0)) {
            vlan = vlan ? vlan : vnas_be16(at + 14) & 0x0FFF;
            at += 4;
            length -= 4;
        }
        /* Ethertype, version and, of IPv4, header length in one compare. */
        uint32_t head = vnas_be16(at + 12) << 8 | at[14];
        uint32_t ipv4 = (head == 0x080045) & ((vnas_be16(at + 20) & 0x3FFF) == 0) & (vnas_be16(at + 16) >= 24)
                        & vnas_has_ports[at[23]];
        uint32_t ipv6 = ((head & 0xFFFFF0) == 0x86DD60) & (vnas_be16(at + 18) >= 4) & vnas_has_ports[at[20]]
                        & (length >= VNAS_IPV6_BYTES);
        heads.link[i] = at;
        heads.vlan[i] = vlan;
        kinds->ipv4[n_ipv4] = kinds->ipv6[n_ipv6] = kinds->others[n_others] = (uint16_t)i;
        n_ipv4 += ipv4;
        n_ipv6 += ipv6;
        n_others += 1 - ipv4 - ipv6;
    }
    for (size_t n = kinds->n_ipv4; n < n_ipv4; n++) {
        const unsigned char *at = heads.link[kinds->ipv4[n]];
        uint64_t addresses, ports = vnas_be32(at + 34) | (uint64_t)heads.vlan[kinds->ipv4[n]] << 32 | (uint64_t)at[23] << 48;
        memcpy(&addresses, at + 26, 8);
        addresses = addresses << 32 | addresses >> 32;      /* source and destination change places */
        memcpy(ipv4_keys + 16 * n, &addresses, 8);
        memcpy(ipv4_keys + 16 * n + 8, &ports, 8);
    }
    for (size_t n = kinds->n_ipv6; n < n_ipv6; n++) {
        const unsigned char *at = heads.link[kinds->ipv6[n]];
        uint64_t rest[2] = {vnas_be32(at + 54) | (uint64_t)heads.vlan[kinds->ipv6[n]] << 32 | (uint64_t)at[20] << 48, 0};
        memcpy(ipv6_keys + 48 * n, at + 38, 16);
        memcpy(ipv6_keys + 48 * n + 16, at + 22, 16);
        memcpy(ipv6_keys + 48 * n + 32, rest, 16);
    }
    kinds->n_ipv4 = n_ipv4;
    kinds->n_ipv6 = n_ipv6;
    kinds->n_others = n_others;
}

#if VNAS_HAS_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2,popcnt")

/* The positions of a byte's set bits, lowest first, a byte each. */
#define VNAS_BIT(found, mask, bit) ((found) * ((mask) >> (bit) & 1 ? 256u : 1u) + ((mask) >> (bit) & 1 ? (bit) : 0u))
#define VNAS_BITS_4(found, mask, bit) \
    VNAS_BIT(VNAS_BIT(VNAS_BIT(VNAS_BIT(found, mask, (bit) + 3), mask, (bit) + 2), mask, (bit) + 1), mask, bit)
#define VNAS_BITS(mask) VNAS_BITS_4(VNAS_BITS_4((uint64_t)0, mask, 4), mask, 0)
#define VNAS_BITS_OF_4(mask) VNAS_BITS(mask), VNAS_BITS((mask) + 1), VNAS_BITS((mask) + 2), VNAS_BITS((mask) + 3)
#define VNAS_BITS_OF_16(mask) \
    VNAS_BITS_OF_4(mask), VNAS_BITS_OF_4((mask) + 4), VNAS_BITS_OF_4((mask) + 8), VNAS_BITS_OF_4((mask) + 12)
#define VNAS_BITS_OF_64(mask) \
    VNAS_BITS_OF_16(mask), VNAS_BITS_OF_16((mask) + 16), VNAS_BITS_OF_16((mask) + 32), VNAS_BITS_OF_16((mask) + 48)
static const uint64_t vnas_bits[256] = {VNAS_BITS_OF_64(0), VNAS_BITS_OF_64(64), VNAS_BITS_OF_64(128), VNAS_BITS_OF_64(192)};

/* Append the places of those of 8 frames whose bit is set. */
static inline __attribute__((always_inline)) size_t vnas_append(uint16_t *list, size_t n, uint32_t mask, size_t first)
{
    __m128i places = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)&vnas_bits[mask]));
    _mm_storeu_si128((__m128i *)(list + n), _mm_add_epi16(places, _mm_set1_epi16((short)first)));
    return n + (size_t)_mm_popcnt_u32(mask);
}

/* Where 4 frames begin; those too short, or outside the buffer, at the blank one. */
static inline __attribute__((always_inline)) __m256i vnas_begins(const unsigned char *base, uint64_t n_bytes, __m256i offset,
                                                                 __m256i length)
{
    /* As in vnas_outside_of, and a length below VNAS_PLAIN_BYTES. */
    __m256i behind = _mm256_sub_epi64(_mm256_set1_epi64x((long long)n_bytes), offset);
    __m256i unseen = _mm256_or_si256(_mm256_or_si256(offset, behind),
                                     _mm256_or_si256(_mm256_sub_epi64(behind, length),
                                                     _mm256_sub_epi64(length, _mm256_set1_epi64x(VNAS_PLAIN_BYTES))));
    return _mm256_castpd_si256(_mm256_blendv_pd(
        _mm256_castsi256_pd(_mm256_add_epi64(_mm256_set1_epi64x((long long)(uintptr_t)base), offset)),
        _mm256_castsi256_pd(_mm256_set1_epi64x((long long)(uintptr_t)vnas_blank_frame)), _mm256_castsi256_pd(unseen)));
}

/* 12 bytes of each of 8 frames, from the Ethertype on, in three columns. */
static inline __attribute__((always_inline)) void vnas_columns(const unsigned char *const *link, __m256i column[3])
{
#define VNAS_HEADS(i) _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(link[i] + 12))), \
                                              _mm_loadu_si128((const __m128i *)(link[(i) + 4] + 12)), 1)
    __m256i a = VNAS_HEADS(0), b = VNAS_HEADS(1), c = VNAS_HEADS(2), d = VNAS_HEADS(3);
#undef VNAS_HEADS
    __m256 ab = _mm256_castsi256_ps(_mm256_unpacklo_epi64(a, b)), cd = _mm256_castsi256_ps(_mm256_unpacklo_epi64(c, d));
    column[0] = _mm256_castps_si256(_mm256_shuffle_ps(ab, cd, 0x88));
    column[1] = _mm256_castps_si256(_mm256_shuffle_ps(ab, cd, 0xDD));
    ab = _mm256_castsi256_ps(_mm256_unpackhi_epi64(a, b)), cd = _mm256_castsi256_ps(_mm256_unpackhi_epi64(c, d));
    column[2] = _mm256_castps_si256(_mm256_shuffle_ps(ab, cd, 0x88));
}

static inline __attribute__((always_inline)) __m256i vnas_tags(__m256i ethertype)
{
    ethertype = _mm256_and_si256(ethertype, _mm256_set1_epi32(0xFFFF));
    return _mm256_or_si256(_mm256_cmpeq_epi32(ethertype, _mm256_set1_epi32(0x0081)),
                           _mm256_cmpeq_epi32(ethertype, _mm256_set1_epi32(0xA888)));
}

/* Which of 8 protocols have ports. */
static inline __attribute__((always_inline)) __m256i vnas_with_ports(__m256i protocol)
{
    /* The sum of a protocol's two hex digits tells those that have ports apart. */
    const __m256i numbers = _mm256_broadcastsi128_si256(
        _mm_setr_epi8((char)136, 0, 17, 33, 0, 0, 6, 0, 0, 0, 0, 0, (char)132, 0, 0, 0));
    __m256i digits = _mm256_and_si256(_mm256_add_epi32(protocol, _mm256_srli_epi32(protocol, 4)), _mm256_set1_epi32(15));
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_shuffle_epi8(numbers, digits), _mm256_set1_epi32(0xFF)), protocol);
}

static inline __attribute__((always_inline)) uint32_t vnas_signs(__m256i lanes)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(lanes));
}

/* Ethertype, version and header length in one compare. */
static inline __attribute__((always_inline)) __m256i vnas_is_ipv4(__m256i head)
{
    return _mm256_cmpeq_epi32(_mm256_and_si256(head, _mm256_set1_epi32(0xFFFFFF)), _mm256_set1_epi32(0x450008));
}

/* The plain ones of 8 frames: those of IPv4 in the low byte, those of IPv6 in the next. For 8 of IPv4 nothing is worked out that only other
 * frames need: tags, and all of IPv6; 2 instructions a frame. */
static inline __attribute__((always_inline)) uint32_t vnas_kinds_8(
    const unsigned char *base, uint64_t n_bytes, const uint64_t *offsets, const uint32_t *lengths, size_t first, VnasHeads *heads)
{
    const __m256i swap = _mm256_broadcastsi128_si256(_mm_setr_epi8(1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14));
    const __m256i zero = _mm256_setzero_si256();
    const unsigned char **link = heads->link + first;
    __m256i length = _mm256_loadu_si256((const __m256i *)lengths);
    __m256i begin[2] = {
        vnas_begins(base, n_bytes, _mm256_loadu_si256((const __m256i *)offsets),
                    _mm256_cvtepu32_epi64(_mm256_castsi256_si128(length))),
        vnas_begins(base, n_bytes, _mm256_loadu_si256((const __m256i *)(offsets + 4)),
                    _mm256_cvtepu32_epi64(_mm256_extracti128_si256(length, 1)))};
    __m256i vlan = zero, column[3];
    _mm256_storeu_si256((__m256i *)link, begin[0]);
    _mm256_storeu_si256((__m256i *)(link + 4), begin[1]);
    vnas_columns(link, column);
    __m256i ipv4 = vnas_is_ipv4(column[0]);
    if (vnas_signs(ipv4) != 0xFF) {
        __m256i tagged = vnas_tags(column[0]);
        if (!_mm256_testz_si256(tagged, tagged)) {
            __m256i twice = _mm256_and_si256(tagged, vnas_tags(column[1])), four = _mm256_set1_epi32(4);
            __m256i bytes = _mm256_add_epi32(_mm256_and_si256(tagged, four), _mm256_and_si256(twice, four));
            __m256i number = _mm256_set1_epi32(0x0FFF);
            __m256i outer = _mm256_and_si256(_mm256_srli_epi32(_mm256_shuffle_epi8(column[0], swap), 16), number);
            __m256i inner = _mm256_and_si256(_mm256_srli_epi32(_mm256_shuffle_epi8(column[1], swap), 16), number);
            vlan = _mm256_and_si256(outer, tagged);
            vlan = _mm256_or_si256(vlan, _mm256_and_si256(_mm256_and_si256(inner, twice), _mm256_cmpeq_epi32(vlan, zero)));
            length = _mm256_sub_epi32(length, bytes);
            _mm256_storeu_si256(
                (__m256i *)link, _mm256_add_epi64(begin[0], _mm256_cvtepu32_epi64(_mm256_castsi256_si128(bytes))));
            _mm256_storeu_si256(
                (__m256i *)(link + 4), _mm256_add_epi64(begin[1], _mm256_cvtepu32_epi64(_mm256_extracti128_si256(bytes, 1))));
            vnas_columns(link, column);
            ipv4 = vnas_is_ipv4(column[0]);
        }
    }
    _mm256_storeu_si256((__m256i *)(heads->vlan + first), vlan);
    /* The length of an IPv4 packet, and of what an IPv6 header precedes, lie side by side. */
    __m256i bytes = _mm256_shuffle_epi8(column[1], swap);
    ipv4 = _mm256_and_si256(ipv4, _mm256_cmpgt_epi32(_mm256_and_si256(bytes, _mm256_set1_epi32(0xFFFF)), _mm256_set1_epi32(23)));
    ipv4 = _mm256_and_si256(ipv4, _mm256_cmpeq_epi32(_mm256_and_si256(column[2], _mm256_set1_epi32(0xFF3F)), zero));
    ipv4 = _mm256_and_si256(ipv4, vnas_with_ports(_mm256_srli_epi32(column[2], 24)));
    if (vnas_signs(ipv4) == 0xFF)
        return 0xFF;
    __m256i ipv6 = _mm256_cmpeq_epi32(_mm256_and_si256(column[0], _mm256_set1_epi32(0xF0FFFF)), _mm256_set1_epi32(0x60DD86));
    ipv6 = _mm256_and_si256(ipv6, _mm256_cmpgt_epi32(_mm256_srli_epi32(bytes, 16), _mm256_set1_epi32(3)));
    ipv6 = _mm256_and_si256(ipv6, _mm256_cmpgt_epi32(length, _mm256_set1_epi32(VNAS_IPV6_BYTES - 1)));
    ipv6 = _mm256_and_si256(ipv6, vnas_with_ports(_mm256_and_si256(column[2], _mm256_set1_epi32(0xFF))));
    return vnas_signs(ipv4) | vnas_signs(ipv6) << 8;
}

/* Append the places of those of 8 frames that are `wanted` to the lists of their kinds. */
static inline __attribute__((always_inline)) void vnas_sort_8(uint32_t of_kinds, uint32_t wanted, size_t first, VnasKinds *kinds)
{
    uint32_t of_ipv4 = of_kinds & wanted, of_ipv6 = of_kinds >> 8 & wanted;
    kinds->n_ipv4 = vnas_append(kinds->ipv4, kinds->n_ipv4, of_ipv4, first);
    kinds->n_ipv6 = vnas_append(kinds->ipv6, kinds->n_ipv6, of_ipv6, first);
    kinds->n_others = vnas_append(kinds->others, kinds->n_others, (of_ipv4 | of_ipv6) ^ wanted, first);
}

/* Append the places of 8 frames. */
static inline __attribute__((always_inline)) void vnas_append_8(uint16_t *list, size_t n, size_t first)
{
    const __m128i eight = _mm_setr_epi16(0, 1, 2, 3, 4, 5, 6, 7);
    _mm_storeu_si128((__m128i *)(list + n), _mm_add_epi16(eight, _mm_set1_epi16((short)first)));
}

static inline __attribute__((always_inline)) void vnas_key_ipv4(const VnasHeads *heads, size_t place, __m128i *key)
{
    /* From byte 22 of an untagged frame: -, protocol, -, -, source, destination, source port, destination port. */
    const __m128i order = _mm_setr_epi8(8, 9, 10, 11, 4, 5, 6, 7, 15, 14, 13, 12, -1, -1, 1, -1);
    __m128i ordered = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(heads->link[place] + 22)), order);
    _mm_storeu_si128(key, _mm_insert_epi16(ordered, (int)heads->vlan[place], 6));
}

static inline __attribute__((always_inline)) void vnas_key_ipv6(const VnasHeads *heads, size_t place, __m128i *key)
{
    const __m128i ports = _mm_setr_epi8(15, 14, 13, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    const unsigned char *at = heads->link[place];
    __m128i rest = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(at + 42)), ports);
    _mm_storeu_si128(key, _mm_loadu_si128((const __m128i *)(at + 38)));
    _mm_storeu_si128(key + 1, _mm_loadu_si128((const __m128i *)(at + 22)));
    _mm_storeu_si128(key + 2, _mm_insert_epi8(_mm_insert_epi16(rest, (int)heads->vlan[place], 2), at[20], 6));
}

static uint64_t vnas_avx2_outside(uint64_t n_bytes, const uint64_t *offsets, const uint32_t *lengths, size_t n)
{
    return vnas_outside_of(n_bytes, offsets, lengths, n);
}

static void vnas_avx2_plain(const unsigned char *base, uint64_t n_bytes, const uint64_t *offsets, const uint32_t *lengths,
                            size_t first, size_t end, unsigned char *ipv4_keys, unsigned char *ipv6_keys, VnasKinds *kinds)
{
    VnasHeads heads;
    while (first < end) {
        size_t n_ipv4 = kinds->n_ipv4, n_ipv6 = kinds->n_ipv6;
        size_t size = end - first < VNAS_FRAMES_TOGETHER ? end - first : VNAS_FRAMES_TOGETHER;
        size_t i = first;
        for (; i + 8 <= first + size; i += 8) {
            /* A prefetch may go anywhere: what the offsets say needs no check. */
            if (i + VNAS_FRAMES_AHEAD + 8 <= end)
                for (int ahead = VNAS_FRAMES_AHEAD; ahead < VNAS_FRAMES_AHEAD + 8; ahead++)
                    __builtin_prefetch(base + offsets[i + ahead]);
            uint32_t of_kinds = vnas_kinds_8(base, n_bytes, offsets + i, lengths + i, i, &heads);
            /* Eight of one kind, where none of that kind waits for its key: not by their places. A tenth less time for IPv4, a twentieth
             * for IPv6; a mix of kinds, where this is never so, takes 0.02 to 0.03 more. */
            if (of_kinds == 0xFF && n_ipv4 == kinds->n_ipv4) {
                vnas_append_8(kinds->ipv4, n_ipv4, i);
#pragma GCC unroll 8
                for (size_t n = 0; n < 8; n++)
                    vnas_key_ipv4(&heads, i + n, (__m128i *)ipv4_keys + n_ipv4 + n);
                kinds->n_ipv4 = n_ipv4 += 8;
            } else if (of_kinds == 0xFF00 && n_ipv6 == kinds->n_ipv6) {
                vnas_append_8(kinds->ipv6, n_ipv6, i);
#pragma GCC unroll 8
                for (size_t n = 0; n < 8; n++)
                    vnas_key_ipv6(&heads, i + n, (__m128i *)ipv6_keys + 3 * (n_ipv6 + n));
                kinds->n_ipv6 = n_ipv6 += 8;
            } else {
                vnas_sort_8(of_kinds, 0xFF, i, kinds);
            }
        }
        if (i < first + size) {
            uint64_t some_offsets[8] = {0};
            uint32_t some_lengths[8] = {0};
            size_t rest = first + size - i;
            memcpy(some_offsets, offsets + i, rest * sizeof *offsets);
            memcpy(some_lengths, lengths + i, rest * sizeof *lengths);
            vnas_sort_8(vnas_kinds_8(base, n_bytes, some_offsets, some_lengths, i, &heads), (1u << rest) - 1, i, kinds);
        }
#pragma GCC unroll 4
        for (; n_ipv4 < kinds->n_ipv4; n_ipv4++)
            vnas_key_ipv4(&heads, kinds->ipv4[n_ipv4], (__m128i *)ipv4_keys + n_ipv4);
#pragma GCC unroll 2
        for (; n_ipv6 < kinds->n_ipv6; n_ipv6++)
            vnas_key_ipv6(&heads, kinds->ipv6[n_ipv6], (__m128i *)ipv6_keys + 3 * n_ipv6);
        first += size;
    }
}
#pragma GCC pop_options
#endif

/* Whether any of n frames does not lie inside the buffer. */
static inline uint64_t vnas_outside(int vector, uint64_t n_bytes, const uint64_t *offsets, const uint32_t *lengths, size_t n)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2)
        return vnas_avx2_outside(n_bytes, offsets, lengths, n);
#endif
    (void)vector;
    return vnas_outside_of(n_bytes, offsets, lengths, n);
}

/* Sort frames `first` to `end` of a block, and make keys of the plain ones: of IPv4 as FlowKeyIpv4, of IPv6 as FlowKey. The lists go on
 * where `kinds` says that they end. */
static inline void vnas_parse_plain(int vector, const unsigned char *base, uint64_t n_bytes, const uint64_t *offsets,
                                    const uint32_t *lengths, size_t first, size_t end, void *ipv4_keys, void *ipv6_keys,
                                    VnasKinds *kinds)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2) {
        vnas_avx2_plain(base, n_bytes, offsets, lengths, first, end, ipv4_keys, ipv6_keys, kinds);
        return;
    }
#endif
    (void)vector;
    vnas_portable_plain(base, n_bytes, offsets, lengths, first, end, ipv4_keys, ipv6_keys, kinds);
}

#endif
