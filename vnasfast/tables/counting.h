/* Counting many packets, each to the row of its result. An outcome, which is negative, is the number of a row before the first: no branch
 * depends on where a packet went. There are rows of two kinds, the smaller the fewer lines of them a core has to fetch:
 *
 *   whole rows     packets, bytes, first and last time, four words of 64 bits each: any packets
 *   packed counts  packets and bytes in one word: packets without times
 */
#ifndef VNASFAST_TABLES_COUNTING_H
#define VNASFAST_TABLES_COUNTING_H

#include <stddef.h>
#include <stdint.h>

enum {
    VNAS_BYTES_BITS = 36,       /* a packed count is packets << VNAS_BYTES_BITS | bytes */
    VNAS_PACKETS_BITS = 64 - VNAS_BYTES_BITS,
    VNAS_LENGTH_BITS = 22,      /* of packets that are counted so: longer than any there is */
};

/* Each sum is one addition in memory: GCC would first put two into a vector, 14 instructions a packet instead of 7. */
static inline __attribute__((always_inline)) void vnas_count(uint64_t *row, uint64_t length)
{
    row[0] += 1;
    __asm__("" : "+m"(row[0]));
    row[1] += length;
}

static inline __attribute__((always_inline)) uint64_t vnas_packed(uint64_t length)
{
    return ((uint64_t)1 << VNAS_BYTES_BITS) + length;
}

/* Whether the packets are short enough for packed counts. */
static inline int vnas_fit_packed(const uint32_t *lengths, size_t n)
{
    uint32_t bits = 0;
    for (size_t i = 0; i < n; i++)
        bits |= lengths[i];
    return bits >> VNAS_LENGTH_BITS == 0;
}

/* To packed counts; `lengths` may be NULL. The sum of the bytes. */
static inline uint64_t vnas_count_packed(uint64_t *counts, const int32_t *results, const uint32_t *lengths, size_t n)
{
    uint64_t sum = 0;
    if (lengths == NULL)
        for (size_t i = 0; i < n; i++)
            counts[results[i]] += vnas_packed(0);
    else
#pragma GCC unroll 4
        for (size_t i = 0; i < n; i++) {
            counts[results[i]] += vnas_packed(lengths[i]);
            sum += lengths[i];
        }
    return sum;
}

/* Whether all times are above 0, and none is before the one before it. */
static inline int vnas_in_order(const int64_t *times, size_t n)
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

/* To whole rows, packets with times above 0. Where a row's first time is none of those after the packet's, which is nearly always, only the last is
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

#endif
