"""The data plane's lines of addresses: slots that were given back, and the same address on many VLANs."""

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys

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
