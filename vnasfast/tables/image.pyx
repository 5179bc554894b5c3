"""Memory that the tables of a snapshot lie in."""

from cpython.buffer cimport PyBuffer_FillInfo
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, strerror

cimport cython

from vnasfast.errors import InvalidValue

cdef extern from "<sys/mman.h>" nogil:
    enum:
        MAP_ANONYMOUS
        MAP_NORESERVE
        MAP_PRIVATE
        MAP_SHARED
        PROT_READ
        PROT_WRITE
    void* MAP_FAILED
    enum:
        MREMAP_MAYMOVE
    void* mmap(void* memory, size_t n_bytes, int protection, int flags, int fd, long offset)
    void* mremap(void* memory, size_t n_bytes, size_t n_new_bytes, int flags)
    int mprotect(void* memory, size_t n_bytes, int protection)
    int munmap(void* memory, size_t n_bytes)

cdef extern from *:
    """
    #include <sys/mman.h>
    /* From so many bytes on in huge pages where there are any. What is smaller would only take memory for the zeros in it. */
    static inline void vnas_large_image(void *memory, size_t n_bytes) {
    #ifdef MADV_HUGEPAGE
        if (n_bytes >= 32u << 20)
            madvise(memory, n_bytes, MADV_HUGEPAGE);
    #endif
    }
    """
    void large_image "vnas_large_image"(void* memory, size_t n_bytes) noexcept nogil


cdef size_t whole_image_pages(size_t n_bytes) noexcept nogil:
    return (n_bytes + IMAGE_PAGE - 1) & ~<size_t>(IMAGE_PAGE - 1)


cdef bint page_is_zero(const uint8_t* page) noexcept nogil:
    cdef const uint64_t* words = <const uint64_t*>page      # pages of images and of mapped tables are aligned
    cdef uint64_t found
    cdef size_t i, j
    for i in range(0, IMAGE_PAGE // sizeof(uint64_t), 64):
        found = 0
        for j in range(i, i + 64):
            found |= words[j]
        if found != 0:
            return False
    return True


cdef void image_copy(uint8_t* target, const uint8_t* source, size_t n_bytes) noexcept nogil:
    cdef size_t at = 0
    cdef bint aligned = (<size_t>source & (sizeof(uint64_t) - 1)) == 0
    while n_bytes - at >= IMAGE_PAGE:
        if not aligned or not page_is_zero(source + at):
            memcpy(target + at, source + at, IMAGE_PAGE)
        at += IMAGE_PAGE
    if n_bytes > at:
        memcpy(target + at, source + at, n_bytes - at)


@cython.final
cdef class Image:
    """Bytes on whole pages of memory, to be read by whoever has them.

    Parameters
    ----------
    n_bytes : int
    fd : int, optional
        The file to map, which has as many bytes: processes that map it share its memory. Default: zeros, in memory of this process.
    """

    def __cinit__(self, size_t n_bytes, int fd=-1):
        cdef void* memory
        if fd >= 0:
            memory = mmap(NULL, n_bytes, PROT_READ, MAP_SHARED, fd, 0)
            if memory == MAP_FAILED:
                raise OSError(errno, strerror(errno).decode())
        else:
            memory = mmap(NULL, n_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)
            if memory == MAP_FAILED:
                raise MemoryError(f"no memory for a snapshot of {n_bytes} bytes")
            large_image(memory, n_bytes)
        self.base = <uint8_t*>memory
        self.n_bytes = n_bytes

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.n_bytes)

    def __len__(self):
        return self.n_bytes

    def __getbuffer__(self, Py_buffer* view, int flags):
        PyBuffer_FillInfo(view, self, self.base, self.n_bytes, True, flags)

    def view(self):
        """Give its bytes, to be read."""
        return memoryview(self)

    cdef bint resize(self, size_t n_bytes) noexcept nogil:
        cdef void* memory = mremap(self.base, self.n_bytes, n_bytes, MREMAP_MAYMOVE)
        if memory == MAP_FAILED:
            return False
        large_image(memory, n_bytes)
        self.base = <uint8_t*>memory
        self.n_bytes = n_bytes
        return True

    cdef int seal(self) except -1:
        if mprotect(self.base, self.n_bytes, PROT_READ) != 0:
            raise OSError(errno, strerror(errno).decode())
        return 0

    @staticmethod
    def of_pieces(size_t n_bytes, pieces):
        """Put pieces together again; what lies between them is zero.

        Parameters
        ----------
        n_bytes : int
        pieces : iterable of (int, bytes-like)
            Where a piece begins, and its bytes.
        """
        cdef Image image = Image(n_bytes)
        cdef const uint8_t[::1] piece
        cdef size_t start
        for start, piece in pieces:
            if start > n_bytes or <size_t>piece.shape[0] > n_bytes - start:
                raise InvalidValue(f"a piece of {piece.shape[0]} bytes at byte {start} lies outside the {n_bytes} bytes")
            if piece.shape[0] > 0:
                memcpy(image.base + start, &piece[0], piece.shape[0])
        image.seal()
        return image

    def extents(self):
        """List (begin, end) of the runs of pages that hold anything but zeros: a fraction, where few ports are in use."""
        cdef size_t at, begin = 0
        cdef bint inside = False
        found = []
        for at in range(0, self.n_bytes, IMAGE_PAGE):
            if self.n_bytes - at >= IMAGE_PAGE and page_is_zero(self.base + at):
                if inside:
                    found.append((begin, at))
                inside = False
            elif not inside:
                begin = at
                inside = True
        if inside:
            found.append((begin, self.n_bytes))
        return found
