/* The hashes of flows, by which sockets that share a port are chosen: part of lookup_path.h, compiled as often. */

#if LOOKUP_AVX2
/* To the sums of products of 32-bit words, those of the even lanes and those of the odd ones. */
static inline __attribute__((always_inline)) void LOOKUP(add_products)(__m256i *even, __m256i *odd, __m256i one, __m256i other)
{
    *even = _mm256_add_epi64(*even, _mm256_mul_epu32(one, other));
    *odd = _mm256_add_epi64(*odd, _mm256_mul_epu32(_mm256_srli_epi64(one, 32), _mm256_srli_epi64(other, 32)));
}

/* How vnas_flow_hash ends: from the halves of 8 sums. */
static inline __attribute__((always_inline)) __m256i LOOKUP(end_flow)(const uint32_t *seed, __m256i low, __m256i high)
{
    const __m256i last = _mm256_set1_epi32((int)seed[10]), middle = _mm256_set1_epi32((int)seed[11]);
    __m256i hash = _mm256_add_epi32(low, _mm256_mullo_epi32(high, last));
    hash = _mm256_mullo_epi32(_mm256_xor_si256(hash, _mm256_srli_epi32(hash, 16)), middle);
    return _mm256_mullo_epi32(_mm256_xor_si256(hash, _mm256_srli_epi32(hash, 15)), last);
}

/* vnas_flow_hash of the 8 packets of IPv4 at these places. */
static inline __attribute__((always_inline)) __m256i LOOKUP(flows_ipv4)(
    const uint32_t *seed, const VnasKeyIpv4 *keys, const uint16_t *places)
{
    __m256i rows[4];
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++)
        rows[n] = VNAS_BOTH(keys + places[n], keys + places[n + 4]);
    __m256i ab = _mm256_unpacklo_epi32(rows[0], rows[1]), cd = _mm256_unpacklo_epi32(rows[2], rows[3]);
    __m256i destination = _mm256_unpacklo_epi64(ab, cd), source = _mm256_unpackhi_epi64(ab, cd);
    ab = _mm256_unpackhi_epi32(rows[0], rows[1]), cd = _mm256_unpackhi_epi32(rows[2], rows[3]);
    __m256i ports = _mm256_unpacklo_epi64(ab, cd);
    __m256i protocol = _mm256_and_si256(_mm256_srli_epi32(_mm256_unpackhi_epi64(ab, cd), 16), _mm256_set1_epi32(0xFF));
    /* The words before an address are those of ::ffff:0:0/96. */
    __m256i even = _mm256_set1_epi64x((int64_t)((uint64_t)seed[0] * seed[1] + (uint64_t)seed[4] * seed[5])), odd = even;
    LOOKUP(add_products)(&even, &odd, _mm256_set1_epi32((int)(seed[2] + 0xFFFF0000)),
                         _mm256_add_epi32(destination, _mm256_set1_epi32((int)seed[3])));
    LOOKUP(add_products)(&even, &odd, _mm256_set1_epi32((int)(seed[6] + 0xFFFF0000)),
                         _mm256_add_epi32(source, _mm256_set1_epi32((int)seed[7])));
    LOOKUP(add_products)(&even, &odd, _mm256_add_epi32(ports, _mm256_set1_epi32((int)seed[8])),
                         _mm256_add_epi32(protocol, _mm256_set1_epi32((int)seed[9])));
    return LOOKUP(end_flow)(seed, _mm256_blend_epi32(even, _mm256_slli_epi64(odd, 32), 0xAA),
                            _mm256_blend_epi32(_mm256_srli_epi64(even, 32), odd, 0xAA));
}

/* vnas_flow_hash of the 8 packets of any family at these places. */
static inline __attribute__((always_inline)) __m256i LOOKUP(flows_any)(
    const uint32_t *seed, const VnasKey *keys, const uint16_t *places)
{
    const __m256i of_destination = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)seed));
    const __m256i of_source = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(seed + 4)));
    /* Ports and protocol are in the lower halves of the last 16 bytes; above, zeros make the product none. */
    const __m256i of_ports = _mm256_setr_epi32((int)seed[8], 0, 0, 0, (int)seed[8], 0, 0, 0);
    const __m256i of_protocol = _mm256_setr_epi32((int)seed[9], 0, 0, 0, (int)seed[9], 0, 0, 0);
    const __m256i is_protocol = _mm256_setr_epi32(0xFF, 0, 0, 0, 0xFF, 0, 0, 0);
    __m256i products[4], low, high;
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++) {
        const char *one = (const char *)(keys + places[n]), *other = (const char *)(keys + places[n + 4]);
        __m256i destination = _mm256_add_epi32(VNAS_BOTH(one, other), of_destination);
        __m256i source = _mm256_add_epi32(VNAS_BOTH(one + 16, other + 16), of_source), rest = VNAS_BOTH(one + 32, other + 32);
        __m256i protocol = _mm256_and_si256(_mm256_srli_epi64(rest, 48), is_protocol);
        products[n] = _mm256_add_epi64(
            _mm256_add_epi64(_mm256_mul_epu32(destination, _mm256_srli_epi64(destination, 32)),
                             _mm256_mul_epu32(source, _mm256_srli_epi64(source, 32))),
            _mm256_mul_epu32(_mm256_add_epi32(rest, of_ports), _mm256_add_epi32(protocol, of_protocol)));
    }
    LOOKUP(sum_halves)(products, &low, &high);
    return LOOKUP(end_flow)(seed, low, high);
}
#endif

/* The hashes of n packets, of the keys at these places. There is room for whole groups of 8, and places behind the last are those of
 * keys too. One of `ipv4` and `any` is there. */
static inline __attribute__((always_inline)) void LOOKUP(hash_flows)(
    const VnasPlane *plane, const VnasKeyIpv4 *ipv4, const VnasKey *any, const uint16_t *places, size_t n, uint32_t *hashes)
{
#if LOOKUP_AVX2
    for (size_t i = 0; i < n; i += 8)
        LOOKUP(store)(hashes + i, ipv4 != NULL ? LOOKUP(flows_ipv4)(plane->flow_seed, ipv4, places + i)
                                               : LOOKUP(flows_any)(plane->flow_seed, any, places + i));
#else
    for (size_t i = 0; i < n; i++)
        hashes[i] = ipv4 != NULL ? vnas_flow_ipv4(plane, ipv4 + places[i]) : vnas_flow(plane, any + places[i]);
#endif
}
