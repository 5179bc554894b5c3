"""Known answers for processes, interfaces and binding, one sentence a test.

Every operation goes to the reference model and to the engine, through :class:`pair.Pair`.
"""

from ipaddress import IPv6Address
from typing import Any

import pytest
from model import Usage
from pair import Pair, key, usage

from vnasfast import Outcome, ServerMachine
from vnasfast.errors import (
    AddressInUse,
    AddressNotAvailable,
    InvalidValue,
    NoSuchProcess,
    NoSuchSocket,
    ProcessExists,
    VnasError,
)

NOTHING = usage(Usage())


@pytest.fixture
def pair() -> Pair:
    """Give VNAS 1 (process 11) with 10.0.0.1 and 2001:db8::1, VNAS 2 (process 12) with 10.0.0.2."""
    pair = Pair(3)
    pair.do("vnas_start", 1, 1, pid=11)
    pair.do("vnas_start", 1, 2, pid=12)
    pair.do("validate", 11, "10.0.0.1", "eth0")
    pair.do("validate", 11, "2001:db8::1", "eth0")
    pair.do("validate", 12, "10.0.0.2", "eth0")
    return pair


# Processes


def test_a_new_machine_has_process_1_in_vnas_0_and_nothing_else() -> None:
    machine = ServerMachine()
    assert [(row.pid, row.vnas, usage(row.usage)) for row in machine.processes] == [(1, 0, NOTHING)]
    assert [machine.addresses, machine.sockets, machine.routes, machine.ports] == [[], [], [], {}]
    machine.check()


def test_fork_keeps_the_vnas_and_vnas_start_names_one(pair: Pair) -> None:
    child = pair.do("fork", 11)
    grandchild = pair.do("vnas_start", child, 9)
    rows = {row.pid: row for row in pair.engine.processes}
    assert (rows[child].vnas, rows[child].parent) == (1, 11)
    assert (rows[grandchild].vnas, rows[grandchild].parent) == (9, child)
    pair.compare()


def test_pids_are_counted_from_2_and_skip_those_in_use() -> None:
    pair = Pair()
    pair.do("fork", 1, pid=3)
    assert [pair.do("fork", 1) for _ in range(3)] == [2, 4, 5]
    pair.do("exit", 4)
    pair.do("fork", 1, pid=100)
    assert pair.do("fork", 1) == 6


def test_a_given_pid_must_be_free_and_in_range(pair: Pair) -> None:
    with pytest.raises(ProcessExists):
        pair.do("fork", 1, pid=11)
    with pytest.raises(ProcessExists):
        pair.do("vnas_start", 1, 5, pid=1)
    for pid in (0, -1, 2**31):
        with pytest.raises(InvalidValue):
            pair.do("fork", 1, pid=pid)
    assert pair.do("fork", 1, pid=2**31 - 1) == 2**31 - 1
    pair.compare()


def test_a_vnas_id_must_be_in_range(pair: Pair) -> None:
    for vnas in (-1, 2**31):
        with pytest.raises(InvalidValue):
            pair.do("vnas_start", 1, vnas)
    pair.do("vnas_start", 1, 2**31 - 1)
    pair.compare()


def test_exit_closes_the_sockets_and_gives_the_children_to_process_1(pair: Pair) -> None:
    child = pair.do("fork", 11)
    gone = pair.do("bind", 11, "tcp", 80)
    stays = pair.do("bind", child, "tcp", 81)
    assert pair.dispatch(key("10.0.0.1")) == gone
    grandchild = pair.do("vnas_start", child, 9)
    younger = pair.do("fork", grandchild)
    pair.do("exit", grandchild)  # not to the grandparent
    assert {row.pid: (row.vnas, row.parent) for row in pair.engine.processes}[younger] == (9, 1)
    pair.do("exit", 11)
    assert {row.pid: (row.vnas, row.parent) for row in pair.engine.processes}[child] == (1, 1)
    assert [row.socket for row in pair.engine.sockets] == [stays]
    assert pair.dispatch(key("10.0.0.1")) == Outcome.NO_PORT
    assert pair.dispatch(key("10.0.0.1", destination_port=81)) == stays
    pair.compare()


