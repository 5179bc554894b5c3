"""Packets, bytes and times in every order, beside sockets that come and go: the counters are those of the model."""

import random

import numpy as np
import pytest
from pair import Pair, key, usage

from vnasfast import Outcome, ServerMachine, Snapshot, flow_keys, ipv4_keys

NOW = 1_700_000_000 * 10**9
N_VNASES = 5
PORTS = (80, 443)
# Packed counts have room for 2**36 bytes and 2**28 packets, and take packets shorter than 2**22.
LONG = 2**22 - 1
FULL = 2**28


def lengths_of(chooser: random.Random, n: int) -> list[int] | None:
    most = chooser.choice([1500, 1500, LONG, 2**32 - 1])
    return None if chooser.random() < 0.2 else [chooser.randrange(most + 1) for _ in range(n)]


def times_of(chooser: random.Random, n: int) -> list[int] | None:
    how = chooser.random()
    if how < 0.6:
        return None
    times = sorted(NOW + chooser.randrange(10**10) for _ in range(n))
    if how < 0.8:
        chooser.shuffle(times)
    return [0 if chooser.random() < 0.01 else time for time in times]


@pytest.mark.parametrize("seed", range(6))
def test_the_counters_are_the_models(seed: int) -> None:
    chooser = random.Random(seed)
    pair = Pair(seed)
    pids = [pair.do("vnas_start", 1, vnas) for vnas in range(1, N_VNASES + 1)]
    for vnas, pid in enumerate(pids, 1):
        pair.do("validate", pid, f"10.0.0.{vnas}", "eth0")
    for _ in range(60):
        if chooser.random() < 0.3 and pair.model.sockets:
            pair.do("close", chooser.choice(pair.model.sockets).socket)
        if chooser.random() < 0.5:
            pair.attempt("bind", chooser.choice(pids), "tcp", chooser.choice(PORTS), sharing=True)
        n = chooser.choice([1, 3, 40, 600])
        keys = [
            key(
                f"10.0.0.{chooser.randint(1, N_VNASES + 1)}",
                source_port=i,
                destination_port=chooser.choice((*PORTS, 22)),
            )
            for i in range(n)
        ]
        pair.dispatch_batch(keys, lengths_of(chooser, n), times_of(chooser, n))
        pair.compare()


@pytest.fixture
def machine() -> ServerMachine:
    machine = ServerMachine(seed=1)
    machine.validate(1, "10.0.0.1", "eth0")
    machine.bind(1, "tcp", 80)
    return machine


def test_more_bytes_than_a_packed_count_has_room_for(machine: ServerMachine) -> None:
    n = 100_000
    keys = flow_keys(destination=["10.0.0.1"] * n, destination_port=[80, 22] * (n // 2), protocol="tcp")
    machine.dispatch_batch(keys, wire_lengths=np.full(n, LONG, np.uint32))
    for row in (machine.sockets[0].usage, *(machine.outcomes[each] for each in (Outcome.DELIVERED, Outcome.NO_PORT))):
        assert usage(row) == (n // 2, n // 2 * LONG, None, None)
    machine.dispatch_batch(keys[:100], wire_lengths=np.full(100, 2**32 - 1, np.uint32))
    assert machine.sockets[0].usage.bytes == n // 2 * LONG + 50 * (2**32 - 1)


def test_more_packets_than_a_packed_count_has_room_for(machine: ServerMachine) -> None:
    n = 1 << 20
    keys = np.repeat(ipv4_keys(flow_keys(destination=["10.0.0.1"], destination_port=80, protocol="tcp")), n)
    out = np.zeros(n, np.int32)
    for _ in range(FULL // n + 1):
        machine.dispatch_batch(keys, out=out)
    assert machine.sockets[0].usage.packets == machine.outcomes[Outcome.DELIVERED].packets == FULL + n
    assert machine.sockets[0].usage.bytes == 0


def test_counters_move_when_tables_grow(machine: ServerMachine) -> None:
    keys = flow_keys(destination=["10.0.0.1"] * 3, destination_port=80, protocol="tcp")
    for turn in range(1, 3000):
        machine.dispatch_batch(keys, wire_lengths=np.full(3, 60, np.uint32))
        machine.bind(1, "udp", turn)
        if turn % 100 == 0:
            assert usage(machine.sockets[0].usage) == (3 * turn, 180 * turn, None, None)
    assert sum(row.usage.packets for row in machine.sockets) == 3 * 2999


def test_a_snapshot_counts_for_itself(machine: ServerMachine) -> None:
    keys = flow_keys(destination=["10.0.0.1", "10.0.0.2"], destination_port=80, protocol="tcp")
    machine.dispatch_batch(keys, wire_lengths=np.array([60, 70], np.uint32))
    frozen = Snapshot.of(machine)
    assert usage(frozen.sockets[0].usage) == (0, 0, None, None)
    frozen.dispatch_batch(keys, wire_lengths=np.array([80, 90], np.uint32))
    frozen.dispatch_batch(keys, times_ns=np.array([NOW, NOW], np.int64))
    assert usage(frozen.sockets[0].usage) == usage(frozen.outcomes[Outcome.DELIVERED]) == (2, 80, NOW, NOW)
    assert usage(frozen.outcomes[Outcome.NO_VNAS]) == (2, 90, NOW, NOW)
    assert usage(machine.sockets[0].usage) == (1, 60, None, None)
