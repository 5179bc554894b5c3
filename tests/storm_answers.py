"""What the answer to each watched key is, version after version, by the operations of a log.

The rules are the model's (`Model.decide`), with its scans replaced by dictionaries, so that a million operations are
replayed in seconds; `test_storm.py` holds the two together.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from model import Address, Key, Socket, flow_hash
from storm_log import NAMES, Operation

from vnasfast import Outcome

Service = tuple[int, int]  # protocol, port


class Answer(NamedTuple):
    """An answer, and what a Delivery says besides."""

    result: int  # socket ID, or the outcome
    vnas: int | None
    pid: int | None


NO_VNAS = Answer(int(Outcome.NO_VNAS), None, None)
UNKNOWN_SOURCE = Answer(int(Outcome.UNKNOWN_SOURCE), None, None)


class Answers:
    """The tables of one version, the answers to the watched keys, and the answers of the versions before."""

    def __init__(self, keys: Sequence[Key], seed: int) -> None:
        self.keys = keys
        self.loopback = [key.destination.is_loopback for key in keys]
        self.services = [(key.protocol, key.destination_port) for key in keys]
        self.hashes = [flow_hash(seed, key) for key in keys]
        self.version = 0
        self.handlers = [getattr(self, name) for name in NAMES]  # by the operation's number
        self.processes = {1: 0}
        self.sockets_of: defaultdict[int, dict[int, Socket]] = defaultdict(dict)
        self.addresses: dict[tuple[int, Address], int] = {}
        self.sockets: dict[int, Socket] = {}
        self.ports: defaultdict[Service, dict[int, list[Socket]]] = defaultdict(dict)
        # Which keys an operation can touch.
        self.by_service: defaultdict[Service, list[int]] = defaultdict(list)
        self.by_vnas: defaultdict[tuple[int, int, int], set[int]] = defaultdict(set)
        self.by_address: defaultdict[tuple[int, Address], list[int]] = defaultdict(list)
        self.by_source_service: defaultdict[Service, list[int]] = defaultdict(list)
        self.by_source_pid: defaultdict[int, list[int]] = defaultdict(list)
        for index, key in enumerate(keys):
            self.watch(index, key)
        self.answers = [self.decide(index) for index in range(len(keys))]
        self.results = np.array([answer.result for answer in self.answers], np.int32)
        for index, answer in enumerate(self.answers):
            self.place(index, None, answer.vnas)
        self.forget()

    def watch(self, index: int, key: Key) -> None:
        self.by_service[key.protocol, key.destination_port].append(index)
        if not key.destination.is_loopback:
            self.by_address[key.vlan, key.destination].append(index)
        elif key.source_pid:
            self.by_source_pid[key.source_pid].append(index)
        elif key.source.is_loopback:
            self.by_source_service[key.protocol, key.source_port].append(index)
        else:
            self.by_address[key.vlan, key.source].append(index)

    def forget(self) -> None:
        """Begin a new history with this version."""
        self.history: list[list[tuple[int, Answer]]] = [[(self.version, answer)] for answer in self.answers]

    # The model's rules

    def decide(self, index: int) -> Answer:
        key = self.keys[index]
        if self.loopback[index]:
            vnas, otherwise = self.source_vnas(key), UNKNOWN_SOURCE
        else:
            vnas, otherwise = self.addresses.get((key.vlan, key.destination)), NO_VNAS
        if vnas is None:
            return otherwise
        sockets = self.ports.get(self.services[index])
        if not sockets:
            return Answer(int(Outcome.NO_PORT), vnas, None)
        for socket in sockets.get(vnas, ()):
            if socket.receives(key.destination):
                chosen = self.choose(index, socket, sockets[vnas])
                return Answer(chosen.socket, vnas, chosen.pid)
        return Answer(int(Outcome.NO_SOCKET), vnas, None)

    def source_vnas(self, key: Key) -> int | None:
        if key.source_pid:
            return self.processes.get(key.source_pid)
        if not key.source.is_loopback:
            return self.addresses.get((key.vlan, key.source))
        sockets = self.ports.get((key.protocol, key.source_port), {})
        found = [vnas for vnas, rows in sockets.items() if any(row.receives(key.source) for row in rows)]
        return found[0] if len(found) == 1 else None

    def choose(self, index: int, first: Socket, sockets: list[Socket]) -> Socket:
        if not first.sharing:
            return first
        wanted = (first.address, first.v6only)
        group = [socket for socket in sockets if (socket.address, socket.v6only) == wanted]
        return group[self.hashes[index] * len(group) >> 32]

    # Operations

    def replay(self, operations: Iterable[Operation]) -> None:
        for operation in operations:
            self.version += 1
            self.refresh(self.handlers[operation[0]](*operation[1:]))

    def refresh(self, touched: Iterable[int]) -> None:
        for index in touched:
            answer = self.decide(index)
            before = self.answers[index]
            if answer != before:
                self.place(index, before.vnas, answer.vnas)
                self.answers[index] = answer
                self.results[index] = answer.result
                self.history[index].append((self.version, answer))

    def place(self, index: int, before: int | None, vnas: int | None) -> None:
        if before == vnas:
            return
        service = self.services[index]
        if before is not None:
            self.by_vnas[*service, before].discard(index)
        if vnas is not None:
            self.by_vnas[*service, vnas].add(index)

    # Each does an operation and gives the keys whose answers it may change.

    def start(self, pid: int, vnas: int) -> Iterable[int]:
        self.processes[pid] = vnas
        return self.by_source_pid.get(pid, ())

    def exit(self, pid: int) -> Iterable[int]:
        assert not self.sockets_of.pop(pid, {}), f"exit({pid}): the log has no close of some of its sockets"
        del self.processes[pid]
        return self.by_source_pid.get(pid, ())

    def validate(self, pid: int, vlan: int, address: Address, changed: bool) -> Iterable[int]:
        assert changed == ((vlan, address) not in self.addresses), f"validate({pid}, {vlan}, {address})"
        self.addresses.setdefault((vlan, address), self.processes[pid])
        return self.by_address.get((vlan, address), ())

    def invalidate(self, pid: int, vlan: int, address: Address, changed: bool) -> Iterable[int]:
        registered = self.addresses.get((vlan, address)) == self.processes[pid]
        assert changed == registered, f"invalidate({pid}, {vlan}, {address})"
        if changed:
            del self.addresses[vlan, address]
        return self.by_address.get((vlan, address), ())

    def bind(
        self, socket: int, pid: int, protocol: int, port: int, address: Address, v6only: bool, sharing: bool
    ) -> Iterable[int]:
        assert socket not in self.sockets, f"socket {socket} was given twice"
        row = Socket(socket, protocol, port, address, pid, self.processes[pid], v6only, sharing)
        sockets = self.ports[protocol, port]
        touched = self.touched_by(row) if sockets else set(self.by_service.get((protocol, port), ()))
        touched.update(self.by_source_service.get((protocol, port), ()))
        self.sockets[socket] = self.sockets_of[pid][socket] = row
        sockets.setdefault(row.vnas, []).append(row)
        return touched

    def close(self, socket: int) -> Iterable[int]:
        row = self.sockets[socket]
        del self.sockets_of[row.pid][socket]
        return self.remove(row)

    def remove(self, socket: Socket) -> set[int]:
        service = socket.protocol, socket.port
        touched = self.touched_by(socket)
        del self.sockets[socket.socket]
        sockets = self.ports[service]
        rows = sockets[socket.vnas]
        # By identity: to compare each field of each socket takes longer than all else.
        del rows[next(place for place, row in enumerate(rows) if row is socket)]
        if not rows:
            del sockets[socket.vnas]
        return touched if sockets else touched | set(self.by_service.get(service, ()))

    def touched_by(self, socket: Socket) -> set[int]:
        """Give the keys of the socket's port and VNAS, and those for which it may be the source."""
        service = socket.protocol, socket.port
        touched = set(self.by_vnas.get((*service, socket.vnas), ()))
        touched.update(self.by_source_service.get(service, ()))
        return touched
