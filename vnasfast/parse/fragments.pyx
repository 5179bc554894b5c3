"""Later fragments follow their first."""

import os

cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset


from vnasfast.errors import InvalidValue

from vnasfast.parse.load cimport load_word
from vnasfast.typedefs cimport FIRST_FRAGMENT, FOLLOWS_FIRST, FlowKey

cdef extern from *:
    """
    /* Both halves of the product, folded: each bit of the result depends on each bit of both. */
    static inline uint64_t vnasfast_fold(uint64_t left, uint64_t right) {
        unsigned __int128 product = (unsigned __int128)left * right;
        return (uint64_t)product ^ (uint64_t)(product >> 64);
    }
    """
    uint64_t _fold "vnasfast_fold"(uint64_t left, uint64_t right) noexcept nogil

cdef enum:
    EMPTY = -1
    CAPACITY_MAX = 1 << 24

# As long as Linux waits for the rest of a packet (net.ipv4.ipfrag_time, net.ipv6.ip6frag_time).
cdef int64_t FOLLOWS_WITHIN_NS = 30_000_000_000


cdef uint32_t _hash(const Fragments* table, const FlowKey* key, uint32_t family_protocol) noexcept nogil:
    cdef uint64_t last = (<uint64_t>key.fragment_id << 32) | (<uint64_t>key.vlan << 8) | family_protocol
    cdef uint64_t mixed = _fold(
        load_word(key.destination) ^ table.seeds[0], load_word(key.destination + 8) ^ table.seeds[1])
    mixed = _fold(mixed ^ load_word(key.source), load_word(key.source + 8) ^ table.seeds[2])
    return <uint32_t>_fold(mixed ^ last, table.seeds[3])


cdef uint32_t _family_protocol(const FlowKey* key) noexcept nogil:
    # An IPv6 fragment is known by its addresses and its ID alone: what a later fragment calls its next header
    # may be an extension header that the first fragment's key has passed over.
    cdef uint64_t mapped = 0xFFFF0000
    if load_word(key.source) == 0 and (load_word(key.source + 8) & <uint64_t>0xFFFFFFFF) == mapped:
        return key.protocol
    return 0


cdef bint _row_is(
    const FragmentRow* row, const FlowKey* key, uint32_t family_protocol, uint32_t hash,
) noexcept nogil:
    return (
        row.hash == hash
        and row.fragment_id == key.fragment_id
        and row.vlan == key.vlan
        and row.family_protocol == family_protocol
        and memcmp(row.destination, key.destination, 16) == 0
        and memcmp(row.source, key.source, 16) == 0
    )


cdef uint32_t _find_slot(
    const Fragments* table, const FlowKey* key, uint32_t family_protocol, uint32_t hash,
) noexcept nogil:
    # The key's slot, or the empty one where it would be. At least half of the slots are empty, so it ends.
    cdef uint32_t slot = hash & table.slot_mask
    while table.slots[slot] != EMPTY:
        if _row_is(&table.rows[table.slots[slot]], key, family_protocol, hash):
            break
        slot = (slot + 1) & table.slot_mask
    return slot


cdef void _forget(Fragments* table, uint32_t row) noexcept nogil:
    # Takes the row's slot away and moves the rest of its run back, so that no search passes a deleted slot.
    cdef uint32_t mask = table.slot_mask
    cdef uint32_t hole = table.rows[row].hash & mask
    cdef uint32_t slot, home
    while table.slots[hole] != <int32_t>row:
        hole = (hole + 1) & mask
    slot = (hole + 1) & mask
    while table.slots[slot] != EMPTY:
        home = table.rows[table.slots[slot]].hash & mask
        # It may move back to the hole only if its home does not lie between the two.
        if ((slot - home) & mask) >= ((slot - hole) & mask):
            table.slots[hole] = table.slots[slot]
            hole = slot
        slot = (slot + 1) & mask
    table.slots[hole] = EMPTY


cdef bint _allocate(Fragments* table) noexcept nogil:
    cdef size_t n_slots = <size_t>table.slot_mask + 1
    table.rows = <FragmentRow*>malloc(table.capacity * sizeof(FragmentRow))
    table.slots = <int32_t*>malloc(n_slots * sizeof(int32_t))
    if table.rows == NULL or table.slots == NULL:
        fragments_reset(table)
        return False
    memset(table.slots, 0xFF, n_slots * sizeof(int32_t))
    return True


