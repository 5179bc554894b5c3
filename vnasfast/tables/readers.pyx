"""When memory that readers may have seen can be freed."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memmove


cdef bint readers_have_room(Readers* readers, uint32_t n) noexcept nogil:
    cdef uint32_t capacity, n_retired = readers.end - readers.first
    cdef void* memory
    if readers.end + n <= readers.capacity:
        return True
    if readers.first > 0:
        memmove(readers.retired, readers.retired + readers.first, n_retired * sizeof(Retired))
        readers.first = 0
        readers.end = n_retired
    # Half of it stays free, or the list would be moved again and again.
    if n_retired + n <= readers.capacity // 2:
        return True
    capacity = 2 * (n_retired + n)
    memory = realloc(readers.retired, capacity * sizeof(Retired))
    if memory == NULL:
        return n_retired + n <= readers.capacity
    readers.retired = <Retired*>memory
    readers.capacity = capacity
    return True


cdef int readers_reserve(Readers* readers, uint32_t n) except -1:
    if not readers_have_room(readers, n):
        raise MemoryError(f"no memory for {readers.end - readers.first + n} entries of what readers may still see")
    return 0


cdef void readers_retire(Readers* readers, void* memory, size_t n_bytes, uint32_t number) noexcept nogil:
    cdef Retired* retired = &readers.retired[readers.end]
    retired.epoch = readers.epoch
    retired.memory = memory
    retired.n_bytes = n_bytes
    retired.number = number
    retired.begin = retired.end = 0
    readers.end += 1


cdef void readers_retire_slot(Readers* readers, uint32_t slot, uint32_t begin, uint32_t end) noexcept nogil:
    readers_retire(readers, NULL, 0, slot)
    readers.retired[readers.end - 1].begin = begin
    readers.retired[readers.end - 1].end = end


cdef Retired* readers_first_free(Readers* readers) noexcept nogil:
    if readers.first == readers.end:
        return NULL
    # Two epochs at the most: each ends if nobody is left who came in the one before.
    while readers.epoch < readers.retired[readers.first].epoch + 2:
        if atomic_load(readers.active[1 - (readers.epoch & 1)]) != 0:
            return NULL
        atomic_store(readers.epoch, readers.epoch + 1)
    return &readers.retired[readers.first]


cdef void readers_drop_first(Readers* readers) noexcept nogil:
    readers.first += 1
    if readers.first == readers.end:
        readers.first = readers.end = 0


cdef void readers_free(Readers* readers) noexcept nogil:
    free(readers.retired)
    readers.retired = NULL
