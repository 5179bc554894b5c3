"""The tables' "resources used" columns."""

from vnasfast.tables.memory cimport MAPPED, STRIDE, enlarge

cdef size_t FIRST_BYTES = 4096


cdef int usage_reserve(Usage** usage, size_t* n_bytes, size_t n) except -1:
    cdef size_t larger = max(n_bytes[0], FIRST_BYTES)
    cdef void* memory
    while larger < n * sizeof(Usage):
        larger *= 2 if larger < MAPPED else STRIDE
    if larger > n_bytes[0]:
        memory = enlarge(usage[0], n_bytes[0], larger)
        if memory == NULL:
            raise MemoryError(f"no memory for the counters of {n} rows")
        usage[0] = <Usage*>memory
        n_bytes[0] = larger
    return 0
