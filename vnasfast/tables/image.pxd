# Memory that the tables of a snapshot lie in: of this process, or of a file that many processes map.

from libc.stdint cimport uint8_t

cdef enum:
    IMAGE_PAGE = 4096

cdef class Image:
    cdef uint8_t* base          # on a page
    cdef size_t n_bytes

    cdef bint resize(self, size_t n_bytes) noexcept nogil   # makes no object; what is new is zero; False: no memory
    cdef int seal(self) except -1       # from now on it can only be read

cdef size_t whole_image_pages(size_t n_bytes) noexcept nogil
# Copies to memory that is zero, page by page and not what is zero itself: such pages stay without memory of their own.
cdef void image_copy(uint8_t* target, const uint8_t* source, size_t n_bytes) noexcept nogil
