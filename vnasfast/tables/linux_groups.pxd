# Groups of sockets that share a port, in the order in which the kernel's hash counts them. See linux.pxd.

from libc.stdint cimport int32_t

from vnasfast.tables.linux cimport LinuxTable

cdef int group_join(LinuxTable* table, int32_t socket, int32_t group) except -1      # the last member; group -1: a new one
cdef void group_leave(LinuxTable* table, int32_t socket) noexcept nogil              # the last member takes its place