def test_the_addresses_of_a_vnas_outlive_its_processes(pair: Pair) -> None:
    pair.do("bind", 12, "tcp", 80)
    pair.do("exit", 12)
    pair.do("bind", 11, "tcp", 80)
    assert pair.dispatch(key("10.0.0.2")) == Outcome.NO_SOCKET
    again = pair.do("vnas_start", 1, 2, pid=12)
    socket = pair.do("bind", again, "tcp", 80)
    assert pair.dispatch(key("10.0.0.2")) == socket
    assert pair.do("invalidate", again, "10.0.0.2")
    pair.compare()


def test_process_1_does_not_exit_and_others_exit_once(pair: Pair) -> None:
    with pytest.raises(InvalidValue):
        pair.do("exit", 1)
    pair.do("exit", 12)
    with pytest.raises(NoSuchProcess):
        pair.do("exit", 12)


UNKNOWN_PROCESS = {
    "fork": (99,),
    "vnas_start": (99, 1),
    "exit": (99,),
    "validate": (99, "10.0.0.9", "eth0"),
    "invalidate": (99, "10.0.0.1"),
    "bind": (99, "tcp", 80),
    "source_address": (99, "10.0.0.9"),
}


@pytest.mark.parametrize("name", UNKNOWN_PROCESS)
def test_an_unknown_process_is_an_error(pair: Pair, name: str) -> None:
    with pytest.raises(NoSuchProcess) as caught:
        pair.do(name, *UNKNOWN_PROCESS[name])
    assert "99" in str(caught.value)
    pair.compare()


# Interfaces


def test_an_address_is_validated_once_whoever_asks(pair: Pair) -> None:
    for pid in (11, 12, 1):
        assert pair.do("validate", pid, "10.0.0.1", "eth1") is False
        assert pair.do("validate", pid, "::ffff:10.0.0.1", "eth1") is False
    assert pair.do("validate", 12, "10.0.0.1", "eth1", vlan=7) is True
    pair.compare()


def test_only_the_vnas_that_has_an_address_invalidates_it(pair: Pair) -> None:
    assert pair.do("invalidate", 12, "10.0.0.1") is False
    assert pair.do("invalidate", 11, "10.0.0.1", vlan=7) is False
    assert pair.do("invalidate", 11, "10.0.0.9") is False
    sibling = pair.do("fork", 11)
    assert pair.do("invalidate", sibling, IPv6Address("::ffff:10.0.0.1")) is True
    assert pair.do("invalidate", sibling, "10.0.0.1") is False
    pair.compare()


def test_a_socket_gets_nothing_while_its_address_is_gone(pair: Pair) -> None:
    specific = pair.do("bind", 11, "tcp", 80, "10.0.0.1")
    assert pair.dispatch(key("10.0.0.1")) == specific
    pair.do("invalidate", 11, "10.0.0.1")
    assert pair.dispatch(key("10.0.0.1")) == Outcome.NO_VNAS
    pair.do("validate", 12, "10.0.0.1", "eth0")
    assert pair.dispatch(key("10.0.0.1")) == Outcome.NO_SOCKET
    pair.do("invalidate", 12, "10.0.0.1")
    pair.do("validate", 11, "10.0.0.1", "eth0")
    assert pair.dispatch(key("10.0.0.1")) == specific
    assert [str(row.address) for row in pair.engine.addresses] == ["2001:db8::1", "10.0.0.2", "10.0.0.1"]
    pair.compare()


def test_interface_names_are_free_and_the_highest_vlan_is_4095(pair: Pair) -> None:
    for number, interface in enumerate(["bond0", "eth0.100", "eth0:1", "Ethernet 1/2", "ü"]):
        assert pair.do("validate", 11, f"10.9.0.{number}", interface, vlan=4095)
    pair.compare()


# Values


