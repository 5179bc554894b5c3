/* The batched lookup, compiled once for each vector path: lookup.h defines LOOKUP(name), which gives the path's names, and
 * LOOKUP_AVX2.
 *
 * A batch of 32 packets goes through three stages, each a loop over all of them, so that a core works on many packets at a time:
 *
 *   begin     key → line of the address, place of the port
 *   match     line → owner; and whether the VLAN is right
 *   answer    place, owner → answer; and which packets need more than that
 *   resolve   only of those: ports that few VNASs have, sockets that share a port, specific addresses; and which packets the control
 *             plane must be asked about
 *
 * VNAS_NEAR: the tables lie in the caches next to the core. VNAS_MIDDLE: each stage prefetches what the next one reads. VNAS_FAR: the
 * next stage is then that of the batch before, so that what was prefetched has had the time of a batch to come.
 */

#include "vnasfast/dispatch/lookup_keys.h"

#include "vnasfast/dispatch/match_path.h"

/* ---- answer ------------------------------------------------------------------------------------------------------------- */

static inline __attribute__((always_inline)) void LOOKUP(prefetch_answers)(VnasBatch *batch)
{
    const VnasPorts *ports = batch->ports;
    for (int i = 0; i < VNAS_BATCH; i++) {
        batch->line[i] = ports->directory[batch->place[i]] + batch->owner[i];
        __builtin_prefetch(ports->answers + batch->line[i]);
    }
    VNAS_TO_MEMORY(batch);
}

/* The stored answer of a packet; where answers were prefetched, its line is the place of the answer. */
static inline __attribute__((always_inline)) int32_t LOOKUP(stored)(
    const int32_t *answers, const uint32_t *directory, const VnasBatch *batch, int i, const int reach)
{
    return answers[reach == VNAS_NEAR ? directory[batch->place[i]] + batch->owner[i] : batch->line[i]];
}

/* The answers, and the mask of packets whose answer is not there yet: a stored one below 0 says where it is. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(answer)(const VnasBatch *batch, int32_t *results, const int reach)
{
    const int32_t *answers = batch->ports->answers;
    const uint32_t *directory = batch->ports->directory;
    uint32_t ask = batch->ask;
#if LOOKUP_AVX2
#pragma GCC unroll 4
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        int32_t found[8];
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++)
            found[n] = LOOKUP(stored)(answers, directory, batch, i + n, reach);
        __m256i stored = _mm256_setr_epi32(found[0], found[1], found[2], found[3], found[4], found[5], found[6], found[7]);
        _mm256_storeu_si256((__m256i *)(results + i), _mm256_sub_epi32(stored, _mm256_set1_epi32(VNAS_STORED)));
        ask |= LOOKUP(bits)(stored) << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        int32_t stored = LOOKUP(stored)(answers, directory, batch, i, reach);
        ask |= (uint32_t)(stored < 0) << i;
        results[i] = (int32_t)((uint32_t)stored - VNAS_STORED);
    }
#endif
    return ask;
}

/* ---- misses ------------------------------------------------------------------------------------------------------------- */

/* Answer a batch of nothing but misses without a look at the answers: no packet has an owner, or no port is open. Returns 0 where it is
 * another batch. Where answers were prefetched, the directory was read then. Not inlined, so that hits need no registers for it. */
static __attribute__((noinline)) int LOOKUP(miss)(
    const VnasBatch *batch, int32_t *results, uint32_t *mask, const int reach)
{
    const uint32_t *directory = batch->ports->directory;
    uint32_t owned = 0, open = 0, ask = batch->ask;
    for (int i = 0; i < VNAS_BATCH; i++)
        owned |= batch->owner[i];
    if (owned != VNAS_NOBODY)
#pragma GCC unroll 32
        for (int i = 0; i < VNAS_BATCH; i++)
            open |= reach == VNAS_NEAR ? directory[batch->place[i]] : batch->line[i] ^ batch->owner[i];
    if (open)
        return 0;
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i owner = LOOKUP(load)(batch->owner + i), nobody = _mm256_cmpeq_epi32(owner, _mm256_setzero_si256());
        __m256i elsewhere = _mm256_andnot_si256(nobody, _mm256_cmpgt_epi32(_mm256_set1_epi32(VNAS_FIRST_OWNER), owner));
        __m256i none = _mm256_sub_epi32(_mm256_set1_epi32(VNAS_NO_PORT), nobody);
        none = _mm256_blendv_epi8(none, _mm256_set1_epi32((int32_t)((uint32_t)VNAS_ASK - VNAS_STORED)), elsewhere);
        _mm256_storeu_si256((__m256i *)(results + i), none);
        ask |= LOOKUP(bits)(elsewhere) << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        const int elsewhere = batch->owner[i] == VNAS_BESIDE || batch->owner[i] == VNAS_ELSEWHERE;
        int32_t none = batch->owner[i] == VNAS_NOBODY ? VNAS_NO_VNAS : VNAS_NO_PORT;
        results[i] = elsewhere ? (int32_t)((uint32_t)VNAS_ASK - VNAS_STORED) : none;
        ask |= (uint32_t)elsewhere << i;
    }
