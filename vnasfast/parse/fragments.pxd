# Later fragments follow their first: struct, free functions, a thin class.
#
# One writer at a time; nothing here may run beside anything else on the same table. Use one table a capture.

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.typedefs cimport FIRST_FRAGMENT, LATER_FRAGMENT, FlowKey

# A first fragment: what its later fragments are known by, and what they take from it.
cdef struct FragmentRow:
    uint8_t destination[16]
    uint8_t source[16]
    int64_t time_ns             # when it was seen; 0: not known
    uint32_t fragment_id
    uint32_t hash
    uint16_t vlan
    uint16_t destination_port
    uint16_t source_port
    uint8_t family_protocol     # as later fragments show it: 0 for IPv6, where theirs may be another
    uint8_t protocol

# Rows in a ring, in the order in which they came; slots say where a key's row is.
cdef struct Fragments:
    FragmentRow* rows           # NULL until the first fragment is met
    int32_t* slots              # row, or -1: empty
    uint32_t capacity           # rows
    uint32_t n_rows             # in use
    uint32_t next_row           # where the next goes: the oldest, once all are in use
    uint32_t slot_mask          # number of slots - 1; a power of two, at least 2 * capacity
    uint64_t seeds[4]           # of the hash: a sender who picks addresses can't pick slots

cdef void fragments_init(Fragments* table, uint32_t capacity, const uint64_t* seeds) noexcept nogil
cdef void fragments_reset(Fragments* table) noexcept nogil
cdef int fragments_copy(Fragments* table, const Fragments* other) except -1 nogil
cdef bint fragments_follow_known(Fragments* table, FlowKey* key, int64_t time_ns) noexcept nogil


cdef inline bint fragments_follow(Fragments* table, FlowKey* key, int64_t time_ns) noexcept nogil:
    # Remembers a first fragment; gives a later one the protocol and ports of its first, and the status
    # FOLLOWS_FIRST, where that was seen; leaves any other key alone. True: the key has changed.
    if key.status != FIRST_FRAGMENT and key.status != LATER_FRAGMENT:
        return False
    return fragments_follow_known(table, key, time_ns)


cdef class FragmentTable:
    cdef Fragments c_fragments
