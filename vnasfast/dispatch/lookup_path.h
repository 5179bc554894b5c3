/* The batched lookup, compiled once for each vector path: lookup.h defines LOOKUP(name), which gives the path's names, and
 * LOOKUP_AVX2.
 *
 * A batch of 32 packets goes through short loops, each over all of them, so that a core works on many packets at a time:
 *
 *   unpack    key → line of the address, place of the port
 *   probe     line → value: VLAN and owner
 *   answer    place, owner → where the answer is
 *   check     answers; and which packets the control plane must be asked about
 *
 * With `large` set each loop prefetches what the next one reads.
 */

static inline __attribute__((always_inline)) uint32_t LOOKUP(matches)(const VnasLine *line, uint32_t key)
{
#if LOOKUP_AVX2
    __m256i same = _mm256_cmpeq_epi32(_mm256_set1_epi32((int)key), _mm256_load_si256((const __m256i *)line->keys));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(same));
#elif defined(__SSE2__)
    __m128i wanted = _mm_set1_epi32((int)key);
    __m128i low = _mm_cmpeq_epi32(wanted, _mm_load_si128((const __m128i *)line->keys));
    __m128i high = _mm_cmpeq_epi32(wanted, _mm_load_si128((const __m128i *)(line->keys + 4)));
    return (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(low)) | (uint32_t)_mm_movemask_ps(_mm_castsi128_ps(high)) << 4;
#else
    uint32_t mask = 0;
    for (int i = 0; i < VNAS_LINE_SLOTS; i++)
        mask |= (uint32_t)(line->keys[i] == key) << i;
    return mask;
#endif
}

#if LOOKUP_AVX2
/* From 8 packets' words to their lines and places; the mask of those that the control plane must be asked about. `loopback` is set
 * where the destination is, `port_base` is added to the place. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(locate)(
    const VnasPlane *plane, uint32_t shift, __m256i address, __m256i ports, __m256i rest, __m256i loopback, __m256i port_base,
    VnasBatch *batch, int i)
{
    /* By the sum of the protocol's two hex digits: its number, and the protocol itself, so that no other passes for it. */
    const __m256i numbers = _mm256_broadcastsi128_si256(_mm_setr_epi8(4, 0, 1, 2, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0));
    const __m256i protocols = _mm256_broadcastsi128_si256(
        _mm_setr_epi8((char)136, 0, 17, 33, 0, 0, 6, 0, 0, 0, 0, 0, (char)132, 0, 0, 0));
    const __m256i byte = _mm256_set1_epi32(0xFF), half = _mm256_set1_epi32(0xFFFF);
    __m256i vlan = _mm256_and_si256(rest, half);
    __m256i protocol = _mm256_and_si256(_mm256_srli_epi32(rest, 16), byte);
    __m256i digits = _mm256_and_si256(_mm256_add_epi32(protocol, _mm256_srli_epi32(protocol, 4)), _mm256_set1_epi32(15));
    __m256i number = _mm256_and_si256(_mm256_shuffle_epi8(numbers, digits), byte);
    __m256i known = _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_shuffle_epi8(protocols, digits), byte), protocol);
    __m256i hash = _mm256_add_epi32(address, _mm256_mullo_epi32(vlan, _mm256_set1_epi32((int)plane->ipv4_seed[1])));
    hash = _mm256_xor_si256(hash, _mm256_srli_epi32(hash, 16));
    hash = _mm256_mullo_epi32(hash, _mm256_set1_epi32((int)plane->ipv4_seed[0]));
    hash = _mm256_mullo_epi32(_mm256_xor_si256(hash, _mm256_srli_epi32(hash, 15)), _mm256_set1_epi32((int)plane->ipv4_seed[2]));
    hash = _mm256_slli_epi32(_mm256_srl_epi32(hash, _mm_cvtsi32_si128((int)shift)), 6);
    __m256i place = _mm256_add_epi32(_mm256_or_si256(_mm256_and_si256(ports, half), _mm256_slli_epi32(number, 16)), port_base);
    _mm256_store_si256((__m256i *)(batch->line + i), hash);
    _mm256_store_si256((__m256i *)(batch->key + i), address);
    _mm256_store_si256((__m256i *)(batch->vlan + i), vlan);
    _mm256_store_si256((__m256i *)(batch->place + i), place);
    /* The status is the uppermost byte of `rest`: negative where parsing ended with an outcome. */
    __m256i ask = _mm256_or_si256(_mm256_or_si256(rest, loopback), _mm256_xor_si256(known, _mm256_set1_epi32(-1)));
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(ask)) << i;
}
#endif

