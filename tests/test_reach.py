"""Parsed keys looked up in tables that fit the caches, in larger ones and in still larger: not the same loops."""

from ipaddress import IPv6Address

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys, ipv4_keys
from vnasfast.tables.probes import random_bytes

FIRST_PORT = 1000
VLANS = 3
N_KEYS = 5000


def of_vnases(vnas, family):
    """Give an address of each VNAS, as bytes."""
    addresses = np.zeros((len(vnas), 16), np.uint8)
    numbers = (vnas.astype(">u4") * 40_503 & 0xFFFFFF).astype(">u4").view(np.uint8).reshape(-1, 4)
    ipv4 = family == 4
    addresses[:, 13:] = numbers[:, 1:]
    addresses[ipv4, 10:13] = (0xFF, 0xFF, 10)
    addresses[~ipv4, :2] = (0xFD, 0x01)
    addresses[~ipv4, 4] = vnas[~ipv4] & 7
    return addresses


#: VNASs, ports, and the bytes of tables beyond which lookup.h takes the next loops.
SIZES = {"near": (300, 20, 256 << 10), "middle": (2000, 40, 2 << 20), "far": (2000, 270, 1 << 30)}


@pytest.fixture(scope="module", params=SIZES)
def machine_and_sockets(request):
    """Each VNAS has an IPv4 and an IPv6 address on VLAN 0, 1 or 2, and an ANY socket on each port."""
    machine = ServerMachine(seed=3)
    n_vnases, n_ports, _most = SIZES[request.param]
    vnases = np.arange(1, n_vnases + 1)
    pids = np.array([machine.vnas_start(1, vnas) for vnas in vnases.tolist()])
    for family in (4, 6):
        rows = of_vnases(vnases, np.full(n_vnases, family))
        for row, pid, vnas in zip(rows, pids.tolist(), vnases.tolist(), strict=True):
            address = IPv6Address(row.tobytes())
            assert machine.validate(pid, address.ipv4_mapped or address, "eth0", vlan=vnas % VLANS)
    ports = np.arange(FIRST_PORT, FIRST_PORT + n_ports)
    sockets = machine.bind_many(np.repeat(pids, len(ports)), "tcp", np.tile(ports, n_vnases))
    loops = [name for name, (_vnases, _ports, most) in SIZES.items() if random_bytes(machine.tables) <= most]
    assert loops[0] == request.param
    return machine, sockets.reshape(n_vnases, n_ports)


def traffic(sockets, n, share_of_ipv6, rng):
    """Make keys and their answers: some have another VLAN, or an address or a port that nobody has."""
    row, port, kind = rng.integers(0, sockets.shape[0], n), rng.integers(0, sockets.shape[1], n), rng.random(n)
    vnas = row + 1
    family = np.where(rng.random(n) < share_of_ipv6, 6, 4)
    addresses = of_vnases(vnas, family)
    vlan = vnas % VLANS
    answers = sockets[row, port].copy()
    no_port, no_address, no_vlan = kind < 0.1, (kind >= 0.1) & (kind < 0.2), (kind >= 0.2) & (kind < 0.3)
    addresses[no_address, 15] ^= 0x80
    addresses[no_address, 13] ^= 0x80
    answers[no_port], answers[no_address], answers[no_vlan] = Outcome.NO_PORT, Outcome.NO_VNAS, Outcome.NO_VNAS
    every = np.arange(1, len(sockets) + 1)
    known = {bytes(each) for each in of_vnases(np.tile(every, 2), np.repeat([4, 6], len(every)))}
    assert not known & {bytes(each) for each in addresses[no_address]}
    keys = flow_keys(
        destination=addresses,
        destination_port=np.where(no_port, 80, FIRST_PORT + port),
        protocol="tcp",
        vlan=np.where(no_vlan, vlan + 1, vlan),
    )
    return keys, answers


@pytest.mark.parametrize("share_of_ipv6", [0, 0.03, 0.5, 1])
def test_answers_are_right_in_tables_of_every_size(machine_and_sockets, share_of_ipv6):
    machine, sockets = machine_and_sockets
    keys, answers = traffic(sockets, N_KEYS, share_of_ipv6, np.random.default_rng(4))
    kinds = [keys, ipv4_keys(keys)] if share_of_ipv6 == 0 else [keys]
    for some in kinds:
        assert machine.dispatch_batch(some).tolist() == answers.tolist()
        for n in range(140):
            assert machine.dispatch_batch(some[n : 2 * n], count=False).tolist() == answers[n : 2 * n].tolist()


@pytest.mark.parametrize("share_of_ipv6", [0, 0.5])
@pytest.mark.parametrize("first", [Outcome.NO_PORT, Outcome.NO_VNAS])
def test_rows_of_misses_are_answered_as_others(machine_and_sockets, share_of_ipv6, first):
    """Port scans and floods come in rows, and what follows a batch that found nothing is looked up another way."""
    machine, sockets = machine_and_sockets
    rng = np.random.default_rng(5)
    keys, answers = traffic(sockets, 20 * N_KEYS, share_of_ipv6, rng)
    parts = [np.flatnonzero(answers == outcome)[:700] for outcome in (Outcome.NO_PORT, Outcome.NO_VNAS)]
    if first == Outcome.NO_VNAS:
        parts.reverse()
    hits = np.flatnonzero(answers >= 0)[:700]
    mixed = rng.permutation(np.concatenate(parts))
    for row in (np.concatenate([*parts, hits, mixed]), np.concatenate([parts[0], hits[:20], parts[0][:300], mixed])):
        kinds = [keys[row], ipv4_keys(keys[row])] if share_of_ipv6 == 0 else [keys[row]]
        for some in kinds:
            for start in range(0, 70, 7):
                assert machine.dispatch_batch(some[start:]).tolist() == answers[row][start:].tolist()


@pytest.mark.parametrize("family", [4, 6])
def test_rows_of_misses_leave_to_the_control_plane_what_is_its(machine_and_sockets, family):
    machine, sockets = machine_and_sockets
    keys, answers = traffic(sockets, 20 * N_KEYS, float(family == 6), np.random.default_rng(6))
    for outcome in (Outcome.NO_PORT, Outcome.NO_VNAS):
        row = keys[answers == outcome][:700]
        expected = np.full(len(row), outcome)
        row["protocol"][40::7] = 1
        expected[40::7] = Outcome.NO_TRANSPORT
        row["status"][43::7] = expected[43::7] = Outcome.MALFORMED
        assert machine.dispatch_batch(row).tolist() == expected.tolist()
