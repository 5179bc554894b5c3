"""The reference model and the engine side by side: every operation goes to both, and both must agree."""

import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from model import FIRST_FRAGMENT, PROTOCOLS, Address, Entry, Key, Model, Usage, packed16, to_address

from vnasfast import Outcome, ServerMachine, ipv4_keys
from vnasfast.dtypes import FLOW_KEY
from vnasfast.errors import VnasError

ETHERNET = 1
NAMES = {number: name for name, number in PROTOCOLS.items()}


def key(
    destination: str | Address,
    source: str | Address = "198.51.100.9",
    destination_port: int = 80,
    source_port: int = 40000,
    **fields: int,
) -> Key:
    return Key(to_address(destination), to_address(source), destination_port, source_port, **fields)


def key_array(keys: Sequence[Key]) -> np.ndarray:
    array = np.zeros(len(keys), FLOW_KEY)
    for row, each in zip(array, keys, strict=True):
        row["destination"] = np.frombuffer(packed16(each.destination), np.uint8)
        row["source"] = np.frombuffer(packed16(each.source), np.uint8)
        for name in FLOW_KEY.names[2:]:
            row[name] = getattr(each, name)
    return array


def transport_header(each: Key) -> bytes:
    ports = struct.pack(">HH", each.source_port, each.destination_port)
    if each.protocol == PROTOCOLS["tcp"]:
        return ports + bytes(8) + b"\x50\x02" + bytes(6)
    return ports + struct.pack(">H", 8) + bytes(10)


def frame(each: Key, *, as_ipv6: bool = False, later: bool = False) -> bytes:
    """Build the Ethernet frame that parses to the key; IPv4 as mapped IPv6 addresses on request."""
    fragment = each.status == FIRST_FRAGMENT or later
    payload = b"later." if later else transport_header(each)
    offset = 1000 if later else 0
    more = int(not later)
    if each.destination.version == each.source.version == 4 and not as_ipv6:
        flags = offset | more << 13 if fragment else 0
        addresses = each.source.packed + each.destination.packed
        length = 20 + len(payload)
        head = struct.pack(">BBHHHBBH", 0x45, 0, length, each.fragment_id, flags, 64, each.protocol, 0)
        ethertype, packet = 0x0800, head + addresses + payload
    else:
        following = each.protocol
        if fragment:
            payload = struct.pack(">BBHI", each.protocol, 0, offset << 3 | more, each.fragment_id) + payload
            following = 44
        head = struct.pack(">IHBB", 6 << 28, len(payload), following, 64)
        ethertype, packet = 0x86DD, head + packed16(each.source) + packed16(each.destination) + payload
    tag = struct.pack(">HH", 0x8100, each.vlan) if each.vlan else b""
    return bytes(12) + tag + struct.pack(">H", ethertype) + packet


def usage(row: Any) -> tuple[int, int, int | None, int | None]:
    return row.packets, row.bytes, row.first_ns, row.last_ns


