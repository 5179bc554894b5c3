/* The headers of pcap records in this machine's byte order, of 16 bytes and with the captured length first, as most captures have them:
 * to columns, times and sums, many at a time. */
#ifndef VNASFAST_CAPTURE_PCAP_COLUMNS_H
#define VNASFAST_CAPTURE_PCAP_COLUMNS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "vnasfast/vector.h"
#if VNAS_HAS_AVX2
#include <immintrin.h>
#endif

enum { VNAS_RECORD_BYTES = 16, VNAS_SECOND_NS = 1000000000 };

/* Where the columns go. */
typedef struct {
    uint64_t *offsets;
    uint32_t *lengths, *wire_lengths;
    int64_t *times_ns;
} VnasColumns;

/* What is added up beside them. */
typedef struct {
    uint64_t bytes;             /* on the wire */
    uint64_t captured_bytes;
    int64_t before;             /* the last time */
    int64_t disorder;           /* negative: a time is before the one before it */
} VnasSums;

/* Times lie below 2**63: 2**32 seconds, and as many ticks of at most a microsecond. A fraction of a second or more is not refused. */
static inline void vnas_portable_columns(const unsigned char *base, const uint32_t *starts, size_t first, size_t end, uint32_t tick_ns,
                                         const VnasColumns *columns, VnasSums *sums)
{
    VnasSums sum = *sums;
    for (size_t i = first; i < end; i++) {
        uint32_t words[4];
        memcpy(words, base + starts[i], sizeof words);
        int64_t time = (int64_t)((uint64_t)words[0] * VNAS_SECOND_NS + (uint64_t)words[1] * tick_ns);
        columns->offsets[i] = (uint64_t)starts[i] + VNAS_RECORD_BYTES;
        columns->lengths[i] = words[2];
        columns->wire_lengths[i] = words[3];
        columns->times_ns[i] = time;
        sum.disorder |= time - sum.before;
        sum.before = time;
        sum.captured_bytes += words[2];
        sum.bytes += words[3];
    }
    *sums = sum;
}

#if VNAS_HAS_AVX2
#pragma GCC push_options
#pragma GCC target("avx2,bmi,bmi2")

static inline __attribute__((always_inline)) __m256i vnas_wide(__m256i words, const int half)
{
    return _mm256_cvtepu32_epi64(half ? _mm256_extracti128_si256(words, 1) : _mm256_castsi256_si128(words));
}

static inline uint64_t vnas_sum_of(__m256i sums)
{
    __m128i pair = _mm_add_epi64(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    return (uint64_t)_mm_cvtsi128_si64(pair) + (uint64_t)_mm_extract_epi64(pair, 1);
}

/* 8 records at a time: 10 instructions a record instead of 27. */
static void vnas_avx2_columns(const unsigned char *base, const uint32_t *starts, size_t first, size_t end, uint32_t tick_ns,
                              const VnasColumns *columns, VnasSums *sums)
{
    const __m256i second = _mm256_set1_epi64x(VNAS_SECOND_NS), tick = _mm256_set1_epi64x(tick_ns);
    __m256i captured = _mm256_setzero_si256(), wire = captured, disorder = captured, before = _mm256_set1_epi64x(sums->before);
    size_t i = first;
    for (; i + 8 <= end; i += 8) {
        const uint32_t *start = starts + i;
#define VNAS_RECORDS(n) _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(base + start[n]))), \
                                                _mm_loadu_si128((const __m128i *)(base + start[(n) + 4])), 1)
        __m256i a = VNAS_RECORDS(0), b = VNAS_RECORDS(1), c = VNAS_RECORDS(2), d = VNAS_RECORDS(3);
#undef VNAS_RECORDS
        __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        __m256i seconds = _mm256_unpacklo_epi64(ab, cd), ticks = _mm256_unpackhi_epi64(ab, cd);
        ab = _mm256_unpackhi_epi32(a, b), cd = _mm256_unpackhi_epi32(c, d);
        __m256i lengths = _mm256_unpacklo_epi64(ab, cd), wire_lengths = _mm256_unpackhi_epi64(ab, cd);
        __m256i begins = _mm256_loadu_si256((const __m256i *)start);
        _mm256_storeu_si256((__m256i *)(columns->lengths + i), lengths);
        _mm256_storeu_si256((__m256i *)(columns->wire_lengths + i), wire_lengths);
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m256i times = _mm256_add_epi64(_mm256_mul_epu32(vnas_wide(seconds, half), second),
                                             _mm256_mul_epu32(vnas_wide(ticks, half), tick));
            /* The times of the records before these. */
            __m256i earlier = _mm256_alignr_epi8(times, _mm256_permute2x128_si256(before, times, 0x21), 8);
            _mm256_storeu_si256((__m256i *)(columns->times_ns + i + 4 * half), times);
            _mm256_storeu_si256((__m256i *)(columns->offsets + i + 4 * half),
                                _mm256_add_epi64(vnas_wide(begins, half), _mm256_set1_epi64x(VNAS_RECORD_BYTES)));
            disorder = _mm256_or_si256(disorder, _mm256_sub_epi64(times, earlier));
            captured = _mm256_add_epi64(captured, vnas_wide(lengths, half));
            wire = _mm256_add_epi64(wire, vnas_wide(wire_lengths, half));
            before = times;
        }
    }
    sums->captured_bytes += vnas_sum_of(captured);
    sums->bytes += vnas_sum_of(wire);
    sums->before = _mm256_extract_epi64(before, 3);
    sums->disorder |= _mm256_movemask_pd(_mm256_castsi256_pd(disorder)) ? INT64_MIN : 0;
    vnas_portable_columns(base, starts, i, end, tick_ns, columns, sums);
}
#pragma GCC pop_options
#endif

static inline void vnas_columns_of(int vector, const unsigned char *base, const uint32_t *starts, size_t first, size_t end,
                                   uint32_t tick_ns, const VnasColumns *columns, VnasSums *sums)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2) {
        vnas_avx2_columns(base, starts, first, end, tick_ns, columns, sums);
        return;
    }
#endif
    (void)vector;
    vnas_portable_columns(base, starts, first, end, tick_ns, columns, sums);
}

#endif
