"""Several threads do everything that the public interface offers, on one machine and each on its own.

They switch as often as the interpreter lets them. What a thread does with its own processes, addresses and ports must
come out as if it were alone; of what several ask for, one gets it; and every packet is counted once.
"""

import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vnasfast import AddressInUse, NoSuchProcess, NoSuchSocket, Outcome, ServerMachine, flow_keys

#: Long enough that a thread gets something done, even where waking another one takes a good part of a millisecond.
SWITCH_SECONDS = 1e-3
N_THREADS = 6
TURNS = 40
BATCH = 200


@pytest.fixture(autouse=True)
def _switching_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_SECONDS)
    yield
    sys.setswitchinterval(before)


def together(work: Callable[[int], Any], n: int = N_THREADS) -> list[Any]:
    """Run the work in n threads that begin at once; give what each returns."""
    begin = threading.Barrier(n)
    results: dict[int, Any] = {}
    errors: list[BaseException] = []

    def run(number: int) -> None:
        begin.wait()
        try:
            results[number] = work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(n)]


class Tenant:
    """A thread's own part of a machine: a VNAS, its addresses and processes, on ports where all tenants wait."""

    def __init__(self, machine: ServerMachine, number: int, frame: Callable[..., bytes], folder: Path) -> None:
        self.machine = machine
        self.number = number
        self.vnas = 100 + number
        self.first_pid = 1000 * (number + 1)
        self.address = IPv4Address(0x0A000001 + (number << 8))
        self.interface = f"eth{number}"
        self.remote = f"172.16.{number}.1"
        self.frame = frame(str(self.address))
        self.keys = flow_keys(
            destination=str(self.address), destination_port=53, protocol=17, source_port=np.arange(1, BATCH + 1)
        )
        self.path = folder / f"{number}.toml"
        self.counted: Counter[int] = Counter()  # of the tenant's packets: delivered or not, and why
        self.made: list[int] = []

    def turn(self, number: int) -> None:
        """Build the VNAS up, use it, take it down."""
        machine = self.machine
        pid = machine.vnas_start(1, self.vnas, pid=self.first_pid + number)
        self.made.append(machine.fork(pid))
        child = self.made[-1]
        machine.names[self.vnas] = f"tenant {self.number}"
        self.answered(Outcome.NO_VNAS)
        assert machine.validate(pid, self.address, self.interface) is True
        assert machine.validate(child, self.address, "another") is False
        assert machine.owns(self.vnas, self.address)
        self.answered(Outcome.NO_SOCKET)
        socket = machine.bind(pid, "udp", 53)
        with pytest.raises(AddressInUse):
            machine.bind(child, "udp", 53)
        self.answered(socket)
        other = machine.bind(child, "udp", 53, self.address, sharing=True)
        second = machine.bind(pid, "udp", 53, self.address, sharing=True)
        assert len({socket, other, second}) == 3
        self.answered(socket)  # the first of the port
        self.route()
        self.look(pid, socket)
        machine.close(socket)
        shared = machine.dispatch_batch(self.keys)
        self.counted[0] += BATCH
        assert set(shared.tolist()) == {other, second}
        machine.exit(child)
        self.answered(second)
        machine.exit(pid)
        with pytest.raises(NoSuchProcess):
            machine.exit(pid)
        self.answered(Outcome.NO_SOCKET)
        again = machine.vnas_start(1, self.vnas, pid=self.first_pid + number)
        assert machine.invalidate(again, self.address) is True
        assert machine.invalidate(again, self.address) is False
        machine.exit(again)
        self.answered(Outcome.NO_VNAS)

    def answered(self, expected: int) -> None:
        """Dispatch the tenant's packets in every way; all must get this answer."""
        machine = self.machine
        assert set(machine.dispatch_batch(self.keys).tolist()) == {int(expected)}
        frames = machine.dispatch_frames(self.frame * 3, [0, 60, 120], [60] * 3)
        delivery = machine.dispatch(self.frame)
        found = [*frames.tolist(), machine.dispatch_id(self.frame)]
        found.append(int(delivery.outcome) if delivery.socket is None else delivery.socket)
        assert set(found) == {int(expected)}
        self.counted[min(int(expected), 0)] += BATCH + 5

    def route(self) -> None:
        machine, network = self.machine, f"172.16.{self.number}.0/24"
        machine.set_route(network, self.interface)
        assert machine.source_address(self.first_pid + len(self.made) - 1, self.remote) == self.address
        assert machine.remove_route(network) is True
        assert machine.remove_route(network) is False

    def look(self, pid: int, socket: int) -> None:
        """Look at all views: what is the tenant's own is in them, whatever the others do."""
        machine = self.machine
        assert machine.explain(self.frame).socket == socket
        assert machine.explain_key(self.keys[:1]).vnas == self.vnas
        assert [row.vnas for row in machine.processes if row.pid == pid] == [self.vnas]
        assert [row.vnas for row in machine.addresses if row.address == self.address] == [self.vnas]
        assert [row.pid for row in machine.sockets if row.socket == socket] == [pid]
        assert socket in machine.ports["udp", 53]
        assert [row.address for row in machine.any_tables[self.vnas]] == [self.address]
        assert machine.usage_of_vnas()[self.vnas].packets > 0
        assert sum(usage.packets for usage in machine.outcomes.values()) >= sum(self.counted.values())
        assert all(row.interface for row in machine.routes)
        machine.check()
        machine.save(self.path, embodiment=1 + self.number % 2)
        assert self.vnas in ServerMachine.load(self.path, seed=1).any_tables
        assert self.vnas in ServerMachine.from_toml(machine.to_toml(), seed=1).any_tables


