"""What netlink hides: SO_REUSEPORT, SO_REUSEADDR and SO_INCOMING_CPU, asked of the sockets themselves.

``pidfd_getfd`` gives a copy of another process's file descriptor, and getsockopt of the copy asks the socket. The right
to do so is that of a debugger.
"""

from libc.errno cimport EMFILE, ENFILE, ENOSYS, EPERM, errno
from libc.stdint cimport int8_t, int32_t, uint8_t, uint64_t

from vnasfast.host.rows cimport HostSocket

cdef extern from "<unistd.h>" nogil:
    int close(int fd)

cdef extern from "<sys/socket.h>" nogil:
    int getsockopt(int fd, int level, int option, void* value, unsigned int* n)
    int SOL_SOCKET
    int SO_REUSEADDR
    int SO_REUSEPORT
    int SO_INCOMING_CPU

cdef extern from * nogil:
    """
    #ifndef _GNU_SOURCE
    #define _GNU_SOURCE
    #endif
    #include <unistd.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #ifndef SYS_pidfd_open
    #define SYS_pidfd_open 434      /* Linux 5.3 */
    #endif
    #ifndef SYS_pidfd_getfd
    #define SYS_pidfd_getfd 438     /* Linux 5.6 */
    #endif
    static inline int vnasfast_pidfd_open(int pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }
    static inline int vnasfast_pidfd_getfd(int pidfd, int fd) { return (int)syscall(SYS_pidfd_getfd, pidfd, fd, 0); }
    static inline unsigned long long vnasfast_inode(int fd) {
        struct stat status;
        return fstat(fd, &status) < 0 ? 0 : (unsigned long long)status.st_ino;
    }
    """
    int pidfd_open "vnasfast_pidfd_open"(int pid)
    int pidfd_getfd "vnasfast_pidfd_getfd"(int pidfd, int fd)
    uint64_t inode_of "vnasfast_inode"(int fd)

cdef struct Counts:
    size_t asked
    size_t refused          # for want of rights
    size_t gone             # closed meanwhile
    bint unknown            # this kernel has no pidfd_getfd


cdef int _option(int fd, int option, int otherwise) noexcept nogil:
    cdef int value = 0
    cdef unsigned int n = sizeof(value)
    return value if getsockopt(fd, SOL_SOCKET, option, &value, &n) == 0 else otherwise


cdef void _ask_socket(HostSocket* row, int pidfd, Counts* counts) noexcept nogil:
    cdef int fd = pidfd_getfd(pidfd, row.fd)
    if fd < 0:
        if errno == ENOSYS:
            counts.unknown = True
        elif errno == EPERM or errno == EMFILE or errno == ENFILE:
            counts.refused += 1
        else:
            counts.gone += 1
        return
    if inode_of(fd) == row.inode:
        row.reuseport = <int8_t>(_option(fd, SO_REUSEPORT, -1))
        row.reuseaddr = <int8_t>(_option(fd, SO_REUSEADDR, -1))
        row.incoming_cpu = _option(fd, SO_INCOMING_CPU, -1)
        counts.asked += 1
    else:
        counts.gone += 1
    close(fd)


cdef void _ask_all(HostSocket* rows, const int32_t[::1] places, Counts* counts) noexcept nogil:
    """Ask the sockets at these places, those of a process one after the other."""
    cdef Py_ssize_t i
    cdef int32_t pid = 0
    cdef int pidfd = -1, problem = 0
    cdef HostSocket* row
    for i in range(places.shape[0]):
        row = &rows[places[i]]
        if row.pid != pid:
            if pidfd >= 0:
                close(pidfd)
            pid = row.pid
            pidfd = pidfd_open(pid)
            problem = errno
        if pidfd >= 0:
            _ask_socket(row, pidfd, counts)
        elif problem == ENOSYS:
            counts.unknown = True
        elif problem == EPERM or problem == EMFILE or problem == ENFILE:
            counts.refused += 1
        else:
            counts.gone += 1
        if counts.unknown:
            break
    if pidfd >= 0:
        close(pidfd)


def ask_options(uint8_t[::1] rows not None, const int32_t[::1] places not None):
    """Ask sockets for their options and write them into the rows.

    Parameters
    ----------
    rows : ndarray of uint8
        The bytes of an array of SOCKET, changed in place.
    places : ndarray of int32
        Which rows; each has a PID and a file descriptor. Fastest if those of a process stand together.

    Returns
    -------
    asked, refused, gone : int
        How many answered, were not for us to ask, were closed meanwhile.
    unknown : bool
        This kernel can't be asked (older than Linux 5.6).
    """
    cdef Counts counts
    cdef Py_ssize_t n = rows.shape[0] // <Py_ssize_t>sizeof(HostSocket), i
    counts.asked = counts.refused = counts.gone = 0
    counts.unknown = False
    for i in range(places.shape[0]):
        if not 0 <= places[i] < n:
            raise IndexError(f"place {places[i]} of {n} rows")
    if places.shape[0]:
        with nogil:
            _ask_all(<HostSocket*>&rows[0], places, &counts)
    return counts.asked, counts.refused, counts.gone, bool(counts.unknown)
