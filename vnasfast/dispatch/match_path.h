/* The batched lookup's second stage, compiled once for each vector path as lookup_path.h is: from lines to owners. */

#if LOOKUP_AVX2
/* The value of a key's slot in that slot's lane, and what a miss means in the last. */
static inline __attribute__((always_inline)) __m256i LOOKUP(slot)(const void *keys, const void *values, const void *key)
{
    const __m256i last = _mm256_setr_epi32(0, 0, 0, 0, 0, 0, 0, -1);
    __m256i same = _mm256_cmpeq_epi32(_mm256_castps_si256(_mm256_broadcast_ss(key)), LOOKUP(load)(keys));
    return _mm256_and_si256(_mm256_or_si256(same, last), LOOKUP(load)(values));
}

/* The greatest of the lanes of each of 8 vectors: a match beats what a miss means. */
static inline __attribute__((always_inline)) __m256i LOOKUP(greatest)(const __m256i *slots)
{
    __m256i halves[4], quarters[2];
    for (int n = 0; n < 4; n++)
        halves[n] = _mm256_max_epu32(_mm256_blend_epi32(slots[n], slots[n + 4], 0xF0),
                                     _mm256_permute2x128_si256(slots[n], slots[n + 4], 0x21));
    for (int n = 0; n < 2; n++)
        quarters[n] = _mm256_max_epu32(_mm256_unpacklo_epi32(halves[2 * n], halves[2 * n + 1]),
                                       _mm256_unpackhi_epi32(halves[2 * n], halves[2 * n + 1]));
    return _mm256_max_epu32(_mm256_unpacklo_epi64(quarters[0], quarters[1]), _mm256_unpackhi_epi64(quarters[0], quarters[1]));
}
#endif

/* The mask of a line's slots that have a key. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(matches)(const VnasLine *line, uint32_t key)
{
    uint32_t mask = 0;
#if LOOKUP_AVX2
    mask = LOOKUP(bits)(_mm256_cmpeq_epi32(_mm256_set1_epi32((int)key), LOOKUP(load)(line->keys)));
#elif defined(__SSE2__)
    __m128i wanted = _mm_set1_epi32((int)key);
    __m128i low = _mm_cmpeq_epi32(wanted, _mm_load_si128((const __m128i *)line->keys));
    __m128i high = _mm_cmpeq_epi32(wanted, _mm_load_si128((const __m128i *)(line->keys + 4)));
    mask = (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(low)) | (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(high)) << 4;
#else
    for (int i = 0; i < VNAS_LINE_SLOTS; i++)
        mask |= (uint32_t)(line->keys[i] == key) << i;
#endif
    return mask & ((1u << VNAS_LINE_SLOTS) - 1);
}

/* Bit 7 stands for no match: it finds the line's own word for that. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(value)(const VnasLine *line, uint32_t key)
{
    return line->values[__builtin_ctz(LOOKUP(matches)(line, key) | 1u << VNAS_LINE_SLOTS)];
}

/* A match of another VLAN is none: the control plane must be asked. A miss has no VLAN to compare. */
#if LOOKUP_AVX2
static inline __attribute__((always_inline)) uint32_t LOOKUP(own)(VnasBatch *batch, int i, __m256i value)
{
    __m256i right = _mm256_or_si256(
        _mm256_cmpeq_epi32(_mm256_srli_epi32(value, VNAS_OWNER_BITS), LOOKUP(load)(batch->vlan + i)),
        _mm256_cmpeq_epi32(value, _mm256_min_epu32(value, _mm256_set1_epi32(VNAS_FIRST_OWNER - 1))));
    LOOKUP(store)(batch->owner + i, _mm256_and_si256(value, _mm256_set1_epi32((int)VNAS_OWNER_MASK)));
    return (~LOOKUP(bits)(right) & 0xFF) << i;
}
#else
static inline __attribute__((always_inline)) uint32_t LOOKUP(own)(VnasBatch *batch, int i, uint32_t value)
{
    batch->owner[i] = value & VNAS_OWNER_MASK;
    return (uint32_t)((value >> VNAS_OWNER_BITS != batch->vlan[i]) & (value >= VNAS_FIRST_OWNER)) << i;
}
#endif

