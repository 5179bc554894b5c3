/* The floor: one random cache line touched per packet, in a region of 16 bytes a socket, prefetched in batches of 32.
 *
 * usage: floor SOCKETS PACKETS PASSES
 *
 * Which line a packet touches is known beforehand, as a parsed key is, and is read in order from an array of 4 bytes
 * a packet. Prints nanoseconds per packet by the clock on the wall and by the processor's: medians over parts of 65,536
 * packets, which end before most interruptions.
 */

#define _GNU_SOURCE
#include "timing.h"

enum { LINE = 64, BATCH = 32, BYTES_PER_SOCKET = 16 };

typedef struct {
    const uint8_t *region;
    const uint32_t *lines;
    volatile uint64_t sum;
} Touching;

static uint64_t random_state = 20;

static uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void touch(void *context, size_t first, size_t last)
{
    Touching *touching = context;
    const uint8_t *region = touching->region;
    const uint32_t *lines = touching->lines;
    uint64_t sum = 0;
    for (size_t start = first; start < last; start += BATCH) {
        size_t end = start + BATCH < last ? start + BATCH : last;
        for (size_t i = start; i < end; i++)
            __builtin_prefetch(region + (size_t)lines[i] * LINE);
        for (size_t i = start; i < end; i++)
            sum += region[(size_t)lines[i] * LINE];
    }
    touching->sum += sum;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: floor SOCKETS PACKETS PASSES\n");
        return 2;
    }
    size_t bytes = strtoull(argv[1], NULL, 10) * BYTES_PER_SOCKET;
    size_t n = strtoull(argv[2], NULL, 10), passes = strtoull(argv[3], NULL, 10);
    size_t n_lines = (bytes + LINE - 1) / LINE;
    if (n_lines == 0 || n_lines > UINT32_MAX || n == 0 || passes == 0) {
        fprintf(stderr, "floor: sizes must be positive, and the lines fit 32 bits\n");
        return 2;
    }
    uint32_t *lines = pages(n * sizeof *lines);
    for (size_t i = 0; i < n; i++)
        lines[i] = (uint32_t)(((random_bits() >> 32) * n_lines) >> 32);
    Touching touching = {pages(n_lines * LINE), lines, 0};
    Sample sample = measure(touch, &touching, n, passes);
    printf("%.4f %.4f\n", sample.wall, sample.cpu);
    return 0;
}
