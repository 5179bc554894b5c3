"""Why a packet went where it went: dispatch again, slowly, row by row, with words.

This walks the tables in order of registration, as the source's flow chart does, and uses none of the answers that the tables
keep ready for `dispatch`; that the two agree on every packet is one of the tests.
"""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from vnasfast.dispatch.dispatcher cimport Dispatcher, read_frame
from vnasfast.dispatch.linux_why cimport look_as_linux
from vnasfast.parse.fragments cimport fragments_follow
from vnasfast.tables.addresses cimport AddressRow
from vnasfast.tables.family cimport IPV4, family_of, is_any, is_loopback
from vnasfast.tables.hashing cimport hash_flow, load64
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.sockets cimport Endpoint, NO_PROTOCOL, SocketTable, port_find, protocol_number
from vnasfast.tables.tables cimport MachineTables, Tables, address_bytes, endpoint_of
from vnasfast.typedefs cimport FIRST_FRAGMENT, FOLLOWS_FIRST, LATER_FRAGMENT, MALFORMED, FlowKey

from vnasfast.dispatch.explanation import Explanation, Step
from vnasfast.outcome import Outcome
from vnasfast.errors import InvalidValue
from vnasfast.parse.text import address_text, protocol_name

cdef int MOST_ROWS = 40     # shown of a step; a port may have a million sockets

cdef str STEP_1 = "Step 1: the destination is loopback; which VNAS sent it?"
cdef str STEP_2 = "Step 2: whose is the destination address?"
cdef str STEP_4 = "Step 4: which of the port's sockets, in order of registration?"

cdef dict REASONS = {
    Outcome.NOT_IP: "the frame holds no IP packet that is understood",
    Outcome.NO_TRANSPORT: "none of TCP, UDP, SCTP, DCCP, UDP-Lite follows the IP header",
    Outcome.LATER_FRAGMENT: "a fragment after the first carries no ports, and its first fragment was not seen",
    Outcome.TRUNCATED: "the capture cut the frame before the ports",
    Outcome.MALFORMED: "the frame contradicts itself",
}


# A row of an address.
cdef struct FoundAddress:
    AddressRow row
    int32_t vnas_id


# A socket of a port.
cdef struct Candidate:
    int32_t socket              # -1: behind the last
    int32_t row                 # of its endpoint; negative: it has none
    int32_t vnas_id
    Endpoint endpoint


cdef str address(uint64_t hi, uint64_t lo):
    return address_text(address_bytes(hi, lo))


cdef str vlan_text(uint32_t vlan):
    return f"VLAN {vlan}" if vlan else "untagged"


