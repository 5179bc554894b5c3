"""Blocks of parsed keys to sockets: the nogil loops beside changes of the tables, and counting."""

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from vnasfast.dispatch.steps cimport dispatch_key
from vnasfast.parse.plain cimport BLOCK, widen_key
from vnasfast.tables.hashing cimport hash_address, load64
from vnasfast.tables.index cimport HashIndex, index_home, index_tag
from vnasfast.tables.locks cimport mutex_lock, pthread_mutex_unlock, pthread_rwlock_unlock, rwlock_rdlock
from vnasfast.tables.plane cimport VnasPlane
from vnasfast.tables.readers cimport atomic_load, readers_enter, readers_leave
from vnasfast.tables.sockets cimport NO_PROTOCOL, endpoint_tag, port_find, protocol_number, usage_room
from vnasfast.tables.tables cimport CLOSED, MachineTables, Tables
from vnasfast.tables.tally cimport Tally, tally_add_to, tally_count, tally_has_room, tally_new, tally_reserve
from vnasfast.tables.usage cimport packed_count, packed_fit, packed_full, packed_settle, usage_count_many
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4
from vnasfast.vector cimport vector_path

cdef extern from "vnasfast/dispatch/lookup.h":
    ctypedef struct VnasKey:
        pass
    ctypedef struct VnasKeyIpv4:
        pass
    size_t lookup "vnas_lookup"(int vector, const VnasPlane* plane, const VnasKey* keys, size_t n, int32_t* results,
                                uint16_t* ask) noexcept nogil
    size_t lookup_ipv4 "vnas_lookup_ipv4"(int vector, const VnasPlane* plane, const VnasKeyIpv4* keys, size_t n,
                                          int32_t* results, uint16_t* ask) noexcept nogil

cdef extern from *:
    """
    /* The empty statement keeps GCC 12 from taking a function that only prefetches for one without effect, and dropping
       the calls to it. */
    #define vnas_prefetch(address) do { __builtin_prefetch(address); __asm__ volatile(""); } while (0)
    """
    void prefetch "vnas_prefetch"(const void* address) noexcept nogil

cdef enum:
    AHEAD = 32          # keys warmed together: as many lines in flight as a core keeps
    LARGE = 5000        # sockets, from which on the control plane outgrows the caches next to the core


# ---- blocks: the nogil loops ----------------------------------------------------------------------------------------

cdef void warm(const MachineTables* tables, const FlowKey* keys, size_t n) noexcept nogil:
    """Touch the lines that the control plane will read for at most AHEAD keys, each row of lines for all keys before the next.

    Guesses only: the first slot of a key's hash may hold another key. dispatch_key then finds most lines on their way, and decides
    alone, with or without this.
    """
    cdef uint32_t[AHEAD] tags
    cdef uint32_t[AHEAD] any_tags
    cdef uint32_t[AHEAD] own_tags
    cdef int32_t[AHEAD] rows
    cdef const HashIndex* addresses = &tables.addresses.index
    cdef const HashIndex* endpoints = &tables.sockets.endpoint_index
    cdef uint64_t hi, lo
    cdef int32_t port, vnas
    cdef size_t i
    for i in range(n):
        tags[i] = index_tag(hash_address(&tables.seed, load64(keys[i].destination), load64(keys[i].destination + 8), keys[i].vlan))
        prefetch(&addresses.slots[index_home(addresses, tags[i])])
        prefetch(&tables.sockets.directory[(protocol_number(keys[i].protocol) & 7) << 16 | keys[i].destination_port])
    for i in range(n):
        rows[i] = addresses.slots[index_home(addresses, tags[i])].taken - 1
        prefetch(&tables.addresses.rows[max(rows[i], 0)])
    for i in range(n):
        any_tags[i] = own_tags[i] = 0
        if rows[i] < 0 or protocol_number(keys[i].protocol) == NO_PROTOCOL:
            continue
        port = port_find(&tables.sockets, protocol_number(keys[i].protocol), keys[i].destination_port)
        vnas = tables.addresses.rows[rows[i]].vnas
        hi = load64(keys[i].destination)
        lo = load64(keys[i].destination + 8)
        any_tags[i] = endpoint_tag(&tables.seed, port, vnas, 0, 0, False)
        own_tags[i] = endpoint_tag(&tables.seed, port, vnas, hi, lo, False)
        prefetch(&endpoints.slots[index_home(endpoints, any_tags[i])])
        prefetch(&endpoints.slots[index_home(endpoints, own_tags[i])])
    for i in range(n):
        prefetch(&tables.sockets.endpoints[max(endpoints.slots[index_home(endpoints, any_tags[i])].taken - 1, 0)])
        prefetch(&tables.sockets.endpoints[max(endpoints.slots[index_home(endpoints, own_tags[i])].taken - 1, 0)])