static inline __attribute__((always_inline)) void LOOKUP(unpack_ipv4)(
    const VnasPlane *plane, const VnasLines *table, const VnasKeyIpv4 *keys, VnasBatch *batch)
{
    uint32_t ask = 0;
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        const char *at = (const char *)(keys + i);
        __m256i a = VNAS_PAIR(at, 0, 16), b = VNAS_PAIR(at, 1, 16), c = VNAS_PAIR(at, 2, 16), d = VNAS_PAIR(at, 3, 16);
        __m256i ab = _mm256_unpackhi_epi32(a, b), cd = _mm256_unpackhi_epi32(c, d);
        __m256i address = _mm256_unpacklo_epi64(_mm256_unpacklo_epi32(a, b), _mm256_unpacklo_epi32(c, d));
        __m256i loopback = _mm256_cmpeq_epi32(_mm256_and_si256(address, _mm256_set1_epi32(0xFF)), _mm256_set1_epi32(127));
        ask |= LOOKUP(locate)(plane, table->shift, address, _mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd),
                              loopback, _mm256_setzero_si256(), batch, i);
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        const VnasKeyIpv4 *key = &keys[i];
        uint32_t number = vnas_protocol_number(key->protocol);
        batch->key[i] = key->destination;
        batch->vlan[i] = key->vlan;
        batch->line[i] = vnas_ipv4_hash(plane, key->destination, key->vlan) >> table->shift << 6;
        batch->place[i] = (number == 255 ? 0 : number) << 16 | key->destination_port;
        ask |= (uint32_t)((key->status < 0) | (number == 255) | ((key->destination & 0xFF) == 127)) << i;
    }
#endif
    batch->ask = ask;
}

/* Keys of both families; the mask of those that are IPv6, whose line and key are still to be worked out. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(unpack)(
    const VnasPlane *plane, const VnasLines *table, const VnasKey *keys, VnasBatch *batch)
{
    uint32_t ask = 0, ipv6 = 0;
#if LOOKUP_AVX2
    const __m256i zero = _mm256_setzero_si256();
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        const char *at = (const char *)(keys + i);
        __m256i a = VNAS_PAIR(at, 0, 48), b = VNAS_PAIR(at, 1, 48), c = VNAS_PAIR(at, 2, 48), d = VNAS_PAIR(at, 3, 48);
        __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        __m256i upper = _mm256_or_si256(_mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd));
        ab = _mm256_unpackhi_epi32(a, b), cd = _mm256_unpackhi_epi32(c, d);
        __m256i third = _mm256_unpacklo_epi64(ab, cd), address = _mm256_unpackhi_epi64(ab, cd);
        __m256i none = _mm256_cmpeq_epi32(upper, zero);
        __m256i mapped = _mm256_and_si256(none, _mm256_cmpeq_epi32(third, _mm256_set1_epi32((int)0xFFFF0000)));
        /* 127.0.0.0/8, or ::1. */
        __m256i loopback = _mm256_or_si256(
            _mm256_and_si256(mapped, _mm256_cmpeq_epi32(_mm256_and_si256(address, _mm256_set1_epi32(0xFF)),
                                                        _mm256_set1_epi32(127))),
            _mm256_and_si256(_mm256_and_si256(none, _mm256_cmpeq_epi32(third, zero)),
                             _mm256_cmpeq_epi32(address, _mm256_set1_epi32(1 << 24))));
        at += 32;
        a = VNAS_PAIR(at, 0, 48), b = VNAS_PAIR(at, 1, 48), c = VNAS_PAIR(at, 2, 48), d = VNAS_PAIR(at, 3, 48);
        ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        ask |= LOOKUP(locate)(plane, table->shift, address, _mm256_unpacklo_epi64(ab, cd), _mm256_unpackhi_epi64(ab, cd),
                              loopback, _mm256_andnot_si256(mapped, _mm256_set1_epi32(VNAS_PLACES)), batch, i);
        ipv6 |= (uint32_t)(~_mm256_movemask_ps(_mm256_castsi256_ps(mapped)) & 0xFF) << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        const VnasKey *key = &keys[i];
        uint32_t number = vnas_protocol_number(key->protocol);
        uint32_t is_ipv6 = (key->hi != 0) | ((uint32_t)key->lo != 0xFFFF0000u);
        uint32_t address = (uint32_t)(key->lo >> 32);
        batch->key[i] = address;
        batch->vlan[i] = key->vlan;
        batch->line[i] = vnas_ipv4_hash(plane, address, key->vlan) >> table->shift << 6;
        batch->place[i] = ((number == 255 ? 0 : number) << 16 | key->destination_port) + (is_ipv6 ? VNAS_PLACES : 0);
        ask |= (uint32_t)((key->status < 0) | (number == 255) | (!is_ipv6 & ((address & 0xFF) == 127))
                          | ((key->hi == 0) & (key->lo == (uint64_t)1 << 56))) << i;
        ipv6 |= is_ipv6 << i;
    }
