# What the data plane says of each port: its answers, worked out from its sockets when one comes or goes.

from libc.stdint cimport int32_t, uint16_t, uint32_t

from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.plane cimport Plane
from vnasfast.tables.sockets cimport PortRow, SocketTable

cdef int32_t port_take(SocketTable* table, uint32_t protocol, uint16_t port) except -1
cdef void port_give(SocketTable* table, Plane* plane, int32_t row, int32_t vnas) noexcept nogil     # of its last socket
cdef int port_reserve(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, bint one_family) except -1

# The endpoint of the ANY socket that comes first in a VNAS, for a family; -1: it has none. Plain sockets have no endpoint.
cdef int32_t first_any(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, int family) noexcept nogil
cdef void answers_refresh(SocketTable* table, Plane* plane, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil
cdef void answers_put(SocketTable* table, Plane* plane, int32_t port_row, int32_t vnas, int32_t stored) noexcept nogil
cdef int families_of(const SocketTable* table, const HashSeed* seed, int32_t row, int32_t vnas) noexcept nogil
cdef void count_vnas(PortRow* port, int32_t vnas, int before, int after) noexcept nogil