#endif
    *mask = ask;
    return 1;
}

static __attribute__((noinline)) int LOOKUP(all_missed)(const int32_t *results)
{
    int32_t signs = -1;
    for (int i = 0; i < VNAS_BATCH; i++)
        signs &= results[i];
    return signs < 0;
}

#include "vnasfast/dispatch/resolve_path.h"

/* ---- the stages --------------------------------------------------------------------------------------------------------- */

/* What a batch reads of the tables is read once, for all its stages. */
static inline __attribute__((always_inline)) void LOOKUP(enter)(const VnasPlane *plane, VnasBatch *batch)
{
    batch->changes = VNAS_LOAD(plane->address_changes);
    batch->sparse_changes = VNAS_LOAD(plane->sparse_changes);
    batch->ipv4 = VNAS_LOAD(plane->ipv4);
    batch->ipv6 = VNAS_LOAD(plane->ipv6);
    batch->ports = VNAS_LOAD(plane->ports);
}

static inline __attribute__((always_inline)) void LOOKUP(prefetch_lines)(const VnasBatch *batch)
{
    const char *lines = (const char *)batch->ipv4->lines;
    for (int i = 0; i < VNAS_BATCH; i++)
        __builtin_prefetch(batch->ipv6_mask ? (const char *)batch->lines[i] : lines + batch->line[i]);
}

static inline __attribute__((always_inline)) void LOOKUP(begin)(
    const VnasPlane *plane, const void *keys, const int narrow, VnasBatch *batch, const int reach)
{
    LOOKUP(enter)(plane, batch);
    if (narrow)
        LOOKUP(unpack_ipv4)(plane, keys, batch);
    else
        LOOKUP(unpack)(plane, keys, batch);
    VNAS_TO_MEMORY(batch);
    if (!narrow && batch->ipv6_mask)
        LOOKUP(point)(batch);
    if (reach != VNAS_NEAR)
        LOOKUP(prefetch_lines)(batch);
    if (reach != VNAS_NEAR && __builtin_expect(plane->n_open > VNAS_MANY_PORTS, 0))
        for (int i = 0; i < VNAS_BATCH; i++)
            __builtin_prefetch(batch->ports->directory + batch->place[i]);
}

static inline __attribute__((always_inline)) void LOOKUP(match)(
    const VnasPlane *plane, const void *keys, const int narrow, VnasBatch *batch, const int reach)
{
    if (narrow)
        LOOKUP(probe_ipv4)(batch, keys, sizeof(VnasKeyIpv4));
    else if (batch->ipv6_mask == 0)
        LOOKUP(probe_ipv4)(batch, (const char *)keys + 12, sizeof(VnasKey));
    else
        LOOKUP(probe)(plane, keys, batch);
    VNAS_TO_MEMORY(batch);
    if (reach != VNAS_NEAR)
        LOOKUP(prefetch_answers)(batch);
}

