"""Ports that few VNASs have, sockets that share, specific addresses beside ANY: the data plane and the model agree."""

import random
from dataclasses import replace

import numpy as np
import pytest
from model import Key, to_address
from pair import Pair, key

from vnasfast import Outcome, ServerMachine, flow_keys
from vnasfast.tables.probes import answers_elsewhere, spare_answers

N_VNASES = 300
N_PORTS = 1500
OF_A_PORT = 4
SEEDS = [1, 2, 2**63]


def scattered(seed: int) -> tuple[ServerMachine, dict[tuple[int, int], int]]:
    """Give a machine on which each port has the sockets of a few VNASs in a row, and these: (VNAS, port) → socket."""
    machine = ServerMachine(seed=seed)
    spare_answers(machine.tables, 0)
    for vnas in range(N_VNASES):
        machine.vnas_start(1, vnas + 1, pid=1000 + vnas)
        machine.validate(1000 + vnas, f"10.0.{vnas >> 8}.{vnas & 255}", "eth0")
    places = [((port + turn) % N_VNASES, port + 1) for port in range(N_PORTS) for turn in range(OF_A_PORT)]
    return machine, {(vnas, port): machine.bind(1000 + vnas, "udp", port) for vnas, port in places}


def dispatched(machine: ServerMachine, places: list[tuple[int, int]]) -> list[int]:
    vnases, ports = np.array(places).T
    addresses = (0x0A000000 + vnases).astype(np.uint32)
    keys = flow_keys(destination=addresses, destination_port=ports.astype(np.uint16), protocol=17)
    return machine.dispatch_batch(keys, count=False).tolist()


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_in_lines_come_and_go(seed: int) -> None:
    machine, sockets = scattered(seed)
    in_lines, crowded, _ = answers_elsewhere(machine.tables)
    assert in_lines + crowded == len(sockets) == N_PORTS * OF_A_PORT
    assert crowded <= 10  # both lines of a pair are full: 1 in 5,000 by chance
    machine.check()
    places = [(vnas, port) for port in range(1, N_PORTS + 2) for vnas in range(port % 7, N_VNASES, 7)]
    chooser = random.Random(seed)
    for _ in range(4):
        open_ports = {port for _, port in sockets}
        expected = [
            sockets.get(place, Outcome.NO_SOCKET if place[1] in open_ports else Outcome.NO_PORT) for place in places
        ]
        assert dispatched(machine, places) == expected
        assert dispatched(machine, list(sockets)) == list(sockets.values())
        for place in chooser.sample(list(sockets), len(sockets) // 2):
            machine.close(sockets.pop(place))
        machine.check()
    for socket in sockets.values():
        machine.close(socket)
    machine.check()
    assert answers_elsewhere(machine.tables)[:2] == (0, 0)


@pytest.mark.parametrize("seed", SEEDS)
def test_ports_move_between_lines_and_arrays(seed: int) -> None:
    """An array from 1 VNAS in 8 on, lines again below 1 in 32; with sockets of one family, each family by itself."""
    pair = Pair(seed)
    spare_answers(pair.engine.tables, 0)
    chooser = random.Random(seed)
    vnases = range(1, 121)
    for vnas in vnases:
        pair.do("vnas_start", 1, vnas, pid=1000 + vnas)
        pair.do("validate", 1000 + vnas, f"10.0.0.{vnas}", "eth0")
        pair.do("validate", 1000 + vnas, f"2001:db8::{vnas}", "eth0")
    sockets: dict[int, list[int]] = {80: [], 81: []}
    seen = set()
    for rising in (True, False) * 2:
        for step in range(50):
            for port, opened in sockets.items():
                if rising:
                    address = chooser.choice(["ANY", "ANY", "0.0.0.0"]) if port == 81 else "ANY"
                    pid = 1000 + chooser.choice(vnases)
                    opened.append(pair.do("bind", pid, 6, port, address, sharing=True, freebind=False))
                elif len(opened) > 1:
                    pair.do("close", opened.pop(chooser.randrange(len(opened))))
            if step % 5 == 0:
                pair.compare()
                seen.add(answers_elsewhere(pair.engine.tables)[0] > 0)
                keys = [
                    key(f"{prefix}{vnas}", "10.9.9.9" if prefix == "10.0.0." else "2001:db8:9::9", port, step)
                    for vnas in vnases
                    for port in sockets
                    for prefix in ("10.0.0.", "2001:db8::")
                ]
                pair.dispatch_batch(keys)
    assert seen == {True, False}


def flows(address: str, n: int, **fields: int) -> list[Key]:
    first = key(address, "10.9.9.9" if "." in address else "2001:db8:9::9", **fields)
    return [replace(first, source_port=number) for number in range(n)]


@pytest.mark.parametrize("spare", [0, 1 << 20])
def test_sharing_groups_grow_and_shrink(spare: int) -> None:
    pair = Pair(5)
    spare_answers(pair.engine.tables, spare)
    pair.do("vnas_start", 1, 1, pid=2)
    for address in ("10.0.0.1", "2001:db8::1"):
        pair.do("validate", 2, address, "eth0")
    chooser = random.Random(5)
    members: list[int] = []
    for most in (2, 70, 3, 9, 1, 40, 0):
        while len(members) < most:
            members.append(pair.do("bind", 2, 6, 80, sharing=True))
            pair.dispatch_batch(flows("10.0.0.1", 40) + flows("2001:db8::1", 40))
        while len(members) > most:
            pair.do("close", members.pop(chooser.randrange(len(members))))
            pair.dispatch_batch(flows("10.0.0.1", 40) + flows("2001:db8::1", 40))
        pair.compare()


@pytest.mark.parametrize("spare", [0, 1 << 20])
@pytest.mark.parametrize("n", [1, 2, 3, 90])
def test_specific_sockets_come_and_go_beside_any(spare: int, n: int) -> None:
    """The first in order of registration; ANY sockets of each kind before, between and after those of n addresses."""
    pair = Pair(n)
    spare_answers(pair.engine.tables, spare)
    pair.do("vnas_start", 1, 1, pid=2)
    addresses = [f"10.0.0.{host}" if host % 3 else f"2001:db8::{host}" for host in range(1, n + 3)]
    for address in addresses:
        pair.do("validate", 2, address, "eth0")
    keys = [flow for address in addresses for flow in flows(address, 3)]
    recipients = [*addresses[:n], "ANY", "::", "0.0.0.0"]
    chooser = random.Random(n)
    sockets: list[int] = []
    for turn in range(30 * (n if n < 10 else 10)):
        if sockets and chooser.random() < (0.35 if turn % 100 < 60 else 0.7):
            pair.do("close", sockets.pop(chooser.randrange(len(sockets))))
        else:
            recipient = chooser.choice(recipients if chooser.random() < 0.7 else recipients[n:])
            v6only = recipient == "::"
            sockets.append(pair.do("bind", 2, 6, 80, "ANY" if v6only else recipient, v6only=v6only, sharing=True))
        pair.dispatch_batch(keys)
        if turn % 20 == 0:
            pair.compare()
    pair.compare()


def test_blocks_are_used_again() -> None:
    machine = ServerMachine(seed=1)
    pid = machine.vnas_start(1, 1)
    for host in range(1, 5):
        machine.validate(pid, f"10.0.0.{host}", "eth0")
    units = []
    for turn in range(200):
        sockets = [machine.bind(pid, "tcp", 80, f"10.0.0.{host}", sharing=True) for host in (1, 2, 3, 4, 4, 4, 4, 4)]
        sockets += [machine.bind(pid, "tcp", 80, sharing=True) for _ in range(20)]
        for socket in random.Random(turn).sample(sockets, len(sockets)):
            machine.close(socket)
        units.append(answers_elsewhere(machine.tables)[2])
    machine.check()
    assert units[-1] <= 2 * units[0]  # what is free of one size is no use to another


@pytest.mark.parametrize("step", [1, 2, 256])
def test_sparse_ports_of_regular_numbers_spread(step: int) -> None:
    """Ports in a row of one VNAS, one port of VNASs in a row."""
    for seed in SEEDS:
        machine = ServerMachine(seed=seed)
        spare_answers(machine.tables, 0)
        pids = [machine.vnas_start(1, 1 + number * step) for number in range(400)]
        for number in range(4000):
            machine.bind(pids[0], "tcp", 1 + number * step % 65535)
        for number, pid in enumerate(pids):
            for port in range(0, 8 if number < 40 else 0):
                machine.bind(pid, "udp", 1 + port * step)
        assert answers_elsewhere(machine.tables)[1] <= 10, seed


def test_a_loopback_packet_reaches_a_specific_socket_of_a_sparse_port() -> None:
    pair = Pair(3)
    spare_answers(pair.engine.tables, 0)
    pair.do("vnas_start", 1, 1, pid=2)
    pair.do("bind", 2, 6, 80, "127.0.0.1")
    pair.do("bind", 2, 6, 80, "ANY")
    for address in ("127.0.0.1", "127.0.0.2"):
        each = Key(to_address(address), to_address("127.0.0.1"), 80, 9, source_pid=2)
        assert pair.dispatch(each) >= 0
    pair.compare()


def test_a_port_of_many_vnases_moves_a_piece_at_a_time() -> None:
    """Its answers are right while some are in lines and some in arrays, on the way there and back."""
    machine = ServerMachine(seed=6)
    spare_answers(machine.tables, 0)
    for vnas in range(3000):
        machine.vnas_start(1, vnas + 1, pid=1000 + vnas)
        machine.validate(1000 + vnas, f"10.0.{vnas >> 8}.{vnas & 255}", "eth0")
    chooser = random.Random(6)
    places = [(vnas, port) for vnas in range(3000) for port in (80, 81, 82)]
    sockets: dict[tuple[int, int], int] = {}
    n_open = {80: 0, 81: 0, 82: 0}
    seen = set()

    def compare() -> None:
        machine.check()
        found = dispatched(machine, places)
        misses = {port: Outcome.NO_SOCKET if n else Outcome.NO_PORT for port, n in n_open.items()}
        assert found == [sockets.get(place, misses[place[1]]) for place in places]
        seen.add(answers_elsewhere(machine.tables)[0] > 0)

    def close(place: tuple[int, int]) -> None:
        machine.close(sockets.pop(place))
        n_open[place[1]] -= 1

    for step, (vnas, port) in enumerate(chooser.sample(places, 2500)):
        # Families part on port 81 in the middle of its move to an array, on port 82 before it.
        one_family = n_open[port] > {80: 3000, 81: 518, 82: 100}[port]
        sockets[vnas, port] = machine.bind(1000 + vnas, "udp", port, "0.0.0.0" if one_family else "ANY")
        n_open[port] += 1
        if step % 7 == 0:
            close(chooser.choice(list(sockets)))
        if step % 200 == 0 or (any(510 < n < 550 for n in n_open.values()) and step % 4 == 0):
            compare()
    for step, place in enumerate(chooser.sample(list(sockets), len(sockets))):
        close(place)
        if step % 200 == 0 or (any(115 < n < 135 for n in n_open.values()) and step % 2 == 0):
            compare()
    compare()
    assert seen == {True, False}


def test_arrays_go_as_vnases_come() -> None:
    """An array is taken away once it has become too long for its port, without a change of the port itself."""
    machine = ServerMachine(seed=7)
    spare_answers(machine.tables, 0)
    pids = [machine.vnas_start(1, vnas + 1) for vnas in range(20)]
    for vnas, pid in enumerate(pids):
        machine.validate(pid, f"10.0.0.{vnas}", "eth0")
    sockets = {(vnas, port): machine.bind(pids[vnas], "udp", port) for port in range(1, 101) for vnas in range(20)}
    for vnas in range(20):
        machine.bind(pids[vnas], "udp", 101)
    in_lines = answers_elsewhere(machine.tables)[0]
    for vnas in range(20, 1500):
        machine.vnas_start(1, vnas + 1)
        if vnas % 150 == 0:
            machine.check()
            assert dispatched(machine, list(sockets)) == list(sockets.values())
    assert in_lines < 2020 == sum(answers_elsewhere(machine.tables)[:2])
    machine.check()
