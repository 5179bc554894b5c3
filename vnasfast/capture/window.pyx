"""Windows of a capture's bytes: mapping and reading, and which of the two is faster here."""

from libc.errno cimport EINTR, ENOMEM, errno
from libc.stdint cimport UINT64_MAX, uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from "<unistd.h>" nogil:
    ssize_t pread(int fd, void* buffer, size_t n, long offset)

cdef extern from * nogil:
    """
    #include <sys/mman.h>
    #ifndef MADV_POPULATE_READ
    #define MADV_POPULATE_READ 22       /* Linux 5.14; an older kernel refuses it, and pages come as they are touched */
    #endif
    /* Loads one byte of each line, so that lines come from memory in the order of the file and at its pace. */
    static inline void vnasfast_touch(const unsigned char *at, size_t n) {
        unsigned char sum = 0;
        for (size_t i = 0; i < n; i += 64)
            sum ^= *(const volatile unsigned char *)(at + i);
        (void)sum;
    }
    """
    int madvise(void* at, size_t n, int advice)
    int MADV_POPULATE_READ
    int MADV_DONTNEED
    void touch "vnasfast_touch"(const uint8_t* at, size_t n) noexcept

from vnasfast.capture.window cimport BEHIND, TRIAL_EVERY, TRIAL_ROW, TRIAL_WINDOWS, WindowSource

# A mapped file's pages are given back this many bytes at a time, so that a long file doesn't fill the memory of
# the process; less than 2 MiB at a time can be felt.
cdef uint64_t _RELEASE_BYTES = 1 << 24


cdef class Window:
    """A piece of a capture; made for and used by one reader."""

    cdef int grow(self, size_t n) except -1:
        """Make room for `n` bytes read; what was visible stays. Views of the old memory stay valid."""
        if n <= self.n_room:
            return 0
        cdef bytearray larger = bytearray(n)
        if self.room != NULL:
            memcpy(<uint8_t*><char*>larger, self.room, min(self.n_room, self.visible))
        self.memory = larger
        self.room = <uint8_t*><char*>larger
        self.n_room = n
        return 0


cdef void _read(Window window, const WindowSource* source, size_t wanted) noexcept nogil:
    """Read until `wanted` bytes are visible, or the file ends."""
    cdef ssize_t n
    while window.visible < wanted:
        n = pread(source.fd, window.room + window.visible, wanted - window.visible, window.start + window.visible)
        if n < 0 and errno == EINTR:
            continue
        if n < 0:
            window.error = errno
        if n <= 0:
            return
        window.visible += n


cdef bint window_is_mapped(const WindowSource* source, uint64_t index) noexcept nogil:
    """Whether window `index` is going to be mapped, as things are now."""
    if source.data == NULL or not source.may_read:
        return source.data != NULL
    if source.took[0] == UINT64_MAX or source.took[1] == UINT64_MAX or index % TRIAL_EVERY < TRIAL_WINDOWS:
        return index // TRIAL_ROW & 1
    return source.took[1] < source.took[0]


cdef void window_ready(Window window, const WindowSource* source, uint64_t index, bint mapped) noexcept nogil:
    """Make window `index` ready for window_touch, and then the walk. Any thread, with a window of its own, which has room for a
    step and BEHIND unless it is to be mapped.
    """
    cdef uint64_t left
    window.start = index * source.step
    window.until = source.step
    window.error = 0
    left = source.size - window.start if source.size > window.start else 0
    window.mapped = mapped
    window.fetched = min(left, source.step)
    if not window.mapped:
        window.base = window.room
        window.visible = 0
        _read(window, source, min(left, source.step + BEHIND))
        return
    window.base = source.data + window.start
    window.visible = left
    if source.fd >= 0:
        madvise(<void*>window.base, window.fetched, MADV_POPULATE_READ)     # all pages in one call
        window.fetched = 0


cdef void window_touch(Window window) noexcept nogil:
    """Touch what was not fetched, all lines in one sweep: the walk jumps from record to record."""
    cdef size_t n = min(window.visible, window.until)
    if window.fetched < n:
        touch(window.base + window.fetched, n - window.fetched)
        window.fetched = n


cdef bint window_extend(Window window, const WindowSource* source, size_t needed) noexcept nogil:
    """Make `needed` bytes visible; False where there are fewer, or the file can't be read."""
    cdef uint64_t wanted = min(needed, source.size - window.start)
    if window.mapped or window.visible >= wanted:
        return window.visible >= needed
    if wanted > window.n_room:
        with gil:
            try:
                window.grow(max(wanted, 2 * window.n_room))
            except MemoryError:
                window.error = ENOMEM
                return False
            window.base = window.room
    _read(window, source, wanted)
    return window.visible >= needed


cdef void window_timed(WindowSource* source, Window window, uint64_t ns) noexcept nogil:
    """Note how long a window of a trial took, from making it ready to its last frame. One caller at a time."""
    cdef uint64_t bytes = min(window.visible, window.until)
    cdef uint64_t index = window.start // source.step
    if bytes != source.step:        # a shorter one says little
        return
    if index % TRIAL_EVERY < TRIAL_WINDOWS:
        if source.trial != index // TRIAL_EVERY:
            source.trial = index // TRIAL_EVERY
            source.took[0] = source.took[1] = UINT64_MAX
    elif source.took[window.mapped] != UINT64_MAX:
        return
    ns = (ns << 16) // bytes
    # Not the least: a lucky window of the slower way won the trial so often that IMIX took an eighth more. Nor one that was interrupted.
    if source.took[window.mapped] != UINT64_MAX:
        ns = (3 * source.took[window.mapped] + min(ns, 2 * source.took[window.mapped])) // 4
    source.took[window.mapped] = ns


cdef void window_release(WindowSource* source, uint64_t end) noexcept nogil:
    """Give back what was mapped before `end`, a multiple of the page size. One caller at a time.

    The bytes can still be read: they come from the file again.
    """
    if source.fd >= 0 and source.data != NULL and end >= source.released + _RELEASE_BYTES:
        madvise(<void*>(source.data + source.released), end - source.released, MADV_DONTNEED)
        source.released = end
