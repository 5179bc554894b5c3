"""Parsed keys looked up in tables that fit the caches, in larger ones and in still larger: not the same loops."""

from ipaddress import IPv6Address

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys, ipv4_keys

N_VNASES = 2000
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


@pytest.fixture(scope="module", params=[2, 40, 270], ids=["near", "middle", "far"])
def machine_and_sockets(request):
    """Each VNAS has an IPv4 and an IPv6 address on VLAN 0, 1 or 2, and an ANY socket on each port.

    These have 16 KiB, 320 KiB and 2.2 MiB of answers, beside addresses of 130 KiB.
    """
    machine = ServerMachine(seed=3)
    vnases = np.arange(1, N_VNASES + 1)
    pids = np.array([machine.vnas_start(1, vnas) for vnas in vnases.tolist()])
    for family in (4, 6):
        rows = of_vnases(vnases, np.full(N_VNASES, family))
        for row, pid, vnas in zip(rows, pids.tolist(), vnases.tolist(), strict=True):
            address = IPv6Address(row.tobytes())
            assert machine.validate(pid, address.ipv4_mapped or address, "eth0", vlan=vnas % VLANS)
    ports = np.arange(FIRST_PORT, FIRST_PORT + request.param)
    sockets = machine.bind_many(np.repeat(pids, len(ports)), "tcp", np.tile(ports, N_VNASES))
    return machine, sockets.reshape(N_VNASES, len(ports))


def traffic(sockets, n, share_of_ipv6, rng):
    """Make keys and their answers: some have another VLAN, or an address or a port that nobody has."""
    row, port, kind = rng.integers(0, N_VNASES, n), rng.integers(0, sockets.shape[1], n), rng.random(n)
    vnas = row + 1
    family = np.where(rng.random(n) < share_of_ipv6, 6, 4)
    addresses = of_vnases(vnas, family)
    vlan = vnas % VLANS
    answers = sockets[row, port].copy()
    no_port, no_address, no_vlan = kind < 0.1, (kind >= 0.1) & (kind < 0.2), (kind >= 0.2) & (kind < 0.3)
    addresses[no_address, 15] ^= 0x80
    addresses[no_address, 13] ^= 0x80
    answers[no_port], answers[no_address], answers[no_vlan] = Outcome.NO_PORT, Outcome.NO_VNAS, Outcome.NO_VNAS
    known = {bytes(each) for each in of_vnases(np.tile(np.arange(1, N_VNASES + 1), 2), np.repeat([4, 6], N_VNASES))}
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