cdef void ask_control_plane(const MachineTables* tables, const AnyKey* keys, const uint16_t* ask, size_t n,
                            int32_t* results) noexcept nogil:
    """Dispatch those keys that the data plane alone could not. The caller keeps changes away."""
    cdef FlowKey[AHEAD] wide
    cdef int32_t vnas
    cdef size_t start = 0, size, i
    while start < n:
        size = min(n - start, <size_t>AHEAD)
        for i in range(size):
            if AnyKey is FlowKeyIpv4:
                widen_key(&keys[ask[start + i]], &wide[i])
            else:
                wide[i] = keys[ask[start + i]]
        if tables.sockets.pool.n_rows > LARGE and size > 1:
            warm(tables, wide, size)
        for i in range(size):
            results[ask[start + i]] = dispatch_key(tables, &wide[i], &vnas)
        start += size


cdef size_t ask_data_plane(const MachineTables* tables, const AnyKey* keys, size_t n, int32_t* results,
                           uint16_t* ask) noexcept nogil:
    if AnyKey is FlowKeyIpv4:
        return lookup_ipv4(vector_path, &tables.plane.c, <const VnasKeyIpv4*>keys, n, results, ask)
    else:
        return lookup(vector_path, &tables.plane.c, <const VnasKey*>keys, n, results, ask)


cdef void answer_list(Tables tables, const AnyKey* keys, const uint16_t* places, size_t n, int32_t* results,
                      bint changes_wait) noexcept nogil:
    cdef uint16_t[BLOCK] ask
    cdef int32_t[BLOCK] found
    cdef int32_t* answers = results
    cdef uint32_t parity
    cdef size_t n_ask, i
    if places != NULL:
        answers = found
    if changes_wait:
        n_ask = ask_data_plane(&tables.c, keys, n, answers, ask)
        ask_control_plane(&tables.c, keys, ask, n_ask, answers)
    else:
        parity = readers_enter(&tables.c.plane.readers)
        n_ask = ask_data_plane(&tables.c, keys, n, answers, ask)
        readers_leave(&tables.c.plane.readers, parity)
        if n_ask:
            rwlock_rdlock(&tables.changing)
            ask_control_plane(&tables.c, keys, ask, n_ask, answers)
            pthread_rwlock_unlock(&tables.changing)
    if places != NULL:
        for i in range(n):
            results[places[i]] = found[i]


cdef void answer_lists(Tables tables, const KeyLists* keys, int32_t* results, bint changes_wait) noexcept nogil:
    if keys.n_narrow:
        answer_list(tables, keys.narrow, keys.narrow_places, keys.n_narrow, results, changes_wait)
    if keys.n_wide:
        answer_list(tables, keys.wide, keys.wide_places, keys.n_wide, results, changes_wait)


cdef void dispatch_keys(Tables tables, const KeyLists* keys, int32_t* results) noexcept nogil:
    """Dispatch at most BLOCK packets beside a writer: only what the data plane can't answer waits until a change is made."""
    answer_lists(tables, keys, results, False)


cdef bint closed_meanwhile(Tables tables, uint64_t before, const int32_t* results, size_t n) noexcept nogil:
    """Whether a socket that packets were dispatched to may have closed since `before`. The caller holds `counting`."""
    cdef uint64_t number
    cdef size_t i
    cdef int32_t socket
    cdef bint found = False
    if tables.n_closed - before > CLOSED:
        return True
    for number in range(before, tables.n_closed):
        socket = tables.closed[number % CLOSED]
        for i in range(n):
            found |= results[i] == socket
    return found


cdef bint count_apart(Tables tables, uint64_t before, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                      const int64_t* times_ns, Tally* tally, size_t* missed) noexcept nogil:
    """Count to a tally; False, and nothing is counted, where a socket closed since `before`, or the tally has no room.

    A socket that closes from here on takes from the tally what was counted to it: whoever closes it says so in `n_closed`, and
    then asks for the tally's lock.
    """
    cdef bint possible
    mutex_lock(&tally.lock)
    possible = (atomic_load(tables.n_closed) == before
                and tally_has_room(tally, <size_t>atomic_load(tables.c.sockets.pool.n_rows)))
    if possible:
        missed[0] = tally_count(tally, results, n, wire_lengths, times_ns)
    pthread_mutex_unlock(&tally.lock)
    return possible