@pytest.mark.parametrize(
    ("name", "arguments", "options"),
    [
        ("validate", (11, "ANY", "eth0"), {}),
        ("validate", (11, "0.0.0.0", "eth0"), {}),
        ("validate", (11, "::", "eth0"), {}),
        ("validate", (11, "::ffff:0.0.0.0", "eth0"), {}),
        ("validate", (11, "10.0.0.9", ""), {}),
        ("validate", (11, "10.0.0.9", "eth0"), {"vlan": 4096}),
        ("validate", (11, "10.0.0.9", "eth0"), {"vlan": -1}),
        ("validate", (11, "fe80::1%eth0", "eth0"), {}),
        ("validate", (11, IPv6Address("fe80::1%eth0"), "eth0"), {}),
        ("validate", (99, "nonsense", "eth0"), {}),
        ("invalidate", (11, "10.0.0"), {}),
        ("invalidate", (11, "10.0.0.1"), {"vlan": 4096}),
        ("bind", (11, "tcp", 0), {}),
        ("bind", (11, "tcp", 65536), {}),
        ("bind", (11, "tcp", -1), {}),
        ("bind", (11, "icmp", 80), {}),
        ("bind", (11, 1, 80), {}),
        ("bind", (11, "tcp", 80, "10.0.0.1/32"), {}),
        ("bind", (11, "tcp", 80, "10.0.0.1"), {"v6only": True}),
        ("bind", (11, "tcp", 80, "0.0.0.0"), {"v6only": True}),
        ("bind", (11, "tcp", 80, "::ffff:10.0.0.1"), {"v6only": True}),
        ("bind", (99, "tcp", 0), {}),
        ("set_route", ("10.0.0.0/33", "eth0"), {}),
        ("set_route", ("nonsense", "eth0"), {}),
        ("set_route", ("10.0.0.0/8", ""), {}),
        ("remove_route", ("nonsense",), {}),
        ("source_address", (11, "10.0.0"), {}),
    ],
)
def test_a_value_without_meaning_is_refused_first_and_changes_nothing(
    pair: Pair, name: str, arguments: tuple[Any, ...], options: dict[str, Any]
) -> None:
    with pytest.raises(InvalidValue) as caught:
        pair.do(name, *arguments, **options)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value)) > 10
    pair.compare()


# Binding


IN_USE: list[tuple[str, dict[str, bool], dict[str, bool], bool]] = [
    ("ANY", {}, {}, True),
    ("ANY", {"sharing": True}, {}, True),
    ("ANY", {}, {"sharing": True}, True),
    ("ANY", {"sharing": True}, {"sharing": True}, False),
    ("ANY", {"v6only": True}, {}, True),
    ("10.0.0.1", {}, {"freebind": True}, True),
    ("127.0.0.1", {}, {}, True),
    ("0.0.0.0", {"sharing": True}, {"sharing": True}, False),
]


@pytest.mark.parametrize(("address", "first", "second", "refused"), IN_USE)
def test_the_same_recipient_twice_is_in_use_unless_both_share(
    pair: Pair, address: str, first: dict[str, bool], second: dict[str, bool], refused: bool
) -> None:
    pair.do("bind", 11, "tcp", 80, address, **first)
    sibling = pair.do("fork", 11)
    result = pair.attempt("bind", sibling, "tcp", 80, address, **second)
    assert isinstance(result, AddressInUse) == refused
    assert isinstance(pair.attempt("bind", 12, "tcp", 80, address, freebind=True), int)  # another VNAS
    assert isinstance(pair.attempt("bind", 11, "udp", 80, address), int)
    assert isinstance(pair.attempt("bind", 11, "tcp", 81, address), int)
    pair.compare()


def test_any_of_both_families_and_specific_are_different_recipients(pair: Pair) -> None:
    for address in ("ANY", "0.0.0.0", "10.0.0.1", "2001:db8::1", "127.0.0.1", "::1", "127.0.0.2"):
        pair.do("bind", 11, "tcp", 80, address)
    for same in ("::", "::ffff:0.0.0.0", "::ffff:10.0.0.1", "2001:DB8:0::1", "::ffff:7f00:1", "0::1"):
        with pytest.raises(AddressInUse):
            pair.do("bind", 11, "tcp", 80, same)
    pair.compare()


def test_v6only_is_an_attribute_of_any_alone(pair: Pair) -> None:
    pair.do("bind", 11, "tcp", 80, "2001:db8::1", v6only=True, sharing=True)
    pair.do("bind", 11, "tcp", 80, "2001:db8::1", sharing=True)
    pair.do("bind", 11, "tcp", 80, "::", v6only=True)
    assert [row.v6only for row in pair.engine.sockets] == [False, False, True]
    packets = [key("2001:db8::1", "2001:db8::9", source_port=port) for port in range(100)]
    assert set(pair.dispatch_batch(packets)) == {row.socket for row in pair.engine.sockets[:2]}
    pair.compare()


