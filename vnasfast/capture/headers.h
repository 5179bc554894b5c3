/* The headers of most captures' records to columns, times and sums, many at a time: pcap records in this machine's byte order, of 16
 * bytes and with the captured length first; enhanced packet blocks of pcapng in this machine's byte order. Both have two words of the
 * time, the captured length and the length on the wire one behind the other. */
#ifndef VNASFAST_CAPTURE_HEADERS_H
#define VNASFAST_CAPTURE_HEADERS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "vnasfast/vector.h"
#if VNAS_HAS_AVX2
#include <immintrin.h>
#endif

enum { VNAS_SECOND_NS = 1000000000, VNAS_ENHANCED_PACKET = 6 };

/* Where the words lie, and what the time's mean. */
typedef struct {
    int pcapng;
    uint32_t tick_ns;           /* of pcap: of the second word, the first are seconds; of pcapng: of both words together */
    uint32_t most;              /* pcapng only: the time's upper word must be below, so that no time leaves an int64 */
    int64_t offset_ns;          /* pcapng only: to be added */
} VnasHeaders;

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
    int64_t disorder;           /* negative: a time is, or lies before the one before it */
    uint32_t others;            /* not 0: a block is no enhanced packet, or a time is too late; the columns mean nothing then */
} VnasSums;

/* Bytes from where a record begins to the time, and to the frame. */
#define VNAS_TO_TIME(pcapng) ((pcapng) ? 12 : 0)
#define VNAS_TO_FRAME(pcapng) ((pcapng) ? 28 : 16)

static inline uint32_t vnas_other_kind(const unsigned char *block)
{
    uint32_t kind;
    memcpy(&kind, block, sizeof kind);
    return kind ^ VNAS_ENHANCED_PACKET;
}

/* Times of pcap lie below 2**63: 2**32 seconds, and as many ticks of at most a microsecond. A fraction of a second or more is not
 * refused. Those of pcapng lie within 6 * 10**18 ns from the offset on, so that no difference of two overflows either. */
