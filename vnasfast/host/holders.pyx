"""Which processes hold which sockets: one pass over the file descriptors of all processes.

A socket is a link ``socket:[inode]`` in ``/proc/PID/fd``; nothing but reading the links says who has it.
"""

import os

import numpy as np

from libc.errno cimport EACCES, EPERM, errno
from libc.stdint cimport int32_t, uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc, strtol, strtoull
from libc.string cimport memcmp, memcpy

from vnasfast.host.rows import HOLDER

cdef extern from "<fcntl.h>" nogil:
    int openat(int folder, const char* path, int flags)
    int O_RDONLY
    int O_DIRECTORY
    int O_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close(int fd)
    ssize_t readlinkat(int folder, const char* path, char* target, size_t n)

cdef extern from "<dirent.h>" nogil:
    ctypedef struct DIR:
        pass
    cdef struct dirent:
        char d_name[256]
    DIR* opendir(const char* path)
    DIR* fdopendir(int fd)
    dirent* readdir(DIR* folder)
    int closedir(DIR* folder)
    int dirfd(DIR* folder)

cdef struct Holder:         # rows.HOLDER
    uint64_t inode
    int32_t pid
    int32_t fd

cdef struct Holders:
    Holder* rows
    size_t n
    size_t room
    size_t processes        # looked at
    size_t refused          # whose file descriptors are not for us to see


cdef int _append(Holders* found, uint64_t inode, int32_t pid, int32_t fd) noexcept nogil:
    cdef Holder* more
    if found.n == found.room:
        more = <Holder*>realloc(found.rows, 2 * found.room * sizeof(Holder))
        if more == NULL:
            return -1
        found.rows, found.room = more, 2 * found.room
    found.rows[found.n].inode, found.rows[found.n].pid, found.rows[found.n].fd = inode, pid, fd
    found.n += 1
    return 0


cdef int _read_process(Holders* found, int proc, int32_t pid, const char* name) noexcept nogil:
    """Read the links of one process; -1: out of memory."""
    cdef char path[280]
    cdef char target[64]
    cdef size_t n = 0
    cdef ssize_t length
    cdef int folder, done = 0
    cdef DIR* links
    cdef dirent* link
    while name[n]:
        path[n] = name[n]
        n += 1
    memcpy(path + n, b"/fd", 4)
    found.processes += 1
    folder = openat(proc, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    links = fdopendir(folder) if folder >= 0 else NULL
    if links == NULL:
        if folder >= 0:
            close(folder)
        elif errno == EACCES or errno == EPERM:
            found.refused += 1
        return 0
    while done == 0:
        link = readdir(links)
        if link == NULL:
            break
        length = readlinkat(folder, link.d_name, target, sizeof(target) - 1)
        if length < 0 and errno == EACCES:      # the folder may be read, its links not
            found.refused += 1
            break
        if length > 8 and memcmp(target, b"socket:[", 8) == 0:
            target[length] = 0
            done = _append(found, strtoull(target + 8, NULL, 10), pid, <int32_t>strtol(link.d_name, NULL, 10))
    closedir(links)
    return done


cdef int _read_all(Holders* found) noexcept nogil:
    """Read all processes; -1: out of memory, -2: there is no /proc."""
    cdef DIR* proc = opendir("/proc")
    cdef dirent* entry
    cdef int done = 0
    if proc == NULL:
        return -2
    while done == 0:
        entry = readdir(proc)
        if entry == NULL:
            break
        if c'0' <= entry.d_name[0] <= c'9':
            done = _read_process(found, dirfd(proc), <int32_t>strtol(entry.d_name, NULL, 10), entry.d_name)
    closedir(proc)
    return done


def find_holders():
    """Find the processes that hold sockets, in one pass over ``/proc``.

    Returns
    -------
    rows : ndarray of HOLDER
        By inode, then PID, but process 1 last: systemd also holds the sockets of services that it starts by them.
    processes : int
        Processes looked at.
    refused : int
        Those whose file descriptors this process may not see.

    Raises
    ------
    OSError
        There is no ``/proc``.
    """
    cdef Holders found
    cdef int done
    cdef uint8_t[::1] out
    found.n, found.room, found.processes, found.refused = 0, 1024, 0, 0
    found.rows = <Holder*>malloc(found.room * sizeof(Holder))
    try:
        if found.rows == NULL:
            raise MemoryError
        with nogil:
            done = _read_all(&found)
        if done == -1:
            raise MemoryError
        if done == -2:
            raise OSError(errno, os.strerror(errno), "/proc")
        rows = np.empty(found.n, HOLDER)
        if found.n:
            out = rows.view(np.uint8)
            memcpy(&out[0], found.rows, found.n * sizeof(Holder))
        order = np.lexsort((rows["fd"], rows["pid"], rows["pid"] == 1, rows["inode"]))
        return rows[order], found.processes, found.refused
    finally:
        free(found.rows)
