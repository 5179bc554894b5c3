"""The data plane's lines of addresses: slots that were given back, and the same address on many VLANs."""

from ipaddress import ip_address, ip_network

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys, ipv4_keys
from vnasfast.tables.probes import crowded_out, line_hash, overflowing_lines

VLANS = range(1, 41)


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize("seed", range(8))
def test_an_address_stays_on_its_other_vlans_when_one_is_invalidated(seed, address):
    """A reader takes the first slot of a line with its key: that may be one that was given back."""
    machine = ServerMachine(seed=seed)
    machine.bind(1, "udp", 53)
    order = np.random.default_rng(seed).permutation(VLANS).tolist()
    for vlan in order:
        machine.validate(1, address, "eth0", vlan=vlan)
    keys = flow_keys(destination=address, destination_port=53, protocol="udp", vlan=list(VLANS))
    there = set(VLANS)
    for turn in range(3):
        for vlan in order[turn::2]:
            if vlan in there:
                assert machine.invalidate(1, address, vlan=vlan)
                there.discard(vlan)
            else:
                assert machine.validate(1, address, "eth0", vlan=vlan)
                there.add(vlan)
            expected = [0 if each in there else Outcome.NO_VNAS for each in VLANS]
            assert machine.dispatch_batch(keys).tolist() == expected
            machine.check()


NETWORKS = ["10.0.0.0/8", "2001:db8::/104"]
MAPPED = bytes(10) + b"\xff\xff"


def some(network, n, seed):
    """Pick addresses of a network at random, each once: as text, as `validate` and keys take them."""
    first = ip_network(network)[0]
    return [str(first + number) for number in np.random.default_rng(seed).choice(1 << 24, n, replace=False).tolist()]


@pytest.mark.parametrize("network", NETWORKS)
def test_a_scan_and_a_flood_meet_lines_without_room(network):
    """What such a line has no room for lies in one beside it."""
    addresses = some(network, 20_000, 1)
    machine = ServerMachine(seed=1)
    machine.bind(1, "tcp", 80)
    for address in addresses[:10_000]:
        machine.validate(1, address, "eth0")
    assert sum(overflowing_lines(machine.tables)) > 10
    for part, there in ((addresses[:10_000], Outcome.NO_PORT), (addresses[10_000:], Outcome.NO_VNAS)):
        keys = flow_keys(destination=part, destination_port=22, protocol="tcp")
        assert set(machine.dispatch_batch(keys).tolist()) == {there}


@pytest.mark.parametrize(("network", "n"), [(NETWORKS[0], 160_000), (NETWORKS[1], 419_000)])
def test_an_address_without_room_in_its_line_and_those_beside_is_the_control_planes(network, n):
    """As many as fill a table of lines as far as it ever is: 2.4 of 7 a line, 0.8 of 3."""
    addresses = some(network, n + 10_000, 2)
    machine = ServerMachine(seed=2)
    machine.bind(1, "tcp", 80)
    for address in addresses[:n]:
        machine.validate(1, address, "eth0")
    assert sum(crowded_out(machine.tables)) > 0
    keys = flow_keys(destination=addresses, destination_port=80, protocol="tcp")
    want = np.repeat([0, Outcome.NO_VNAS], [n, 10_000])
    assert (machine.dispatch_batch(keys) == want).all()
    machine.check()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("seed", range(3))
