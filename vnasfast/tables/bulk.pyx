"""Many sockets registered or closed in one call, without a Python object a socket."""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint16_t

from vnasfast.tables.hashing cimport load64
from vnasfast.tables.index cimport RowPool, pool_reserve
from vnasfast.tables.locks cimport pthread_rwlock_unlock, rwlock_wrlock
from vnasfast.tables.memory cimport HUGE_PAGE, prefer_huge_pages
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.sockets cimport SocketRow, protocol_number
from vnasfast.tables.tables cimport REFUSED_PROCESS, Tables

from vnasfast.errors import FrozenError, VnasError

cdef enum:
    CHANGES = 64        # sockets at a time: a few microseconds that whoever asks the control plane may wait


cdef int reserve_sockets(Tables tables, Py_ssize_t n) except -1:
    """Room for n more sockets at once; where they are many in huge pages, whose memory is there three times sooner."""
    cdef RowPool* pool = &tables.c.sockets.pool
    if n * sizeof(SocketRow) >= HUGE_PAGE and n < 1 << 30:
        rwlock_wrlock(&tables.changing)
        try:
            pool_reserve(pool, <void**>&tables.c.sockets.rows, sizeof(SocketRow), <int32_t>n)
        finally:
            pthread_rwlock_unlock(&tables.changing)
        prefer_huge_pages(tables.c.sockets.rows, <size_t>pool.capacity * sizeof(SocketRow), True)
    return 0


cdef void end_reserve(Tables tables, Py_ssize_t n) noexcept:
    """From now on single sockets may come, which shall not wait for a huge page."""
    if n * sizeof(SocketRow) >= HUGE_PAGE:
        prefer_huge_pages(tables.c.sockets.rows, <size_t>tables.c.sockets.pool.capacity * sizeof(SocketRow), False)


@cython.critical_section
def bind_many(Tables tables not None, const int32_t[::1] pids not None, const uint8_t[::1] protocols not None,
              const uint16_t[::1] ports not None, const uint8_t[:, ::1] addresses not None, bint v6only, bint sharing,
              bint freebind, int32_t[::1] sockets not None):
    """Register many sockets, all or none.

    Parameters
    ----------
    tables : Tables
    pids, protocols, ports, addresses : arrays of int32, uint8, uint16 of shape (n,) and uint8 of shape (n, 16)
        Of length n, or 1 for all but `pids`; their values have been checked.
    v6only, sharing, freebind : bool
    sockets : array of int32, shape (n,)
        Receives the socket IDs.

    Returns
    -------
    tuple of (int, VnasError) or None
        Which socket was refused, and why; then none is registered.
    """
    cdef Py_ssize_t n = pids.shape[0], i = 0, done, end
    cdef bint one_protocol = protocols.shape[0] == 1, one_port = ports.shape[0] == 1, one_address = addresses.shape[0] == 1
    cdef const uint8_t* address
    cdef int32_t process = -1
    cdef int32_t socket = 0
    try:
        if tables.c.image != NULL:
            raise FrozenError("bind sockets")
        reserve_sockets(tables, n - tables.c.sockets.pool.n_free)
        while i < n:
            end = min(n, i + CHANGES)
            rwlock_wrlock(&tables.changing)
            try:
                while i < end:
                    address = &addresses[0 if one_address else i, 0]
                    if process < 0 or tables.c.processes.rows[process].pid != pids[i]:
                        process = process_find(&tables.c.processes, &tables.c.seed, pids[i])
                    socket = REFUSED_PROCESS if process < 0 else tables.bind_row(
                        process, protocol_number(protocols[0 if one_protocol else i]), ports[0 if one_port else i],
                        load64(address), load64(address + 8), v6only, sharing, freebind)
                    if socket < 0:
                        break
                    sockets[i] = socket
                    i += 1
            finally:
                pthread_rwlock_unlock(&tables.changing)
            if socket == REFUSED_PROCESS:
                tables.process_row(pids[i])
            elif socket < 0:
                tables.refuse(socket, process, ports[0 if one_port else i])
    except BaseException as error:
        for done in range(i - 1, -1, -1):       # backwards: then the rows are given back as if they had never been taken
            tables.close_one(sockets[done])
        if not isinstance(error, VnasError):
            raise
        return i, error
    finally:
        end_reserve(tables, n)
    return None


@cython.critical_section
def close_many(Tables tables not None, const int32_t[::1] sockets not None):
    """Close many sockets, each named once.

    Raises
    ------
    NoSuchSocket
        One is not open; those before it are closed.
    """
    cdef Py_ssize_t n = sockets.shape[0], i = 0, end
    if tables.c.image != NULL:
        raise FrozenError("close sockets")
    while i < n:
        tables.check_open(sockets[i])
        end = min(n, i + CHANGES)
        rwlock_wrlock(&tables.changing)
        try:
            while i < end and tables.is_open(sockets[i]):
                tables.drop_socket(sockets[i])
                i += 1
        finally:
            pthread_rwlock_unlock(&tables.changing)
