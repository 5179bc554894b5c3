# Memory of the tables: see memory.h.

cdef extern from "vnasfast/tables/memory.h" nogil:
    enum:
        PAGE "VNAS_PAGE"
        HUGE_PAGE "VNAS_HUGE_PAGE"
        MAPPED "VNAS_MAPPED"
        STRIDE "VNAS_STRIDE"
    size_t whole_pages "vnas_whole_pages"(size_t n_bytes)
    void* map_small_pages "vnas_map_small_pages"(size_t n_bytes)
    void* map_zeroed "vnas_map"(size_t n_bytes)
    void unmap "vnas_unmap"(void* memory, size_t n_bytes)
    void prefer_huge_pages "vnas_prefer_huge_pages"(void* memory, size_t n_bytes, bint prefer)
    void* enlarge "vnas_enlarge"(void* memory, size_t n_bytes, size_t larger)
    void give_back "vnas_give_back"(void* memory, size_t n_bytes)
