"""Mapping or reading: which of the two gives a file's bytes sooner on this machine, now?

It depends on the kernel, on how the file's pages came into the cache, and on who else uses the memory. The same 760 MB file of
60-byte frames took 3 ns a frame mapped in one hour, and 13 mapped against 8 read in another.
"""

from libc.stdint cimport uint8_t, uint64_t
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

import os

cdef enum:
    PIECE_BYTES = 1 << 20
    N_PIECES = 4            # of each; together about a millisecond when the file is in the cache
    LINE_BYTES = 64


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef uint8_t touch(const uint8_t[::1] data, size_t start, size_t n) noexcept nogil:
    """Read one byte of each cache line, as a walk would."""
    cdef uint8_t total = 0
    cdef size_t i = start
    while i < start + n:
        total += data[i]
        i += LINE_BYTES
    return total


def reading_is_faster(int descriptor, const uint8_t[::1] mapped not None):
    """Touch pieces of a file in turn through its mapping and through a buffer that is read into.

    Parameters
    ----------
    descriptor : int
        The open file. Its position does not change.
    mapped : memoryview
        The whole file, mapped; at least 16 MiB.

    Returns
    -------
    bool
    """
    cdef size_t apart = mapped.shape[0] // (2 * N_PIECES)
    cdef size_t i
    cdef uint64_t begun, mapping_ns = 0, reading_ns = 0
    cdef uint8_t total = 0
    buffer = bytearray(PIECE_BYTES)     # written once, so that its own pages are there
    cdef const uint8_t[::1] view = buffer
    for i in range(N_PIECES):
        begun = now_ns()
        total += touch(mapped, 2 * i * apart, PIECE_BYTES)
        mapping_ns += now_ns() - begun
        begun = now_ns()
        os.preadv(descriptor, [buffer], (2 * i + 1) * apart)
        total += touch(view, 0, PIECE_BYTES)
        reading_ns += now_ns() - begun
    # The sum is used, so that no compiler leaves the reading out.
    return reading_ns < mapping_ns or total > 255
