# Interface names as small numbers, counted, so that names come and go without a trace.

from libc.stdint cimport int32_t

cdef class InterfaceNames:
    cdef dict numbers
    cdef list names
    cdef list n_users
    cdef list free

    # The first may run Python code, and so let other threads in, before it does what it does; the others don't.
    cdef int32_t acquire(self, str name) except -1
    cdef int part_names(self) except -1
    cdef int release(self, int32_t number) except -1
    cpdef str name(self, int32_t number)
    cdef list all_names(self)
    cdef int32_t* users(self, Py_ssize_t* n) except NULL
