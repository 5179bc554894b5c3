# What the data plane says of each port: its answers, worked out from its sockets when one comes or goes.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.plane cimport Plane
from vnasfast.tables.processes cimport ProcessTable
from vnasfast.tables.sockets cimport PortRow, SocketTable

cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1
# Of a port whose last socket, of this VNAS, is gone.
cdef void port_give(SocketTable* table, Plane* plane, int32_t row, int32_t vnas) noexcept nogil
# Before a socket comes, and after one went; both go on with what is being moved between lines and an array.
cdef int port_reserve(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row, bint one_family) except -1
cdef void port_release(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t row) noexcept
# Before a VNAS number comes, or MemoryError.
cdef int ports_reserve_vnas(SocketTable* table, Plane* plane, const ProcessTable* processes, int32_t vnas) except -1

# The endpoint of the ANY socket that comes first in a VNAS, for a family; -1: it has none. Plain sockets have no endpoint.
cdef int32_t first_any(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, int family) noexcept nogil
# What is stored for a port and a VNAS.
cdef int32_t answers_get(const Plane* plane, const PortRow* port, int32_t vnas, int family) noexcept nogil
# And where its answers are to lie, or lay.
cdef int32_t answers_next(const Plane* plane, const PortRow* port, int32_t vnas, int family) noexcept nogil
cdef void answers_put(Plane* plane, const PortRow* port, int32_t vnas, int32_t stored) noexcept nogil
# Works it out again, after a change of the endpoint of this recipient address.
cdef void answers_refresh(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, int32_t vnas, uint64_t hi,
                          uint64_t lo) noexcept nogil
cdef int families_of(const SocketTable* table, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil
cdef void count_vnas(PortRow* port, int32_t vnas, int before, int after) noexcept nogil
