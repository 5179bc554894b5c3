# The port table and the socket table: the control plane, which people read and the data plane (plane.h) is made from.
#
#   directory[protocol, port] → PortRow ─ first … last: its sockets in order of registration
#                                       └ slots[family]: its answers in the data plane, VNAS → socket or outcome
#   endpoints: (protocol, port, VNAS, recipient address, v6only) → Endpoint → its sockets, more than one when they share
#
# Nearly all sockets are plain: an ANY socket for both families, the only socket that its VNAS has on the port. It is found by its
# answer and has no endpoint, which would take more memory than all else of it.
#
# Answers are worked out when a socket comes or goes (ports.pxd), so that dispatch looks at no list however many sockets a port
# has. They lie in an array by VNAS, or in lines where few VNASs have the port (sparse.pxd); where sockets share the port or have
# a specific address they name a block (choices.pxd).

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.counts cimport CountTable
from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag
from vnasfast.tables.plane cimport Plane
from vnasfast.tables.processes cimport ProcessTable
from vnasfast.tables.usage cimport PackedCounts, ROWS_BEFORE, Usage, usage_unpack

cdef enum:
    N_PROTOCOLS = 5
    NO_PROTOCOL = 255

cdef extern from *:
    """
    /* IP protocol number → 0..4 for TCP, UDP, DCCP, SCTP, UDP-Lite; 255 for the rest. */
    static inline unsigned int vnas_protocol_number(unsigned int protocol) {
        static const unsigned char numbers[256] = {
            [0 ... 255] = 255, [6] = 0, [17] = 1, [33] = 2, [132] = 3, [136] = 4
        };
        return numbers[protocol & 255];
    }
    """
    uint32_t protocol_number "vnas_protocol_number"(uint32_t protocol) noexcept nogil

cdef struct SocketRow:
    uint64_t order                  # twice its number in the order of registration, never used twice, + 1 if it shares; 0: free
    int32_t endpoint                # its row; negative: ~ the row of the port table, of a plain socket
    int32_t process                 # row of the process table
    int32_t previous_on_port, next_on_port
    int32_t previous_of_process, next_of_process

cdef struct Endpoint:
    uint64_t hi, lo                 # recipient address; :: or 0.0.0.0 for ANY
    int32_t port                    # row of the port table; -1: the row is free
    int32_t vnas                    # VNAS number
    int32_t n_members
    int32_t first                   # the socket registered first
    int32_t* members                # all of them, in order of registration; NULL while there is one
    int32_t capacity                # of members
    uint32_t block                  # of the data plane, which has the members too; 0: none
    uint8_t any                     # ANY, not a specific address
    uint8_t v6only

cdef struct PortRow:
    uint32_t slots[2]               # IPv4, IPv6: of the data plane's answers; one and the same until they differ
    uint32_t n_vnases[2]            # IPv4, IPv6: with ANY sockets here
    uint32_t vnas_sum[2]            # of their numbers: with one it names it
    uint32_t next_slots[2]          # where the answers are to lie, or lay; 0: nowhere else
    int32_t filled                  # the answers of the sockets before this one are there, or not any more
    bint emptying                   # they lay there
    int32_t n_sockets
    int32_t first, last             # sockets in order of registration
    uint32_t place                  # in the directory: protocol number << 16 | port

cdef struct SocketTable:
    int32_t* directory              # [N_PROTOCOLS << 16]: port row + 1; 0: no socket
    RowPool port_pool
    PortRow* ports
    int32_t looked_at               # the row last looked at, whether its arrays are too long for it
    HashIndex endpoint_index
    RowPool endpoint_pool
    Endpoint* endpoints
    RowPool pool
    SocketRow* rows
    Usage* usage                    # beside rows, not in them: counting touches nothing else; zero until a packet is counted
                                    # and before [0] again after each block
    size_t usage_bytes
    PackedCounts packed             # what was counted without times, and is not in `usage`
    CountTable loopback_owners      # (loopback address, port row) → VNASs with an endpoint there
    CountTable specific             # (VNAS number, port row) → endpoints with a specific address; `sum`: their block, 0: none
    uint64_t last_order

cdef inline bint shares_port(const SocketRow* row) noexcept nogil:
    return row.order & 1

cdef inline int32_t port_find(const SocketTable* table, uint32_t protocol, uint32_t port) noexcept nogil:
    """Find the port row; `protocol` is a protocol number 0..4."""
    return table.directory[protocol << 16 | port] - 1

cdef inline uint32_t endpoint_tag(const HashSeed* seed, int32_t port, int32_t vnas, uint64_t hi, uint64_t lo,
                                  bint v6only) noexcept nogil:
    return index_tag(hash_address(seed, hi, lo, <uint64_t>(<uint32_t>port) << 32 | <uint32_t>vnas << 1 | v6only))

cdef inline int32_t endpoint_find(const SocketTable* table, const HashSeed* seed, int32_t port, int32_t vnas, uint64_t hi,
                                  uint64_t lo, bint v6only) noexcept nogil:
    cdef uint32_t tag = endpoint_tag(seed, port, vnas, hi, lo, v6only)
    cdef uint32_t position = index_home(&table.endpoint_index, tag)
    cdef const Endpoint* endpoint
    while table.endpoint_index.slots[position].taken != 0:
        if table.endpoint_index.slots[position].tag == tag:
            endpoint = &table.endpoints[table.endpoint_index.slots[position].taken - 1]
            if (endpoint.port == port and endpoint.vnas == vnas and endpoint.lo == lo and endpoint.hi == hi
                    and endpoint.v6only == v6only):
                return table.endpoint_index.slots[position].taken - 1
        position = (position + 1) & table.endpoint_index.mask
    return -1

cdef inline size_t usage_room(const SocketTable* table) noexcept nogil:
    """Count the sockets whose counters there is room for; 0 of a snapshot."""
    return min(table.usage_bytes // sizeof(Usage), table.packed.n_bytes // sizeof(uint64_t)) - ROWS_BEFORE if table.usage_bytes else 0

cdef inline Usage socket_usage(const SocketTable* table, int32_t socket) noexcept nogil:
    """All that was counted to a socket. The caller holds what guards the counters."""
    cdef Usage usage = table.usage[socket]
    usage_unpack(&usage, table.packed.counts[socket])
    return usage

# Room for the counters of n sockets; moves them: nobody may count meanwhile.
cdef int usage_enlarge(SocketTable* table, size_t n) except -1
cdef int socket_init(SocketTable* table) except -1
cdef void socket_free(SocketTable* table) noexcept nogil
# The caller has checked that it may be bound, and links the socket to its process.
cdef int32_t socket_add(SocketTable* table, Plane* plane, const HashSeed* seed, const ProcessTable* processes, uint32_t protocol,
                        uint16_t port, uint64_t hi, uint64_t lo, bint v6only, bint sharing, int32_t vnas, int32_t process) except -1
cdef void socket_remove(SocketTable* table, Plane* plane, const HashSeed* seed, const ProcessTable* processes, int32_t socket,
                        int32_t vnas) noexcept
# Whether a living socket forbids another with this recipient address.
cdef bint socket_in_use(const SocketTable* table, const Plane* plane, const HashSeed* seed, uint32_t protocol, uint16_t port,
                        uint64_t hi, uint64_t lo, bint sharing, int32_t vnas) noexcept nogil