/* All packets are IPv4; `addresses` is the first one's, the others' follow `stride` bytes apart. */
static inline __attribute__((always_inline)) void LOOKUP(probe_ipv4)(VnasBatch *batch, const char *addresses, const size_t stride)
{
    const char *lines = (const char *)batch->ipv4->lines;
    uint32_t ask = batch->ask;
#if LOOKUP_AVX2
    /* Hidden from the compiler, which else adds offset and begin for both halves of the line instead of letting the loads do it. */
    const char *keys = lines, *values = lines + sizeof ((VnasLine *)lines)->keys;
    __asm__("" : "+r"(keys), "+r"(values));
#pragma GCC unroll 4
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i slots[8];
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++)
            slots[n] = LOOKUP(slot)(keys + batch->line[i + n], values + batch->line[i + n], addresses + (i + n) * stride);
        ask |= LOOKUP(own)(batch, i, LOOKUP(greatest)(slots));
    }
#else
#pragma GCC unroll 8
    for (int i = 0; i < VNAS_BATCH; i++)
        ask |= LOOKUP(own)(batch, i, LOOKUP(value)((const VnasLine *)(lines + batch->line[i]),
                                                   *(const uint32_t *)(addresses + i * stride)));
#endif
    batch->ask = ask;
}

/* The owner of a packet whose address's line had no room for some, by the lines beside. On another VLAN it is another address, behind which this
 * one may be hidden: the control plane must be asked. */
static inline uint32_t LOOKUP(owner_beside)(
    const VnasPlane *plane, const VnasKeyIpv4 *ipv4, const VnasKey *any, const VnasBatch *batch, uint32_t i)
{
    const int ipv6 = any != NULL && (batch->ipv6_mask >> i & 1);
    const VnasLine *lines = (ipv6 ? batch->ipv6 : batch->ipv4)->lines;
    uint32_t vlan = batch->vlan[i], key = ipv4 != NULL ? ipv4[i].destination : (uint32_t)(any[i].lo >> 32), value = 0;
    size_t own = batch->ipv6_mask ? (size_t)(batch->lines[i] - lines) : vnas_ipv4_hash(plane, key, vlan) >> batch->ipv4->shift;
    for (size_t n = 1; value == 0 && n < (ipv6 ? VNAS_IPV6_TOGETHER : VNAS_TOGETHER); n++) {
        const VnasLine *line = &lines[own ^ n];
        value = ipv6 ? vnas_ipv6_value((const VnasIpv6Line *)line, any[i].hi, any[i].lo) : LOOKUP(value)(line, key);
    }
    if (value < VNAS_FIRST_OWNER)
        return value == VNAS_ELSEWHERE ? value : VNAS_NOBODY;
    return value >> VNAS_OWNER_BITS == vlan ? value & VNAS_OWNER_MASK : VNAS_ELSEWHERE;
}

/* Those of the mask that the lines beside know of. One of `ipv4` and `any` is there. */
static __attribute__((noinline)) void LOOKUP(look_beside)(
    const VnasPlane *plane, const VnasKeyIpv4 *ipv4, const VnasKey *any, VnasBatch *batch, uint32_t mask)
{
    for (; mask; mask &= mask - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(mask);
        if (batch->owner[i] == VNAS_BESIDE)
            batch->owner[i] = LOOKUP(owner_beside)(plane, ipv4, any, batch, i);
    }
}

#if LOOKUP_AVX2
/* The value of an IPv6 address's slot in that slot's lane of 64 bits, and what a miss means in the last: three addresses' halves lie side by
 * side, and what is loaded with them is not looked at. */
