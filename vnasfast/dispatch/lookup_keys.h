/* The batched lookup's first stage, compiled once for each vector path as lookup_path.h is: from keys to lines and places. */

#if LOOKUP_AVX2
static inline __attribute__((always_inline)) uint32_t LOOKUP(bits)(__m256i signs)
{
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(signs));
}

static inline __attribute__((always_inline)) __m256i LOOKUP(load)(const void *from)
{
    return _mm256_load_si256((const __m256i *)from);
}

static inline __attribute__((always_inline)) void LOOKUP(store)(void *to, __m256i values)
{
    _mm256_store_si256((__m256i *)to, values);
}

/* vnas_spread of 8 words. */
static inline __attribute__((always_inline)) __m256i LOOKUP(spread)(const VnasPlane *plane, __m256i mixed)
{
    mixed = _mm256_xor_si256(mixed, _mm256_srli_epi32(mixed, 16));
    mixed = _mm256_mullo_epi32(mixed, _mm256_set1_epi32((int)plane->ipv4_seed[0]));
    mixed = _mm256_xor_si256(mixed, _mm256_srli_epi32(mixed, 15));
    return _mm256_mullo_epi32(mixed, _mm256_set1_epi32((int)plane->ipv4_seed[2]));
}

/* Ports, and VLAN, protocol and status of 8 packets to the places of their ports. The mask of those that the control plane must be
 * asked about: also where the destination is `loopback`. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(place)(
    __m256i ports, __m256i rest, __m256i loopback, VnasBatch *batch, int i)
{
    /* By four bits of the protocol folded upon the next: its number, and the protocol itself, so that no other passes for it. The
     * third byte of each word is the protocol's; the others find what lies at 0. */
    const __m256i numbers = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 0, 1, 3, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0, 0));
    const __m256i protocols = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(1, 0, 0, 17, (char)132, 33, 6, 0, 0, (char)136, 0, 0, 0, 0, 0, 0));
    __m256i digits = _mm256_and_si256(_mm256_xor_si256(rest, _mm256_srli_epi32(rest, 3)), _mm256_set1_epi32(15 << 16));
    __m256i known = _mm256_slli_epi32(_mm256_cmpeq_epi8(_mm256_shuffle_epi8(protocols, digits), rest), 8);
    LOOKUP(store)(batch->place + i, _mm256_blend_epi16(ports, _mm256_shuffle_epi8(numbers, digits), 0xAA));
    LOOKUP(store)(batch->vlan + i, _mm256_and_si256(rest, _mm256_set1_epi32(0xFFFF)));
    /* The status is the uppermost byte of `rest`: negative where parsing ended with an outcome. */
    return (~LOOKUP(bits)(_mm256_andnot_si256(_mm256_or_si256(rest, loopback), known)) & 0xFF) << i;
}

/* The sums of 8 pairs of 64-bit words, by halves. `pairs` has those of packets n and n + 4 each. */
static inline __attribute__((always_inline)) void LOOKUP(sum_halves)(const __m256i *pairs, __m256i *low, __m256i *high)
{
    __m256i sums[2];
    for (int n = 0; n < 2; n++)
        sums[n] = _mm256_add_epi64(_mm256_unpacklo_epi64(pairs[2 * n], pairs[2 * n + 1]),
                                   _mm256_unpackhi_epi64(pairs[2 * n], pairs[2 * n + 1]));
    __m256 first = _mm256_castsi256_ps(sums[0]), second = _mm256_castsi256_ps(sums[1]);
    *low = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88));
    *high = _mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xDD));
}

/* vnas_ipv6_hash of 8 packets, before it is spread. `addresses` has packets n and n + 4 each. */
static inline __attribute__((always_inline)) __m256i LOOKUP(fold_ipv6)(
    const VnasPlane *plane, const __m256i *addresses, __m256i vlan)
{
    const __m256i seed = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)plane->ipv6_seed));
    __m256i products[4], low, high;
    for (int n = 0; n < 4; n++) {
        __m256i words = _mm256_add_epi32(addresses[n], seed);
        products[n] = _mm256_mul_epu32(words, _mm256_srli_epi64(words, 32));
    }
    LOOKUP(sum_halves)(products, &low, &high);
    high = _mm256_add_epi32(high, _mm256_mullo_epi32(vlan, _mm256_set1_epi32((int)(uint32_t)plane->ipv6_seed[2])));
    return _mm256_add_epi32(
        low, _mm256_mullo_epi32(high, _mm256_set1_epi32((int)((uint32_t)(plane->ipv6_seed[2] >> 32) | 1))));
}

