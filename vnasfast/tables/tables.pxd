# All tables of one machine together, and the operations that touch more than one of them.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from vnasfast.tables.addresses cimport AddressTable
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.interfaces cimport InterfaceNames
from vnasfast.tables.linux cimport LinuxTable
from vnasfast.tables.locks cimport pthread_mutex_t, pthread_rwlock_t
from vnasfast.tables.plane cimport Plane
from vnasfast.tables.processes cimport ProcessTable
from vnasfast.tables.routes cimport RoutingTable
from vnasfast.tables.sockets cimport Endpoint, SocketTable
from vnasfast.tables.tally cimport Tally
from vnasfast.tables.usage cimport N_OUTCOMES, Usage
from vnasfast.tables.vnases cimport VnasTable

cdef enum:
    CLOSED = 64

cdef enum Refused:
    REFUSED_ADDRESS = -2        # it does not belong to the process's VNAS
    REFUSED_IN_USE = -3
    REFUSED_PROCESS = -4        # there is none
    REFUSED_MEMORY = -5

cdef struct MachineTables:
    HashSeed seed
    VnasTable vnases
    ProcessTable processes
    AddressTable addresses
    SocketTable sockets
    RoutingTable routes
    LinuxTable as_linux             # empty under another policy
    Plane plane
    Usage outcomes[N_OUTCOMES]      # [-outcome]; [0]: delivered, to sockets open or closed
    const uint8_t* image            # of a snapshot: where its endpoints' `members` are counted from; else NULL

cdef inline Endpoint endpoint_of(const MachineTables* tables, int32_t socket) noexcept nogil:
    """A socket's endpoint; the one that a plain socket would have."""
    cdef Endpoint plain
    cdef int32_t row = tables.sockets.rows[socket].endpoint
    if row >= 0:
        return tables.sockets.endpoints[row]
    memset(&plain, 0, sizeof(Endpoint))
    plain.port = ~row
    plain.vnas = tables.processes.rows[tables.sockets.rows[socket].process].vnas
    plain.n_members = 1
    plain.first = socket
    plain.any = True
    return plain

cdef inline const int32_t* members_of(const MachineTables* tables, const Endpoint* endpoint) noexcept nogil:
    """The sockets that share an endpoint; NULL while there is one."""
    return <const int32_t*>(<size_t>tables.image + <size_t>endpoint.members) if endpoint.members != NULL else NULL

cdef bytes address_bytes(uint64_t hi, uint64_t lo)

cdef void tables_free(MachineTables* tables) noexcept nogil

cdef class Tables:
    cdef MachineTables c
    cdef int32_t next_pid
    # Batches run without the GIL, on the data plane without a lock. Who asks the control plane holds `changing` for reading, and never
    # needs the GIL to let it go. Whoever changes a table holds the GIL (in free-threaded Python: a critical section on the Tables)
    # and `changing` for writing, so what runs under the GIL, or in such a section, may read without it.
    #
    # Python code may let another thread have the GIL, and any new object that holds others may run Python code, since CPython 3.11
    # collects garbage there. So nobody makes an object, not even an exception but MemoryError, while holding `changing`: a thread that
    # got the GIL would wait for the lock, and this one for the GIL. And who reads makes none between the begin of what it says and the end.
    cdef pthread_rwlock_t changing
    # Guards counters and remembered fragments, which dispatch itself changes. Taken after `changing` where both are.
    cdef pthread_mutex_t counting
    # Changes under `counting`: whoever looked up without a lock sees there which sockets closed before it counts.
    cdef uint64_t n_closed
    cdef int32_t[CLOSED] closed         # the last of them, [n_closed % CLOSED] is the next
    cdef Tally* tallies                 # of threads that count to memory of their own; changes under `counting`, as the list of those
    cdef Tally* spare_tallies           # that no thread has
    cdef uint64_t n_counting            # calls that dispatch many packets and count them now
    cdef readonly InterfaceNames interfaces

    # Takes in what tallies hold, before counters are read. The caller holds `counting`.
    cdef void settle_tallies(self) noexcept nogil
    cdef int32_t process_row(self, int32_t pid) except -1
    # The socket, or one of Refused, for which `refuse` raises when `changing` is let go.
    cdef int32_t bind_row(self, int32_t process, uint32_t number, uint16_t port, uint64_t hi, uint64_t lo, bint v6only,
                          bint sharing, bint freebind) except -1
    cdef int refuse(self, int32_t refused, int32_t process, uint16_t port) except -1
    cdef bint is_open(self, int32_t socket) noexcept
    cdef int close_one(self, int32_t socket) except -1
    cdef int check_open(self, int32_t socket) except -1
    cdef int drop_socket(self, int32_t socket) except -1
