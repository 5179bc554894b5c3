/* What all peers share: memory on huge pages, and the time of a pass, taken in parts. C and C++. */

#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

enum { PART = 65536 };  /* packets timed at once: few enough to end before most interruptions */

typedef struct {
    double wall, cpu;  /* nanoseconds per packet */
} Sample;

/* Works on packets start to end - 1. */
typedef void (*Work)(void *context, size_t start, size_t end);

/* Memory on huge pages where there are any: the tables ask for them, and numpy for the keys. */
static inline void *pages(size_t bytes)
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

static inline double now(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * 1e9 + time.tv_nsec;
}

static inline int by_value(const void *left, const void *right)
{
    double difference = *(const double *)left - *(const double *)right;
    return (difference > 0) - (difference < 0);
}

static inline double median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_value);
    return values[n / 2];
}

/* One pass to warm the caches, then the median over the parts of the passes. */
static inline Sample measure(Work work, void *context, size_t n, size_t passes)
{
    size_t n_parts = 0, most = passes * ((n + PART - 1) / PART);
    double *wall = (double *)malloc(most * sizeof *wall), *cpu = (double *)malloc(most * sizeof *cpu);
    if (wall == NULL || cpu == NULL)
        exit(1);
    work(context, 0, n);
    for (size_t pass = 0; pass < passes; pass++) {
        for (size_t start = 0; start < n; start += PART) {
            size_t end = start + PART < n ? start + PART : n;
            double wall_begin = now(CLOCK_MONOTONIC), cpu_begin = now(CLOCK_THREAD_CPUTIME_ID);
            work(context, start, end);
            cpu[n_parts] = (now(CLOCK_THREAD_CPUTIME_ID) - cpu_begin) / (end - start);
            wall[n_parts++] = (now(CLOCK_MONOTONIC) - wall_begin) / (end - start);
        }
    }
    Sample sample = {median(wall, n_parts), median(cpu, n_parts)};
    free(wall);
    free(cpu);
    return sample;
}
