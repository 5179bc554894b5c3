/* The packets of a batch whose stored answer says where their answer is (plane.h): part of lookup_path.h, compiled as often.
 *
 *   beside     addresses that found no room in their line (match_path.h)
 *   sort       by what is stored
 *   probe      lines of ports that few VNASs have
 *   choose     in blocks, among sockets that share a port or beside a specific address
 */

#include "vnasfast/dispatch/lookup_flows.h"

/* Which packets of a batch go where from here, by what is stored for them. */
typedef struct {
    uint32_t ask, sparse, specific, members;
} LOOKUP(Sorted);

static inline __attribute__((always_inline)) LOOKUP(Sorted) LOOKUP(sort)(const int32_t *stored)
{
    LOOKUP(Sorted) sorted = {0, 0, 0, 0};
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i each = LOOKUP(load)(stored + i);
        __m256i ask = _mm256_cmpeq_epi32(each, _mm256_set1_epi32(VNAS_ASK));
        __m256i code = _mm256_cmpgt_epi32(_mm256_set1_epi32(VNAS_LIKE_ANY), each);
        sorted.ask |= LOOKUP(bits)(ask) << i;
        sorted.sparse |= LOOKUP(bits)(_mm256_andnot_si256(ask, code)) << i;
        __m256i block = _mm256_andnot_si256(code, each), kind = _mm256_slli_epi32(each, 31);
        sorted.specific |= LOOKUP(bits)(_mm256_andnot_si256(kind, block)) << i;
        sorted.members |= LOOKUP(bits)(_mm256_and_si256(kind, block)) << i;
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        sorted.ask |= (uint32_t)(stored[i] == VNAS_ASK) << i;
        sorted.sparse |= (uint32_t)vnas_is_sparse(stored[i]) << i;
        sorted.specific |= (uint32_t)(vnas_names_block(stored[i]) & ((~stored[i] & 1) == VNAS_SPECIFIC)) << i;
        sorted.members |= (uint32_t)(vnas_names_block(stored[i]) & ((~stored[i] & 1) == VNAS_MEMBERS)) << i;
    }
#endif
    return sorted;
}

#if LOOKUP_AVX2
/* All ones in the lanes that the lowest 8 bits name. */
static inline __attribute__((always_inline)) __m256i LOOKUP(lanes)(uint32_t bits)
{
    const __m256i each = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    return _mm256_cmpeq_epi32(_mm256_and_si256(_mm256_set1_epi32((int)bits), each), each);
}
#endif

/* The line and key of each packet, as of a sparse port's, whether it has one or not: of 8 at a time. */
static inline __attribute__((always_inline)) void LOOKUP(locate_sparse)(
    const VnasPlane *plane, const VnasLines *table, VnasBatch *batch, const int32_t *stored)
{
#if LOOKUP_AVX2
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i place = LOOKUP(load)(batch->place + i);
        __m256i owner = LOOKUP(load)(batch->owner + i);
        __m256i same = _mm256_and_si256(
            _mm256_cmpeq_epi32(LOOKUP(load)(stored + i), _mm256_set1_epi32(VNAS_SPARSE)),
            _mm256_cmpgt_epi32(place, _mm256_set1_epi32(VNAS_PLACES - 1)));
        place = _mm256_sub_epi32(place, _mm256_and_si256(same, _mm256_set1_epi32(VNAS_PLACES)));
#define VNAS_ROUND(a, b, n)                                                                                     \
    a = _mm256_xor_si256(a, _mm256_srli_epi32(_mm256_mullo_epi32(b, _mm256_set1_epi32((int)plane->sparse_seed[n])), 12))
        VNAS_ROUND(owner, place, 0);
        VNAS_ROUND(place, owner, 1);
        VNAS_ROUND(owner, place, 2);
        VNAS_ROUND(place, owner, 3);
#undef VNAS_ROUND
        __m256i line = _mm256_or_si256(_mm256_slli_epi32(place, 12), _mm256_srli_epi32(owner, 8));
        line = _mm256_slli_epi32(_mm256_srl_epi32(line, _mm_cvtsi32_si128((int)table->shift)), 6);
        __m256i key = _mm256_or_si256(_mm256_slli_epi32(place, VNAS_OWNER_BITS + 2), _mm256_slli_epi32(owner, 2));
        LOOKUP(store)(batch->line + i, line);
        LOOKUP(store)(batch->key + i, _mm256_or_si256(key, _mm256_set1_epi32(1)));
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        uint64_t hash = vnas_sparse_hash(
            plane, vnas_sparse_place(stored[i], batch->place[i]), batch->owner[i]);
        batch->key[i] = vnas_sparse_key(hash);
        batch->line[i] = vnas_sparse_line(table, hash) << 6;
    }