cdef class Walk:
    """One explanation in the making."""

    cdef Dispatcher dispatcher
    cdef const MachineTables* c
    cdef const FlowKey* key
    cdef list steps
    cdef list rows
    cdef int n_rows

    cdef int look(self, str row) except -1:
        if self.n_rows < MOST_ROWS:
            self.rows.append(row)
        self.n_rows += 1
        return 0

    cdef int conclude(self, str name, str answer) except -1:
        if self.n_rows > MOST_ROWS:
            self.rows.append(f"… and {self.n_rows - MOST_ROWS} more rows")
        self.steps.append(Step(name, tuple(self.rows), answer))
        self.rows = []
        self.n_rows = 0
        return 0

    cdef object end(self, int32_t result, int32_t vnas):
        cdef object vnas_id = self.c.vnases.rows[vnas].id if vnas >= 0 else None
        if result < 0:
            return Explanation(None, None, vnas_id, Outcome(result), tuple(self.steps))
        return Explanation(result, self.c.processes.rows[self.c.sockets.rows[result].process].pid, vnas_id,
                           Outcome.DELIVERED, tuple(self.steps))

    cdef int32_t parsed(self) except? -100:
        """What parsing left: 0, or its outcome."""
        cdef uint64_t lo = load64(self.key.destination + 8), hi = load64(self.key.destination)
        cdef int32_t outcome = self.key.status
        name = f"The packet ({vlan_text(self.key.vlan)})"
        if hi | lo:
            self.look(f"from {address(load64(self.key.source), load64(self.key.source + 8))} to {address(hi, lo)}, protocol"
                      f" {protocol_name(self.key.protocol)}")
        if outcome >= 0 and protocol_number(self.key.protocol) == NO_PROTOCOL:
            outcome = Outcome.NO_TRANSPORT
        if outcome < 0:
            outcome = max(outcome, <int32_t>MALFORMED)
            self.conclude(name, f"{Outcome(outcome).name}: {REASONS.get(outcome, 'the key says so')}")
            return outcome
        self.look(f"from port {self.key.source_port} to port {self.key.destination_port}")
        self.conclude(name, {
            <int>FIRST_FRAGMENT: "a first fragment: its later fragments will follow it",
            <int>FOLLOWS_FIRST: "a later fragment: it follows its first fragment, whose ports these are",
        }.get(self.key.status, "has what dispatch needs"))
        return 0

    cdef Candidate* candidates(self, int32_t port) except NULL:
        """Copy a port's sockets, in order of registration, before any Python code runs, which may let other threads change them."""
        cdef const SocketTable* table = &self.c.sockets
        cdef int32_t socket = table.ports[port].first if port >= 0 else -1
        cdef Candidate* copied = <Candidate*>calloc(table.ports[port].n_sockets + 1 if port >= 0 else 1, sizeof(Candidate))
        cdef size_t n = 0
        if copied == NULL:
            raise MemoryError("no memory for the sockets of a port")
        while socket >= 0:
            copied[n].socket = socket
            copied[n].row = table.rows[socket].endpoint
            copied[n].endpoint = endpoint_of(self.c, socket)
            copied[n].vnas_id = self.c.vnases.rows[copied[n].endpoint.vnas].id
            socket = table.rows[socket].next_on_port
            n += 1
        copied[n].socket = -1
        return copied

    cdef int32_t owner_of_endpoint(self, uint64_t hi, uint64_t lo) except? -100:
        """Step 1: whose a loopback source endpoint is, when exactly one VNAS can own it."""
        cdef int32_t row = port_find(&self.c.sockets, protocol_number(self.key.protocol), self.key.source_port)
        cdef Candidate* all_of_port = self.candidates(row)
        cdef const Candidate* each = all_of_port
        owners = set()
        try:
            while each.socket >= 0:
                if self.receives(&each.endpoint, hi, lo):
                    owners.add(each.endpoint.vnas)
                    self.look(f"socket {each.socket} of the source port, VNAS {each.vnas_id}: may own it")
                each += 1
        finally:
            free(all_of_port)
        return owners.pop() if len(owners) == 1 else -1

    cdef int32_t source_vnas(self) except? -100:
        cdef uint64_t hi = load64(self.key.source), lo = load64(self.key.source + 8)
        cdef int32_t row
        cdef int32_t vnas = -1
        if self.key.source_pid != 0:
            row = process_find(&self.c.processes, &self.c.seed, self.key.source_pid)
            if row < 0:
                self.look(f"process table: no process {self.key.source_pid}")
                return -1
            vnas = self.c.processes.rows[row].vnas
            self.look(f"process table: process {self.key.source_pid}, VNAS {self.c.vnases.rows[vnas].id}")
            return vnas
        if is_loopback(hi, lo):
            return self.owner_of_endpoint(hi, lo)
        return self.vnas_of_address(hi, lo)

    cdef int32_t vnas_of_address(self, uint64_t hi, uint64_t lo) except? -100:
        """Look for (VLAN, address) in the ANY-address table, in order of registration. Its rows are copied first, too."""
        cdef FoundAddress* found = <FoundAddress*>calloc(self.c.addresses.pool.n_rows + 1, sizeof(FoundAddress))
        cdef int32_t row = self.c.addresses.first
        cdef size_t n = 0, i
        if found == NULL:
            raise MemoryError("no memory for the rows of an address")
        while row >= 0:
            if self.c.addresses.rows[row].hi == hi and self.c.addresses.rows[row].lo == lo:
                found[n].row = self.c.addresses.rows[row]
                found[n].vnas_id = self.c.vnases.rows[found[n].row.vnas].id
                n += 1
            row = self.c.addresses.rows[row].next
        names = self.dispatcher.tables.interfaces.all_names()
        try:
            for i in range(n):
                said = (f"ANY-address table: {address(hi, lo)} ({vlan_text(found[i].row.vlan)}), VNAS {found[i].vnas_id},"
                        f" {names[found[i].row.interface]}")
                if found[i].row.vlan == self.key.vlan:
                    self.look(said)
                    return found[i].row.vnas
                self.look(said + ": another VLAN")
        finally:
            free(found)
        return -1

    cdef bint receives(self, const Endpoint* endpoint, uint64_t hi, uint64_t lo) noexcept:
        """Whether an endpoint's recipient address covers an address; its VNAS is not asked."""
        if not is_any(endpoint.hi, endpoint.lo):
            return endpoint.hi == hi and endpoint.lo == lo
        if family_of(hi, lo) == IPV4:
            return not endpoint.v6only
        return family_of(endpoint.hi, endpoint.lo) != IPV4

    cdef int32_t chosen_by_flow(self, const Candidate* first) except? -100:
        """Choose among the sockets that share the first's endpoint; all come behind it."""
        cdef const Candidate* each = first
        cdef uint64_t flow = hash_flow(self.c.plane.c.flow_seed, self.key)
        members = []
        while each.socket >= 0:
            if each == first or (first.row >= 0 and each.row == first.row):
                members.append(each.socket)
            each += 1
        if len(members) == 1:
            self.conclude(STEP_4,
                          f"socket {first.socket}: the first that matches (policy registration)")
            return first.socket
        socket = members[flow * len(members) >> 32]
        self.conclude(STEP_4,
                      f"socket {socket}: socket {first.socket} is the first that matches, {len(members)} sockets share its port, and"
                      " the flow's hash chooses this one")
        return socket

    cdef int32_t choose_socket(self, int32_t port, int32_t vnas, uint64_t hi, uint64_t lo) except? -100:
        """Step 4, policy registration."""
        if self.c.as_linux.kernel != 0:
            return self.choose_as_linux(vnas, hi, lo)
        cdef Candidate* all_of_port = self.candidates(port)
        cdef const Candidate* each = all_of_port
        cdef const Endpoint* endpoint
        try:
            while each.socket >= 0:
                endpoint = &each.endpoint
                if is_any(endpoint.hi, endpoint.lo):
                    said = "ANY" + (", IPv6 only" if endpoint.v6only else
                                    ", IPv4 only" if family_of(endpoint.hi, endpoint.lo) == IPV4 else "")
                else:
                    said = address(endpoint.hi, endpoint.lo)
                said = f"socket {each.socket}: {said}, VNAS {each.vnas_id}"
                if endpoint.vnas != vnas:
                    self.look(said + ": another VNAS")
                elif not self.receives(endpoint, hi, lo):
                    self.look(said + (": another family" if endpoint.any else ": another address"))
                else:
                    self.look(said + ": matches")
                    return self.chosen_by_flow(each)
                each += 1
        finally:
            free(all_of_port)
        self.conclude(STEP_4,
                      f"NO_SOCKET: none of them waits in VNAS {self.c.vnases.rows[vnas].id} for this address")
        return Outcome.NO_SOCKET

    cdef int32_t choose_as_linux(self, int32_t vnas, uint64_t hi, uint64_t lo) except? -100:
        """Step 4, policy linux."""
        rows, answer = [], []
        cdef int32_t socket = look_as_linux(self.dispatcher.tables, self.key, hi, lo, vnas, rows, answer)
        cdef int32_t kernel = self.c.as_linux.kernel
        for row in rows:
            self.look(row)
        self.conclude(f"Step 4: which of the port's sockets, as Linux {kernel // 100}.{kernel % 100} looks for it?",
                      f"socket {socket}: {answer[0]} (policy linux)" if socket >= 0 else
                      f"NO_SOCKET: none of them waits in VNAS {self.c.vnases.rows[vnas].id} for this packet")
        return socket

    cdef object run(self):
        cdef uint64_t hi = load64(self.key.destination), lo = load64(self.key.destination + 8)
        cdef int32_t vnas, port, result = self.parsed()
        if result < 0:
            return self.end(result, -1)
        if is_loopback(hi, lo):
            vnas = self.source_vnas()
            if vnas < 0:
                self.conclude(STEP_1,
                              "UNKNOWN_SOURCE: no source process was given, and not exactly one VNAS can own the source endpoint"
                              if self.key.source_pid == 0 else "UNKNOWN_SOURCE: the source process given does not exist")
                return self.end(Outcome.UNKNOWN_SOURCE, -1)
            self.conclude(STEP_1,
                          f"VNAS {self.c.vnases.rows[vnas].id}: a VNAS reaches its own servers on loopback")
        else:
            vnas = self.vnas_of_address(hi, lo)
            if vnas < 0:
                self.conclude(STEP_2,
                              f"NO_VNAS: ({vlan_text(self.key.vlan)}, {address(hi, lo)}) is not in the ANY-address table")
                return self.end(Outcome.NO_VNAS, -1)
            self.conclude(STEP_2, f"VNAS {self.c.vnases.rows[vnas].id}")
        name = f"{protocol_name(self.key.protocol)} port {self.key.destination_port}"
        port = port_find(&self.c.sockets, protocol_number(self.key.protocol), self.key.destination_port)
        if port < 0:
            self.conclude(f"Step 3: who waits on {name}?", "NO_PORT: no socket of any VNAS")
            return self.end(Outcome.NO_PORT, vnas)
        self.conclude(f"Step 3: who waits on {name}?", f"{self.c.sockets.ports[port].n_sockets} socket(s)")
        return self.end(self.choose_socket(port, vnas, hi, lo), vnas)