cdef bint _remember(Fragments* table, const FlowKey* key, int64_t time_ns) noexcept nogil:
    cdef uint32_t family_protocol = _family_protocol(key)
    cdef uint32_t hash = _hash(table, key, family_protocol)
    cdef uint32_t slot
    cdef FragmentRow* row
    if table.rows == NULL and not _allocate(table):
        # Without memory nothing is remembered, and the later fragments stay what they are.
        return False
    slot = _find_slot(table, key, family_protocol, hash)
    if table.slots[slot] == EMPTY:
        if table.n_rows == table.capacity:
            _forget(table, table.next_row)
            # The run that held the empty slot may have moved.
            slot = _find_slot(table, key, family_protocol, hash)
        else:
            table.n_rows += 1
        table.slots[slot] = <int32_t>table.next_row
        table.next_row = table.next_row + 1 if table.next_row + 1 < table.capacity else 0
    row = &table.rows[table.slots[slot]]
    memcpy(row.destination, key.destination, 16)
    memcpy(row.source, key.source, 16)
    row.time_ns = time_ns
    row.fragment_id = key.fragment_id
    row.hash = hash
    row.vlan = key.vlan
    row.destination_port = key.destination_port
    row.source_port = key.source_port
    row.family_protocol = family_protocol
    row.protocol = key.protocol
    return False


cdef bint fragments_follow_known(Fragments* table, FlowKey* key, int64_t time_ns) noexcept nogil:
    # The rest of fragments_follow: the key is a fragment's.
    cdef uint32_t family_protocol, slot
    cdef uint64_t age_ns
    cdef FragmentRow* row
    if key.status == FIRST_FRAGMENT:
        return _remember(table, key, time_ns)
    if table.rows == NULL:
        return False
    family_protocol = _family_protocol(key)
    slot = _find_slot(table, key, family_protocol, _hash(table, key, family_protocol))
    if table.slots[slot] == EMPTY:
        return False
    row = &table.rows[table.slots[slot]]
    if time_ns != 0 and row.time_ns != 0:
        # Unsigned, since times come from files and may lie further apart than int64 can say. In a capture of
        # several interfaces a later fragment may bear the earlier time.
        age_ns = <uint64_t>time_ns - <uint64_t>row.time_ns
        if time_ns < row.time_ns:
            age_ns = 0 - age_ns
        if age_ns > <uint64_t>FOLLOWS_WITHIN_NS:
            return False
    key.protocol = row.protocol
    key.destination_port = row.destination_port
    key.source_port = row.source_port
    key.status = FOLLOWS_FIRST
    return True


cdef void fragments_init(Fragments* table, uint32_t capacity, const uint64_t* seeds) noexcept nogil:
    # An empty table without memory of its own. 1 <= capacity <= CAPACITY_MAX.
    memset(table, 0, sizeof(Fragments))
    table.capacity = capacity
    table.slot_mask = 1
    while table.slot_mask + 1 < 2 * capacity:
        table.slot_mask = 2 * table.slot_mask + 1
    memcpy(table.seeds, seeds, sizeof(table.seeds))


cdef void fragments_reset(Fragments* table) noexcept nogil:
    # Forgets all and frees the memory; the table can be used on.
    free(table.rows)
    free(table.slots)
    table.rows = NULL
    table.slots = NULL
    table.n_rows = 0
    table.next_row = 0


cdef int fragments_copy(Fragments* table, const Fragments* other) except -1 nogil:
    # `table` becomes an independent copy of `other`.
    fragments_reset(table)
    fragments_init(table, other.capacity, other.seeds)
    if other.rows == NULL:
        return 0
    if not _allocate(table):
        with gil:
            raise MemoryError("no memory to copy a fragment table")
    memcpy(table.rows, other.rows, other.n_rows * sizeof(FragmentRow))
    memcpy(table.slots, other.slots, (<size_t>other.slot_mask + 1) * sizeof(int32_t))
    table.n_rows = other.n_rows
    table.next_row = other.next_row
    return 0