#endif
}

/* What the lines store for those in the mask, most of the batch; the others keep what they have. */
static inline __attribute__((always_inline)) void LOOKUP(probe_all)(
    const VnasLines *table, const VnasBatch *batch, uint32_t mask, int32_t *stored)
{
    const char *lines = (const char *)table->lines;
#if LOOKUP_AVX2
    const char *keys = lines, *values = lines + sizeof table->lines->keys;
    uint32_t missed = 0;
    for (int i = 0; i < VNAS_BATCH; i += 8) {
        __m256i slots[8];
        /* No key is 0, as those of empty slots and that of the last one are, and no match stores 0. */
#pragma GCC unroll 8
        for (int n = 0; n < 8; n++)
            slots[n] = _mm256_and_si256(
                _mm256_cmpeq_epi32(_mm256_set1_epi32((int)batch->key[i + n]), LOOKUP(load)(keys + batch->line[i + n])),
                LOOKUP(load)(values + batch->line[i + n]));
        __m256i found = LOOKUP(greatest)(slots), chosen = LOOKUP(lanes)(mask >> i);
        missed |= LOOKUP(bits)(_mm256_cmpeq_epi32(found, _mm256_setzero_si256())) << i;
        LOOKUP(store)(stored + i, _mm256_blendv_epi8(LOOKUP(load)(stored + i), found, chosen));
    }
    for (missed &= mask; missed; missed &= missed - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(missed);
        stored[i] = (int32_t)((const VnasLine *)(lines + batch->line[i]))->values[VNAS_LINE_SLOTS];
    }
#else
    for (int i = 0; i < VNAS_BATCH; i++) {
        int32_t found = (int32_t)LOOKUP(value)((const VnasLine *)(lines + batch->line[i]), batch->key[i]);
        stored[i] = mask >> i & 1 ? found : stored[i];
    }
#endif
}

/* Those in the mask have sparse ports: find what is stored in the lines. Returns the mask of those that had to be left to the
 * control plane, because answers came and went all the time. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(probe_sparse)(
    const VnasPlane *plane, VnasBatch *batch, uint32_t mask, int32_t *stored, const int large)
{
    uint64_t changes = batch->sparse_changes;
    for (int tries = 0; tries < VNAS_TRIES; tries++) {
        const VnasLines *table = VNAS_LOAD(plane->sparse);
        uint32_t moved;
        LOOKUP(locate_sparse)(plane, table, batch, stored);
        if (__builtin_popcount(mask) > VNAS_BATCH / 2) {    /* all, then: loops over known packets are shorter */
            if (large)
                for (int i = 0; i < VNAS_BATCH; i++)
                    __builtin_prefetch((const char *)table->lines + batch->line[i]);
            LOOKUP(probe_all)(table, batch, mask, stored);
        } else {
            if (large)
                for (uint32_t rest = mask; rest; rest &= rest - 1)
                    __builtin_prefetch((const char *)table->lines + batch->line[__builtin_ctz(rest)]);
            for (uint32_t rest = mask; rest; rest &= rest - 1) {
                uint32_t i = (uint32_t)__builtin_ctz(rest);
                stored[i] = (int32_t)LOOKUP(value)((const VnasLine *)((const char *)table->lines + batch->line[i]), batch->key[i]);
            }
        }
        moved = LOOKUP(sort)(stored).sparse & mask;
        for (uint32_t rest = moved; rest; rest &= rest - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(rest);
            const VnasLine *other = (const VnasLine *)((const char *)table->lines + (batch->line[i] ^ sizeof(VnasLine)));
            uint32_t match = LOOKUP(matches)(other, batch->key[i] | VNAS_SPARSE_MOVED);
            stored[i] = match ? (int32_t)other->values[__builtin_ctz(match)] : 0;
        }
        if (!vnas_sparse_changed(plane, changes))
            return 0;
        /* Once more, from the directory on: the port may have answers elsewhere by now, or none. */
        changes = VNAS_LOAD(plane->sparse_changes);
        for (uint32_t rest = mask; rest; rest &= rest - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(rest);
            stored[i] = vnas_stored_answer(plane, 0, batch->place[i], batch->owner[i]);
            if (!vnas_is_sparse(stored[i]))
                mask &= ~(1u << i);
        }
    }
    return mask;
}

