/* Memory of the tables: zero until it is written, resident only where it was, and enlarged without a copy of what is in it. */
#ifndef VNASFAST_TABLES_MEMORY_H
#define VNASFAST_TABLES_MEMORY_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    VNAS_PAGE = 4096,
    VNAS_HUGE_PAGE = 2 << 20,
    VNAS_MAPPED = 32 << 10,     /* bytes, from which on memory is mapped by itself; less is copied in a few microseconds */
    VNAS_STRIDE = 8,            /* memory that is mapped is made so many times larger: only what is used takes any */
};

static inline size_t vnas_whole_pages(size_t n_bytes)
{
    return (n_bytes + VNAS_PAGE - 1) & ~(size_t)(VNAS_PAGE - 1);
}

/* On a boundary of huge pages where there is one inside. */
static inline void *vnas_map_small_pages(size_t n_bytes)
{
    size_t spare = n_bytes >= VNAS_MAPPED ? VNAS_HUGE_PAGE : 0, before;
    n_bytes = vnas_whole_pages(n_bytes);
    char *memory = mmap(NULL, n_bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        return NULL;
    if (spare) {
        before = -(uintptr_t)memory & (VNAS_HUGE_PAGE - 1);
        if (before)
            munmap(memory, before);
        memory += before;
        if (spare - before)
            munmap(memory + n_bytes, spare - before);
    }
    return memory;
}

static inline void vnas_prefer_huge_pages(void *memory, size_t n_bytes, int prefer)
{
#ifdef MADV_HUGEPAGE
    if (n_bytes >= VNAS_HUGE_PAGE)
        madvise(memory, vnas_whole_pages(n_bytes), prefer ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
    (void)memory, (void)n_bytes, (void)prefer;
#endif
}

/* From 2 MiB on in huge pages where there are any, so that a random line costs one cache miss and no walk of the page tables before
 * it. The first touch of each takes 0.2 ms. */
static inline void *vnas_map(size_t n_bytes)
{
    void *memory = vnas_map_small_pages(n_bytes);
    if (memory != NULL)
        vnas_prefer_huge_pages(memory, n_bytes, 1);
    return memory;
}

static inline void vnas_unmap(void *memory, size_t n_bytes)
{
    if (memory != NULL)
        munmap(memory, vnas_whole_pages(n_bytes));
}

/* For rows and slots: NULL and 0 bytes to begin with, in small pages, as their writer can't wait for 0.2 ms. Where memory is mapped, larger
 * memory takes over its page tables: 64 MiB in 0.05 ms. On a boundary of cache lines. NULL: there is no memory, and nothing has changed. */
static inline void *vnas_enlarge(void *memory, size_t n_bytes, size_t larger)
{
    void *made = NULL;
    if (larger < VNAS_MAPPED) {
        if (posix_memalign(&made, 64, larger) != 0)
            return NULL;
        memset((char *)made + n_bytes, 0, larger - n_bytes);
    } else {
        made = vnas_map_small_pages(larger);
        if (made == NULL)
            return NULL;
        if (n_bytes >= VNAS_MAPPED) {
            if (mremap(memory, vnas_whole_pages(n_bytes), vnas_whole_pages(larger), MREMAP_MAYMOVE | MREMAP_FIXED, made) != made) {
                vnas_unmap(made, larger);
                return NULL;
            }
            return made;
        }
    }
    if (n_bytes)
        memcpy(made, memory, n_bytes);
    free(memory);
    return made;
}

static inline void vnas_give_back(void *memory, size_t n_bytes)
{
    if (n_bytes < VNAS_MAPPED)
        free(memory);
    else
        vnas_unmap(memory, n_bytes);
}

#endif