@cython.final
@cython.auto_pickle(False)
cdef class FragmentTable:
    """First fragments, remembered so that later fragments, which carry no ports, follow them.

    A later fragment follows the newest first fragment with the same VLAN, addresses, fragment ID and, in
    IPv4, protocol, if the two lie at most 30 s apart. A later fragment that comes before its first follows nothing.

    Parameters
    ----------
    capacity : int, optional
        How many first fragments are remembered; one more, and the one that came first is forgotten.
        Memory is taken when the first of them comes.

    Raises
    ------
    InvalidValue
        The capacity is not between 1 and 16,777,216.
    """

    def __cinit__(self, capacity=16384):
        cdef bytes seeds = os.urandom(sizeof(self.c_fragments.seeds))
        if not 1 <= capacity <= CAPACITY_MAX:
            raise InvalidValue(f"capacity {capacity} is not between 1 and {CAPACITY_MAX}")
        fragments_init(&self.c_fragments, capacity, <const uint64_t*><const char*>seeds)

    def __dealloc__(self):
        fragments_reset(&self.c_fragments)

    def __len__(self):
        return self.c_fragments.n_rows

    @property
    def capacity(self):
        """int: How many first fragments are remembered at most."""
        return self.c_fragments.capacity

    def follow(self, keys, times_ns=None):
        """Let later fragments follow their first, in the order of the keys.

        Parameters
        ----------
        keys : ndarray of FLOW_KEY, shape (n,)
            Changed in place: a later fragment (LATER_FRAGMENT) whose first was seen gets its protocol and
            ports, and the status 2.
        times_ns : array_like of int, shape (n,), optional
            When each frame was captured, in ns; int64 is used without a copy. 0, or none at all: not known,
            and no age is too great.

        Returns
        -------
        int
            How many keys were changed.

        Raises
        ------
        InvalidValue
            An argument has another shape or dtype.
        """
        import numpy as np  # which a table that is only used from C needs not

        from vnasfast.dtypes import FLOW_KEY

        cdef FlowKey[::1] c_keys
        cdef const int64_t[::1] c_times
        cdef Py_ssize_t i, n
        cdef Py_ssize_t n_followed = 0
        if not isinstance(keys, np.ndarray) or keys.dtype != FLOW_KEY or keys.ndim != 1:
            raise InvalidValue("keys must be a one-dimensional numpy array of FLOW_KEY")
        if not keys.flags.c_contiguous or not keys.flags.writeable:
            raise InvalidValue("keys must be contiguous and writable")
        n = keys.shape[0]
        times = np.zeros(n, np.int64) if times_ns is None else np.asarray(times_ns)
        if times.shape != (n,) or (n and not np.can_cast(times.dtype, np.int64)):
            raise InvalidValue(f"times_ns must be {n} integers that fit int64")
        c_keys = keys
        c_times = np.ascontiguousarray(times, np.int64)
        with nogil:
            for i in range(n):
                n_followed += fragments_follow(&self.c_fragments, &c_keys[i], c_times[i])
        return n_followed

    def copy(self):
        """Make an independent copy.

        Returns
        -------
        FragmentTable
        """
        cdef FragmentTable other = FragmentTable(self.c_fragments.capacity)
        fragments_copy(&other.c_fragments, &self.c_fragments)
        return other

    def reset(self):
        """Forget all first fragments and free their memory."""
        fragments_reset(&self.c_fragments)

    def check(self):
        """Walk the whole table and test that it is consistent; for tests.

        Raises
        ------
        AssertionError
            It is not; the message says how.
        """
        cdef const Fragments* table = &self.c_fragments
        cdef uint32_t slot, probe, row
        cdef uint32_t n_filled = 0
        if table.rows == NULL:
            if table.slots != NULL or table.n_rows or table.next_row:
                raise AssertionError("no rows are allocated, but the table is not empty")
            return
        if table.n_rows > table.capacity or table.next_row >= table.capacity:
            raise AssertionError(f"{table.n_rows} rows, next {table.next_row}, of {table.capacity}")
        if table.n_rows < table.capacity and table.next_row != table.n_rows:
            raise AssertionError(f"next row {table.next_row} is not behind {table.n_rows} rows")
        seen = set()
        for slot in range(table.slot_mask + 1):
            if table.slots[slot] == EMPTY:
                continue
            n_filled += 1
            if not 0 <= table.slots[slot] < <int32_t>table.n_rows:
                raise AssertionError(f"slot {slot} names row {table.slots[slot]} of {table.n_rows}")
            row = table.slots[slot]
            if row in seen:
                raise AssertionError(f"row {row} has two slots")
            seen.add(row)
            probe = table.rows[row].hash & table.slot_mask
            while probe != slot:
                if table.slots[probe] == EMPTY:
                    raise AssertionError(f"slot {slot} can't be reached from its home")
                probe = (probe + 1) & table.slot_mask
        if n_filled != table.n_rows:
            raise AssertionError(f"{n_filled} slots are filled, {table.n_rows} rows are in use")
