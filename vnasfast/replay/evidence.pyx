"""What a capture shows of who serves: one pass over its frames, counted in tables of bounded size."""

import os

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from vnasfast.capture.reader cimport Capture
from vnasfast.replay.sightings cimport CALLERS_FROM, RESERVED_BELOW, see_frame
from vnasfast.tables.hashing cimport hash_seed

cdef enum:
    # The most rows that a frame adds to a table: an UDP frame two endpoints, one to a group its sender and the port.
    ROWS_A_FRAME = 2
    FIRST_CAPACITY = 1024


# --- tables -----------------------------------------------------------------------------------------------------------

cdef int _grow(void** memory, size_t n_bytes) except -1:
    cdef void* larger = realloc(memory[0], n_bytes)
    if larger == NULL:
        raise MemoryError(f"no memory for {n_bytes:,} bytes of evidence")
    memory[0] = larger
    return 0


cdef int _reserve(Roll* roll, size_t n_more, void** rows, size_t row_bytes) except -1:
    """Make room for `n_more` rows, or for as many as the limit allows."""
    cdef size_t wanted = roll.n_rows + n_more
    cdef size_t capacity = roll.capacity if roll.capacity else FIRST_CAPACITY
    cdef size_t n_slots = 2
    cdef uint32_t row, slot
    if wanted > roll.limit:
        wanted = roll.limit
    if wanted <= roll.capacity:
        return 0
    while capacity < wanted:
        capacity *= 2
    if capacity > roll.limit:
        capacity = roll.limit
    while n_slots < 2 * capacity:
        n_slots *= 2
    _grow(rows, capacity * row_bytes)
    _grow(<void**>&roll.hashes, capacity * sizeof(uint64_t))
    _grow(<void**>&roll.slots, n_slots * sizeof(int32_t))
    memset(roll.slots, 0xFF, n_slots * sizeof(int32_t))
    roll.slot_mask = <uint32_t>(n_slots - 1)
    roll.capacity = <uint32_t>capacity
    for row in range(roll.n_rows):
        slot = <uint32_t>roll.hashes[row] & roll.slot_mask
        while roll.slots[slot] >= 0:
            slot = (slot + 1) & roll.slot_mask
        roll.slots[slot] = <int32_t>row
    return 0


cdef void _free(Roll* roll, void* rows) noexcept nogil:
    free(roll.hashes)
    free(roll.slots)
    free(rows)


# --- who serves -------------------------------------------------------------------------------------------------------

cdef bint _other_serves(const EndpointRow* called, const EndpointRow* other) noexcept nogil:
    """Tell whether the other side of a flow, not the called one, is its server side."""
    cdef int64_t difference
    if other.n_called == 0 or called.port < CALLERS_FROM or called.port == other.port:
        return False
    difference = (<int64_t>other.n_called - other.n_calls) - (<int64_t>called.n_called - called.n_calls)
    # By the other flows: this one counts one for the called side and one against the other.
    difference += 2
    if difference:
        return difference > 0
    return other.port < RESERVED_BELOW <= called.port


cdef void _settle(EvidenceTables* tables) noexcept nogil:
    """Count the calls of all flows, then let each flow say what its server side did. May be done again."""
    cdef EndpointRow* talkers = tables.talkers.rows
    cdef const FlowRow* flow
    cdef uint32_t i
    cdef int32_t called, other
    cdef bint turned
    tables.n_turned = 0
    for i in range(tables.talkers.roll.n_rows):
        talkers[i].n_called = talkers[i].n_calls = 0
    for i in range(tables.flows.roll.n_rows):
        flow = &tables.flows.rows[i]
        if not (flow.flags & CONTINUED) or flow.flags & TWO_WAY:
            called = flow.sender if flow.flags & CALLED_IS_SENDER else flow.destination
            talkers[called].n_called += 1
            talkers[flow.sender + flow.destination - called].n_calls += 1
    for i in range(tables.flows.roll.n_rows):
        flow = &tables.flows.rows[i]
        if flow.flags & CONTINUED and not flow.flags & TWO_WAY:
            continue
        called = flow.sender if flow.flags & CALLED_IS_SENDER else flow.destination
        other = flow.sender + flow.destination - called
        turned = _other_serves(&talkers[called], &talkers[other])
        tables.n_turned += turned
        if flow.flags & TWO_WAY:
            talkers[other if turned else called].flags |= ANSWERED
        elif not turned:
            talkers[called].flags |= ANSWERED if flow.flags & BY_ANSWER else CALLED


cdef list _services(const EndpointTable* table):
    cdef const EndpointRow* row
    cdef uint32_t i
    services = []
    for i in range(table.roll.n_rows):
        row = &table.rows[i]
        if row.port and row.flags & (ANSWERED | CALLED) and not row.flags & ASKED_HERE:
            services.append((
                row.first_frame, row.interface, row.vlan, row.address[:16], row.protocol, row.port,
                bool(row.flags & ANSWERED), bool(row.flags & REFUSED),
            ))
    return services