static inline __attribute__((always_inline)) __m256i LOOKUP(ipv6_slot)(const VnasIpv6Line *line, const char *address)
{
    const __m256i last = _mm256_setr_epi64x(0, 0, 0, -1);
    __m256i hi = _mm256_castpd_si256(_mm256_broadcast_sd((const double *)address));
    __m256i lo = _mm256_castpd_si256(_mm256_broadcast_sd((const double *)(address + 8)));
    __m256i same = _mm256_and_si256(_mm256_cmpeq_epi64(hi, LOOKUP(load)(line->hi)),
                                    _mm256_cmpeq_epi64(lo, _mm256_loadu_si256((const __m256i *)line->lo)));
    return _mm256_and_si256(_mm256_or_si256(same, last), _mm256_cvtepu32_epi64(_mm_load_si128((const __m128i *)line->values)));
}

/* The values of 8 packets, by lines of IPv6. */
static inline __attribute__((always_inline)) __m256i LOOKUP(ipv6_values)(const VnasLine *const *lines, const char *addresses)
{
    __m256i pairs[4], halves[2];
#pragma GCC unroll 4
    for (int n = 0; n < 4; n++)
        pairs[n] = _mm256_or_si256(
            LOOKUP(ipv6_slot)((const VnasIpv6Line *)lines[2 * n], addresses + 2 * n * sizeof(VnasKey)),
            _mm256_slli_epi64(LOOKUP(ipv6_slot)((const VnasIpv6Line *)lines[2 * n + 1], addresses + (2 * n + 1) * sizeof(VnasKey)), 32));
    for (int n = 0; n < 2; n++)
        halves[n] = _mm256_max_epu32(_mm256_unpacklo_epi64(pairs[2 * n], pairs[2 * n + 1]),
                                     _mm256_unpackhi_epi64(pairs[2 * n], pairs[2 * n + 1]));
    return _mm256_max_epu32(_mm256_permute2x128_si256(halves[0], halves[1], 0x20),
                            _mm256_permute2x128_si256(halves[0], halves[1], 0x31));
}
#endif

/* Some are IPv6: where not all are, each packet's line is looked at as one of either family, and one value chosen. */
static inline __attribute__((always_inline)) void LOOKUP(probe)(const VnasPlane *plane, const VnasKey *keys, VnasBatch *batch)
{
    uint32_t ask = batch->ask, beside = 0;
#if LOOKUP_AVX2
    const uint32_t all = ~batch->ipv6_mask == 0;
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        const char *at = (const char *)(keys + i);
        __m256i value = LOOKUP(ipv6_values)(batch->lines + i, at);
        if (!all) {
            __m256i slots[8];
#pragma GCC unroll 8
            for (int n = 0; n < 8; n++)
                slots[n] = LOOKUP(slot)(batch->lines[i + n]->keys, batch->lines[i + n]->values, at + n * sizeof *keys + 12);
            value = _mm256_blendv_epi8(LOOKUP(greatest)(slots), value, LOOKUP(load)(batch->ipv6_lanes + i));
        }
        ask |= LOOKUP(own)(batch, i, value);
        beside |= LOOKUP(bits)(_mm256_cmpeq_epi32(value, _mm256_set1_epi32(VNAS_BESIDE))) << i;
    }
#else
    const int all = ~batch->ipv6_mask == 0;
    for (int i = 0; i < VNAS_BATCH; i++) {
        const VnasLine *line = batch->lines[i];
        const VnasIpv6Line *wide = (const VnasIpv6Line *)line;
        uint32_t value = vnas_ipv6_value(wide, keys[i].hi, keys[i].lo), miss = wide->values[VNAS_IPV6_SLOTS];
        value = value > miss ? value : miss;
        if (!all)
            value = vnas_choose(batch->ipv6_mask, i, value, LOOKUP(value)(line, (uint32_t)(keys[i].lo >> 32)));
        ask |= LOOKUP(own)(batch, i, value);
        beside |= (uint32_t)(value == VNAS_BESIDE) << i;
    }
#endif
    batch->ask = ask;
    VNAS_TO_MEMORY(batch);
    if (__builtin_expect(beside != 0, 0))
        LOOKUP(look_beside)(plane, NULL, keys, batch, beside);
}