#endif
    batch->ask = ask;
    return ipv6;
}

static inline __attribute__((always_inline)) void LOOKUP(locate_ipv6)(
    const VnasPlane *plane, const VnasLines *table, const VnasKey *key, VnasBatch *batch, uint32_t i)
{
    uint64_t hash = vnas_ipv6_hash(plane, key->hi, key->lo, key->vlan);
    batch->key[i] = vnas_ipv6_key(hash);
    batch->line[i] = (uint32_t)(hash >> 32) >> table->shift << 6;
}

static inline __attribute__((always_inline)) void LOOKUP(prefetch_lines)(const VnasLines *table, const VnasBatch *batch)
{
    for (int i = 0; i < VNAS_BATCH; i++)
        __builtin_prefetch((const char *)table->lines + batch->line[i]);
}

/* Bit 7 stands for no match: it finds the line's own word for that. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(value)(const VnasLines *table, const VnasBatch *batch, uint32_t i)
{
    const VnasLine *line = (const VnasLine *)((const char *)table->lines + batch->line[i]);
    return line->values[__builtin_ctz(LOOKUP(matches)(line, batch->key[i]) | 1u << VNAS_LINE_SLOTS)];
}

static inline __attribute__((always_inline)) void LOOKUP(probe)(const VnasLines *table, VnasBatch *batch)
{
#pragma GCC unroll 8
    for (int i = 0; i < VNAS_BATCH; i++)
        batch->value[i] = LOOKUP(value)(table, batch, i);
}

/* From the row of an IPv6 address to VLAN and owner; another address in the row: the control plane must be asked. */
static inline __attribute__((always_inline)) void LOOKUP(compare_ipv6)(
    const VnasIpv6Row *rows, const VnasKey *key, VnasBatch *batch, uint32_t i)
{
    const VnasIpv6Row *row = &rows[batch->value[i]];
    uint32_t other = (batch->value[i] >= VNAS_FIRST_IPV6_ROW) & ((row->hi != key->hi) | (row->lo != key->lo));
    batch->ask |= other << i;
    batch->value[i] = row->value;
}

/* All packets are IPv6. */
static inline __attribute__((always_inline)) void LOOKUP(probe_ipv6)(
    const VnasPlane *plane, const VnasLines *table, const VnasKey *keys, VnasBatch *batch, const int large)
{
    const VnasIpv6Row *rows = VNAS_LOAD(plane->ipv6_rows);
    for (int i = 0; i < VNAS_BATCH; i++)
        LOOKUP(locate_ipv6)(plane, table, &keys[i], batch, (uint32_t)i);
    if (large)
        LOOKUP(prefetch_lines)(table, batch);
    LOOKUP(probe)(table, batch);
    if (large)
        for (int i = 0; i < VNAS_BATCH; i++)
            __builtin_prefetch(&rows[batch->value[i]]);
    for (int i = 0; i < VNAS_BATCH; i++)
        LOOKUP(compare_ipv6)(rows, &keys[i], batch, (uint32_t)i);
}

