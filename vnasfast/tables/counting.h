/* Counting many packets to rows of usage: packets, bytes, first and last time, four words of 64 bits each; or to half rows, see below.
 *
 * No branch depends on where a packet went: an outcome, which is negative, is the number of a row before the first. Each sum is one
 * addition in memory: GCC would first put two into a vector, 14 instructions a packet instead of 7 where there are no times.
 */
#ifndef VNASFAST_TABLES_COUNTING_H
#define VNASFAST_TABLES_COUNTING_H

#include <stddef.h>
#include <stdint.h>
#include "vnasfast/vector.h"

static inline __attribute__((always_inline)) void vnas_count(uint64_t *row, uint64_t length)
{
    row[0] += 1;
    __asm__("" : "+m"(row[0]));
    row[1] += length;
}

/* Packets without times; the sum of the bytes. */
static inline uint64_t vnas_count_bytes(void *rows, const int32_t *results, const uint32_t *lengths, size_t n)
{
    uint64_t sum = 0;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        uint64_t length = lengths[i];
        vnas_count((uint64_t *)rows + 4 * (ptrdiff_t)results[i], length);
        sum += length;
    }
    return sum;
}

/* Whether all times are above 0, and none is before the one before it. */
static inline __attribute__((always_inline)) int vnas_in_order(const int64_t *times, size_t n)
{
    uint64_t signs = 0;
    for (size_t i = 1; i < n; i++)
        signs |= (uint64_t)times[i] | ((uint64_t)times[i] - (uint64_t)times[i - 1]);
    return n == 0 || (times[0] > 0 && !(signs >> 63));
}

static inline int vnas_positive(const int64_t *times, size_t n)
{
    uint64_t signs = 0;
    for (size_t i = 0; i < n; i++)
        signs |= (uint64_t)times[i] | ((uint64_t)times[i] - 1);
    return !(signs >> 63);
}

/* What counting packets with times leaves. */
typedef struct {
    uint64_t bytes;
    size_t n_late;      /* how many packets are listed in `late`, and how many rows in `fresh` */
    size_t n_fresh;
} VnasCounted;

/* Packets with times above 0. Where a row's first time is none of those after the packet's, which is nearly always, only the last is
 * compared: 20 instructions a packet instead of 33. The other packets are listed in `late`, for usage_span; in `fresh` the rows, but for
 * those before the first, that had no packet. */
static inline VnasCounted vnas_count_times(void *rows, const int32_t *results, const uint32_t *lengths, const int64_t *times, size_t n,
                                           uint16_t *late, int32_t *fresh)
{
    VnasCounted counted = {0, 0, 0};
    uint64_t sum = 0;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        uint64_t *row = (uint64_t *)rows + 4 * (ptrdiff_t)results[i], length = lengths[i];
        int64_t time = times[i], last = (int64_t)row[3];
        vnas_count(row, length);
        sum += length;
        row[3] = (uint64_t)(time > last ? time : last);
        /* Less 1, no time, which is 0, is after all others; so are those below 0. */
        if (__builtin_expect(row[2] - 1 >= (uint64_t)time, 0)) {
            late[counted.n_late++] = (uint16_t)i;
            if (row[0] == 1 && results[i] >= 0)
                fresh[counted.n_fresh++] = results[i];
        }
    }
    counted.bytes = sum;
    return counted;
}

/* Half rows: packets << VNAS_BYTES_BITS | bytes, and the time of the last packet. They take half of the lines, and 10 instructions a packet
 * where rows take 20: no time is compared, and what was counted first is seen by the zero that it found. */
enum {
    VNAS_BYTES_BITS = 36,
    VNAS_PACKETS_BITS = 64 - VNAS_BYTES_BITS,
    VNAS_LENGTH_BITS = 22,      /* of packets that can be counted so: longer than any there is */
};

static inline __attribute__((always_inline)) int vnas_fit(const uint32_t *lengths, const int64_t *times, size_t n, int64_t newest)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits |= lengths[i];
    return bits >> VNAS_LENGTH_BITS == 0 && n != 0 && times[0] >= newest && vnas_in_order(times, n);
}

#if VNAS_HAS_AVX2
static __attribute__((target("avx2"))) int vnas_avx2_fit(const uint32_t *lengths, const int64_t *times, size_t n, int64_t newest)
{
    return vnas_fit(lengths, times, n, newest);
}
#endif

/* Whether packets can be counted to half rows: their times are above 0, and none is before the one before it, nor before `newest`. */
static inline int vnas_fit_half_rows(int vector, const uint32_t *lengths, const int64_t *times, size_t n, int64_t newest)
{
#if VNAS_HAS_AVX2
    if (vector == VNAS_VECTOR_AVX2)
        return vnas_avx2_fit(lengths, times, n, newest);
#endif
    (void)vector;
    return vnas_fit(lengths, times, n, newest);
}

/* The sum of the bytes. `fresh` receives the positions of the `n_fresh` packets that are their rows' first. */
static inline uint64_t vnas_count_half_rows(void *rows, const int32_t *results, const uint32_t *lengths, const int64_t *times, size_t n,
                                            uint16_t *fresh, size_t *n_fresh)
{
    uint64_t sum = 0;
    size_t found = 0;
#pragma GCC unroll 4
    for (size_t i = 0; i < n; i++) {
        uint64_t *row = (uint64_t *)rows + 2 * (ptrdiff_t)results[i], counted = row[0], length = lengths[i];
        row[0] = counted + ((uint64_t)1 << VNAS_BYTES_BITS) + length;
        row[1] = (uint64_t)times[i];
        sum += length;
        if (__builtin_expect(counted == 0, 0))
            fresh[found++] = (uint16_t)i;
    }
    *n_fresh = found;
    return sum;
}

#endif
