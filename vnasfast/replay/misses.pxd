# What was not delivered, by what it was for. A bounded table: rows in order of arrival, and an index of slots over them.
#
# One writer at a time.

from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from vnasfast.parse.link cimport link_read
from vnasfast.tables.addresses cimport address_find
from vnasfast.tables.hashing cimport HashSeed, hash_address, load64
from vnasfast.tables.tables cimport MachineTables
from vnasfast.tables.usage cimport N_OUTCOMES
from vnasfast.typedefs cimport NO_PORT, NO_SOCKET, NO_VNAS, NOT_IP, UNKNOWN_SOURCE, FlowKey

cdef enum:
    MISS_ROWS = 262144      # 12 MiB at most, of which only what is used is ever touched; a power of two

# 32 bytes, no padding: compared and hashed as they lie.
cdef struct MissKey:
    uint8_t destination[16]     # all zero where the frame shows none
    uint32_t link_type          # this and the Ethertype only where it shows none; else 0
    uint16_t ethertype
    uint16_t destination_port
    uint16_t vlan
    uint8_t protocol
    int8_t outcome
    uint8_t leaving             # the source is an address of the tables: what this machine itself sent
    uint8_t has_port            # so that port 0 is not the same as none
    uint16_t unused             # zero

cdef struct MissRow:
    MissKey key
    uint64_t packets
    uint64_t bytes
    uint32_t n_ports            # destination ports summed up in this row
    uint32_t port               # the first of them

cdef struct MissTotal:
    uint64_t packets
    uint64_t bytes

cdef struct Misses:
    MissRow* rows
    int32_t* slots              # row + 1; 0: empty
    uint32_t n_rows
    uint32_t max_rows           # a power of two; there are twice as many slots
    HashSeed seed               # so that no sender can pick slots
    MissTotal beyond[N_OUTCOMES]    # [-outcome]: packets for which no row was left


cdef inline MissRow* misses_add(Misses* misses, const MissKey* key, uint64_t packets, uint64_t n_bytes) noexcept nogil:
    """Count packets of a key; its row, whose `n_ports` is 0 if it is new, or NULL where no row was left."""
    cdef const uint8_t* words = <const uint8_t*>key
    cdef uint64_t mixed = hash_address(
        &misses.seed, load64(words) ^ load64(words + 16), load64(words + 8) ^ load64(words + 24), load64(words + 16))
    cdef uint32_t last = 2 * misses.max_rows - 1
    cdef uint32_t position = <uint32_t>(mixed >> 32) & last
    cdef MissRow* row
    while misses.slots[position]:
        row = &misses.rows[misses.slots[position] - 1]
        if memcmp(&row.key, key, sizeof(MissKey)) == 0:
            row.packets += packets
            row.bytes += n_bytes
            return row
        position = (position + 1) & last
    if misses.n_rows == misses.max_rows:
        misses.beyond[-key.outcome].packets += packets
        misses.beyond[-key.outcome].bytes += n_bytes
        return NULL
    row = &misses.rows[misses.n_rows]
    misses.n_rows += 1
    misses.slots[position] = <int32_t>misses.n_rows
    row.key = key[0]
    row.packets = packets
    row.bytes = n_bytes
    row.n_ports = 0
    row.port = key.destination_port
    return row


cdef inline void misses_count(
    Misses* misses, const MachineTables* tables, int32_t outcome, const FlowKey* key, uint32_t link_type,
    const uint8_t* frame, uint32_t length, uint32_t wire_length,
) noexcept nogil:
    """Count one packet that was not delivered. The caller keeps changes of the tables away."""
    cdef MissKey miss
    cdef MissRow* row
    cdef uint32_t ethertype
    cdef uint16_t vlan
    memset(&miss, 0, sizeof(MissKey))
    miss.outcome = <int8_t>outcome
    miss.vlan = key.vlan
    if outcome == NOT_IP or (load64(key.destination) | load64(key.destination + 8)) == 0:
        link_read(link_type, frame, length, wire_length, &ethertype, &vlan)
        miss.link_type = link_type
        miss.ethertype = <uint16_t>ethertype
    else:
        memcpy(miss.destination, key.destination, 16)
        miss.protocol = key.protocol
        if outcome == NO_VNAS or outcome == NO_PORT or outcome == NO_SOCKET or outcome == UNKNOWN_SOURCE:
            miss.destination_port = key.destination_port
            miss.has_port = True
        if outcome == NO_VNAS:
            miss.leaving = address_find(
                &tables.addresses, &tables.seed, load64(key.source), load64(key.source + 8), key.vlan) >= 0
    row = misses_add(misses, &miss, 1, wire_length)
    if row != NULL:
        row.n_ports = miss.has_port


cdef inline void misses_merge(Misses* misses, Misses* part) noexcept nogil:
    """Move what `part` counted behind what `misses` did; the two have the same seed, and `part` never was full.

    The same rows in the same order as if all had been counted in `misses`: a new row comes where its first packet came,
    and a key that found no room never finds any.
    """
    cdef const MissRow* row
    cdef MissRow* merged
    cdef uint32_t i
    for i in range(part.n_rows):
        row = &part.rows[i]
        merged = misses_add(misses, &row.key, row.packets, row.bytes)
        if merged != NULL:
            merged.n_ports = row.n_ports
    if part.n_rows:
        memset(part.slots, 0, 2 * part.max_rows * sizeof(int32_t))
        part.n_rows = 0


cdef class MissTable:
    cdef Misses c
