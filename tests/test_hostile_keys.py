"""Who knows the code but not the seed can't choose keys that slow a table down. Counted, not timed."""

import random
from ipaddress import IPv4Address, IPv6Address

import pytest

from vnasfast import ServerMachine

N = 4000
#: Random keys of this number, at a load of one half, have a worst probe of 20 to 40 slots; chosen ones would have thousands.
LONGEST = 80

CHOSEN = {
    "one octet varies": lambda i: f"10.{i >> 8 & 255}.{i & 255}.1",
    "sequential": lambda i: str(IPv4Address(0x0A000000 + i)),
    "strided by 64 KiB": lambda i: str(IPv4Address((0x0A000000 + (i << 16)) % 2**32 | 0x01000000)),
    "strided by 4099": lambda i: str(IPv4Address(0x0A000000 + 4099 * i)),
    "bits reversed": lambda i: str(IPv4Address(int(f"{i:032b}"[::-1], 2) | 0x01)),
    "IPv6 interface IDs": lambda i: str(IPv6Address((0x20010DB8 << 96) + i + 2)),
    "IPv6 networks": lambda i: str(IPv6Address((0x20010DB8 << 96) + (i << 64) + 1)),
    "IPv6 low bits alike": lambda i: str(IPv6Address((0x20010DB8 << 96) + (i << 32) + 0xFFFF)),
}


def load(machine: ServerMachine, addresses: list[str], vlan: int = 0) -> None:
    server = machine.vnas_start(1, 1)
    for address in addresses:
        machine.validate(server, address, "eth0", vlan=vlan)
        machine.bind(server, "tcp", 80, address)


def hold(machine: ServerMachine, n: int) -> None:
    longest = machine.tables.probe_lengths()
    assert max(longest.values()) <= LONGEST, longest
    # At a load of one half a line in 37 overflows by chance, and one address in 250 is crowded out: leave room for luck.
    assert sum(machine.tables.crowded_out()) <= n // 50, machine.tables.crowded_out()


@pytest.mark.parametrize("kind", CHOSEN)
def test_regular_addresses_are_spread_as_random_ones(kind):
    addresses = list(dict.fromkeys(CHOSEN[kind](i) for i in range(N)))
    for seed in (3, 2**64 - 1, None):
        machine = ServerMachine(seed=seed)
        load(machine, addresses)
        hold(machine, len(addresses))
        machine.check()


def colliding(seed: int, n: int) -> list[str]:
    """Choose addresses that crowd each other out under a known seed: of many tried, those that find their line full."""
    chooser = random.Random(11)
    machine = ServerMachine(seed=seed)
    server = machine.vnas_start(1, 1)
    found: list[str] = []
    while len(found) < n:
        for _ in range(300):
            address = str(IPv4Address(chooser.getrandbits(32) % 0x6F000000 | 0x01000000))
            before = machine.tables.crowded_out()[0]
            machine.validate(server, address, "eth0")
            if machine.tables.crowded_out()[0] > before:
                break
            machine.invalidate(server, address)
        else:
            machine.validate(server, address, "eth0")
        found.append(address)
    return found


def test_addresses_that_collide_under_one_seed_do_not_under_another():
    n = 224
    chosen = colliding(1, n)
    victim = ServerMachine(seed=1)
    load(victim, chosen)
    assert sum(victim.tables.crowded_out()) > n // 3  # the attack is real where the seed is known
    victim.check()
    for seed in (2, 5, None):
        machine = ServerMachine(seed=seed)
        load(machine, chosen)
        assert sum(machine.tables.crowded_out()) <= n // 20
        assert max(machine.tables.probe_lengths().values()) <= LONGEST


def test_process_and_vnas_numbers_with_equal_low_bits_are_spread():
    for step in (1, 2, 1 << 8, 1 << 16):
        machine = ServerMachine()
        for i in range(1, min(N, (2**31 - 2) // step)):
            machine.vnas_start(1, i * step, pid=i * step + 1)
        hold(machine, 100)


def test_endpoints_of_chosen_ports_and_vnases_are_spread():
    machine = ServerMachine()
    for vnas in range(1, 61):
        pid = machine.vnas_start(1, vnas << 8)
        for port in range(256, 65536, 1024):
            machine.bind(pid, "udp", port, "0.0.0.0")
            machine.bind(pid, "udp", port, "127.0.0.1")
    hold(machine, 100)
    machine.check()
