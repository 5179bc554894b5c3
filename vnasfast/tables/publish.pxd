# The stores of the data plane's writer: what readers see, they see whole, and after all that was stored before it.

from libc.stdint cimport int32_t, uint32_t, uint64_t

cdef extern from *:
    """
    /* The fence keeps what is changed after the first count from being seen before it. */
    #define vnas_begin_change(place) do { __atomic_fetch_add(&(place), 1, __ATOMIC_RELAXED); \\
                                          __atomic_thread_fence(__ATOMIC_SEQ_CST); } while (0)
    #define vnas_end_change(place) __atomic_fetch_add(&(place), 1, __ATOMIC_RELEASE)
    """
    void store_pointer "VNAS_STORE"(void* place, void* value) noexcept nogil
    void store_word "VNAS_STORE"(uint32_t place, uint32_t value) noexcept nogil
    void store_answer "VNAS_STORE"(int32_t place, int32_t value) noexcept nogil
    void begin_change "vnas_begin_change"(uint64_t place) noexcept nogil
    void end_change "vnas_end_change"(uint64_t place) noexcept nogil
