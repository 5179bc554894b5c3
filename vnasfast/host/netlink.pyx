"""Netlink sockets of any network namespace."""

import errno as errors
import os

from libc.errno cimport errno

cdef extern from "<fcntl.h>" nogil:
    int open(const char* path, int flags)
    int O_RDONLY
    int O_CLOEXEC

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/socket.h>" nogil:
    int socket(int domain, int type, int protocol)
    int setsockopt(int fd, int level, int option, const void* value, unsigned int n)
    int AF_NETLINK
    int SOCK_RAW
    int SOCK_CLOEXEC
    int SOL_SOCKET
    int SO_RCVBUF

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <sched.h>
    #ifndef CLONE_NEWNET
    #define CLONE_NEWNET 0x40000000
    #endif
    extern int setns(int fd, int kind);
    """
    int setns(int fd, int kind)
    int CLONE_NEWNET

cdef enum:
    ROOM = 1 << 20      # bytes that may wait in the socket; the kernel gives what it may give


cdef int _open(int protocol) noexcept nogil:
    cdef int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), room = ROOM
    if fd >= 0:
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof(room))
    return fd


def open_netlink(int protocol, int netns=-1):
    """Open a netlink socket; it stays in the network namespace in which it was opened.

    Parameters
    ----------
    protocol : int
        0: rtnetlink; 4: sock_diag.
    netns : int, optional
        An open file of the network namespace; default this thread's.

    Returns
    -------
    int
        A file descriptor, to be closed.

    Raises
    ------
    OSError
    """
    cdef int fd = -1, here = -1, problem = 0, returned = 0
    if netns < 0:
        fd = _open(protocol)
        problem = errno
    else:
        # The GIL is kept, so no other Python code of this thread runs in the other namespace.
        here = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
        if here < 0:
            raise OSError(errno, os.strerror(errno), "/proc/thread-self/ns/net")
        if setns(netns, CLONE_NEWNET) < 0:
            problem = errno
        else:
            fd = _open(protocol)
            problem = errno
            returned = setns(here, CLONE_NEWNET)
        close(here)
        if returned < 0:
            raise SystemError("this thread can't return to its network namespace")
    if fd < 0:
        raise OSError(problem, f"no netlink socket: {os.strerror(problem)}"
                      + (": this kernel has no such netlink" if problem == errors.EPROTONOSUPPORT else ""))
    return fd