/* A change of addresses since the batch began: every packet is to be asked about, of which `again` may know better. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(end)(
    const VnasPlane *plane, const void *keys, const int narrow, VnasBatch *batch, int32_t *results, int *misses, const int reach)
{
    uint32_t mask;
    if (__builtin_expect(*misses, 0))
        *misses = LOOKUP(miss)(batch, results, &mask, reach);
    if (!*misses)
        mask = LOOKUP(answer)(batch, results, reach);
    if (__builtin_expect(mask != 0, 0))
        mask = narrow ? LOOKUP(resolve_ipv4)(plane, keys, batch, mask, results, reach != VNAS_NEAR)
                      : LOOKUP(resolve_any)(plane, keys, batch, mask, results, reach != VNAS_NEAR);
    return mask | vnas_changed(plane, batch->changes);
}

/* A batch that all is to be asked about: where addresses changed meanwhile it is looked up again, by the tables as they are now. The control
 * plane took 2.5 us for it, and beside 100,000 changes of addresses a second a reader lost 0.18 of its throughput. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(again)(
    const VnasPlane *plane, const void *keys, const int narrow, uint64_t changes, int32_t *results)
{
    uint32_t mask = ~0u;
    for (int tries = 0; tries < VNAS_TRIES && mask == ~0u && vnas_changed(plane, changes); tries++) {
        VnasBatch batch;
        int misses = 0;
        LOOKUP(begin)(plane, keys, narrow, &batch, VNAS_NEAR);
        LOOKUP(match)(plane, keys, narrow, &batch, VNAS_NEAR);
        mask = LOOKUP(end)(plane, keys, narrow, &batch, results, &misses, VNAS_NEAR);
        changes = batch.changes;
    }
    return mask;
}

static __attribute__((noinline)) uint32_t LOOKUP(again_ipv4)(
    const VnasPlane *plane, const void *keys, uint64_t changes, int32_t *results)
{
    return LOOKUP(again)(plane, keys, 1, changes, results);
}

static __attribute__((noinline)) uint32_t LOOKUP(again_any)(
    const VnasPlane *plane, const void *keys, uint64_t changes, int32_t *results)
{
    return LOOKUP(again)(plane, keys, 0, changes, results);
}

/* Which packets of a batch the control plane must be asked about. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(finish)(
    const VnasPlane *plane, const void *keys, const int narrow, VnasBatch *batch, int32_t *results, int *misses, const int reach)
{
    uint32_t mask = LOOKUP(end)(plane, keys, narrow, batch, results, misses, reach);
    if (__builtin_expect(mask == ~0u, 0))
        mask = (narrow ? LOOKUP(again_ipv4) : LOOKUP(again_any))(plane, keys, batch->changes, results);
    return mask;
}

/* Whole batches of either kind of keys. */
static inline __attribute__((always_inline)) size_t LOOKUP(batches)(
    const VnasPlane *plane, const char *keys, const int narrow, size_t n_batches, int32_t *results, uint16_t *ask, const int reach)
{
    const size_t size = VNAS_BATCH * (narrow ? sizeof(VnasKeyIpv4) : sizeof(VnasKey)), behind = reach == VNAS_FAR;
    const size_t ring = behind ? 3 : 0;     /* no more batches than are on their way: they too take room in the cache */
    VnasBatch batches[4];
    size_t n_ask = 0;
    int misses = 0;
    for (size_t n = 0; n < n_batches + 2 * behind; n++) {
        if (n < n_batches) {
            /* Keys come in order, yet asking for them early pays. What lies behind the last one nobody reads: a prefetch may miss. */
#pragma GCC unroll 24
            for (size_t line = 0; line < size; line += 64)
                __builtin_prefetch(keys + n * size + VNAS_KEYS_AHEAD + line);
            LOOKUP(begin)(plane, keys + n * size, narrow, &batches[n & ring], reach);
        }
        if (n >= behind && n - behind < n_batches)
            LOOKUP(match)(plane, keys + (n - behind) * size, narrow, &batches[(n - behind) & ring], reach);
        if (n >= 2 * behind) {
            size_t done = n - 2 * behind;
            uint32_t mask = LOOKUP(finish)(
                plane, keys + done * size, narrow, &batches[done & ring], results + done * VNAS_BATCH, &misses, reach);
            /* Scans and floods come in rows: where the first batch found nothing, the next one likely won't either. */
            if (done == 0)
                misses = LOOKUP(all_missed)(results);
            n_ask = vnas_list(mask, done * VNAS_BATCH, ask, n_ask);
        }
    }
    return n_ask;
}

static inline __attribute__((always_inline)) size_t LOOKUP(all)(
    const VnasPlane *plane, const char *keys, const int narrow, size_t n, int32_t *results, uint16_t *ask)
{
    const size_t size = narrow ? sizeof(VnasKeyIpv4) : sizeof(VnasKey), rest = n % VNAS_BATCH, whole = n - rest;
    size_t n_ask;
    int misses = 0;
    if (plane->bytes <= VNAS_LARGE)
        n_ask = LOOKUP(batches)(plane, keys, narrow, n / VNAS_BATCH, results, ask, VNAS_NEAR);
    else if (plane->bytes <= VNAS_HUGE)
        n_ask = LOOKUP(batches)(plane, keys, narrow, n / VNAS_BATCH, results, ask, VNAS_MIDDLE);
    else
        n_ask = LOOKUP(batches)(plane, keys, narrow, n / VNAS_BATCH, results, ask, VNAS_FAR);
    if (rest) {
        char padded[VNAS_BATCH * sizeof(VnasKey)] = {0};
        int32_t found[VNAS_BATCH];
        VnasBatch batch;
        memcpy(padded, keys + whole * size, rest * size);
        LOOKUP(begin)(plane, padded, narrow, &batch, VNAS_NEAR);
        LOOKUP(match)(plane, padded, narrow, &batch, VNAS_NEAR);
        uint32_t mask = LOOKUP(finish)(plane, padded, narrow, &batch, found, &misses, VNAS_NEAR);
        memcpy(results + whole, found, rest * sizeof *found);
        n_ask = vnas_list(mask & ((1u << rest) - 1), whole, ask, n_ask);
    }
    return n_ask;
}

static __attribute__((noinline)) size_t LOOKUP(keys_ipv4)(
    const VnasPlane *plane, const VnasKeyIpv4 *keys, size_t n, int32_t *results, uint16_t *ask)
{
    return LOOKUP(all)(plane, (const char *)keys, 1, n, results, ask);
}

static __attribute__((noinline)) size_t LOOKUP(keys)(
    const VnasPlane *plane, const VnasKey *keys, size_t n, int32_t *results, uint16_t *ask)
{
    return LOOKUP(all)(plane, (const char *)keys, 0, n, results, ask);
}
