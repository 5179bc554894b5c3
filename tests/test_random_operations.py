"""Random operations on the reference model and the engine side by side, from a seed: volume."""

import random
from dataclasses import replace
from typing import ClassVar

import pytest
from model import FIRST_FRAGMENT, Key, to_address
from pair import Pair
from small_world import (
    ADDRESSES,
    BAD_ADDRESSES,
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
from vnasfast.errors import VnasError
from vnasfast.tables.probes import spare_answers


class RandomDriver:
    """Operations drawn from a seed, for volume; the population stays small by closing what is too many.

    Each seed has its own habits (many or few ports, sharing or not, …): a driver that does a little of
    everything seldom has five sharing sockets beside a specific one on the same port.
    """

    WEIGHTS: ClassVar = {
        "fork": 3,
        "vnas_start": 4,
        "exit": 2,
        "validate": 12,
        "invalidate": 7,
        "bind": 30,
        "close": 9,
        "set_route": 3,
        "remove_route": 2,
        "source_address": 6,
        "packet": 12,
        "batch": 8,
    }

    def __init__(self, seed: int, *, wide: bool, large: bool = False) -> None:
        self.random = random.Random(seed)
        self.pair = Pair(seed=self.random.getrandbits(64))
        # Else every port of a small world has an array.
        spare_answers(self.pair.engine.tables, self.random.choice([0, 0, 500, 1 << 20]))
        self.wide = wide
        self.most_sockets = 1500 if large else self.random.choice([3, 12, 60])
        self.most_processes = 250 if large else 12
        self.vnases = range(400) if large else self.random.choice([VNASES, VNASES[:2]])
        self.ports = self.random.choice([PORTS, PORTS[:1]])
        self.protocols = self.random.choice([TCP_FIRST, TCP_FIRST[:1]])
        self.sharing = self.random.choice([0.1, 0.5, 0.95])

    def run(self, operations: int, *, compare_every: int) -> None:
        names, weights = list(self.WEIGHTS), list(self.WEIGHTS.values())
        for number in range(operations):
            name = self.random.choices(names, weights)[0]
            if name in ("fork", "vnas_start") and len(self.pair.model.processes) > self.most_processes:
                name = "exit"
            if name == "bind" and len(self.pair.model.sockets) > self.most_sockets:
                name = "close"
            getattr(self, name)()
            if number % max(compare_every // 10, 1) == 0:
                self.pair.engine.check()
            if number % compare_every == 0:
                self.pair.compare()
        self.pair.compare()

    def rarely(self) -> bool:
        return self.random.random() < 0.02

    def pid(self) -> int:
        return 999 if self.rarely() else self.random.choice(self.pair.model.processes).pid

    def new_pid(self) -> int | None:
        return self.random.choice([None, None, None, self.random.randrange(1, 20), 2**31 - 1])

    def address(self) -> str:
        if self.rarely():
            return self.random.choice(BAD_ADDRESSES)
        if self.wide and self.random.random() < 0.3:
            return self.random.choice(["10.1.2.{}", "2001:db8:1::{}"]).format(self.random.randrange(200))
        return self.random.choice(ADDRESSES)

    def packet_address(self) -> str:
        registered = self.pair.model.addresses
        if registered and self.random.random() < 0.5:
            return str(self.random.choice(registered).address)
        return self.random.choice(ADDRESSES)

    def a_port(self) -> int:
        if self.wide and self.random.random() < 0.3:
            return self.random.randrange(1, 500)
        return self.random.choice(self.ports)

    def key(self) -> Key:
        """Give a packet; often one that is aimed at a living socket, so that much is delivered."""
        choose = self.random.choice
        key = self.random_key()
        if self.pair.model.sockets and self.random.random() < 0.7:
            socket = choose(self.pair.model.sockets)
            key = replace(key, destination_port=socket.port, protocol=socket.protocol)
            entries = [row for row in self.pair.model.addresses if row.vnas == socket.vnas]
            if key.destination.is_loopback:
                key = replace(key, source_port=choose(self.pair.model.sockets).port)
            elif entries:
                entry = choose(entries)
                key = replace(key, destination=entry.address, vlan=entry.vlan)
        return key

    def random_key(self) -> Key:
        choose = self.random.choice
        return Key(
            destination=to_address(self.packet_address()),
            source=to_address(self.packet_address()),
            destination_port=self.a_port(),
            source_port=self.random.getrandbits(16) if self.random.random() < 0.5 else self.a_port(),
            vlan=choose(VLANS),
            protocol=choose(self.protocols),
            source_pid=choose([0, 0, self.pid()]),
        )

    def fork(self) -> None:
        self.pair.attempt("fork", self.pid(), pid=self.new_pid())

    def vnas_start(self) -> None:
        self.pair.attempt("vnas_start", self.pid(), self.random.choice(self.vnases), pid=self.new_pid())

    def exit(self) -> None:
        self.pair.attempt("exit", self.pid())

    def validate(self) -> None:
        interface = "" if self.rarely() else self.random.choice(INTERFACES)
        vlan = 4096 if self.rarely() else self.random.choice(VLANS)
        self.pair.attempt("validate", self.pid(), self.address(), interface, vlan=vlan)

    def invalidate(self) -> None:
        registered = self.pair.model.addresses
        if registered and self.random.random() < 0.5:
            row = self.random.choice(registered)
            self.pair.attempt("invalidate", self.pid(), row.address, vlan=row.vlan)
        else:
            self.pair.attempt("invalidate", self.pid(), self.address(), vlan=self.random.choice(VLANS))

    def bind(self) -> None:
        pid = self.pid()
        address = self.address()
        kind = self.random.random()
        if kind < 0.5:
            address = self.random.choice(RECIPIENTS[:4])
        elif kind < 0.8:
            vnases = {row.vnas for row in self.pair.model.processes if row.pid == pid}
            own = [str(row.address) for row in self.pair.model.addresses if row.vnas in vnases]
            address = self.random.choice([*own, address])
        options = {
            "v6only": self.random.random() < 0.1,
            "sharing": self.random.random() < self.sharing,
            "freebind": self.random.random() < 0.2,
        }
        protocol = self.random.choice(self.protocols)
        self.pair.attempt("bind", pid, protocol, self.a_port(), address, **options)

    def close(self) -> None:
        sockets = self.pair.model.sockets
        self.pair.attempt("close", self.random.choice(sockets).socket if sockets else 10**6)

    def set_route(self) -> None:
        self.pair.attempt("set_route", self.random.choice(NETWORKS), self.random.choice(INTERFACES))

    def remove_route(self) -> None:
        self.pair.attempt("remove_route", self.random.choice(NETWORKS))

    def source_address(self) -> None:
        self.pair.attempt("source_address", self.pid(), self.address())

    def packet(self) -> None:
        time_ns = self.random.choice(TIMES)
        self.pair.dispatch_frame(self.key(), time_ns, as_ipv6=self.random.random() < 0.2)

    def batch(self) -> None:
        size = self.random.choice([0, 1, 31, 32, 33, 64, 100])
        batch = [self.key() for _ in range(size)]
        if batch and self.random.random() < 0.5:
            batch[0] = replace(batch[0], status=-self.random.randrange(1, 10))
            batch[-1] = replace(batch[-1], protocol=self.random.choice([0, 1, 58, 255]))
        lengths = [self.random.choice(WIRE_LENGTHS) for _ in batch] if self.random.random() < 0.7 else None
        times = [self.random.choice(TIMES) for _ in batch] if self.random.random() < 0.7 else None
        self.pair.dispatch_batch(batch, lengths, times, count=self.random.random() < 0.8, explained=4)


def drive(seeds: range, operations: int, compare_every: int, *, large: bool = False) -> tuple[int, int, int]:
    total = dispatched = delivered = 0
    for seed in seeds:
        driver = RandomDriver(seed, wide=large or seed % 2 == 1, large=large)
        try:
            driver.run(operations, compare_every=compare_every)
        except (AssertionError, VnasError) as error:
            raise AssertionError(f"seed {seed}, operation {driver.pair.operations}: {error}") from error
        total += driver.pair.operations
        dispatched += driver.pair.dispatches
        delivered += driver.pair.model.outcomes[Outcome.DELIVERED].packets
    return total, dispatched, delivered


def test_random_operations() -> None:
    _, dispatched, delivered = drive(range(10), 400, compare_every=5)
    assert delivered > dispatched // 8  # the world is one in which things happen


@pytest.mark.long
def test_two_hundred_thousand_operations(capsys: pytest.CaptureFixture[str]) -> None:
    total, dispatched, delivered = drive(range(1000, 1040), 5500, compare_every=10)
    with capsys.disabled():
        print(f"\n{total:,} operations, {dispatched:,} dispatches ({delivered:,} delivered), 0 differences")
    assert total >= 200_000


def test_random_operations_on_large_tables() -> None:
    """Tables grow and shrink, and removed rows are used again."""
    drive(range(1), 3000, compare_every=200, large=True)


@pytest.mark.long
def test_many_random_operations_on_large_tables() -> None:
    drive(range(2000, 2004), 15_000, compare_every=500, large=True)


def test_counters_sum_to_the_packets_dispatched() -> None:
    driver = RandomDriver(5, wide=False)
    pair = driver.pair
    for pid in range(2, 6):
        pair.do("vnas_start", 1, pid - 1)
        pair.do("validate", pid, f"10.0.0.{pid - 1}", "eth0")
        pair.do("bind", pid, "tcp", 80, sharing=pid % 2 == 0)
    batch = [driver.key() for _ in range(2000)]
    pair.dispatch_batch(batch, [60] * len(batch), [10**18] * len(batch))
    outcomes = pair.engine.outcomes
    assert sum(row.packets for row in outcomes.values()) == len(batch)
    assert sum(row.bytes for row in outcomes.values()) == 60 * len(batch)
    delivered = outcomes[Outcome.DELIVERED].packets
    assert delivered > 0
    assert sum(row.usage.packets for row in pair.engine.sockets) == delivered
    assert sum(row.usage.packets for row in pair.engine.processes) == delivered
    assert sum(row.packets for row in pair.engine.usage_of_vnas().values()) == delivered


def test_fragments_follow_their_first() -> None:
    pair = Pair()
    pair.do("vnas_start", 1, 1)
    pair.do("validate", 2, "10.0.0.1", "eth0")
    pair.do("validate", 2, "2001:db8::1", "eth0")
    pair.do("bind", 2, "udp", 53)
    second = 10**9
    now = 10**18
    for address, source in (("10.0.0.1", "10.0.0.9"), ("2001:db8::1", "2001:db8::9")):
        whole = Key(to_address(address), to_address(source), 53, 9, protocol=17)
        first = replace(whole, status=FIRST_FRAGMENT, fragment_id=77)
        later = replace(first, status=int(Outcome.LATER_FRAGMENT), destination_port=0, source_port=0)
        assert pair.dispatch_frame(later, now, later=True) == Outcome.LATER_FRAGMENT
        socket = pair.dispatch_frame(first, now)
        assert socket >= 0
        assert pair.dispatch_frame(later, now + second, later=True) == socket
        other = replace(later, fragment_id=78)
        assert pair.dispatch_frame(other, now + second, later=True) == Outcome.LATER_FRAGMENT
        assert pair.dispatch_frame(later, now + 30 * second, later=True) == socket
        assert pair.dispatch_frame(later, now + 30 * second + 1, later=True) == Outcome.LATER_FRAGMENT
        assert pair.dispatch_frame(later, 0, later=True) == socket
        assert pair.dispatch_frame(replace(later, vlan=7), now, later=True) == Outcome.LATER_FRAGMENT
        moved = replace(first, destination_port=54)
        assert pair.dispatch_frame(moved, now) == Outcome.NO_PORT  # the newest first fragment counts
        assert pair.dispatch_frame(later, now, later=True) == Outcome.NO_PORT
    pair.compare()