cdef Tally* tally_borrow(Tables tables) noexcept nogil:
    cdef Tally* tally
    cdef size_t n_rows
    mutex_lock(&tables.counting)
    tally = tables.spare_tallies
    if tally == NULL:
        tally = tally_new()
        if tally != NULL:
            tally.following = tables.tallies
            tables.tallies = tally
    else:
        tables.spare_tallies = tally.next_spare
    if tally != NULL:
        n_rows = <size_t>atomic_load(tables.c.sockets.pool.n_rows)
        mutex_lock(&tally.lock)
        if tally.capacity == 0 or n_rows > tally.capacity or tally.n_counted > tally.capacity or packed_full(&tally.packed):
            tally_add_to(tally, tables.c.sockets.usage, tables.c.outcomes)
            tally_reserve(tally, max(usage_room(&tables.c.sockets), n_rows, <size_t>1))    # without room, its thread counts to the tables
        pthread_mutex_unlock(&tally.lock)
    pthread_mutex_unlock(&tables.counting)
    return tally


cdef void tally_give_back(Tables tables, Tally* tally) noexcept nogil:
    mutex_lock(&tables.counting)
    tally.next_spare = tables.spare_tallies
    tables.spare_tallies = tally
    pthread_mutex_unlock(&tables.counting)


cdef size_t dispatch_and_count(Tables tables, const KeyLists* keys, int32_t* results, const uint32_t* wire_lengths,
                               const int64_t* times_ns, Tally* tally) noexcept nogil:
    """The same, and count. A packet's socket must not close before the packet is counted: where one did, all is done again while
    changes wait.
    """
    cdef size_t n = keys.n_narrow + keys.n_wide, missed = 0
    cdef uint64_t before = atomic_load(tables.n_closed)
    answer_lists(tables, keys, results, False)
    if tally != NULL and count_apart(tables, before, results, n, wire_lengths, times_ns, tally, &missed):
        return missed
    mutex_lock(&tables.counting)
    if closed_meanwhile(tables, before, results, n):
        pthread_mutex_unlock(&tables.counting)
        rwlock_rdlock(&tables.changing)
        answer_lists(tables, keys, results, True)
        mutex_lock(&tables.counting)
        missed = count_here(&tables.c, results, n, wire_lengths, times_ns)
        pthread_mutex_unlock(&tables.counting)
        pthread_rwlock_unlock(&tables.changing)
    else:
        missed = count_here(&tables.c, results, n, wire_lengths, times_ns)
        pthread_mutex_unlock(&tables.counting)
    return missed


cdef void dispatch_with_vnases(Tables tables, const FlowKey* keys, size_t n, int32_t* results, int32_t* vnases, bint count,
                               const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil:
    """The same for whoever also wants the VNAS IDs of the destinations."""
    cdef size_t i
    cdef int32_t vnas
    rwlock_rdlock(&tables.changing)
    for i in range(n):
        results[i] = dispatch_key(&tables.c, &keys[i], &vnas)
        vnases[i] = tables.c.vnases.rows[vnas].id if vnas >= 0 else -1
    if count:
        mutex_lock(&tables.counting)
        count_here(&tables.c, results, n, wire_lengths, times_ns)
        pthread_mutex_unlock(&tables.counting)
    pthread_rwlock_unlock(&tables.changing)


cdef size_t n_missed(const int32_t* results, size_t n) noexcept nogil:
    cdef size_t i, missed = 0
    for i in range(n):
        missed += results[i] < 0
    return missed


cdef size_t count_here(MachineTables* tables, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                       const int64_t* times_ns) noexcept nogil:
    """Count a block's packets to the tables; how many reached no socket. The caller holds `counting`."""
    if times_ns == NULL and packed_fit(wire_lengths, n):
        if packed_full(&tables.sockets.packed):
            packed_settle(&tables.sockets.packed, tables.sockets.usage, tables.sockets.pool.n_rows)
        return packed_count(&tables.sockets.packed, tables.outcomes, results, n, wire_lengths)
    return usage_count_many(
        tables.sockets.usage, tables.outcomes, results, n, wire_lengths, times_ns, NULL, NULL)