static inline __attribute__((always_inline)) __m256i LOOKUP(fold_ipv4)(
    const VnasPlane *plane, __m256i addresses, __m256i vlan)
{
    return _mm256_add_epi32(addresses, _mm256_mullo_epi32(vlan, _mm256_set1_epi32((int)plane->ipv4_seed[1])));
}
#endif

static inline __attribute__((always_inline)) void LOOKUP(unpack_ipv4)(
    const VnasPlane *plane, const VnasKeyIpv4 *keys, VnasBatch *batch)
{
    const uint32_t shift = batch->ipv4->shift;
    uint32_t ask = 0;
#if LOOKUP_AVX2
#pragma GCC unroll 4
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        const char *at = (const char *)(keys + i);
        __m256i a = VNAS_PAIR(at, 0, 16), b = VNAS_PAIR(at, 1, 16), c = VNAS_PAIR(at, 2, 16), d = VNAS_PAIR(at, 3, 16);
        __m256i ab = _mm256_unpackhi_epi32(a, b), cd = _mm256_unpackhi_epi32(c, d);
        __m256i address = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        __m256i loopback = _mm256_cmpeq_epi32(_mm256_slli_epi32(address, 24), _mm256_set1_epi32(127 << 24));
        ask |= LOOKUP(place)(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd), loopback, batch, i);
        __m256i hash = LOOKUP(spread)(plane, LOOKUP(fold_ipv4)(plane, address, LOOKUP(load)(batch->vlan + i)));
        LOOKUP(store)(batch->line + i, _mm256_slli_epi32(_mm256_srl_epi32(hash, _mm_cvtsi32_si128((int)shift)), 6));
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        const VnasKeyIpv4 *key = &keys[i];
        uint32_t number = vnas_protocol_number(key->protocol);
        batch->vlan[i] = key->vlan;
        batch->line[i] = vnas_ipv4_hash(plane, key->destination, key->vlan) >> shift << 6;
        batch->place[i] = (number == 255 ? 0 : number) << 16 | key->destination_port;
        ask |= (uint32_t)((key->status < 0) | (number == 255) | ((key->destination & 0xFF) == 127)) << i;
    }
#endif
    batch->ask = ask;
    batch->ipv6_mask = 0;
}

