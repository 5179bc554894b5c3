"""Known answers for source address setting, counters, outcomes and views, one sentence a test."""

import resource
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network, ip_address

import numpy as np
import pytest
from model import PROTOCOLS, Key, Usage
from pair import ETHERNET, Pair, frame, key, key_array, usage

from vnasfast import Outcome, ServerMachine
from vnasfast.dtypes import FLOW_KEY
from vnasfast.errors import AddressNotAvailable

NOTHING = usage(Usage())
SECOND = 10**9
NOW = 1_700_000_000 * SECOND

# Source address setting


@pytest.fixture
def routed() -> Pair:
    """Give VNAS 1 (process 11) and VNAS 2 (process 12) addresses on eth0 and eth1, and routes over both."""
    pair = Pair(3)
    pair.do("vnas_start", 1, 1, pid=11)
    pair.do("vnas_start", 1, 2, pid=12)
    for pid, address, interface in (
        (12, "10.0.0.2", "eth0"),
        (11, "2001:db8::1", "eth0"),
        (11, "10.0.0.1", "eth0"),
        (11, "10.0.0.11", "eth0"),
        (11, "10.1.0.1", "eth1"),
        (12, "2001:db8::2", "eth1"),
    ):
        pair.do("validate", pid, address, interface)
    for network, interface in (("10.0.0.0/8", "eth0"), ("10.1.0.0/16", "eth1"), ("10.1.2.3/32", "eth0")):
        pair.do("set_route", network, interface)
    return pair


@pytest.mark.parametrize(
    ("pid", "destination", "source"),
    [
        (11, "10.9.9.9", "10.0.0.1"),  # the first of the family, VNAS and interface
        (12, "10.9.9.9", "10.0.0.2"),  # of the asking process's VNAS
        (11, "::ffff:10.9.9.9", "10.0.0.1"),  # a mapped destination is IPv4
        (11, "10.1.9.9", "10.1.0.1"),  # the longest prefix says the interface
        (11, "10.1.2.3", "10.0.0.1"),
        (12, "10.1.9.9", None),  # no address of VNAS 2 and IPv4 on eth1
        (11, "192.0.2.1", None),  # no route, no default
        (11, "2001:db8::99", None),
        (1, "10.9.9.9", None),  # VNAS 0 has no address
        (11, "127.0.0.1", None),  # no exception for loopback
    ],
)
def test_source_address(routed: Pair, pid: int, destination: str, source: str | None) -> None:
    if source is None:
        with pytest.raises(AddressNotAvailable):
            routed.do("source_address", pid, destination)
    else:
        assert routed.do("source_address", pid, destination) == ip_address(source)


def test_the_default_route_is_for_both_families_and_for_what_no_prefix_holds(routed: Pair) -> None:
    routed.do("set_route", "default", "eth1")
    assert str(routed.do("source_address", 11, "192.0.2.1")) == "10.1.0.1"
    assert str(routed.do("source_address", 12, "2001:db8::99")) == "2001:db8::2"
    assert str(routed.do("source_address", 11, "10.9.9.9")) == "10.0.0.1"
    routed.do("set_route", "::/0", "eth0")  # a prefix of length 0 goes before the default
    assert str(routed.do("source_address", 11, "2001:db8::99")) == "2001:db8::1"
    assert str(routed.do("source_address", 11, "192.0.2.1")) == "10.1.0.1"
    assert routed.do("remove_route", "default") is True
    assert routed.do("remove_route", "default") is False
    with pytest.raises(AddressNotAvailable):
        routed.do("source_address", 11, "192.0.2.1")
    routed.compare()


def test_the_longest_prefix_wins_in_either_order_of_registration(routed: Pair) -> None:
    routed.do("set_route", "10.0.0.0/7", "eth1")
    routed.do("set_route", "0.0.0.0/0", "eth1")
    assert str(routed.do("source_address", 11, "10.9.9.9")) == "10.0.0.1"
    assert str(routed.do("source_address", 11, "11.9.9.9")) == "10.1.0.1"
    routed.compare()


def test_a_route_is_replaced_and_removed(routed: Pair) -> None:
    routed.do("set_route", IPv4Network("10.0.0.0/8"), "eth1")
    assert str(routed.do("source_address", 11, "10.9.9.9")) == "10.1.0.1"
    assert routed.do("remove_route", IPv4Network("10.1.0.0/16")) is True
    assert routed.do("remove_route", "10.1.0.0/16") is False
    assert routed.do("remove_route", IPv6Network("::/0")) is False
    assert [str(row.network) for row in routed.engine.routes] == ["10.0.0.0/8", "10.1.2.3/32"]
    routed.compare()


