# The bytes of a capture, a window at a time: mapped, read, or in memory already.
#
# Windows of a file are numbered: window i holds the records that begin in bytes i * step to (i + 1) * step. So any thread
# can make any window ready, long before it is known where the first record in it begins.

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    # Mapped and read windows that are timed, some in a row, before the faster way is taken for the next; and again, as what
    # else runs on the machine may change.
    TRIAL_WINDOWS = 16
    TRIAL_ROW = 4
    TRIAL_EVERY = 512
    # What is read behind a window at once: most records that begin in it end in this.
    BEHIND = 2048

# Where the windows of a capture come from. One a capture; shared by its readers.
cdef struct WindowSource:
    const uint8_t* data         # all of it: mapped, or in memory; NULL: read only
    uint64_t size
    uint64_t step               # bytes from a window to the next; a multiple of the page size
    int fd                      # -1: no file
    bint may_read               # both ways are open if also `data` is given
    uint64_t released           # mapped bytes before this were given back
    uint64_t trial              # number of the last one
    uint64_t took[2]            # what its windows took, the last ones most, in 2**-16 ns a byte; [0] read, [1] mapped

cdef class Window:
    cdef const uint8_t* base    # byte `start` of the capture
    cdef uint64_t start
    cdef size_t visible         # bytes from `base` that can be read
    cdef size_t until           # records that begin before this belong to the window
    cdef bint mapped            # `base` lies in WindowSource.data
    cdef size_t fetched         # bytes from `base` that are in the caches, or on their way
    cdef uint64_t read_ns       # what reading took; whoever times windows sets it
    cdef int error              # errno of a read that failed
    cdef bytearray memory       # what was read, unless mapped
    cdef uint8_t* room          # `memory`, for code without the GIL
    cdef size_t n_room

    cdef int grow(self, size_t n) except -1

cdef bint window_is_mapped(const WindowSource* source, uint64_t index) noexcept nogil
cdef void window_ready(Window window, const WindowSource* source, uint64_t index, bint mapped) noexcept nogil
cdef void window_touch(Window window) noexcept nogil
cdef bint window_extend(Window window, const WindowSource* source, size_t needed) noexcept nogil
cdef void window_timed(WindowSource* source, Window window, uint64_t ns) noexcept nogil
cdef void window_release(WindowSource* source, uint64_t end) noexcept nogil
