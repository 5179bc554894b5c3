# How a Linux kernel's lists of sockets change when one comes, connects or goes. See linux.pxd.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.linux cimport LinuxOptions, LinuxSocket, LinuxTable

cdef int linux_init(LinuxTable* table, int32_t kernel, int32_t loopback) except -1
cdef void linux_free(LinuxTable* table) noexcept nogil
# Whether a kernel refuses a socket beside those that there are.
cdef bint linux_in_use(const LinuxTable* table, const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                       bint v6only, bint sharing, const LinuxOptions* options) noexcept nogil
# All or nothing, or MemoryError.
cdef int linux_add(LinuxTable* table, const HashSeed* seed, int32_t socket, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                   bint v6only, bint sharing, const LinuxOptions* options) except -1
# Also of a socket that was not added. Returns the interface number of its device, or -1.
cdef int32_t linux_remove(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil
# A datagram socket that is not connected; (hi, lo) is its address from now on.
cdef int linux_connect(LinuxTable* table, const HashSeed* seed, int32_t socket, uint64_t hi, uint64_t lo, uint64_t peer_hi,
                       uint64_t peer_lo, uint16_t peer_port) except -1
# For whoever restores what operations left behind: an empty chain stays.
cdef void chain_put(LinuxTable* table, int32_t chain, int32_t socket, bint at_end) noexcept nogil
cdef void chain_unlink(LinuxTable* table, int32_t socket) noexcept nogil
cdef bint alike(const LinuxSocket* one, const LinuxSocket* other) noexcept nogil