def test_a_route_over_an_interface_that_carries_no_address(routed: Pair) -> None:
    routed.do("set_route", "10.7.0.0/16", "wlan0")
    with pytest.raises(AddressNotAvailable):
        routed.do("source_address", 11, "10.7.0.1")
    routed.do("validate", 11, "10.7.0.2", "wlan0", vlan=9)  # the VLAN makes no difference
    assert str(routed.do("source_address", 11, "10.7.0.1")) == "10.7.0.2"


def test_the_first_source_address_moves_on_when_it_is_invalidated(routed: Pair) -> None:
    routed.do("invalidate", 11, "10.0.0.1")
    assert str(routed.do("source_address", 11, "10.9.9.9")) == "10.0.0.11"
    routed.do("validate", 11, "10.0.0.1", "eth0")
    assert str(routed.do("source_address", 11, "10.9.9.9")) == "10.0.0.11"


# Outcomes and counters


@pytest.fixture
def served() -> Pair:
    """Give VNAS 1 (process 2) with 10.0.0.1 and an ANY socket on TCP port 80."""
    pair = Pair(4)
    pair.do("vnas_start", 1, 1)
    pair.do("validate", 2, "10.0.0.1", "eth0")
    pair.do("bind", 2, "tcp", 80)
    return pair


@pytest.mark.parametrize("status", range(-9, 0))
def test_a_negative_status_is_its_own_outcome(served: Pair, status: int) -> None:
    failed = key("10.0.0.1", status=status)
    assert served.dispatch(failed, 60) == status
    assert served.dispatch(replace(failed, protocol=1)) == status
    served.compare()


@pytest.mark.parametrize("status", [-10, -128])
def test_a_status_that_is_no_outcome_is_malformed(served: Pair, status: int) -> None:
    array = key_array([key("10.0.0.1", status=status)])
    assert served.engine.dispatch_batch(array).tolist() == [Outcome.MALFORMED]
    assert served.engine.explain_key(array[0]).outcome == Outcome.MALFORMED
    assert served.engine.outcomes[Outcome.MALFORMED].packets == 1


@pytest.mark.parametrize("status", [0, 1, 2])
def test_whole_packets_and_fragments_with_ports_are_dispatched(served: Pair, status: int) -> None:
    assert served.dispatch(key("10.0.0.1", status=status, fragment_id=5)) >= 0


def test_every_other_protocol_is_no_transport(served: Pair) -> None:
    others = set(range(256)) - set(PROTOCOLS.values())
    packets = [key(address, protocol=each) for each in others for address in ("10.0.0.1", "10.0.0.9")]
    assert set(served.dispatch_batch(packets, explained=len(packets))) == {Outcome.NO_TRANSPORT}


def test_a_delivery_names_socket_process_and_vnas(served: Pair) -> None:
    delivered = served.engine.dispatch(frame(key("10.0.0.1")), ETHERNET)
    assert (delivered.pid, delivered.vnas, delivered.outcome) == (2, 1, Outcome.DELIVERED)
    assert delivered.socket == served.engine.sockets[0].socket
    no_port = served.engine.dispatch(frame(key("10.0.0.1", destination_port=81)), ETHERNET)
    assert (no_port.socket, no_port.pid, no_port.vnas) == (None, None, 1)
    assert no_port.outcome == Outcome.NO_PORT
    no_vnas = served.engine.dispatch(frame(key("10.0.0.9")), ETHERNET)
    assert (no_vnas.socket, no_vnas.pid, no_vnas.vnas) == (None, None, None)
    assert no_vnas.outcome == Outcome.NO_VNAS


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        (b"", Outcome.MALFORMED),
        (bytes(12) + b"\x08\x06" + bytes(28), Outcome.NOT_IP),
        (frame(key("10.0.0.1"))[:20], Outcome.MALFORMED),
        (frame(key("10.0.0.1", protocol=1)), Outcome.NO_TRANSPORT),
    ],
    ids=["empty", "ARP", "cut", "ICMP"],
)
def test_a_frame_without_ports_is_an_outcome(served: Pair, data: bytes, outcome: Outcome) -> None:
    assert served.engine.explain(data, ETHERNET).outcome == outcome
    assert served.engine.dispatch(data, ETHERNET).outcome == outcome
    assert served.engine.dispatch_id(data, ETHERNET) == outcome
    assert served.engine.outcomes[outcome].packets == 2