def test_closing_frees_the_recipient_address(pair: Pair) -> None:
    socket = pair.do("bind", 11, "tcp", 80)
    pair.do("close", socket)
    with pytest.raises(NoSuchSocket):
        pair.do("close", socket)
    assert pair.engine.ports == {}
    pair.do("bind", 11, "tcp", 80)
    pair.compare()


def test_what_was_closed_no_longer_owns_a_loopback_source(pair: Pair) -> None:
    served = [pair.do("bind", pid, "tcp", 80) for pid in (11, 12)]
    packet = key("127.0.0.1", "127.0.0.1", source_port=4000)
    for address in ("ANY", "127.0.0.1"):
        owners = [pair.do("bind", pid, "tcp", 4000, address) for pid in (11, 12)]
        assert pair.dispatch(packet) == Outcome.UNKNOWN_SOURCE
        pair.do("close", owners[0])
        assert pair.dispatch(packet) == served[1]
        pair.do("close", owners[1])
        assert pair.dispatch(packet) == Outcome.UNKNOWN_SOURCE
    pair.compare()


def test_a_group_is_as_old_as_its_oldest_open_socket(pair: Pair) -> None:
    for group, single in (("ANY", "10.0.0.1"), ("10.0.0.1", "ANY")):
        first = pair.do("bind", 11, "tcp", 80, group, sharing=True)
        other = pair.do("bind", 11, "tcp", 80, single)
        second = pair.do("bind", 11, "tcp", 80, group, sharing=True)
        assert pair.dispatch(key("10.0.0.1")) in (first, second)
        pair.do("close", first)
        assert pair.dispatch(key("10.0.0.1")) == other
        third = pair.do("bind", 11, "tcp", 80, group, sharing=True)
        assert pair.dispatch(key("10.0.0.1")) == other
        pair.do("close", other)
        assert pair.dispatch(key("10.0.0.1")) in (second, third)
        pair.do("close", second)
        pair.do("close", third)
    pair.compare()


@pytest.mark.parametrize("socket", [-1, 0, 1, 2**31 - 1, 2**31, 2**64])
def test_closing_what_is_no_socket_is_an_error(pair: Pair, socket: int) -> None:
    with pytest.raises(VnasError):
        pair.engine.close(socket)


@pytest.mark.parametrize(
    ("pid", "address", "available"),
    [
        (11, "10.0.0.1", True),
        (11, "10.0.0.2", False),
        (12, "10.0.0.1", False),
        (11, "10.0.0.9", False),
        (1, "10.0.0.1", False),
        (12, "10.0.0.3", True),  # on a VLAN
        (12, "127.0.0.1", True),
        (12, "127.255.255.255", True),
        (12, "::ffff:127.0.0.9", True),
        (12, "::1", True),
        (12, "::2", False),
        (12, "ANY", True),
        (1, "0.0.0.0", True),
    ],
)
def test_a_specific_address_belongs_to_the_vnas_or_is_loopback(
    pair: Pair, pid: int, address: str, available: bool
) -> None:
    pair.do("validate", 12, "10.0.0.3", "eth0", vlan=7)
    result = pair.attempt("bind", pid, "tcp", 80, address)
    assert isinstance(result, int if available else AddressNotAvailable)
    assert isinstance(pair.attempt("bind", pid, "tcp", 81, address, freebind=True), int)
    pair.compare()


def test_freebind_is_a_waiver_not_an_attribute(pair: Pair) -> None:
    socket = pair.do("bind", 11, "tcp", 80, "10.0.0.7", freebind=True)
    assert pair.dispatch(key("10.0.0.7")) == Outcome.NO_VNAS
    pair.do("validate", 11, "10.0.0.7", "eth0")
    assert pair.dispatch(key("10.0.0.7")) == socket
    pair.compare()


def test_not_available_comes_before_in_use(pair: Pair) -> None:
    pair.do("bind", 11, "tcp", 80, "10.0.0.1")
    pair.do("invalidate", 11, "10.0.0.1")
    with pytest.raises(AddressNotAvailable):
        pair.do("bind", 11, "tcp", 80, "10.0.0.1")
    with pytest.raises(AddressInUse):
        pair.do("bind", 11, "tcp", 80, "10.0.0.1", freebind=True)
