# What became of one packet.

from libc.stdint cimport int32_t

cdef class Delivery:
    cdef int32_t _socket
    cdef int32_t _pid
    cdef int32_t _vnas
    cdef int32_t _outcome