/* Those in the mask are IPv6. Each family in loops of its own: which packet is of which can't be guessed. */
static inline __attribute__((always_inline)) void LOOKUP(probe_mixed)(
    const VnasPlane *plane, const VnasLines *ipv4, const VnasLines *ipv6, const VnasKey *keys, VnasBatch *batch, uint32_t mask,
    const int large)
{
    const VnasIpv6Row *rows = VNAS_LOAD(plane->ipv6_rows);
    uint8_t of_ipv4[VNAS_BATCH], of_ipv6[VNAS_BATCH];
    int n_ipv4 = 0, n_ipv6 = 0;
    for (int i = 0; i < VNAS_BATCH; i++) {
        of_ipv4[n_ipv4] = of_ipv6[n_ipv6] = (uint8_t)i;
        n_ipv6 += mask >> i & 1;
        n_ipv4 += ~mask >> i & 1;
    }
    for (int n = 0; n < n_ipv6; n++) {
        LOOKUP(locate_ipv6)(plane, ipv6, &keys[of_ipv6[n]], batch, of_ipv6[n]);
        if (large)
            __builtin_prefetch((const char *)ipv6->lines + batch->line[of_ipv6[n]]);
    }
    if (large)
        for (int n = 0; n < n_ipv4; n++)
            __builtin_prefetch((const char *)ipv4->lines + batch->line[of_ipv4[n]]);
    for (int n = 0; n < n_ipv6; n++) {
        batch->value[of_ipv6[n]] = LOOKUP(value)(ipv6, batch, of_ipv6[n]);
        if (large)
            __builtin_prefetch(&rows[batch->value[of_ipv6[n]]]);
    }
    for (int n = 0; n < n_ipv4; n++)
        batch->value[of_ipv4[n]] = LOOKUP(value)(ipv4, batch, of_ipv4[n]);
    for (int n = 0; n < n_ipv6; n++)
        LOOKUP(compare_ipv6)(rows, &keys[of_ipv6[n]], batch, of_ipv6[n]);
}

static inline __attribute__((always_inline)) void LOOKUP(answer)(
    const VnasPorts *ports, VnasBatch *batch, int32_t *results, const int large)
{
    const int32_t *answers = ports->answers;
    const uint32_t *directory = ports->directory;
    uint32_t owners[VNAS_BATCH] __attribute__((aligned(32)));
    for (int i = 0; i < VNAS_BATCH; i++)
        owners[i] = batch->value[i] & VNAS_OWNER_MASK;
#pragma GCC unroll 8
    for (int i = 0; i < VNAS_BATCH; i++) {
        uint32_t at = directory[batch->place[i]] + owners[i];
        if (large) {
            batch->line[i] = at;
            __builtin_prefetch(answers + at);
        } else {
            results[i] = answers[at];
        }
    }
}

/* The mask of packets that the control plane must be asked about. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(check)(
    const VnasPorts *ports, const VnasBatch *batch, int32_t *results, const int large)
{
    uint32_t ask = batch->ask;
    if (large)
#pragma GCC unroll 8
        for (int i = 0; i < VNAS_BATCH; i++)
            results[i] = ports->answers[batch->line[i]];
    /* A match of another VLAN is none; a miss has no VLAN to compare. */
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i value = _mm256_load_si256((const __m256i *)(batch->value + i));
        __m256i stored = _mm256_loadu_si256((const __m256i *)(results + i));
        __m256i right = _mm256_or_si256(
            _mm256_cmpeq_epi32(_mm256_srli_epi32(value, VNAS_OWNER_BITS), _mm256_load_si256((const __m256i *)(batch->vlan + i))),
            _mm256_cmpeq_epi32(value, _mm256_setzero_si256()));
        right = _mm256_andnot_si256(_mm256_cmpeq_epi32(stored, _mm256_set1_epi32(VNAS_ASK)), right);
        _mm256_storeu_si256((__m256i *)(results + i), _mm256_sub_epi32(stored, _mm256_set1_epi32(VNAS_STORED)));
        ask |= (uint32_t)(~_mm256_movemask_ps(_mm256_castsi256_ps(right)) & 0xFF) << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        uint32_t value = batch->value[i], stored = (uint32_t)results[i];
        ask |= (uint32_t)(((value >> VNAS_OWNER_BITS != batch->vlan[i]) & (value != 0)) | (stored == (uint32_t)VNAS_ASK)) << i;
        results[i] = (int32_t)(stored - VNAS_STORED);
    }
#endif
    return ask;
}

