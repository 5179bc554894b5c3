"""The lists in which a Linux kernel keeps sockets, and how they change when one comes, connects or goes."""

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from vnasfast.tables.family cimport IPV4, family_of, is_any
from vnasfast.tables.hashing cimport HashSeed
from vnasfast.tables.index cimport pool_free, pool_give, pool_take
from vnasfast.tables.linux cimport (
    LinuxBuckets, LinuxList, LinuxOptions, LinuxSocket, LinuxTable, connection_hash, connections_apart, is_datagram, list_find, list_hash,
)
from vnasfast.tables.linux_groups cimport group_join, group_leave

cdef enum:
    FIRST_BUCKETS = 8

cdef uint64_t LOOPBACK4_IPV6 = 0x0600007fffff0000


cdef int32_t* new_heads(uint32_t n) except NULL:
    cdef int32_t* heads = <int32_t*>malloc(n * sizeof(int32_t))
    if heads == NULL:
        raise MemoryError(f"no memory for {n} buckets")
    memset(heads, 0xFF, n * sizeof(int32_t))
    return heads


cdef int linux_init(LinuxTable* table, int32_t kernel, int32_t loopback) except -1:
    table.list_buckets.heads = new_heads(FIRST_BUCKETS)
    table.list_buckets.mask = FIRST_BUCKETS - 1
    table.connection_buckets.heads = new_heads(FIRST_BUCKETS)
    table.connection_buckets.mask = FIRST_BUCKETS - 1
    table.kernel = kernel
    table.loopback = loopback
    return 0


cdef void linux_free(LinuxTable* table) noexcept nogil:
    free(table.sockets)
    free(table.list_buckets.heads)
    free(table.connection_buckets.heads)
    free(table.arena)
    pool_free(&table.list_pool, <void**>&table.lists)
    pool_free(&table.group_pool, <void**>&table.groups)
    memset(table, 0, sizeof(LinuxTable))


# ---- lists ----------------------------------------------------------------------------------------------------------

cdef int grow_lists(LinuxTable* table, const HashSeed* seed) except -1:
    """Make room for one more list."""
    cdef LinuxBuckets* buckets = &table.list_buckets
    cdef int32_t* heads
    cdef LinuxList* found
    cdef uint32_t mask, old, bucket
    cdef int32_t row, following
    if buckets.n <= buckets.mask:
        return 0
    mask = 2 * buckets.mask + 1
    heads = new_heads(mask + 1)
    for old in range(buckets.mask + 1):
        row = buckets.heads[old]
        while row >= 0:
            found = &table.lists[row]
            following = found.same_bucket
            bucket = list_hash(seed, found.place, found.vnas, found.hi, found.lo, found.is_chain) & mask
            found.same_bucket = heads[bucket]
            heads[bucket] = row
            row = following
    free(buckets.heads)
    buckets.heads = heads
    buckets.mask = mask
    return 0


cdef int32_t list_take(LinuxTable* table, const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                       uint32_t is_chain) except -1:
    """Find a list, or begin it."""
    cdef int32_t row = list_find(table, seed, place, vnas, hi, lo, is_chain)
    cdef LinuxList* made
    cdef uint32_t bucket
    if row >= 0:
        return row
    grow_lists(table, seed)
    row = pool_take(&table.list_pool, <void**>&table.lists, sizeof(LinuxList))
    made = &table.lists[row]
    made.hi = hi
    made.lo = lo
    made.place = place
    made.vnas = vnas
    made.is_chain = is_chain
    made.first = made.last = -1
    bucket = list_hash(seed, place, vnas, hi, lo, is_chain) & table.list_buckets.mask
    made.same_bucket = table.list_buckets.heads[bucket]
    table.list_buckets.heads[bucket] = row
    table.list_buckets.n += 1
    return row


cdef void list_give(LinuxTable* table, const HashSeed* seed, int32_t row) noexcept nogil:
    """Take a list away if nothing is in it."""
    cdef LinuxList* gone = &table.lists[row]
    cdef int32_t* link
    if gone.first >= 0:
        return
    link = &table.list_buckets.heads[list_hash(seed, gone.place, gone.vnas, gone.hi, gone.lo, gone.is_chain)
                                     & table.list_buckets.mask]
    while link[0] != row:
        link = &table.lists[link[0]].same_bucket
    link[0] = gone.same_bucket
    table.list_buckets.n -= 1
    gone.vnas = -1
    pool_give(&table.list_pool, row)


