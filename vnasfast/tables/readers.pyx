"""When memory that readers may have seen can be freed."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memmove


cdef int readers_reserve(Readers* readers, uint32_t n) except -1:
    cdef uint32_t capacity
    cdef void* memory
    if readers.n_retired + n > readers.capacity:
        capacity = 2 * readers.capacity + n
        memory = realloc(readers.retired, capacity * sizeof(Retired))
        if memory == NULL:
            raise MemoryError(f"no memory for {capacity} entries of what readers may still see")
        readers.retired = <Retired*>memory
        readers.capacity = capacity
    return 0


cdef void readers_retire(Readers* readers, void* memory, size_t n_bytes, uint32_t slot) noexcept nogil:
    cdef Retired* retired = &readers.retired[readers.n_retired]
    retired.epoch = readers.epoch
    retired.memory = memory
    retired.n_bytes = n_bytes
    retired.slot = slot
    readers.n_retired += 1


cdef bint readers_next_free(Readers* readers, Retired* free) noexcept nogil:
    if readers.n_retired == 0:
        return False
    # Two epochs at the most: each ends if nobody is left who came in the one before.
    while readers.epoch < readers.retired[0].epoch + 2:
        if atomic_load(readers.active[1 - (readers.epoch & 1)]) != 0:
            return False
        atomic_store(readers.epoch, readers.epoch + 1)
    free[0] = readers.retired[0]
    readers.n_retired -= 1
    memmove(readers.retired, readers.retired + 1, readers.n_retired * sizeof(Retired))
    return True