def result_of(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    try:
        return function(*arguments, **options)
    except VnasError as error:
        return error


class Pair:
    def __init__(self, seed: int = 0) -> None:
        self.model = Model(seed)
        self.engine = ServerMachine(seed=seed)
        self.operations = 0
        self.dispatches = 0

    def do(self, name: str, *arguments: Any, **options: Any) -> Any:
        """Do one operation on both; both return the same or raise the same class of error."""
        self.operations += 1
        found = result_of(getattr(self.engine, name), *arguments, **options)
        if name == "bind":
            failed = isinstance(found, VnasError)
            assert failed or found not in [row.socket for row in self.model.sockets], f"socket {found} twice"
            options["socket"] = -1 if failed else found
        expected = result_of(getattr(self.model, name), *arguments, **options)
        call = f"{name}(*{arguments}, **{options})"
        if isinstance(expected, VnasError) or isinstance(found, VnasError):
            assert type(found) is type(expected), f"{call}: {found!r} is not {expected!r}"
            raise found
        assert (type(found), found) == (type(expected), expected), f"{call}: {found!r} is not {expected!r}"
        return found

    def attempt(self, name: str, *arguments: Any, **options: Any) -> Any:
        return result_of(self.do, name, *arguments, **options)

    def dispatch(self, each: Key, wire_length: int = 0, time_ns: int = 0, *, count: bool = True) -> int:
        """Dispatch one parsed key; explain and a second, uncounted dispatch must agree."""
        return self.dispatch_batch([each], [wire_length], [time_ns], count=count)[0]

    def dispatch_batch(
        self,
        keys: Sequence[Key],
        wire_lengths: Sequence[int] | None = None,
        times_ns: Sequence[int] | None = None,
        *,
        count: bool = True,
        explained: int = 1,
    ) -> list[int]:
        self.operations += 1
        self.dispatches += len(keys)
        array = key_array(keys)
        out = np.empty(len(keys), np.int32)
        found = self.engine.dispatch_batch(
            array,
            wire_lengths=None if wire_lengths is None else np.array(wire_lengths, np.uint32),
            times_ns=None if times_ns is None else np.array(times_ns, np.int64),
            out=out,
            count=count,
        )
        assert found is out
        lengths = wire_lengths or [0] * len(keys)
        times = times_ns or [0] * len(keys)
        columns = zip(keys, lengths, times, strict=True)
        expected = [self.model.dispatch(each, length, time, count) for each, length, time in columns]
        for each, one, other in zip(keys, found.tolist(), expected, strict=True):
            assert one == other, f"{each}: {one} is not {other}"
        self.narrow(keys, array, expected)
        for index in range(min(explained, len(keys))):
            self.agree(self.engine.explain_key(array[index]), keys[index])
        return expected

    def narrow(self, keys: Sequence[Key], array: np.ndarray, expected: Sequence[int]) -> None:
        """Dispatch those keys again that fit the narrow form."""
        fit = [
            place
            for place, each in enumerate(keys)
            if each.destination.version == each.source.version == 4 and each.source_pid == 0 and each.status <= 0
        ]
        found = self.engine.dispatch_batch(ipv4_keys(array[fit]), count=False)
        for place, one in zip(fit, found.tolist(), strict=True):
            assert one == expected[place], f"{keys[place]}, narrow: {one} is not {expected[place]}"

    def dispatch_frame(
        self,
        each: Key,
        time_ns: int = 0,
        *,
        as_ipv6: bool = False,
        later: bool = False,
        count: bool = True,
    ) -> int:
        """Dispatch one frame through parser and fragment table."""
        self.operations += 1
        self.dispatches += 1
        data = frame(each, as_ipv6=as_ipv6, later=later)
        parsed = self.model.follow(each, time_ns)
        options = {"source_pid": each.source_pid, "time_ns": time_ns}
        explanation = self.engine.explain(data, ETHERNET, **options)
        delivery = self.engine.dispatch(data, ETHERNET, count=count, **options)
        self.agree(delivery, parsed)
        self.agree(explanation, parsed)
        assert self.engine.dispatch_id(data, ETHERNET, count=False, **options) == (
            int(delivery.outcome) if delivery.socket is None else delivery.socket
        )
        return self.model.dispatch(parsed, len(data), time_ns, count)

    def agree(self, delivery: Any, each: Key) -> None:
        outcome, vnas, socket = self.model.decide(each)
        expected = (outcome, vnas, socket and socket.socket, socket and socket.pid)
        found = (delivery.outcome, delivery.vnas, delivery.socket, delivery.pid)
        assert found == expected, f"{each}: {found} is not {expected}"

    def compare(self) -> None:
        """Compare every view of the engine with the model."""
        model, engine = self.model, self.engine
        engine.check()
        assert [(row.pid, row.vnas, row.parent, usage(row.usage)) for row in engine.processes] == [
            (row.pid, row.vnas, row.parent, usage(row.usage))
            for row in sorted(model.processes, key=lambda row: row.pid)
        ]
        assert list(map(tuple, engine.addresses)) == list(map(entry_row, model.addresses))
        assert [(*row[:-1], usage(row.usage)) for row in engine.sockets] == [
            (
                *(row.socket, NAMES[row.protocol], row.port, row.address),
                *(row.pid, row.vnas, row.v6only, row.sharing, usage(row.usage)),
            )
            for row in model.sockets
        ]
        ports: dict[tuple[str, int], list[int]] = {}
        for socket in model.sockets:
            ports.setdefault((NAMES[socket.protocol], socket.port), []).append(socket.socket)
        assert {port: list(sockets) for port, sockets in engine.ports.items()} == ports
        assert list(map(tuple, engine.routes)) == [  # the default last
            (row.network, row.interface) for row in sorted(model.routes, key=lambda row: row.network is None)
        ]
        tables: dict[int, list[tuple[Any, ...]]] = {}
        for entry in model.addresses:
            tables.setdefault(entry.vnas, []).append(entry_row(entry))
        assert {vnas: list(map(tuple, rows)) for vnas, rows in engine.any_tables.items() if rows} == tables
        self.compare_usage()

    def compare_usage(self) -> None:
        model, engine = self.model, self.engine
        nothing = usage(Usage())
        found = {vnas: usage(row) for vnas, row in engine.usage_of_vnas().items()}
        assert found == {vnas: usage(row) for vnas, row in model.usage_of_vnas.items()}
        outcomes = {outcome: usage(row) for outcome, row in engine.outcomes.items()}
        assert {outcome: outcomes.get(outcome, nothing) for outcome in Outcome} == {
            outcome: usage(row) for outcome, row in model.outcomes.items()
        }


def entry_row(entry: Entry) -> tuple[Any, ...]:
    return entry.address, entry.vnas, entry.interface, entry.vlan