cdef class Evidence:
    """What captures show of who serves, gathered block by block.

    Parameters
    ----------
    max_flows, max_acceptors, max_claims : int
        How much is remembered; see the attributes of the counts. 1 to 2**20.
    """

    def __cinit__(self, *, max_flows=1 << 20, max_acceptors=1 << 18, max_claims=1 << 16):
        for number in (max_flows, max_acceptors, max_claims):
            if not 1 <= number <= 1 << 20:
                raise ValueError(f"{number} is not between 1 and {1 << 20}")
        self.tables.seed = hash_seed(int.from_bytes(os.urandom(8), "little"))
        self.tables.flows.roll.limit = max_flows
        self.tables.talkers.roll.limit = max_flows
        self.tables.acceptors.roll.limit = max_acceptors
        self.tables.claims.roll.limit = max_claims

    def __dealloc__(self):
        _free(&self.tables.flows.roll, self.tables.flows.rows)
        _free(&self.tables.talkers.roll, self.tables.talkers.rows)
        _free(&self.tables.acceptors.roll, self.tables.acceptors.rows)
        _free(&self.tables.claims.roll, self.tables.claims.rows)

    def begin(self):
        """Begin a capture.

        Returns
        -------
        int
            Its number, from 0.
        """
        if self._n_captures == 1 << 16:
            raise ValueError(f"evidence is gathered from at most {1 << 16:,} captures")
        self._n_captures += 1
        return self._n_captures - 1

    def read(self, Capture capture not None, limit=None):
        """Take the evidence of the next frames of the capture that was begun.

        Parameters
        ----------
        capture : Capture
            After `begin`.
        limit : int, optional
            The most frames.

        Returns
        -------
        int
            Number of frames; 0 at the end.

        Raises
        ------
        CaptureError
            The capture is damaged here.
        """
        cdef EvidenceTables* tables = &self.tables
        cdef size_t i, n
        cdef uint32_t number
        if self._n_captures == 0:
            raise ValueError("begin the capture first")
        number = (self._n_captures - 1) << 16
        n = capture.read(limit)
        _reserve(&tables.flows.roll, n, <void**>&tables.flows.rows, sizeof(FlowRow))
        _reserve(&tables.talkers.roll, ROWS_A_FRAME * n, <void**>&tables.talkers.rows, sizeof(EndpointRow))
        _reserve(&tables.acceptors.roll, n, <void**>&tables.acceptors.rows, sizeof(EndpointRow))
        _reserve(&tables.claims.roll, n, <void**>&tables.claims.rows, sizeof(ClaimRow))
        with nogil:
            for i in range(n):
                see_frame(
                    tables, capture.rows[capture.block.interfaces[i]].link_type,
                    capture.block.base + capture.block.offsets[i], capture.block.lengths[i],
                    capture.block.wire_lengths[i], number | capture.block.interfaces[i])
        return n

    def services(self):
        """Settle who serves.

        Returns
        -------
        list of tuple
            (first frame from 1, interface, VLAN ID, address of 16 bytes, protocol number, port, whether it answered,
            whether an ICMP error refused a packet to it). Interface is capture << 16 | row of its interface list.
        """
        with nogil:
            _settle(&self.tables)
        return _services(&self.tables.acceptors) + _services(&self.tables.talkers)

    def claims(self):
        """Give what MAC addresses claimed.

        Returns
        -------
        list of tuple
            (first frame from 1, interface, VLAN ID, address of 16 bytes, MAC of 6 bytes)
        """
        cdef uint32_t i
        cdef const ClaimRow* row
        claims = []
        for i in range(self.tables.claims.roll.n_rows):
            row = &self.tables.claims.rows[i]
            claims.append((row.first_frame, row.interface, row.vlan, row.address[:16], row.mac[:6]))
        return claims

    def counts(self):
        """Give what was counted.

        Returns
        -------
        dict of str to int
            frames; connection_frames (TCP, SCTP, DCCP); flows (UDP, UDP-Lite); turned (flows whose server side is
            not the side called first); and what came when a table was full: flows_left_out, acceptances_left_out,
            claims_left_out.
        """
        return {
            "frames": self.tables.n_frames,
            "connection_frames": self.tables.n_connection_frames,
            "flows": self.tables.flows.roll.n_rows,
            "turned": self.tables.n_turned,
            "flows_left_out": self.tables.flows.roll.n_left_out,
            "acceptances_left_out": self.tables.acceptors.roll.n_left_out,
            "claims_left_out": self.tables.claims.roll.n_left_out,
        }