def test_a_frame_that_was_longer_on_the_wire_is_truncated(served: Pair) -> None:
    data = frame(key("10.0.0.1"))
    for length in (0, 13, 20, 34):
        assert served.engine.dispatch_id(data[:length], ETHERNET, wire_length=len(data)) == Outcome.TRUNCATED
    assert served.engine.dispatch_id(data[:38], ETHERNET, wire_length=len(data)) >= 0  # the ports are there


def test_packets_bytes_and_times_are_counted_once_in_every_row(served: Pair) -> None:
    served.dispatch_batch([key("10.0.0.1")] * 3, [60, 1500, 9000], [NOW + 5, 0, NOW])
    expected = (3, 10560, NOW, NOW + 5)
    engine = served.engine
    assert usage(engine.sockets[0].usage) == expected
    assert usage(engine.processes[1].usage) == expected
    assert usage(engine.usage_of_vnas()[1]) == expected
    assert usage(engine.outcomes[Outcome.DELIVERED]) == expected
    assert usage(engine.processes[0].usage) == usage(engine.usage_of_vnas()[0]) == NOTHING
    served.compare()


def test_nothing_is_counted_when_not_asked_for(served: Pair) -> None:
    served.dispatch_batch([key("10.0.0.1"), key("10.0.0.9")], [60, 60], [NOW, NOW], count=False)
    served.engine.dispatch(frame(key("10.0.0.1")), ETHERNET, count=False)
    served.engine.explain(frame(key("10.0.0.1")), ETHERNET)
    assert all(usage(row) == NOTHING for row in served.engine.outcomes.values())
    served.compare()


def test_the_wire_length_of_a_frame_is_its_own_unless_given(served: Pair) -> None:
    data = frame(key("10.0.0.1"))
    served.engine.dispatch(data, ETHERNET, time_ns=NOW)
    assert usage(served.engine.sockets[0].usage) == (1, len(data), NOW, NOW)
    served.engine.dispatch(data, ETHERNET, wire_length=1000)
    assert usage(served.engine.sockets[0].usage) == (2, len(data) + 1000, NOW, NOW)


def test_what_was_used_outlives_the_socket_and_the_process_but_not_the_vnas(served: Pair) -> None:
    sibling = served.do("fork", 2)
    served.dispatch(key("10.0.0.1"), 60, NOW)
    served.do("close", served.model.sockets[0].socket)
    assert usage(served.engine.processes[1].usage) == (1, 60, NOW, NOW)
    served.do("exit", 2)
    assert usage(served.engine.usage_of_vnas()[1]) == (1, 60, NOW, NOW)
    served.do("exit", sibling)  # the VNAS still has an address
    assert usage(served.engine.usage_of_vnas()[1]) == (1, 60, NOW, NOW)
    last = served.do("vnas_start", 1, 1)
    served.do("invalidate", last, "10.0.0.1")
    served.do("exit", last)
    assert 1 not in served.engine.usage_of_vnas()
    served.do("vnas_start", 1, 1)
    assert usage(served.engine.usage_of_vnas()[1]) == NOTHING
    assert usage(served.engine.outcomes[Outcome.DELIVERED]) == (1, 60, NOW, NOW)
    served.compare()


def test_a_new_socket_starts_from_nothing(served: Pair) -> None:
    served.dispatch_batch([key("10.0.0.1")] * 5)
    served.do("close", served.model.sockets[0].socket)
    served.do("bind", 2, "tcp", 80)
    assert usage(served.engine.sockets[0].usage) == NOTHING
    served.compare()


# Batches


def test_an_empty_batch_is_an_empty_array(served: Pair) -> None:
    found = served.engine.dispatch_batch(np.zeros(0, FLOW_KEY))
    assert (found.shape, found.dtype) == ((0,), np.int32)


