"""A socket of the kernel as its C struct; `rows.SOCKET` is the same for numpy, and a test holds them together."""

from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t


cdef struct HostSocket:
    uint64_t inode              # of sockfs; 0: no process has it (a connection that ends, or is not accepted yet)
    uint64_t cookie             # the kernel's own number of it, unique since boot
    uint64_t cgroup             # its cgroup v2, by ID; 0: the kernel doesn't say
    uint8_t local[16]           # network order, IPv4 mapped
    uint8_t remote[16]
    uint32_t uid
    int32_t device              # index of the interface that it is bound to; 0: none
    int32_t incoming_cpu        # SO_INCOMING_CPU; -1: none, or not asked
    int32_t pid                 # a process that holds it; 0: not known
    int32_t fd                  # its file descriptor there; -1: not known
    uint16_t local_port
    uint16_t remote_port
    uint16_t netns              # place in the list of network namespaces
    uint8_t protocol
    uint8_t family              # 4 or 6: of the socket, not of its addresses
    uint8_t state               # as the kernel numbers TCP's
    uint8_t v6only
    uint8_t freebind
    uint8_t transparent
    int8_t reuseport            # SO_REUSEPORT; -1: not asked
    int8_t reuseaddr            # SO_REUSEADDR; -1: not asked