def test_addresses_beside_their_line_come_and_go(network, seed):
    """A place in any of the lines is anybody's once its address has gone; and a VLAN more makes it another address."""
    n = 15_000  # of which 10,000 are there: 2.4 a line, of IPv6 0.6
    addresses = some(network, n, seed)
    machine = ServerMachine(seed=seed)
    pids = [machine.vnas_start(1, vnas) for vnas in (1, 2, 3)]
    sockets = np.array([machine.bind(pid, "udp", 53) for pid in pids])
    vlans = np.arange(n) % 2
    chooser = np.random.default_rng(seed)
    owners = np.full(n, -1)
    keys = flow_keys(destination=addresses, destination_port=53, protocol="udp", vlan=vlans)
    elsewhere = keys.copy()
    elsewhere["vlan"] = vlans + 1
    for _ in range(5):
        for i in chooser.permutation(n)[: n * 2 // 3].tolist():
            if owners[i] < 0:
                owners[i] = chooser.integers(len(pids))
                machine.validate(pids[owners[i]], addresses[i], "eth0", vlan=int(vlans[i]))
            else:
                machine.invalidate(pids[owners[i]], addresses[i], vlan=int(vlans[i]))
                owners[i] = -1
        machine.check()
        assert (machine.dispatch_batch(keys) == np.where(owners < 0, Outcome.NO_VNAS, sockets[owners])).all()
        assert (machine.dispatch_batch(elsewhere) == Outcome.NO_VNAS).all()
    assert sum(overflowing_lines(machine.tables)) > 3


@pytest.mark.parametrize(("network", "n"), [(NETWORKS[0], 38), (NETWORKS[1], 12 * 2)])
@pytest.mark.parametrize("seed", range(4))
def test_addresses_that_all_belong_in_a_few_lines_come_and_go(network, n, seed):
    """Twice as many as have room in one pair of IPv4 lines, or in four of IPv6, of a larger table."""
    machine = ServerMachine(seed=seed)
    pids = [machine.vnas_start(1, vnas) for vnas in (1, 2, 3)]
    sockets = np.array([machine.bind(pid, "udp", 53) for pid in pids])
    candidates = some(network, 4_000, seed)
    packed = [(b"" if ":" in each else MAPPED) + ip_address(each).packed for each in candidates]
    vlans = [number % 2 for number in range(len(candidates))]
    # 16 lines of IPv4, 32 of IPv6: of them the first two, or four.
    hashes = [line_hash(machine.tables, each, vlan) for each, vlan in zip(packed, vlans, strict=True)]
    numbers = [number for number, each in enumerate(hashes) if each >> 29 == 0][: 2 * n]
    chooser = np.random.default_rng(seed)
    owners = dict.fromkeys(numbers, -1)
    keys = flow_keys(
        destination=[candidates[number] for number in numbers], destination_port=53, protocol="udp",
        vlan=[vlans[number] for number in numbers],
    )  # fmt: skip
    crowded = 0
    for _ in range(40):
        for number in chooser.permutation(numbers)[: n // 2].tolist():
            address, vlan = candidates[number], vlans[number]
            if owners[number] >= 0:
                assert machine.invalidate(pids[owners[number]], address, vlan=vlan)
                owners[number] = -1
            elif sum(owner >= 0 for owner in owners.values()) < n:
                owners[number] = int(chooser.integers(len(pids)))
                assert machine.validate(pids[owners[number]], address, "eth0", vlan=vlan)
        machine.check()
        crowded += sum(crowded_out(machine.tables))
        there = np.array(list(owners.values()))
        want = np.where(there < 0, Outcome.NO_VNAS, sockets[there])
        assert (machine.dispatch_batch(keys) == want).all()
        assert (machine.dispatch_batch(np.tile(keys, 3)) == np.tile(want, 3)).all()
    assert crowded > 0


def test_vnases_beyond_those_that_the_data_plane_can_name():
    """Their addresses lie in their own lines, with an owner that says that the control plane knows."""
    machine = ServerMachine(seed=1)
    for vnas in range(1, (1 << 20) + 3):
        pid = machine.vnas_start(1, vnas)
    socket = machine.bind(pid, "udp", 53)
    for address in ("10.0.0.1", "2001:db8::1"):
        machine.validate(pid, address, "eth0")
        for port, want in ((53, socket), (54, Outcome.NO_PORT)):
            keys = flow_keys(destination=[address] * 40, destination_port=port, protocol="udp")
            assert set(machine.dispatch_batch(keys).tolist()) == {want}
    narrow = ipv4_keys(flow_keys(destination=["10.0.0.1"] * 40, destination_port=53, protocol="udp"))
    assert set(machine.dispatch_batch(narrow).tolist()) == {socket}
