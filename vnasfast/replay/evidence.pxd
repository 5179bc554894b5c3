# What a capture shows of who serves, as rows in order of first sight, each kind found by a 64-bit seeded hash.
#
# Rows are added inside the frame loop, without the GIL and without allocation: roll_reserve makes room for a whole
# block beforehand. One writer at a time.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.hashing cimport HashSeed, hash_address, load64, mix

# Which hash has which row. The hash stands for the key: with the 2**20 rows that a roll may hold, two keys share
# one in 1 of 2**25 captures, and nobody who doesn't know the seed can make them.
cdef struct Roll:
    uint64_t* hashes        # of each row
    int32_t* slots          # row, or -1: empty
    uint32_t slot_mask      # number of slots - 1; a power of two, at least 2 * capacity
    uint32_t n_rows
    uint32_t capacity
    uint32_t limit          # no more rows than this are ever taken
    uint64_t n_left_out     # keys that came when the roll was full; one key may be counted often

cdef enum EndpointFlag:
    ANSWERED = 1            # it sent an answer, or accepted a handshake
    CALLED = 2              # it was called, and nothing came back
    REFUSED = 4             # an ICMP error quotes a packet to it
    ASKED = 8               # it sent to a group address, to `asked_port`
    ASKED_HERE = 16         # of a group's port: somebody asked it, from `asked_port`

cdef struct EndpointRow:
    uint8_t address[16]     # all zero with ASKED_HERE: any group's
    uint64_t first_frame
    uint32_t interface      # where it was seen first: capture << 16 | row of the capture's interface list
    uint32_t last_called    # hash of the address of which it called a port below 1024 last
    uint32_t n_called       # flows in which it was called; settle() counts
    uint32_t n_calls        # flows in which it called
    uint16_t vlan
    uint16_t port
    uint16_t asked_port
    uint8_t protocol
    uint8_t flags

cdef struct EndpointTable:
    Roll roll
    EndpointRow* rows

cdef enum FlowFlag:
    CALLED_IS_SENDER = 1    # of the first packet; else its destination
    BY_ANSWER = 2           # the first packet is an answer, its question went to a group or came before the capture
    CONTINUED = 4           # counts only if both sides speak
    TWO_WAY = 8

cdef struct FlowRow:
    int32_t sender          # of the first packet: rows of the talkers
    int32_t destination
    uint32_t sender_hash
    uint32_t flags

cdef struct FlowTable:
    Roll roll
    FlowRow* rows

# A MAC address said that an IP address is its own.
cdef struct ClaimRow:
    uint8_t address[16]
    uint8_t mac[6]
    uint16_t vlan
    uint32_t interface
    uint64_t first_frame

cdef struct ClaimTable:
    Roll roll
    ClaimRow* rows

cdef struct EvidenceTables:
    HashSeed seed
    EndpointTable acceptors     # TCP, SCTP, DCCP: those that accepted a handshake
    EndpointTable talkers       # UDP, UDP-Lite: all
    FlowTable flows             # of the talkers
    ClaimTable claims
    uint64_t n_frames
    uint64_t n_connection_frames    # TCP, SCTP, DCCP
    uint64_t n_turned               # flows whose server side is not the called side; settle() counts


cdef inline int32_t roll_find(const Roll* roll, uint64_t hash) noexcept nogil:
    cdef uint32_t slot = <uint32_t>hash & roll.slot_mask
    cdef int32_t row = roll.slots[slot]
    # At least half of the slots are empty, so it ends.
    while row >= 0 and roll.hashes[row] != hash:
        slot = (slot + 1) & roll.slot_mask
        row = roll.slots[slot]
    return row


cdef inline int32_t roll_add(Roll* roll, uint64_t hash) noexcept nogil:
    """Take a row for a hash that has none; -1: the roll is full. The caller reserved room and fills the row."""
    cdef uint32_t slot = <uint32_t>hash & roll.slot_mask
    cdef int32_t row = <int32_t>roll.n_rows
    if roll.n_rows == roll.capacity:
        roll.n_left_out += 1
        return -1
    while roll.slots[slot] >= 0:
        slot = (slot + 1) & roll.slot_mask
    roll.slots[slot] = row
    roll.hashes[row] = hash
    roll.n_rows += 1
    return row


cdef inline uint64_t endpoint_hash(
    const HashSeed* seed, const uint8_t* address, uint32_t vlan, uint32_t protocol, uint32_t port,
) noexcept nogil:
    return hash_address(
        seed, load64(address), load64(address + 8), port | (<uint64_t>vlan << 16) | (<uint64_t>protocol << 32))


cdef inline uint64_t flow_hash(const HashSeed* seed, uint64_t endpoint, uint64_t other) noexcept nogil:
    """Hash two endpoints, the same in both directions."""
    if endpoint < other:
        return mix(endpoint ^ seed.s2, other ^ seed.s1)
    return mix(other ^ seed.s2, endpoint ^ seed.s1)


cdef class Evidence:
    cdef EvidenceTables tables
    cdef uint32_t _n_captures
