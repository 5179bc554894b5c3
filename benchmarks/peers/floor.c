/* The floor: one random cache line touched per packet, in a region of 16 bytes a socket, prefetched in batches of 32.
 *
 * usage: floor SOCKETS PACKETS PASSES [huge]
 *
 * Which line a packet touches is known beforehand, as a parsed key is, and is read in order from an array of 4 bytes
 * a packet. Prints the median of the passes in nanoseconds per packet.
 */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { LINE = 64, BATCH = 32, BYTES_PER_SOCKET = 16 };

static uint64_t random_state = 20;

static uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

static void *pages(size_t bytes, int huge)
{
    size_t whole = (bytes + (2u << 20) - 1) & ~(size_t)((2u << 20) - 1);
    void *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    if (madvise(memory, whole, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE) != 0 && huge)
        perror("madvise");
    memset(memory, 1, whole);
    return memory;
}

static uint64_t touch(const uint8_t *region, const uint32_t *lines, size_t n)
{
    uint64_t sum = 0;
    for (size_t start = 0; start < n; start += BATCH) {
        size_t end = start + BATCH < n ? start + BATCH : n;
        for (size_t i = start; i < end; i++)
            __builtin_prefetch(region + (size_t)lines[i] * LINE);
        for (size_t i = start; i < end; i++)
            sum += region[(size_t)lines[i] * LINE];
    }
    return sum;
}

static int by_value(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

int main(int argc, char **argv)
{
    if (argc < 4) {
        fprintf(stderr, "usage: floor SOCKETS PACKETS PASSES [huge]\n");
        return 2;
    }
    size_t bytes = strtoull(argv[1], NULL, 10) * BYTES_PER_SOCKET;
    size_t n = strtoull(argv[2], NULL, 10), passes = strtoull(argv[3], NULL, 10);
    size_t n_lines = (bytes + LINE - 1) / LINE;
    int huge = argc > 4 && strcmp(argv[4], "huge") == 0;
    if (n_lines == 0 || n_lines > UINT32_MAX || n == 0 || passes == 0) {
        fprintf(stderr, "floor: sizes must be positive, and the lines fit 32 bits\n");
        return 2;
    }
    uint8_t *region = pages(n_lines * LINE, huge);
    uint32_t *lines = pages(n * sizeof *lines, 1);     /* as numpy asks for the keys */
    double *ns = malloc(passes * sizeof *ns);
    if (ns == NULL)
        return 1;
    for (size_t i = 0; i < n; i++)
        lines[i] = (uint32_t)(((random_bits() >> 32) * n_lines) >> 32);
    volatile uint64_t sink = touch(region, lines, n);
    for (size_t pass = 0; pass < passes; pass++) {
        struct timespec begin, end;
        clock_gettime(CLOCK_MONOTONIC, &begin);
        sink += touch(region, lines, n);
        clock_gettime(CLOCK_MONOTONIC, &end);
        ns[pass] = ((end.tv_sec - begin.tv_sec) * 1e9 + (end.tv_nsec - begin.tv_nsec)) / n;
    }
    qsort(ns, passes, sizeof *ns, by_value);
    printf("%.4f\n", ns[passes / 2]);
    return 0;
}