/* One batch of either kind of keys. A change of addresses meanwhile: every packet is asked about. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(batch_ipv4)(
    const VnasPlane *plane, const VnasKeyIpv4 *keys, int32_t *results, const int large)
{
    VnasBatch batch;
    uint64_t changes = VNAS_LOAD(plane->address_changes);
    const VnasLines *table = VNAS_LOAD(plane->ipv4);
    const VnasPorts *ports = VNAS_LOAD(plane->ports);
    LOOKUP(unpack_ipv4)(plane, table, keys, &batch);
    if (large)
        LOOKUP(prefetch_lines)(table, &batch);
    LOOKUP(probe)(table, &batch);
    LOOKUP(answer)(ports, &batch, results, large);
    return LOOKUP(check)(ports, &batch, results, large) | vnas_changed(plane, changes);
}

static inline __attribute__((always_inline)) uint32_t LOOKUP(batch_any)(
    const VnasPlane *plane, const VnasKey *keys, int32_t *results, const int large)
{
    VnasBatch batch;
    uint64_t changes = VNAS_LOAD(plane->address_changes);
    const VnasLines *ipv4 = VNAS_LOAD(plane->ipv4), *ipv6 = VNAS_LOAD(plane->ipv6);
    const VnasPorts *ports = VNAS_LOAD(plane->ports);
    uint32_t mask = LOOKUP(unpack)(plane, ipv4, keys, &batch);
    if (mask == 0) {
        if (large)
            LOOKUP(prefetch_lines)(ipv4, &batch);
        LOOKUP(probe)(ipv4, &batch);
    } else if (mask == ~0u) {
        LOOKUP(probe_ipv6)(plane, ipv6, keys, &batch, large);
    } else {
        LOOKUP(probe_mixed)(plane, ipv4, ipv6, keys, &batch, mask, large);
    }
    LOOKUP(answer)(ports, &batch, results, large);
    return LOOKUP(check)(ports, &batch, results, large) | vnas_changed(plane, changes);
}

static __attribute__((noinline)) size_t LOOKUP(keys_ipv4)(
    const VnasPlane *plane, const VnasKeyIpv4 *keys, size_t n, int32_t *results, uint16_t *ask)
{
    const int large = plane->bytes > VNAS_LARGE;
    size_t n_ask = 0;
    for (size_t start = 0; start + VNAS_BATCH <= n; start += VNAS_BATCH) {
        /* Keys come in order, yet asking for them early pays. What lies behind the last one nobody reads: a prefetch may miss. */
        for (size_t line = 0; line < VNAS_BATCH * sizeof *keys; line += 64)
            __builtin_prefetch((const char *)(keys + start) + VNAS_KEYS_AHEAD + line);
        uint32_t mask = large ? LOOKUP(batch_ipv4)(plane, keys + start, results + start, 1)
                              : LOOKUP(batch_ipv4)(plane, keys + start, results + start, 0);
        n_ask = vnas_list(mask, start, ask, n_ask);
    }
    if (n % VNAS_BATCH) {
        size_t rest = n % VNAS_BATCH, start = n - rest;
        VnasKeyIpv4 padded[VNAS_BATCH] = {{0}};
        int32_t found[VNAS_BATCH];
        memcpy(padded, keys + start, rest * sizeof *keys);
        uint32_t mask = LOOKUP(batch_ipv4)(plane, padded, found, 0);
        memcpy(results + start, found, rest * sizeof *found);
        n_ask = vnas_list(mask & ((1u << rest) - 1), start, ask, n_ask);
    }
    return n_ask;
}

static __attribute__((noinline)) size_t LOOKUP(keys)(
    const VnasPlane *plane, const VnasKey *keys, size_t n, int32_t *results, uint16_t *ask)
{
    const int large = plane->bytes > VNAS_LARGE;
    size_t n_ask = 0;
    for (size_t start = 0; start + VNAS_BATCH <= n; start += VNAS_BATCH) {
        for (size_t line = 0; line < VNAS_BATCH * sizeof *keys; line += 64)
            __builtin_prefetch((const char *)(keys + start) + VNAS_KEYS_AHEAD + line);
        uint32_t mask = large ? LOOKUP(batch_any)(plane, keys + start, results + start, 1)
                              : LOOKUP(batch_any)(plane, keys + start, results + start, 0);
        n_ask = vnas_list(mask, start, ask, n_ask);
    }
    if (n % VNAS_BATCH) {
        size_t rest = n % VNAS_BATCH, start = n - rest;
        VnasKey padded[VNAS_BATCH] = {{0}};
        int32_t found[VNAS_BATCH];
        memcpy(padded, keys + start, rest * sizeof *keys);
        uint32_t mask = LOOKUP(batch_any)(plane, padded, found, 0);
        memcpy(results + start, found, rest * sizeof *found);
        n_ask = vnas_list(mask & ((1u << rest) - 1), start, ask, n_ask);
    }
    return n_ask;
}
