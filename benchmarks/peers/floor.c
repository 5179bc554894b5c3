/* The floor: one random cache line touched per packet, in a region of 16 bytes a socket, prefetched in batches of 32.
 *
 * usage: floor SOCKETS PACKETS PASSES
 *
 * Which line a packet touches is known beforehand, as a parsed key is, and is read in order from an array of 4 bytes
 * a packet. Prints nanoseconds per packet by the clock on the wall and by the processor's: medians over parts of 65,536
 * packets, which end before most interruptions.
 */

#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { LINE = 64, BATCH = 32, BYTES_PER_SOCKET = 16, PART = 65536 };

static uint64_t random_state = 20;

static uint64_t random_bits(void)
{
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
}

/* Memory on huge pages where there are any: the tables ask for them, and numpy for the keys. */
static void *pages(size_t bytes)
{
    size_t whole = (bytes + (2u << 20) - 1) & ~(size_t)((2u << 20) - 1);
    void *memory = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    madvise(memory, whole, MADV_HUGEPAGE);
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

static double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
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
    uint8_t *region = pages(n_lines * LINE);
    uint32_t *lines = pages(n * sizeof *lines);
    size_t n_parts = 0;
    size_t most = passes * ((n + PART - 1) / PART);
    double *wall = malloc(most * sizeof *wall), *cpu = malloc(most * sizeof *cpu);
    if (wall == NULL || cpu == NULL)
        return 1;
    for (size_t i = 0; i < n; i++)
        lines[i] = (uint32_t)(((random_bits() >> 32) * n_lines) >> 32);
    volatile uint64_t sink = touch(region, lines, n);
    for (size_t pass = 0; pass < passes; pass++) {
        for (size_t start = 0; start < n; start += PART) {
            size_t size = start + PART < n ? PART : n - start;
            double wall_begin = now(CLOCK_MONOTONIC), cpu_begin = now(CLOCK_THREAD_CPUTIME_ID);
            sink += touch(region, lines + start, size);
            cpu[n_parts] = (now(CLOCK_THREAD_CPUTIME_ID) - cpu_begin) / size;
            wall[n_parts++] = (now(CLOCK_MONOTONIC) - wall_begin) / size;
        }
    }
    qsort(wall, n_parts, sizeof *wall, by_value);
    qsort(cpu, n_parts, sizeof *cpu, by_value);
    printf("%.4f %.4f\n", wall[n_parts / 2], cpu[n_parts / 2]);
    return 0;
}
