"""Threads that count at the same time, beside closes and somebody who reads: no packet is lost or counted twice."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from pair import usage

from vnasfast import Outcome, ServerMachine, Snapshot, flow_keys

N_VNASES = 40
N_KEYS = 20_000  # of a call: more than what is counted under the lock that all threads share
CALLS = 8
TURNS = 10_000
THREADS = 4
NOW = 1_700_000_000 * 10**9
#: A packet to VNAS n has 100 + n bytes, so that one that went to another's account shows.
SHORT = 100


def machine_of(seed: int) -> tuple[ServerMachine, list[int]]:
    machine = ServerMachine(seed=seed)
    pids = [machine.vnas_start(1, vnas) for vnas in range(1, N_VNASES + 1)]
    for vnas, pid in enumerate(pids, 1):
        machine.validate(pid, f"10.0.0.{vnas}", "eth0")
        machine.bind(pid, "tcp", 80)
    return machine, pids


def keys_of(chooser: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Keys, of which some reach no VNAS or no port, and for which VNAS each is."""
    vnases = chooser.integers(1, N_VNASES + 2, N_KEYS)
    keys = flow_keys(destination=[f"10.0.0.{vnas}" for vnas in vnases.tolist()], destination_port=80, protocol="tcp")
    keys["destination_port"][chooser.random(N_KEYS) < 0.1] = 81
    return keys, vnases


def test_threads_count_each_packet_once_and_whoever_reads_sees_it() -> None:
    machine, _ = machine_of(1)
    keys, vnases = keys_of(np.random.default_rng(1))
    lengths = (SHORT + vnases).astype(np.uint32)
    times = NOW + np.arange(N_KEYS, dtype=np.int64)
    begin = threading.Barrier(THREADS + 1)
    seen: list[int] = []

    def count(number: int) -> np.ndarray:
        begin.wait(10)
        for call in range(CALLS):
            # Packets with times, and packets too long for small counters, have other counters.
            out = machine.dispatch_batch(
                keys,
                wire_lengths=lengths + np.uint32(2**23) if (call + number) % 4 == 3 else lengths,
                times_ns=times if call % 3 == 0 else None,
            )
        return out

    with ThreadPoolExecutor(THREADS) as pool:
        runs = [pool.submit(count, number) for number in range(THREADS)]
        begin.wait(10)
        while not all(run.done() for run in runs):
            outcomes = machine.outcomes
            seen.append(sum(row.packets for row in outcomes.values()))
            assert sum(row.usage.packets for row in machine.sockets) <= machine.outcomes[Outcome.DELIVERED].packets
        results = [run.result() for run in runs]
    calls = CALLS * THREADS
    long_calls = sum((call + number) % 4 == 3 for call in range(CALLS) for number in range(THREADS))
    assert seen == sorted(seen)
    assert {(out == results[0]).all() for out in results} == {True}
    want = Counter(results[0].tolist())
    for row in machine.sockets:
        number = want[row.socket]
        n_bytes = calls * number * (SHORT + row.vnas) + long_calls * number * 2**23
        assert (row.usage.packets, row.usage.bytes) == (calls * number, n_bytes), row
        mine = times[results[0] == row.socket]
        assert (row.usage.first_ns, row.usage.last_ns) == (mine[0], mine[-1])
    for outcome in (Outcome.NO_VNAS, Outcome.NO_PORT):
        assert machine.outcomes[outcome].packets == calls * want[outcome]
    assert machine.outcomes[Outcome.DELIVERED].packets == calls * sum(n for result, n in want.items() if result >= 0)


@pytest.mark.parametrize("seed", range(3))
def test_what_was_counted_to_a_socket_stays_with_its_vnas_when_it_closes(seed: int) -> None:
    """A socket's number is soon another's: what threads counted to it must have left them by then."""
    machine, pids = machine_of(seed)
    keys, vnases = keys_of(np.random.default_rng(seed))
    lengths = (SHORT + vnases).astype(np.uint32)
    times = np.full(N_KEYS, NOW, np.int64)
    stop = threading.Event()
    counted: list[Counter[int]] = []

    def count(number: int) -> None:
        delivered: Counter[int] = Counter()
        while not stop.is_set():
            out = machine.dispatch_batch(keys, wire_lengths=lengths, times_ns=times if number % 2 else None)
            delivered.update(vnases[out >= 0].tolist())
        counted.append(delivered)

    chooser = random.Random(seed)
    sockets = [row.socket for row in machine.sockets]
    threads = [threading.Thread(target=count, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(TURNS):
            one, other = chooser.sample(range(N_VNASES), 2)
            machine.close(sockets[one])
            machine.close(sockets[other])
            sockets[one] = machine.bind(pids[one], "tcp", 80)  # it gets the number that was the other's
            sockets[other] = machine.bind(pids[other], "tcp", 80)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    want = sum(counted, Counter())
    for vnas, row in machine.usage_of_vnas().items():
        assert (row.packets, row.bytes) == (want[vnas], want[vnas] * (SHORT + vnas)), vnas
    assert machine.outcomes[Outcome.DELIVERED].packets == sum(want.values()) > 0


def test_threads_count_to_sockets_that_came_after_they_began() -> None:
    """The memory of a thread has room for the sockets of its beginning."""
    machine, pids = machine_of(1)
    ports = range(1000, 1100)
    keys, _ = keys_of(np.random.default_rng(1))
    keys["protocol"][::2] = 17
    keys["destination_port"][::2] = np.resize(ports, N_KEYS // 2)
    keys = np.tile(keys, 10)  # so that sockets come while a call lasts
    stop = threading.Event()
    calls = []

    def count() -> None:
        while not stop.is_set():
            calls.append(Counter(machine.dispatch_batch(keys).tolist()))

    threads = [threading.Thread(target=count) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for port in ports:
            for pid in pids:
                machine.bind(pid, "udp", port)
            time.sleep(0)  # lets threads that wait for Python's lock begin a call
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    late = machine.bind(pids[0], "udp", 53)
    machine.dispatch_batch(flow_keys(destination=["10.0.0.1"], destination_port=53, protocol="udp"))
    want = sum(calls, Counter({late: 1}))
    assert len(machine.sockets) == N_VNASES * (len(ports) + 1) + 1
    for row in machine.sockets:
        assert row.usage.packets == want[row.socket]


def test_threads_count_to_a_snapshot() -> None:
    frozen = Snapshot.of(machine_of(1)[0])
    keys, _ = keys_of(np.random.default_rng(1))
    with ThreadPoolExecutor(THREADS) as pool:
        results = list(pool.map(lambda _: frozen.dispatch_batch(keys), range(20)))
    want = Counter(results[0].tolist())
    for row in frozen.sockets:
        assert usage(row.usage) == (20 * want[row.socket], 0, None, None)