cdef object explain_c_key(Dispatcher dispatcher, const FlowKey* key):
    cdef Tables tables = dispatcher.tables
    cdef Walk walk = Walk.__new__(Walk)
    walk.dispatcher = dispatcher
    walk.c = &tables.c
    walk.key = key
    walk.steps = []
    walk.rows = []
    with cython.critical_section(tables):
        return walk.run()


def explain_key(Dispatcher dispatcher not None, key):
    """Explain how a parsed key is dispatched. Changes and counts nothing.

    Parameters
    ----------
    dispatcher : Dispatcher
    key : FLOW_KEY scalar, or array of one

    Returns
    -------
    Explanation
    """
    import numpy as np

    from vnasfast.columns import key_array
    from vnasfast.dtypes import FLOW_KEY

    # A scalar's own methods look theirs up by a text made anew each time, which CPython's method cache keeps: 56 bytes, 4,096
    # times at most.
    cdef const FlowKey[::1] view = key_array(np.asarray(key).reshape(-1), FLOW_KEY)
    if view.shape[0] != 1:
        raise InvalidValue(f"explain_key takes one key, not {view.shape[0]}")
    return explain_c_key(dispatcher, &view[0])


def explain_frame(Dispatcher dispatcher not None, frame, link_type, source_pid, wire_length, time_ns):
    """Explain how a frame is dispatched. Changes and counts nothing; parameters as for `Dispatcher.dispatch`.

    Returns
    -------
    Explanation
    """
    cdef FlowKey key
    cdef int64_t time = 0
    read_frame(frame, link_type, source_pid, wire_length, time_ns, &key, &time)
    if key.status == LATER_FRAGMENT:    # a first fragment would be remembered, and explaining changes nothing
        fragments_follow(&dispatcher.fragments.c_fragments, &key, time)
    return explain_c_key(dispatcher, &key)
