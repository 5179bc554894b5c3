"""The floor: one random cache line touched per packet, prefetched in batches of 32."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

cdef extern from *:
    """
    #define vnas_prefetch_line(address) __builtin_prefetch(address)
    """
    void prefetch "vnas_prefetch_line"(const void* address) noexcept nogil

cdef enum:
    AHEAD = 32
    LINE = 64


def touch(const uint8_t[::1] region not None, const uint32_t[::1] lines not None):
    """Touch lines of a region, in the order given. Runs without the GIL.

    Parameters
    ----------
    region : ndarray of uint8, shape (64 * m,)
    lines : ndarray of uint32, shape (n,)
        Each below m.

    Returns
    -------
    int
        The sum of the lines' first bytes, so that no compiler leaves the work out.

    Raises
    ------
    ValueError
        A line lies outside the region.
    """
    cdef uint64_t total = 0
    cdef size_t n = lines.shape[0], start = 0, end, i
    cdef size_t n_lines = region.shape[0] // LINE
    cdef bint outside = False
    with nogil:
        for i in range(n):
            outside |= lines[i] >= n_lines
        while start < n and not outside:
            end = min(n, start + AHEAD)
            for i in range(start, end):
                prefetch(&region[<size_t>lines[i] * LINE])
            for i in range(start, end):
                total += region[<size_t>lines[i] * LINE]
            start = end
    if outside:
        raise ValueError(f"the region has {n_lines} lines; a line to touch lies outside")
    return total
