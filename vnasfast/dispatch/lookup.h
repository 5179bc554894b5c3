/* Many parsed keys to answers at once, by the data plane alone: the hot loop. What it can't answer it lists.
 *
 * Compiled for each vector path (lookup_path.h); VNAS_VECTOR_… of vnasfast/vector.h says which path to take.
 */
#ifndef VNASFAST_DISPATCH_LOOKUP_H
#define VNASFAST_DISPATCH_LOOKUP_H

#include <string.h>
#include "vnasfast/tables/plane.h"
#include "vnasfast/vector.h"
#if VNAS_HAS_AVX2
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

enum {
    VNAS_BATCH = 32,            /* packets looked up together: as many lines in flight as a core keeps */
    VNAS_KEYS_AHEAD = 2048,     /* bytes */
    VNAS_MANY_PORTS = 2048,     /* of both families, from which on their directory outgrows the caches too: 64 bytes each */
    VNAS_TRIES = 4,             /* at what a writer changes meanwhile; then the control plane is asked, which waits for it */
    VNAS_LARGE = 256 << 10,     /* bytes of tables, from which on they outgrow the caches next to the core: prefetch */
    VNAS_HUGE = 2 << 20,        /* … and from which on they outgrow the next one: prefetch a batch ahead */
};

enum { VNAS_NEAR, VNAS_MIDDLE, VNAS_FAR };      /* where the tables lie */

/* FlowKeyIpv4 and FlowKey of typedefs.pxd, in the words that are compared; dispatcher.pyx holds them together. */
typedef struct {
    uint32_t destination, source;
    uint16_t destination_port, source_port, vlan;
    uint8_t protocol;
    int8_t status;
} VnasKeyIpv4;

typedef struct {
    uint64_t hi, lo, source[2];
    uint16_t destination_port, source_port, vlan;
    uint8_t protocol;
    int8_t status;
    uint64_t rest;
} VnasKey;

/* What the stages of one batch leave for each other. */
typedef struct {
    uint32_t line[VNAS_BATCH];      /* offset of the line, in its family's table; later where the answer is */
    uint32_t key[VNAS_BATCH];       /* of sparse ports */
    uint32_t vlan[VNAS_BATCH];
    uint32_t place[VNAS_BATCH];
    uint32_t owner[VNAS_BATCH];
    uint32_t ipv6_lanes[VNAS_BATCH];            /* all ones where a packet is IPv6; these and those below: where some are */
    const VnasLine *lines[VNAS_BATCH];
    uint32_t ask, ipv6_mask;
    uint64_t changes, sparse_changes;
    const VnasLines *ipv4, *ipv6;
    const VnasPorts *ports;
} __attribute__((aligned(64))) VnasBatch;

/* What was stored is read back from there: GCC else takes it out of vector registers, element by element, two steps each where a load is
 * one (2.6 ns a packet instead of 2.2). */
#define VNAS_TO_MEMORY(batch) __asm__ volatile("" : "+m"(*(batch)))

/* Whether answers of sparse ports came or went since, or did so then. */
static inline int vnas_sparse_changed(const VnasPlane *plane, uint64_t changes)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (changes & 1) | (__atomic_load_n(&plane->sparse_changes, __ATOMIC_RELAXED) != changes);
}

static inline uint32_t vnas_flow_ipv4(const VnasPlane *plane, const VnasKeyIpv4 *key)
{
    const uint64_t destination[2] = {0, (uint64_t)key->destination << 32 | 0xFFFF0000u};
    const uint64_t source[2] = {0, (uint64_t)key->source << 32 | 0xFFFF0000u};
    return vnas_flow_hash(plane->flow_seed, destination, source, key->destination_port, key->source_port, key->protocol);
}

static inline uint32_t vnas_flow(const VnasPlane *plane, const VnasKey *key)
{
    const uint64_t destination[2] = {key->hi, key->lo};
    return vnas_flow_hash(plane->flow_seed, destination, key->source, key->destination_port, key->source_port, key->protocol);
}

/* All ones when addresses changed since `changes` was read, or were being changed then. */
static inline uint32_t vnas_changed(const VnasPlane *plane, uint64_t changes)
{
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return (changes & 1) | (__atomic_load_n(&plane->address_changes, __ATOMIC_RELAXED) != changes) ? ~0u : 0;
}

/* One or the other, as bit i of the mask says, without a branch that can't be guessed. */
static inline uint32_t vnas_choose(uint32_t mask, int i, uint32_t one, uint32_t other)
{
    return other ^ ((one ^ other) & (0 - (mask >> i & 1)));
}

static inline size_t vnas_list(uint32_t mask, size_t start, uint16_t *ask, size_t n_ask)
{
    while (__builtin_expect(mask != 0, 0)) {
        ask[n_ask++] = (uint16_t)(start + (size_t)__builtin_ctz(mask));
        mask &= mask - 1;
    }
    return n_ask;
}

/* 16 bytes each of two places; and of item n and item n + 4, of items that lie `stride` bytes apart. */
#define VNAS_BOTH(one, other)                                                                                   \
    _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(one))),                    \
                            _mm_loadu_si128((const __m128i *)(other)), 1)
#define VNAS_PAIR(at, n, stride) VNAS_BOTH((at) + (n) * (stride), (at) + ((n) + 4) * (stride))

#define LOOKUP_AVX2 0
#define LOOKUP(name) vnas_portable_##name
#include "vnasfast/dispatch/lookup_path.h"
#undef LOOKUP
#undef LOOKUP_AVX2

#if VNAS_HAS_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")
#define LOOKUP_AVX2 1
#define LOOKUP(name) vnas_avx2_##name
#include "vnasfast/dispatch/lookup_path.h"
#undef LOOKUP
#undef LOOKUP_AVX2
#pragma GCC pop_options
#endif

/* Answer up to 65,536 keys. `ask` receives the positions, in order, of those that the control plane must be asked about: their results
 * mean nothing yet. Returns their number. The caller has entered as a reader. */
static inline size_t vnas_lookup_ipv4(
    int vector, const VnasPlane *plane, const VnasKeyIpv4 *keys, size_t n, int32_t *results, uint16_t *ask)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2)
        return vnas_avx2_keys_ipv4(plane, keys, n, results, ask);
#endif
    (void)vector;
    return vnas_portable_keys_ipv4(plane, keys, n, results, ask);
}

static inline size_t vnas_lookup(
    int vector, const VnasPlane *plane, const VnasKey *keys, size_t n, int32_t *results, uint16_t *ask)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2)
        return vnas_avx2_keys(plane, keys, n, results, ask);
#endif
    (void)vector;
    return vnas_portable_keys(plane, keys, n, results, ask);
}

#endif