def counts(machine: ServerMachine) -> Counter[int]:
    return Counter({int(outcome): usage.packets for outcome, usage in machine.outcomes.items() if usage.packets})


def lasting(machine: ServerMachine) -> None:
    """Let somebody wait on the tenants' port for as long as the machine lives, so that a port is never unknown."""
    machine.bind(1, "udp", 53)


def test_tenants_of_one_machine_don_t_disturb_each_other(ethernet_frame, tmp_path) -> None:
    machine = ServerMachine(seed=1)
    lasting(machine)

    def work(number: int) -> Tenant:
        tenant = Tenant(machine, number, ethernet_frame, tmp_path)
        for turn in range(TURNS // 4):
            tenant.turn(turn)
        return tenant

    tenants = together(work)
    machine.check()
    assert counts(machine) == sum((tenant.counted for tenant in tenants), Counter())
    made = [pid for tenant in tenants for pid in tenant.made]
    assert len(made) == N_THREADS * (TURNS // 4)
    assert [row.pid for row in machine.processes] == [1]
    assert machine.addresses == []
    assert len(machine.sockets) == 1
    assert machine.usage_of_vnas().keys() == {0}


def test_each_thread_has_a_machine_of_its_own(ethernet_frame, tmp_path) -> None:
    def work(number: int) -> tuple[Counter[int], Counter[int]]:
        machine = ServerMachine(seed=number)
        lasting(machine)
        tenant = Tenant(machine, number, ethernet_frame, tmp_path)
        for turn in range(TURNS // 4):
            tenant.turn(turn)
        machine.check()
        return counts(machine), tenant.counted

    for found, expected in together(work):
        assert found == expected


def test_one_of_many_gets_what_all_ask_for() -> None:
    machine = ServerMachine(seed=1)
    server = machine.vnas_start(1, 7)

    def work(number: int) -> tuple[list[bool], list[int], list[int]]:
        validated, bound, forked = [], [], []
        for turn in range(TURNS):
            validated.append(machine.validate(server, IPv4Address(0x0A000000 + turn), "eth0"))
            try:
                bound.append(machine.bind(server, "tcp", 1000 + turn))
            except AddressInUse:
                bound.append(-1)
            forked.append(machine.fork(server))
            machine.set_route(f"10.0.{turn}.0/24", f"eth{number}")
        return validated, bound, forked

    results = together(work)
    machine.check()
    assert [sum(row) for row in zip(*(validated for validated, _, _ in results), strict=True)] == [1] * TURNS
    winners = [max(row) for row in zip(*(bound for _, bound, _ in results), strict=True)]
    assert sorted(winners) == sorted(row.socket for row in machine.sockets)
    assert sum(socket >= 0 for _, bound, _ in results for socket in bound) == TURNS
    forked = [pid for _, _, pids in results for pid in pids]
    assert len(set(forked)) == N_THREADS * TURNS
    assert {row.pid for row in machine.processes} == {1, server, *forked}
    assert len(machine.routes) == TURNS

    def take_away(number: int) -> tuple[int, int, int]:
        invalidated = sum(machine.invalidate(server, IPv4Address(0x0A000000 + turn)) for turn in range(TURNS))
        routes = sum(machine.remove_route(f"10.0.{turn}.0/24") for turn in range(TURNS))
        return invalidated, routes, sum(closes(machine, socket) for socket in winners)

    assert [sum(row) for row in zip(*together(take_away), strict=True)] == [TURNS] * 3
    machine.check()
    assert machine.sockets == machine.addresses == machine.routes == []


def closes(machine: ServerMachine, socket: int) -> bool:
    try:
        machine.close(socket)
    except NoSuchSocket:
        return False
    return True


def test_members_of_all_threads_share_one_port() -> None:
    """Whoever joins is a member, whoever leaves is none, and the group is in order of registration."""
    machine = ServerMachine(seed=1)
    server = machine.vnas_start(1, 7)
    machine.validate(server, "10.0.0.1", "eth0")
    keys = flow_keys(destination="10.0.0.1", destination_port=80, protocol=6, source_port=np.arange(1, 65536))

    def work(number: int) -> tuple[list[int], int]:
        pid = machine.fork(server)
        kept, n_dispatched = [], 0
        for turn in range(TURNS):
            kept.append(machine.bind(pid, "tcp", 80, sharing=True))
            if turn % 3 == 0:
                machine.close(kept.pop(0))
            if kept:
                found = machine.dispatch_batch(keys[:2000])
                assert (found >= 0).all()
                n_dispatched += len(found)
        return kept, n_dispatched

    results = together(work)
    machine.check()
    members = [socket for kept, _ in results for socket in kept]
    assert sorted(machine.ports["tcp", 80]) == sorted(members)
    assert machine.outcomes[Outcome.DELIVERED].packets == sum(n for _, n in results)
    assert set(machine.dispatch_batch(keys, count=False).tolist()) == set(members)


def test_counts_of_all_threads_sum_up(ethernet_frame) -> None:
    """No packet is lost, none is counted twice: by socket, process, VNAS and outcome."""
    machine = ServerMachine(seed=1)
    lasting(machine)
    for vnas in range(1, 4):
        pid = machine.vnas_start(1, vnas)
        machine.validate(pid, f"10.0.0.{vnas}", "eth0")
        machine.bind(pid, "udp", 53)
    addresses = ["10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4"]
    keys = flow_keys(destination=addresses * 500, destination_port=53, protocol=17)
    lengths = np.full(len(keys), 100, np.uint32)
    frames = [ethernet_frame(address) for address in addresses]

    def work(number: int) -> None:
        for turn in range(TURNS):
            times = np.full(len(keys), 10**18 + number * TURNS + turn, np.int64)
            machine.dispatch_batch(keys, wire_lengths=lengths, times_ns=times)
            machine.dispatch_frames(b"".join(frames), [0, 60, 120, 180], [60] * 4)
            for frame in frames:
                machine.dispatch(frame)
                machine.dispatch_id(frame)

    together(work)
    machine.check()
    batches = N_THREADS * TURNS
    packets, n_bytes = batches * (500 + 3), batches * (500 * 100 + 3 * 60)
    last = 10**18 + batches - 1
    expected = (packets, n_bytes, 10**18, last)
    assert [row.usage for row in machine.sockets[1:]] == [expected] * 3
    assert [row.usage for row in machine.processes[1:]] == [expected] * 3
    assert list(machine.usage_of_vnas().values())[1:] == [expected] * 3
    assert machine.outcomes[Outcome.DELIVERED] == (3 * packets, 3 * n_bytes, 10**18, last)
    assert machine.outcomes[Outcome.NO_VNAS] == expected


def test_ports_close_while_others_read() -> None:
    """What readers may still see is kept for them, however much of it there is."""
    machine = ServerMachine(seed=1)
    pid = machine.vnas_start(1, 7)
    machine.validate(pid, "10.0.0.1", "eth0")
    keys = flow_keys(destination="10.0.0.1", destination_port=np.arange(1, 65536), protocol=17)
    stop = threading.Event()

    def work(number: int) -> None:
        if number:
            while not stop.is_set():
                assert (machine.dispatch_batch(keys, count=False) >= Outcome.NO_SOCKET).all()
            return
        try:
            for _ in range(3):
                for socket in [machine.bind(pid, "udp", port, "0.0.0.0") for port in range(1, 3000)]:
                    machine.close(socket)
        finally:
            stop.set()

    together(work, 4)
    machine.check()
    assert machine.ports == {}


def test_machines_that_come_and_go() -> None:
    """Machines are made, filled and dropped by all threads at once; each answers for itself."""
    seeds = count(1)

    def work(number: int) -> None:
        for turn in range(TURNS):
            machine = ServerMachine(seed=next(seeds))
            pids = [machine.vnas_start(1, vnas) for vnas in range(1, 30)]
            for vnas, pid in enumerate(pids, 1):
                machine.validate(pid, IPv4Address(0x0A000000 + vnas), "eth0")
            sockets = [machine.bind(pid, "tcp", 80 + turn) for pid in pids]
            keys = flow_keys(
                destination=(0x0A000000 + np.arange(1, 30)).astype(np.uint32), destination_port=80 + turn, protocol=6
            )
            assert machine.dispatch_batch(keys).tolist() == sockets

    together(work)


def test_an_exit_closes_the_newest_first_and_each_close_is_a_change():
    """A group of 400 sockets shrinks under a reader, one by one; it is told what one of these steps would tell."""
    keys = flow_keys(destination=["10.0.0.1"] * 40, destination_port=80, source_port=range(1, 41), protocol="tcp")
    many = np.tile(keys, 50_000)

    def made():
        machine = ServerMachine(seed=1)
        pid = machine.vnas_start(1, 1)
        other = machine.fork(pid)
        machine.validate(pid, "10.0.0.1", "eth0")
        sockets = [machine.bind(pid, "tcp", 80, sharing=True) for _ in range(400)]
        machine.bind(other, "tcp", 80, sharing=True)
        return machine, pid, sockets

    machine, _, sockets = made()
    steps = [machine.dispatch_batch(keys, count=False)]
    for socket in reversed(sockets):
        machine.close(socket)
        steps.append(machine.dispatch_batch(keys, count=False))
    allowed = np.zeros((40, len(sockets) + 1), bool)
    for step in steps:
        allowed[range(40), step] = True

    machine, pid, _ = made()
    begun, found = threading.Event(), []

    def read():
        begun.set()
        while not found or not (found[-1][-40:] == steps[-1]).all():
            found.append(machine.dispatch_batch(many, count=False))

    reader = threading.Thread(target=read)
    reader.start()
    begun.wait()
    machine.exit(pid)
    reader.join()
    answers = np.concatenate(found).reshape(-1, 40)
    assert allowed[range(40), answers].all()
    assert (answers[-1] == steps[-1]).all()
