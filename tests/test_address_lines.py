"""The data plane's lines of addresses: slots that were given back, and the same address on many VLANs."""

from ipaddress import ip_network

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys
from vnasfast.tables.probes import crowded_out

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


@pytest.mark.parametrize("network", ["10.0.0.0/8", "2001:db8::/104"])
def test_a_scan_and_a_flood_meet_lines_without_room(network):
    """Of what such a line has no room for, only the control plane knows whose it is."""
    first = ip_network(network)[0]
    numbers = np.random.default_rng(1).choice(1 << 24, 21_000, replace=False).tolist()
    machine = ServerMachine(seed=1)
    machine.bind(1, "tcp", 80)
    for number in numbers[:10_500]:
        machine.validate(1, first + number, "eth0")
    assert sum(crowded_out(machine.tables)) > 10
    for part, there in ((numbers[:10_500], Outcome.NO_PORT), (numbers[10_500:], Outcome.NO_VNAS)):
        keys = flow_keys(destination=[str(first + number) for number in part], destination_port=22, protocol="tcp")
        assert set(machine.dispatch_batch(keys).tolist()) == {there}
