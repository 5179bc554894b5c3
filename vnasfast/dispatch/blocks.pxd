# Blocks of parsed keys to sockets, beside changes of the tables. All need no GIL; at most BLOCK packets at a time.

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t

from vnasfast.parse.plain cimport ParsedBlock, wide_places
from vnasfast.tables.tables cimport Tables
from vnasfast.tables.tally cimport Tally
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4

ctypedef fused AnyKey:
    FlowKey
    FlowKeyIpv4

# The keys of a block's packets: narrow ones, wide ones, or some of each.
cdef struct KeyLists:
    const FlowKeyIpv4* narrow
    const uint16_t* narrow_places   # which packets they are of; NULL: of packet 0, 1, 2 and so on
    size_t n_narrow
    const FlowKey* wide
    const uint16_t* wide_places
    size_t n_wide

cdef inline KeyLists lists_of(ParsedBlock* block) noexcept nogil:
    """Give the keys of all frames of a parsed block."""
    cdef KeyLists keys
    cdef bint all_narrow = block.kinds.n_ipv6 + block.kinds.n_others == 0
    cdef bint in_order = block.kinds.n_ipv4 == 0 and (block.kinds.n_ipv6 == 0 or block.kinds.n_others == 0)
    keys.narrow = block.narrow
    keys.narrow_places = NULL
    if not all_narrow:
        keys.narrow_places = block.kinds.ipv4
    keys.n_narrow = block.kinds.n_ipv4
    keys.wide = block.wide
    keys.wide_places = NULL
    if not in_order:
        keys.wide_places = wide_places(block)
    keys.n_wide = block.kinds.n_ipv6 + block.kinds.n_others
    return keys

# Results, wire lengths and times are those of the packets in order; lengths and times (NULL: not known) go to the counters.
# Only what the data plane can't answer waits until a change is made.
cdef void dispatch_keys(Tables tables, const KeyLists* keys, int32_t* results) noexcept nogil
# Counts to the tally, which may be NULL: to the tables. Returns the number of packets that reached no socket.
cdef size_t dispatch_and_count(Tables tables, const KeyLists* keys, int32_t* results, const uint32_t* wire_lengths,
                               const int64_t* times_ns, Tally* tally) noexcept nogil
# For whoever also wants the VNAS IDs of the destinations: changes wait.
cdef void dispatch_with_vnases(Tables tables, const FlowKey* keys, size_t n, int32_t* results, int32_t* vnases, bint count,
                               const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil
# A tally of the tables' for a thread that counts beside others, NULL without memory; until it is given back. What it counted stays there
# until somebody reads counters.
cdef Tally* tally_borrow(Tables tables) noexcept nogil
cdef void tally_give_back(Tables tables, Tally* tally) noexcept nogil
cdef size_t n_missed(const int32_t* results, size_t n) noexcept nogil
