# What the policy `linux` knows of sockets: the lists in which a Linux kernel keeps them. Beside the socket table, and nothing of it is there
# under another policy.
#
#   port list    (protocol, port, VNAS)           → its sockets                     the kernel's bind table, UDP's first hash
#   chain        (protocol, port, VNAS, address)  → those that wait there, in the order in which the kernel looks at them
#   connections  (…, address, peer)               → connected sockets
#   group        the sockets that share a port, in the order in which the kernel's hash counts them
#
# A chain is of an address, and of ANY for both families: a socket on :: may receive IPv4 too.

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed, hash_address, mix
from vnasfast.tables.index cimport RowPool

cdef enum:
    # LinuxTable.kernel: whose rules. 0: another policy.
    LINUX_6_12 = 612
    LINUX_6_18 = 618
    # Protocol numbers of the port table's directory, see sockets.pxd.
    LINUX_TCP = 0
    LINUX_UDP = 1
    LINUX_UDPLITE = 4

cdef struct LinuxOptions:
    uint64_t peer_hi, peer_lo
    uint16_t peer_port
    bint connected              # to the peer
    bint mapped                 # an AF_INET6 socket on an IPv4 address
    bint reuseaddr
    int32_t device              # interface number; -1: none
    uint32_t uid

cdef struct LinuxSocket:        # row of a socket, as in the socket table
    uint64_t hi, lo             # its address now; a connection made it specific
    uint64_t peer_hi, peer_lo
    uint64_t connected          # the order of connecting; 0: it is not
    int32_t port_list
    int32_t sooner, later       # in the port list
    int32_t chain               # -1: it waits in none
    int32_t previous, next      # in the chain
    int32_t same_bucket         # of connections
    int32_t group               # -1: none
    int32_t member              # its place there
    int32_t device              # interface number; -1: none
    uint32_t uid
    uint16_t peer_port
    uint8_t ipv6                # AF_INET6
    uint8_t v6only
    uint8_t reuseaddr
    uint8_t sharing

cdef struct LinuxList:          # a chain, or a port list
    uint64_t hi, lo
    uint32_t place              # protocol number << 16 | port
    int32_t vnas                # VNAS number; -1: the row is free
    int32_t first, last
    int32_t same_bucket
    uint32_t is_chain

cdef struct LinuxGroup:
    int32_t begin               # of its members, in the arena
    int32_t n
    uint32_t size_class         # there is room for 4 << size_class
    uint32_t has_connections    # a member connected once: the kernel goes on looking behind the group

cdef struct LinuxBuckets:
    int32_t* heads              # -1: empty
    uint32_t mask
    uint32_t n

# The kernel's secrets, of TCP and UDP: it adds them up with that of the network namespace.
cdef struct LinuxSecrets:
    uint32_t ipv4
    uint32_t ipv6
    uint32_t peer_ipv6          # with which the peer's IPv6 address is hashed
    uint8_t knows_ipv4, knows_ipv6

cdef struct LinuxTable:
    int32_t kernel
    int32_t loopback            # the interface number of lo
    LinuxSocket* sockets
    int32_t capacity
    LinuxBuckets list_buckets
    RowPool list_pool
    LinuxList* lists
    LinuxBuckets connection_buckets
    RowPool group_pool
    LinuxGroup* groups
    int32_t* arena              # members of groups, in blocks of 4 << size class; a free block begins with the next one
    int32_t arena_used, arena_capacity
    int32_t[28] free_blocks     # + 1
    uint64_t last_connected
    LinuxSecrets[2] secrets     # TCP, UDP

cdef inline bint is_datagram(uint32_t protocol) noexcept nogil:
    return protocol == LINUX_UDP or protocol == LINUX_UDPLITE

cdef inline bint connections_apart(const LinuxTable* table, uint32_t protocol) noexcept nogil:
    """Whether connected sockets are looked for before all others, and not in chains: TCP's always, UDP's since Linux 6.13."""
    return protocol != LINUX_UDPLITE and (not is_datagram(protocol) or table.kernel > LINUX_6_12)

cdef inline uint32_t list_hash(const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                               uint32_t is_chain) noexcept nogil:
    return <uint32_t>(hash_address(seed, hi, lo, (<uint64_t>place << 32 | <uint32_t>vnas << 1 | is_chain)) >> 32)

cdef inline int32_t list_find(const LinuxTable* table, const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi,
                              uint64_t lo, uint32_t is_chain) noexcept nogil:
    cdef int32_t row = table.list_buckets.heads[list_hash(seed, place, vnas, hi, lo, is_chain) & table.list_buckets.mask]
    cdef const LinuxList* found
    while row >= 0:
        found = &table.lists[row]
        if (found.lo == lo and found.hi == hi and found.place == place and found.vnas == vnas
                and found.is_chain == is_chain):
            return row
        row = found.same_bucket
    return -1

cdef inline uint32_t connection_hash(const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                                     uint64_t peer_hi, uint64_t peer_lo, uint16_t peer_port) noexcept nogil:
    return <uint32_t>(hash_address(seed, hi ^ mix(peer_hi ^ seed.s1, peer_lo ^ seed.s2), lo,
                                   <uint64_t>place << 32 | <uint32_t>vnas ^ <uint32_t>peer_port << 16) >> 32)
