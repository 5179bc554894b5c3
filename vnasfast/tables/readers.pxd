# Readers that never wait, and a writer that knows when they are gone.
#
# A reader counts itself in `active` of the epoch's parity before its first look at the tables and out after the last. The writer
# unlinks memory, retires it, and frees it two epochs later. An epoch ends only when nobody is left who came in the one before
# it: then whoever could have seen the memory linked is gone. (The scheme of sleepable RCU.)

from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    #define vnas_add(place, n) __atomic_fetch_add(&(place), (n), __ATOMIC_SEQ_CST)
    #define vnas_load(place) __atomic_load_n(&(place), __ATOMIC_SEQ_CST)
    #define vnas_store(place, value) __atomic_store_n(&(place), (value), __ATOMIC_SEQ_CST)
    """
    uint64_t atomic_add "vnas_add"(uint64_t place, int n) noexcept nogil
    uint64_t atomic_load "vnas_load"(uint64_t place) noexcept nogil
    void atomic_store "vnas_store"(uint64_t place, uint64_t value) noexcept nogil

cdef struct Retired:
    uint64_t epoch
    void* memory            # to be unmapped, `number` bytes at a time; NULL: `number` is to be used again
    size_t n_bytes          # of the memory, or of the block `number`; 0: it is a slot of the answers
    uint32_t number
    uint32_t begin, end     # of the owners whose answers are to be cleared there

cdef struct Readers:
    uint64_t epoch
    uint64_t active[2]
    Retired* retired        # from `first` to before `end`, in order of their epochs
    uint32_t first, end
    uint32_t capacity

cdef inline uint32_t readers_enter(Readers* readers) noexcept nogil:
    """Begin to read; gives what readers_leave takes. Any thread, without the GIL."""
    cdef uint32_t parity = atomic_load(readers.epoch) & 1
    atomic_add(readers.active[parity], 1)
    return parity

cdef inline void readers_leave(Readers* readers, uint32_t parity) noexcept nogil:
    atomic_add(readers.active[parity], -1)

# One writer at a time. Room for what is to be retired is made before anything is unlinked, so that retiring can't fail.
cdef int readers_reserve(Readers* readers, uint32_t n) except -1
cdef bint readers_have_room(Readers* readers, uint32_t n) noexcept nogil      # the same, and False where there is no memory
cdef void readers_retire(Readers* readers, void* memory, size_t n_bytes, uint32_t number) noexcept nogil
cdef void readers_retire_slot(Readers* readers, uint32_t slot, uint32_t begin, uint32_t end) noexcept nogil
# The first of those retired, if nobody can see it any more; else NULL.
cdef Retired* readers_first_free(Readers* readers) noexcept nogil
cdef void readers_drop_first(Readers* readers) noexcept nogil
cdef void readers_free(Readers* readers) noexcept nogil