cdef void chain_put(LinuxTable* table, int32_t chain, int32_t socket, bint at_end) noexcept nogil:
    cdef LinuxList* into = &table.lists[chain]
    cdef LinuxSocket* row = &table.sockets[socket]
    row.chain = chain
    row.previous = into.last if at_end else -1
    row.next = -1 if at_end else into.first
    if row.previous >= 0:
        table.sockets[row.previous].next = socket
    else:
        into.first = socket
    if row.next >= 0:
        table.sockets[row.next].previous = socket
    else:
        into.last = socket


cdef void chain_unlink(LinuxTable* table, int32_t socket) noexcept nogil:
    """Take a socket out of its chain, which stays even if it is empty."""
    cdef LinuxSocket* row = &table.sockets[socket]
    cdef LinuxList* out_of = &table.lists[row.chain]
    if row.previous >= 0:
        table.sockets[row.previous].next = row.next
    else:
        out_of.first = row.next
    if row.next >= 0:
        table.sockets[row.next].previous = row.previous
    else:
        out_of.last = row.previous


cdef void chain_leave(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    chain_unlink(table, socket)
    list_give(table, seed, table.sockets[socket].chain)
    table.sockets[socket].chain = -1


# ---- connections ----------------------------------------------------------------------------------------------------

cdef inline uint32_t bucket_of(const LinuxTable* table, const HashSeed* seed, const LinuxSocket* row, uint32_t mask) noexcept nogil:
    return mask & connection_hash(seed, table.lists[row.port_list].place, table.lists[row.port_list].vnas, row.hi, row.lo,
                                  row.peer_hi, row.peer_lo, row.peer_port)


cdef int grow_connections(LinuxTable* table, const HashSeed* seed) except -1:
    """Make room for one more connection."""
    cdef LinuxBuckets* buckets = &table.connection_buckets
    cdef int32_t* heads
    cdef uint32_t mask, old, bucket
    cdef int32_t socket, following
    if buckets.n <= buckets.mask:
        return 0
    mask = 2 * buckets.mask + 1
    heads = new_heads(mask + 1)
    for old in range(buckets.mask + 1):
        socket = buckets.heads[old]
        while socket >= 0:
            following = table.sockets[socket].same_bucket
            bucket = bucket_of(table, seed, &table.sockets[socket], mask)
            table.sockets[socket].same_bucket = heads[bucket]
            heads[bucket] = socket
            socket = following
    free(buckets.heads)
    buckets.heads = heads
    buckets.mask = mask
    return 0


cdef void connection_put(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef uint32_t bucket = bucket_of(table, seed, &table.sockets[socket], table.connection_buckets.mask)
    table.sockets[socket].same_bucket = table.connection_buckets.heads[bucket]
    table.connection_buckets.heads[bucket] = socket
    table.connection_buckets.n += 1


cdef void connection_leave(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef int32_t* link = &table.connection_buckets.heads[bucket_of(table, seed, &table.sockets[socket],
                                                                   table.connection_buckets.mask)]
    while link[0] != socket:
        link = &table.sockets[link[0]].same_bucket
    link[0] = table.sockets[socket].same_bucket
    table.connection_buckets.n -= 1


# ---- sockets that share a port --------------------------------------------------------------------------------------

cdef bint alike(const LinuxSocket* one, const LinuxSocket* other) noexcept nogil:
    """Whether two sockets of a port list may be in one group: of one user, family, device and address."""
    return (one.sharing and other.sharing and other.uid == one.uid and other.ipv6 == one.ipv6 and other.v6only == one.v6only
            and other.device == one.device and other.hi == one.hi and other.lo == one.lo)


cdef int32_t first_alike(const LinuxTable* table, int32_t socket, bint datagram) noexcept nogil:
    """Find the first socket of the port list that this one may share its port with, or -1. TCP's connections are none."""
    cdef int32_t found = table.lists[table.sockets[socket].port_list].first
    while found >= 0 and not (found != socket and alike(&table.sockets[found], &table.sockets[socket])
                              and (datagram or table.sockets[found].connected == 0)):
        found = table.sockets[found].later
    return found


cdef int group_up(LinuxTable* table, int32_t socket, bint datagram) except -1:
    """Let a socket that shares its port join the group of the first one alike.

    The kernel looks for a socket, not for a group. A connected one has left its group: then the two form a new group, and those
    of the old one stay among themselves.
    """
    cdef int32_t found = first_alike(table, socket, datagram)
    if found >= 0 and table.sockets[found].group < 0:
        group_join(table, found, -1)
    return group_join(table, socket, table.sockets[found].group if found >= 0 else -1)


# ---- sockets --------------------------------------------------------------------------------------------------------

cdef inline bint devices_overlap(int32_t one, int32_t other) noexcept nogil:
    return one < 0 or other < 0 or one == other


cdef bint addresses_overlap(uint64_t hi, uint64_t lo, bint ipv6, bint v6only, const LinuxSocket* other) noexcept nogil:
    """Whether the kernel takes the addresses of a new socket and another for ones that a packet may be for both of."""
    cdef bint one_ipv4 = family_of(hi, lo) == IPV4, other_ipv4 = family_of(other.hi, other.lo) == IPV4
    cdef bint same = is_any(hi, lo) or is_any(other.hi, other.lo) or (hi == other.hi and lo == other.lo)
    if one_ipv4 == other_ipv4:
        return same
    if one_ipv4 and not is_any(other.hi, other.lo):
        # A socket on :: that connected to an IPv6 peer is 127.0.0.6 to those of IPv4.
        return not ipv6 and not other.v6only and (is_any(hi, lo) or lo == LOOPBACK4_IPV6)
    return same and ((other_ipv4 and not v6only) or (one_ipv4 and not other.v6only))


cdef bint linux_in_use(const LinuxTable* table, const HashSeed* seed, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                       bint v6only, bint sharing, const LinuxOptions* options) noexcept nogil:
    cdef bint datagram = is_datagram(place >> 16)
    cdef bint one_family = v6only or (family_of(hi, lo) != IPV4 and not is_any(hi, lo))
    cdef int32_t found = list_find(table, seed, place, vnas, 0, 0, False)
    cdef const LinuxSocket* other
    found = table.lists[found].first if found >= 0 else -1
    while found >= 0:
        other = &table.sockets[found]
        found = other.later
        if not datagram and (options.connected or other.connected != 0):
            # A listener and its connections have one address and port; two connections must differ in their peers.
            if (options.connected and other.connected != 0 and other.hi == hi and other.lo == lo
                    and other.peer_hi == options.peer_hi and other.peer_lo == options.peer_lo
                    and other.peer_port == options.peer_port and (other.device < 0 or other.device == options.device)):
                return True
            continue
        if not devices_overlap(other.device, options.device) or not addresses_overlap(hi, lo, options.mapped or family_of(hi, lo) != IPV4, one_family, other):
            continue
        if datagram and other.reuseaddr and options.reuseaddr:
            continue
        if not (other.sharing and sharing and other.uid == options.uid):
            return True
        if datagram:        # the kernel is content with the first that it may share with
            return False
    return False


cdef int reserve_row(LinuxTable* table, int32_t socket) except -1:
    cdef int32_t capacity
    cdef LinuxSocket* larger
    if socket < table.capacity:
        return 0
    capacity = max(2 * table.capacity, max(socket + 1, 64))
    larger = <LinuxSocket*>realloc(table.sockets, capacity * sizeof(LinuxSocket))
    if larger == NULL:
        raise MemoryError(f"no memory for {capacity} sockets")
    memset(larger + table.capacity, 0xFF, (capacity - table.capacity) * sizeof(LinuxSocket))     # in no list
    table.sockets = larger
    table.capacity = capacity
    return 0


cdef void port_list_put(LinuxTable* table, int32_t port_list, int32_t socket, bint at_end) noexcept nogil:
    cdef LinuxSocket* row = &table.sockets[socket]
    cdef LinuxList* into = &table.lists[port_list]
    row.port_list = port_list
    row.sooner = into.last if at_end else -1
    row.later = -1 if at_end else into.first
    if row.sooner >= 0:
        table.sockets[row.sooner].later = socket
    else:
        into.first = socket
    if row.later >= 0:
        table.sockets[row.later].sooner = socket
    else:
        into.last = socket


cdef void port_list_leave(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef LinuxSocket* row = &table.sockets[socket]
    if row.sooner >= 0:
        table.sockets[row.sooner].later = row.later
    else:
        table.lists[row.port_list].first = row.later
    if row.later >= 0:
        table.sockets[row.later].sooner = row.sooner
    else:
        table.lists[row.port_list].last = row.sooner
    list_give(table, seed, row.port_list)
    row.port_list = -1


cdef int32_t chain_take(LinuxTable* table, const HashSeed* seed, int32_t socket, uint64_t hi, uint64_t lo) except -1:
    """Find the chain of an address for a socket, or begin it. 0.0.0.0 and :: have one."""
    cdef const LinuxList* port_list = &table.lists[table.sockets[socket].port_list]
    return list_take(table, seed, port_list.place, port_list.vnas, hi, 0 if is_any(hi, lo) else lo, True)


cdef void note_peer(LinuxTable* table, int32_t socket, uint64_t peer_hi, uint64_t peer_lo, uint16_t peer_port) noexcept nogil:
    cdef LinuxSocket* row = &table.sockets[socket]
    row.peer_hi = peer_hi
    row.peer_lo = peer_lo
    row.peer_port = peer_port
    table.last_connected += 1
    row.connected = table.last_connected
    if row.group >= 0:
        table.groups[row.group].has_connections = True


cdef int linux_add(LinuxTable* table, const HashSeed* seed, int32_t socket, uint32_t place, int32_t vnas, uint64_t hi, uint64_t lo,
                   bint v6only, bint sharing, const LinuxOptions* options) except -1:
    cdef bint datagram = is_datagram(place >> 16)
    cdef bint apart = options.connected and connections_apart(table, place >> 16)
    cdef LinuxSocket* row
    cdef bint at_end
    reserve_row(table, socket)
    row = &table.sockets[socket]
    memset(row, 0, sizeof(LinuxSocket))
    row.hi = hi
    row.lo = lo
    row.ipv6 = options.mapped or family_of(hi, lo) != IPV4
    # The kernel makes a socket on an IPv6 address v6-only, whatever it was.
    row.v6only = v6only or (family_of(hi, lo) != IPV4 and not is_any(hi, lo))
    row.reuseaddr = options.reuseaddr
    row.sharing = sharing
    row.device = options.device
    row.uid = options.uid
    row.port_list = row.chain = row.group = -1
    # In both lists the newest comes first; but of IPv6 sockets that share a port, the newest last.
    at_end = sharing and row.ipv6
    port_list_put(table, list_take(table, seed, place, vnas, 0, 0, False), socket, at_end)
    try:
        if sharing and (datagram or not options.connected):
            group_up(table, socket, datagram)
        if apart:
            grow_connections(table, seed)
        else:
            chain_put(table, chain_take(table, seed, socket, hi, lo), socket, at_end)
    except MemoryError:
        group_leave(table, socket)
        port_list_leave(table, seed, socket)
        raise
    if options.connected:
        note_peer(table, socket, options.peer_hi, options.peer_lo, options.peer_port)
    if apart:
        connection_put(table, seed, socket)
        group_leave(table, socket)
    return 0


cdef int linux_connect(LinuxTable* table, const HashSeed* seed, int32_t socket, uint64_t hi, uint64_t lo, uint64_t peer_hi,
                       uint64_t peer_lo, uint16_t peer_port) except -1:
    cdef LinuxSocket* row = &table.sockets[socket]
    cdef bint moves = is_any(row.hi, row.lo)
    cdef bint apart = connections_apart(table, table.lists[row.port_list].place >> 16)
    cdef int32_t chain = -1
    if apart:
        grow_connections(table, seed)
    elif moves:
        chain = chain_take(table, seed, socket, hi, lo)
    if moves:       # before the group could learn of it
        group_leave(table, socket)
    if moves or apart:
        chain_leave(table, seed, socket)
    row.hi = hi
    row.lo = lo
    if chain >= 0:
        chain_put(table, chain, socket, False)
    note_peer(table, socket, peer_hi, peer_lo, peer_port)
    if apart:
        connection_put(table, seed, socket)
        group_leave(table, socket)
    return 0


cdef int32_t linux_remove(LinuxTable* table, const HashSeed* seed, int32_t socket) noexcept nogil:
    cdef LinuxSocket* row = &table.sockets[socket]
    if socket >= table.capacity or row.port_list < 0:
        return -1
    if row.chain >= 0:
        chain_leave(table, seed, socket)
    else:
        connection_leave(table, seed, socket)
    group_leave(table, socket)
    port_list_leave(table, seed, socket)
    return row.device