/* Find the answers of those in the mask, which the results so far don't hold. Returns the mask of those that the control plane must
 * be asked about. One of `ipv4` and `any` is there. */
static inline __attribute__((always_inline)) uint32_t LOOKUP(resolve)(
    const VnasPlane *plane, const VnasKeyIpv4 *ipv4, const VnasKey *any, VnasBatch *batch, uint32_t mask, int32_t *results,
    const int large)
{
    int32_t stored[VNAS_BATCH] __attribute__((aligned(32)));
    uint32_t ask = batch->ask;
    for (int i = 0; i < VNAS_BATCH; i++)
        stored[i] = (int32_t)((uint32_t)results[i] + VNAS_STORED);
    mask &= ~ask;
    LOOKUP(Sorted) sorted = LOOKUP(sort)(stored);
    if (__builtin_expect(sorted.ask & mask, 0)) {
        LOOKUP(look_beside)(plane, ipv4, any, batch, sorted.ask & mask);
        for (uint32_t rest = sorted.ask & mask; rest; rest &= rest - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(rest);
            stored[i] = batch->ports->answers[batch->ports->directory[batch->place[i]] + batch->owner[i]];
        }
        sorted = LOOKUP(sort)(stored);
    }
    if (sorted.sparse & mask) {
        ask |= LOOKUP(probe_sparse)(plane, batch, sorted.sparse & mask, stored, large);
        sorted = LOOKUP(sort)(stored);
    }
    mask &= ~ask;
    if ((sorted.specific | sorted.members) & mask) {
        __atomic_thread_fence(__ATOMIC_ACQUIRE);    /* what the answers name was there before they were */
        int32_t *blocks = VNAS_LOAD(plane->blocks);
        uint32_t specific = sorted.specific & mask, members = sorted.members & mask;
        if (large)
            for (uint32_t rest = specific | members; rest; rest &= rest - 1)
                __builtin_prefetch(vnas_block(blocks, stored[__builtin_ctz(rest)]));
        for (; specific; specific &= specific - 1) {
            uint32_t i = (uint32_t)__builtin_ctz(specific);
            const uint64_t destination[2] = {
                ipv4 != NULL ? 0 : any[i].hi, ipv4 != NULL ? (uint64_t)ipv4[i].destination << 32 | 0xFFFF0000u : any[i].lo};
            stored[i] = vnas_specific_answer(
                plane, vnas_block(blocks, stored[i]), batch->place[i] >= VNAS_PLACES, destination);
            sorted.ask |= (uint32_t)(stored[i] == VNAS_ASK) << i;
            members |= (uint32_t)vnas_names_block(stored[i]) << i;
        }
        uint16_t places[VNAS_BATCH] = {0};
        size_t n_members = vnas_list(members, 0, places, 0);
        LOOKUP(hash_flows)(plane, ipv4, any, places, n_members, batch->key);
        for (size_t n = 0; n < n_members; n++) {
            uint32_t i = places[n];
            stored[i] = vnas_member(vnas_block(blocks, stored[i]), batch->key[n]);
        }
    }
    for (int i = 0; i < VNAS_BATCH; i++)
        results[i] = (int32_t)((uint32_t)stored[i] - VNAS_STORED);
    return ask | sorted.ask;
}

static __attribute__((noinline)) uint32_t LOOKUP(resolve_ipv4)(
    const VnasPlane *plane, const VnasKeyIpv4 *keys, VnasBatch *batch, uint32_t mask, int32_t *results, int large)
{
    return LOOKUP(resolve)(plane, keys, NULL, batch, mask, results, large);
}

static __attribute__((noinline)) uint32_t LOOKUP(resolve_any)(
    const VnasPlane *plane, const VnasKey *keys, VnasBatch *batch, uint32_t mask, int32_t *results, int large)
{
    return LOOKUP(resolve)(plane, NULL, keys, batch, mask, results, large);
}