static inline __attribute__((always_inline)) void vnas_each_header(
    const VnasHeaders *headers, const int pcapng, const unsigned char *base, const uint32_t *starts, size_t first, size_t end,
    const VnasColumns *columns, VnasSums *sums)
{
    VnasSums sum = *sums;
    for (size_t i = first; i < end; i++) {
        uint32_t words[4];
        memcpy(words, base + starts[i] + VNAS_TO_TIME(pcapng), sizeof words);
        uint64_t upper = pcapng ? (uint64_t)words[0] * headers->tick_ns << 32 : (uint64_t)words[0] * VNAS_SECOND_NS;
        int64_t time = (int64_t)(upper + (uint64_t)words[1] * headers->tick_ns + (pcapng ? (uint64_t)headers->offset_ns : 0));
        if (pcapng)
            sum.others |= vnas_other_kind(base + starts[i]) | (words[0] >= headers->most);
        columns->offsets[i] = (uint64_t)starts[i] + VNAS_TO_FRAME(pcapng);
        columns->lengths[i] = words[2];
        columns->wire_lengths[i] = words[3];
        columns->times_ns[i] = time;
        sum.disorder |= (int64_t)((uint64_t)time - (uint64_t)sum.before);
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

/* 8 records at a time: of pcap 10 instructions a record instead of 27. */
static inline __attribute__((always_inline)) void vnas_8_headers(
    const VnasHeaders *headers, const int pcapng, const unsigned char *base, const uint32_t *starts, size_t first, size_t end,
    const VnasColumns *columns, VnasSums *sums)
{
    const __m256i second = _mm256_set1_epi64x(VNAS_SECOND_NS), tick = _mm256_set1_epi64x(headers->tick_ns);
    const __m256i offset = _mm256_set1_epi64x(headers->offset_ns), latest = _mm256_set1_epi32((int)(headers->most - 1));
    __m256i captured = _mm256_setzero_si256(), wire = captured, disorder = captured, before = _mm256_set1_epi64x(sums->before);
    __m256i greatest = captured;
    uint32_t others = 0;
    size_t i = first;
    for (; i + 8 <= end; i += 8) {
        const uint32_t *start = starts + i;
        const unsigned char *at = base + VNAS_TO_TIME(pcapng);
#define VNAS_RECORDS(n) _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(at + start[n]))), \
                                                _mm_loadu_si128((const __m128i *)(at + start[(n) + 4])), 1)
        __m256i a = VNAS_RECORDS(0), b = VNAS_RECORDS(1), c = VNAS_RECORDS(2), d = VNAS_RECORDS(3);
#undef VNAS_RECORDS
        __m256i ab = _mm256_unpacklo_epi32(a, b), cd = _mm256_unpacklo_epi32(c, d);
        __m256i uppers = _mm256_unpacklo_epi64(ab, cd), lowers = _mm256_unpackhi_epi64(ab, cd);
        ab = _mm256_unpackhi_epi32(a, b), cd = _mm256_unpackhi_epi32(c, d);
        __m256i lengths = _mm256_unpacklo_epi64(ab, cd), wire_lengths = _mm256_unpackhi_epi64(ab, cd);
        __m256i begins = _mm256_loadu_si256((const __m256i *)start);
        _mm256_storeu_si256((__m256i *)(columns->lengths + i), lengths);
        _mm256_storeu_si256((__m256i *)(columns->wire_lengths + i), wire_lengths);
        if (pcapng) {
            greatest = _mm256_max_epu32(greatest, uppers);
#pragma GCC unroll 8
            for (int n = 0; n < 8; n++)
                others |= vnas_other_kind(base + start[n]);
        }
#pragma GCC unroll 2
        for (int half = 0; half < 2; half++) {
            __m256i upper = _mm256_mul_epu32(vnas_wide(uppers, half), pcapng ? tick : second);
            if (pcapng)
                upper = _mm256_add_epi64(_mm256_slli_epi64(upper, 32), offset);
            __m256i times = _mm256_add_epi64(upper, _mm256_mul_epu32(vnas_wide(lowers, half), tick));
            /* The times of the records before these. */
            __m256i earlier = _mm256_alignr_epi8(times, _mm256_permute2x128_si256(before, times, 0x21), 8);
            _mm256_storeu_si256((__m256i *)(columns->times_ns + i + 4 * half), times);
            _mm256_storeu_si256((__m256i *)(columns->offsets + i + 4 * half),
                                _mm256_add_epi64(vnas_wide(begins, half), _mm256_set1_epi64x(VNAS_TO_FRAME(pcapng))));
            disorder = _mm256_or_si256(disorder, _mm256_sub_epi64(times, earlier));
            captured = _mm256_add_epi64(captured, vnas_wide(lengths, half));
            wire = _mm256_add_epi64(wire, vnas_wide(wire_lengths, half));
            before = times;
        }
    }
    if (pcapng)
        others |= (uint32_t)~_mm256_movemask_epi8(_mm256_cmpeq_epi32(_mm256_max_epu32(greatest, latest), latest));
    sums->others |= others;
    sums->captured_bytes += vnas_sum_of(captured);
    sums->bytes += vnas_sum_of(wire);
    sums->before = _mm256_extract_epi64(before, 3);
    sums->disorder |= _mm256_movemask_pd(_mm256_castsi256_pd(disorder)) ? INT64_MIN : 0;
    vnas_each_header(headers, pcapng, base, starts, i, end, columns, sums);
}

static void vnas_avx2_headers(const VnasHeaders *headers, const unsigned char *base, const uint32_t *starts, size_t first, size_t end,
                              const VnasColumns *columns, VnasSums *sums)
{
    if (headers->pcapng)
        vnas_8_headers(headers, 1, base, starts, first, end, columns, sums);
    else
        vnas_8_headers(headers, 0, base, starts, first, end, columns, sums);
}
#pragma GCC pop_options
#endif

static inline void vnas_headers_to_columns(int vector, const VnasHeaders *headers, const unsigned char *base, const uint32_t *starts,
                                           size_t first, size_t end, const VnasColumns *columns, VnasSums *sums)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2) {
        vnas_avx2_headers(headers, base, starts, first, end, columns, sums);
        return;
    }
#endif
    (void)vector;
    if (headers->pcapng)
        vnas_each_header(headers, 1, base, starts, first, end, columns, sums);
    else
        vnas_each_header(headers, 0, base, starts, first, end, columns, sums);
}

#endif
