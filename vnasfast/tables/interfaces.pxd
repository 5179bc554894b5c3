# Interface names as small numbers, counted, so that names come and go without a trace.

from libc.stdint cimport int32_t

cdef class InterfaceNames:
    cdef dict numbers
    cdef list names
    cdef list n_users
    cdef list free

    # No Python code of anybody runs in these two: threads can't meet in them while the caller keeps changes away.
    cdef int32_t acquire(self, str name) except -1
    cdef int release(self, int32_t number) except -1
    cpdef str name(self, int32_t number)
    cdef list all_names(self)
    cdef list state(self)