/* Keys of both families. */
static inline __attribute__((always_inline)) void LOOKUP(unpack)(const VnasPlane *plane, const VnasKey *keys, VnasBatch *batch)
{
    uint32_t ask = 0, ipv6_mask = 0;
#if LOOKUP_AVX2
    const __m256i zero = _mm256_setzero_si256(), ipv4_shift = _mm256_set1_epi32((int)batch->ipv4->shift);
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        const char *at = (const char *)(keys + i);
        __m256i whole[4] = {VNAS_PAIR(at, 0, 48), VNAS_PAIR(at, 1, 48), VNAS_PAIR(at, 2, 48), VNAS_PAIR(at, 3, 48)};
        __m256i ab = _mm256_unpacklo_epi32(whole[0], whole[1]), cd = _mm256_unpacklo_epi32(whole[2], whole[3]);
        __m256i upper = _mm256_or_si256(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        ab = _mm256_unpackhi_epi32(whole[0], whole[1]), cd = _mm256_unpackhi_epi32(whole[2], whole[3]);
        __m256i third = _mm256_unpacklo_epi64(ab, cd), address = _mm256_unpackhi_epi64(ab, cd);
        __m256i none = _mm256_cmpeq_epi32(upper, zero);
        __m256i mapped = _mm256_and_si256(none, _mm256_cmpeq_epi32(third, _mm256_set1_epi32((int)0xFFFF0000)));
        /* 127.0.0.0/8, or ::1. */
        __m256i loopback = _mm256_or_si256(
            _mm256_and_si256(mapped, _mm256_cmpeq_epi32(_mm256_slli_epi32(address, 24), _mm256_set1_epi32(127 << 24))),
            _mm256_and_si256(_mm256_and_si256(none, _mm256_cmpeq_epi32(third, zero)),
                             _mm256_cmpeq_epi32(address, _mm256_set1_epi32(1 << 24))));
        at += 32;
        __m256i a = VNAS_PAIR(at, 0, 48), b = VNAS_PAIR(at, 1, 48), c = VNAS_PAIR(at, 2, 48), d = VNAS_PAIR(at, 3, 48);
        ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        ask |= LOOKUP(place)(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd), loopback, batch, i);
        __m256i vlan = LOOKUP(load)(batch->vlan + i), shift = ipv4_shift;
        __m256i folded = LOOKUP(fold_ipv4)(plane, address, vlan);
        uint32_t others = ~LOOKUP(bits)(mapped) & 0xFF;
        if (others) {
            __m256i ipv6 = _mm256_xor_si256(mapped, _mm256_set1_epi32(-1));
            folded = _mm256_blendv_epi8(LOOKUP(fold_ipv6)(plane, whole, vlan), folded, mapped);
            shift = _mm256_blendv_epi8(_mm256_set1_epi32((int)batch->ipv6->shift), shift, mapped);
            LOOKUP(store)(batch->place + i, _mm256_add_epi32(LOOKUP(load)(batch->place + i),
                                                             _mm256_and_si256(ipv6, _mm256_set1_epi32(VNAS_PLACES))));
        }
        LOOKUP(store)(batch->line + i, _mm256_slli_epi32(_mm256_srlv_epi32(LOOKUP(spread)(plane, folded), shift), 6));
        LOOKUP(store)(batch->ipv6_lanes + i, _mm256_xor_si256(mapped, _mm256_set1_epi32(-1)));
        ipv6_mask |= others << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        const VnasKey *key = &keys[i];
        uint32_t number = vnas_protocol_number(key->protocol);
        uint32_t is_ipv6 = (key->hi != 0) | ((uint32_t)key->lo != 0xFFFF0000u);
        uint32_t address = (uint32_t)(key->lo >> 32);
        batch->vlan[i] = key->vlan;
        batch->line[i] = vnas_ipv4_hash(plane, address, key->vlan) >> batch->ipv4->shift << 6;
        batch->place[i] = ((number == 255 ? 0 : number) << 16 | key->destination_port) + (is_ipv6 ? VNAS_PLACES : 0);
        ask |= (uint32_t)((key->status < 0) | (number == 255) | (!is_ipv6 & ((address & 0xFF) == 127))
                          | ((key->hi == 0) & (key->lo == (uint64_t)1 << 56))) << i;
        ipv6_mask |= is_ipv6 << i;
    }
    /* Which packet is of which family can't be guessed: worked out for all, and chosen without a branch. */
    for (int i = 0; ipv6_mask != 0 && i < VNAS_BATCH; i++) {
        uint32_t hash = vnas_ipv6_hash(plane, keys[i].hi, keys[i].lo, keys[i].vlan);
        batch->line[i] = vnas_choose(ipv6_mask, i, hash >> batch->ipv6->shift << 6, batch->line[i]);
    }
#endif
    batch->ask = ask;
    batch->ipv6_mask = ipv6_mask;
}

/* Where the lines lie of a batch of which some are IPv6. */
static inline __attribute__((always_inline)) void LOOKUP(point)(VnasBatch *batch)
{
    const char *const begins[2] = {(const char *)batch->ipv4->lines, (const char *)batch->ipv6->lines};
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 4) {
        __m256i line = _mm256_cvtepu32_epi64(_mm_load_si128((const __m128i *)(batch->line + i)));
        __m256i is_ipv6 = _mm256_cvtepi32_epi64(_mm_load_si128((const __m128i *)(batch->ipv6_lanes + i)));
        __m256i begin = _mm256_blendv_epi8(_mm256_set1_epi64x((intptr_t)begins[0]), _mm256_set1_epi64x((intptr_t)begins[1]), is_ipv6);
        LOOKUP(store)(batch->lines + i, _mm256_add_epi64(begin, line));
    }
    VNAS_TO_MEMORY(batch);
#else
    for (int i = 0; i < VNAS_BATCH; i++)
        batch->lines[i] = (const VnasLine *)(begins[batch->ipv6_mask >> i & 1] + batch->line[i]);
#endif
}