def test_a_batch_of_frames_equals_its_frames_one_by_one(served: Pair) -> None:
    served.do("validate", 2, "2001:db8::1", "eth0", vlan=3)
    keys = [
        key("10.0.0.1"),
        key("10.0.0.9"),
        key("2001:db8::1", "2001:db8::9", vlan=3),
        key("2001:db8::1", "2001:db8::9"),
        key("10.0.0.1", destination_port=81),
    ] * 20
    frames = [frame(each) for each in keys]
    lengths = np.array([len(data) for data in frames], np.uint32)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.uint64)
    found = served.engine.dispatch_frames(b"".join(frames), offsets, lengths, ETHERNET)
    wires = lengths.tolist()
    assert found.tolist() == [served.model.dispatch(*row) for row in zip(keys, wires, strict=True)]
    assert found.tolist() == [served.engine.dispatch_id(data, ETHERNET, count=False) for data in frames]
    served.compare()


# The second embodiment


def test_the_second_embodiment_has_one_table_a_vnas_and_dispatches_the_same(served: Pair) -> None:
    served.do("vnas_start", 1, 2, pid=9)
    for pid, address, vlan in ((9, "10.0.0.2", 0), (2, "2001:db8::1", 0), (9, "10.0.0.1", 7)):
        served.do("validate", pid, address, "eth0", vlan=vlan)
    served.do("bind", 9, "tcp", 80, "0.0.0.0")
    served.do("bind", 9, "tcp", 80, "::", v6only=True)
    tables = served.engine.any_tables
    assert [(str(row.address), row.vlan) for row in tables[1]] == [("10.0.0.1", 0), ("2001:db8::1", 0)]
    assert [(str(row.address), row.vlan) for row in tables[2]] == [("10.0.0.2", 0), ("10.0.0.1", 7)]
    again = ServerMachine.from_toml(served.engine.to_toml(embodiment=2), seed=4)
    packets = [key("10.0.0.1"), key("10.0.0.1", vlan=7), key("10.0.0.2"), key("2001:db8::1"), key("10.0.0.9")]

    def places(machine: ServerMachine) -> list[int]:
        rows = {row.socket: place for place, row in enumerate(machine.sockets)}
        return [rows.get(found, found) for found in machine.dispatch_batch(key_array(packets)).tolist()]

    assert places(again) == places(served.engine) == [0, 1, 1, 0, -1]
    assert again.addresses != []
    assert {row.address: row.vnas for row in again.sockets} == {row.address: row.vnas for row in served.engine.sockets}


# Registering and removing forever


def churn_sockets(machine: ServerMachine, turn: int) -> None:
    address = f"127.{turn >> 16 & 255}.{turn >> 8 & 255}.{turn & 255}"
    machine.close(machine.bind(1, "tcp", 1 + turn % 65535, address))


def churn_addresses(machine: ServerMachine, turn: int) -> None:
    address = f"10.{turn >> 16 & 255}.{turn >> 8 & 255}.{turn & 255}"
    machine.validate(1, address, f"eth{turn}", vlan=turn % 4096)
    machine.invalidate(1, address, vlan=turn % 4096)


def churn_processes(machine: ServerMachine, turn: int) -> None:
    pid = machine.vnas_start(1, 1 + turn)
    machine.bind(pid, "udp", 53)
    machine.exit(pid)


def churn_routes(machine: ServerMachine, turn: int) -> None:
    network = f"2001:db8:{turn & 65535:x}:{turn >> 16:x}::/64"
    machine.set_route(network, f"eth{turn}")
    machine.remove_route(network)


def churn_fragments(machine: ServerMachine, turn: int) -> None:
    first = Key(*map(ip_address, ("10.0.0.1", "10.0.0.2")), 80, 80, status=1, fragment_id=turn & 65535)
    machine.dispatch_id(frame(first), ETHERNET, time_ns=NOW + turn * SECOND)


CHURNS = [churn_sockets, churn_addresses, churn_processes, churn_routes, churn_fragments]


@pytest.mark.parametrize("churn", CHURNS)
def test_registering_and_removing_forever_grows_nothing(churn: Callable[[ServerMachine, int], None]) -> None:
    machine = ServerMachine(seed=1)
    turns = 25_000
    peaks = []
    for part in range(3):
        for turn in range(part * turns, (part + 1) * turns):
            churn(machine, turn)
        machine.check()
        peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
    assert [machine.addresses, machine.sockets, machine.routes] == [[], [], []]
    assert len(machine.processes) == len(machine.usage_of_vnas()) == 1
    assert peaks[2] - peaks[1] < 512  # KiB: 25,000 rows that stay would be more
