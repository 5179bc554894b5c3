# The routing table: network → interface, with a default; the longest prefix wins.

from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t

from vnasfast.tables.family cimport is_ipv4
from vnasfast.tables.hashing cimport HashSeed, hash_address
from vnasfast.tables.index cimport HashIndex, RowPool, index_home, index_tag

cdef struct RouteRow:
    uint64_t hi, lo             # masked
    int32_t interface           # number of the interface's name; -1: the row is free
    int32_t length              # of the prefix, 0..128; an IPv4 network is 96 longer than it says
    int32_t previous, next      # order of registration

cdef struct RoutingTable:
    HashIndex index             # (prefix length, masked address) → row
    RowPool pool
    RouteRow* rows
    int32_t first, last
    int32_t default_interface   # for both families; -1: none
    int32_t n_lengths
    uint8_t lengths[129]        # the prefix lengths in use, longest first
    int32_t n_of_length[129]

cdef inline uint64_t prefix_word(uint64_t word, int n_bits) noexcept nogil:
    """Keep the first n_bits of 8 network-order bytes that were loaded as a little-endian word."""
    cdef uint64_t mask
    cdef int n_whole = n_bits >> 3
    if n_bits <= 0:
        return 0
    if n_bits >= 64:
        return word
    mask = (<uint64_t>1 << (8 * n_whole)) - 1
    mask |= <uint64_t>((0xff00 >> (n_bits & 7)) & 0xff) << (8 * n_whole)
    return word & mask

cdef inline uint32_t route_tag(const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t length) noexcept nogil:
    return index_tag(hash_address(seed, hi, lo, <uint32_t>length))

cdef inline int32_t route_find(const RoutingTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo,
                               int32_t length) noexcept nogil:
    """Find the route of exactly this network; hi and lo are masked."""
    cdef uint32_t tag = route_tag(seed, hi, lo, length)
    cdef uint32_t position = index_home(&table.index, tag)
    cdef const RouteRow* route
    while table.index.slots[position].taken != 0:
        if table.index.slots[position].tag == tag:
            route = &table.rows[table.index.slots[position].taken - 1]
            if route.lo == lo and route.hi == hi and route.length == length:
                return table.index.slots[position].taken - 1
        position = (position + 1) & table.index.mask
    return -1

cdef inline int32_t route_interface(const RoutingTable* table, const HashSeed* seed, uint64_t hi,
                                    uint64_t lo) noexcept nogil:
    """Find the interface for a destination: longest prefix, else the default, else -1.

    One probe for each prefix length in use, at most 33 for IPv4 and 129 for IPv6, however many routes there are.
    """
    cdef int i, length
    cdef int32_t row
    cdef bint ipv4 = is_ipv4(hi, lo)
    for i in range(table.n_lengths):
        length = table.lengths[i]
        if ipv4 and length < 96:
            break
        row = route_find(table, seed, prefix_word(hi, length), prefix_word(lo, length - 64), length)
        if row >= 0:
            return table.rows[row].interface
    return table.default_interface

cdef int route_init(RoutingTable* table) except -1
cdef void route_free(RoutingTable* table) noexcept nogil
cdef int32_t route_add(RoutingTable* table, const HashSeed* seed, uint64_t hi, uint64_t lo, int32_t length,
                       int32_t interface) except -1
cdef void route_remove(RoutingTable* table, const HashSeed* seed, int32_t row) noexcept nogil
