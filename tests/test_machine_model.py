"""Random operations on the reference model and the engine side by side, by Hypothesis: small failing examples."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from model import Key, to_address
from pair import Pair
from small_world import (
    ADDRESSES,
    INTERFACES,
    NETWORKS,
    PORTS,
    RECIPIENTS,
    TCP_FIRST,
    TIMES,
    VLANS,
    VNASES,
    WIRE_LENGTHS,
)

from vnasfast import Outcome
from vnasfast.tables.probes import spare_answers

pids = st.integers(1, 6)
addresses = st.sampled_from(ADDRESSES)
recipients = st.sampled_from(RECIPIENTS)
vlans = st.sampled_from(VLANS)
networks = st.sampled_from(NETWORKS)
interfaces = st.sampled_from(INTERFACES)
packet_addresses = addresses.map(to_address)
keys = st.builds(
    Key,
    destination=packet_addresses,
    source=packet_addresses,
    destination_port=st.sampled_from([*PORTS, 0, 81]),
    source_port=st.sampled_from([*PORTS, 0, 81]) | st.integers(0, 65535),
    vlan=vlans,
    protocol=st.sampled_from([*TCP_FIRST, 1]),
    status=st.sampled_from([0, 0, 0, 1, 2, *(int(outcome) for outcome in Outcome)]),
    source_pid=st.sampled_from([0, 0, 1, 2, 3, 2**31 - 1]),
)
packets = st.builds(replace, keys, status=st.just(0), protocol=st.sampled_from(TCP_FIRST))


# Sent after every step: to each address from afar, and from two endpoints of loopback.
SWEEP = [
    Key(to_address(address), to_address(source), port, source_port)
    for address in ("10.0.0.1", "10.0.0.2", "2001:db8::1", "127.0.0.1", "::1")
    for port in (53, 80)
    for source, source_port in (("127.0.0.1", 53), ("::1", 80), ("10.0.0.1", 9))
]


class MachineAgainstModel(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair(seed=2024)

    @initialize(spare=st.sampled_from([0, 1 << 20]))
    def three_servers(self, spare: int) -> None:
        spare_answers(self.pair.engine.tables, spare)
        for vnas, address in enumerate(("10.0.0.1", "10.0.0.2", "2001:db8::1"), 1):
            pid = self.pair.do("vnas_start", 1, vnas)
            self.pair.do("validate", pid, address, "eth0")

    @rule(parent=pids, pid=st.none() | st.integers(0, 8) | st.just(2**31 - 1))
    def fork(self, parent: int, pid: int | None) -> None:
        self.pair.attempt("fork", parent, pid=pid)

    @rule(parent=pids, vnas=st.sampled_from([*VNASES, -1, 2**31]), pid=st.none() | st.integers(1, 8))
    def vnas_start(self, parent: int, vnas: int, pid: int | None) -> None:
        self.pair.attempt("vnas_start", parent, vnas, pid=pid)

    @rule(pid=pids)
    def exit(self, pid: int) -> None:
        self.pair.attempt("exit", pid)

    @rule(pid=pids, address=addresses | st.sampled_from(["ANY", "0.0.0.0"]), interface=interfaces, vlan=vlans)
    def validate(self, pid: int, address: str, interface: str, vlan: int) -> None:
        self.pair.attempt("validate", pid, address, interface, vlan=vlan)

    @rule(pid=pids, address=addresses, vlan=vlans)
    def invalidate(self, pid: int, address: str, vlan: int) -> None:
        self.pair.attempt("invalidate", pid, address, vlan=vlan)

    @rule(
        pid=pids,
        protocol=st.sampled_from([6, 6, 6, 6, *TCP_FIRST, "tcp", "udp", "sctp", "dccp", "udplite", 1, "icmp"]),
        port=st.sampled_from([53, 80, 53, 80, *PORTS, *PORTS, 0, 65536, -1]),
        address=recipients,
        options=st.fixed_dictionaries(
            {}, optional={"v6only": st.booleans(), "sharing": st.booleans(), "freebind": st.booleans()}
        ),
    )
    def bind(self, pid: int, protocol: Any, port: int, address: str, options: dict[str, bool]) -> None:
        self.pair.attempt("bind", pid, protocol, port, address, **options)

    @rule(index=st.integers(0, 12))
    def close(self, index: int) -> None:
        sockets = self.pair.model.sockets
        self.pair.attempt("close", sockets[index].socket if index < len(sockets) else index)

    @rule(network=networks, interface=interfaces)
    def set_route(self, network: str, interface: str) -> None:
        self.pair.attempt("set_route", network, interface)

    @rule(network=networks)
    def remove_route(self, network: str) -> None:
        self.pair.attempt("remove_route", network)

    @rule(pid=pids, destination=addresses)
    def source_address(self, pid: int, destination: str) -> None:
        self.pair.attempt("source_address", pid, destination)

    @rule(packet=packets, as_ipv6=st.booleans(), count=st.booleans(), time_ns=st.sampled_from(TIMES))
    def dispatch_frame(self, packet: Key, as_ipv6: bool, count: bool, time_ns: int) -> None:
        self.pair.dispatch_frame(packet, time_ns, as_ipv6=as_ipv6, count=count)

    @rule(batch=st.lists(keys, max_size=70), count=st.booleans())
    def dispatch_batch(self, batch: list[Key], count: bool) -> None:
        self.pair.dispatch_batch(batch, count=count, explained=len(batch))

    @rule(
        rows=st.lists(st.tuples(keys, st.sampled_from(WIRE_LENGTHS), st.sampled_from(TIMES)), min_size=1, max_size=20)
    )
    def dispatch_counted(self, rows: list[tuple[Key, int, int]]) -> None:
        batch, lengths, times = zip(*rows, strict=True)
        self.pair.dispatch_batch(batch, lengths, times)

    @invariant()
    def same_views(self) -> None:
        self.pair.dispatch_batch(SWEEP)
        self.pair.compare()


CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
MachineAgainstModel.TestCase.settings = settings(
    max_examples=80, stateful_step_count=40, deadline=None, suppress_health_check=CHECKS
)
TestMachineAgainstModel = MachineAgainstModel.TestCase


class LongMachineAgainstModel(MachineAgainstModel):
    pass


LongMachineAgainstModel.TestCase.settings = settings(
    max_examples=1500, stateful_step_count=60, deadline=None, suppress_health_check=CHECKS
)
TestLongMachineAgainstModel = pytest.mark.long(LongMachineAgainstModel.TestCase)
