"""Whoever knows the code but not the seed can't make lookups or registration slow: every index, by its own hash.

Slow means long probes, so these are counted, not seconds: `probe_lengths` says of each index how many places the
farthest key makes a lookup look at. Keys that collide under a known seed, and keys with regular structure, must spread
under other seeds as random keys do.
"""

from collections.abc import Callable, Iterator
from ipaddress import IPv4Address, IPv6Address

import numpy as np
import pytest
from model import Address, packed16, splitmix64
from numpy.typing import NDArray

from vnasfast import ServerMachine
from vnasfast.tables.probes import crowded_out, probe_lengths

KNOWN_SEED = 1
OTHER_SEEDS = [0, 2, 3, 0xFFFF_FFFF, 2**63, 0x0123_4567_89AB_CDEF]
N_COLLIDING = 512
N_REGULAR = 4096
# At a load of a half the longest run of n random keys is about ln(n) / 0.19, 43 of 4096.
MOST_PROBES = 80


def longest(machine: ServerMachine) -> int:
    lengths = probe_lengths(machine.tables)
    assert lengths
    assert all(length >= 0 for length in lengths.values())
    return max(lengths.values())


def colliding(first_word: Callable[[NDArray[np.uint64]], NDArray[np.uint64]], second: int = 0) -> list[int]:
    """Give numbers whose hashes under the known seed have the same upper 9 bits.

    A hash is `mix` of two words, the number's by `first_word` and `second`, each under a word of the seed, mixed again.
    """
    numbers = np.random.default_rng(9).integers(2, 2**31, 700 * N_COLLIDING, np.uint64)
    words = seeds(KNOWN_SEED)
    hashes = mixed(first_word(numbers) ^ np.uint64(words[0]), second ^ words[1])
    hashes = mixed(hashes ^ np.uint64(words[2]), words[3] | 1)
    found = np.unique(numbers[hashes >> np.uint64(55) == 0])[:N_COLLIDING].tolist()
    assert len(found) == N_COLLIDING
    return found


def seeds(seed: int) -> list[int]:
    """Give the words that the tables' hashes are seeded with."""
    words = [splitmix64(seed)]
    while len(words) < 4:
        words.append(splitmix64(words[-1]))
    return words


def mixed(a: NDArray[np.uint64], b: int) -> NDArray[np.uint64]:
    """Do what the model's `mix` does, for an array."""
    half, low = np.uint64(32), np.uint64(2**32 - 1)
    b_low, b_high = np.uint64(b & 2**32 - 1), np.uint64(b >> 32)
    low_low, high_low = (a & low) * b_low, (a >> half) * b_low
    middle = (a & low) * b_high + (low_low >> half) + (high_low & low)
    high = (a >> half) * b_high + (high_low >> half) + (middle >> half)
    return high ^ a * np.uint64(b)


def number_itself(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return numbers


def last_word(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Give the second word of each IPv6 address of the prefix below."""
    return numbers.byteswap()


def last_word_of_ipv4(numbers: NDArray[np.uint64]) -> NDArray[np.uint64]:
    return numbers.byteswap() | np.uint64(0xFFFF0000)


def ipv4(number: int) -> IPv4Address:
    return IPv4Address(number)


def ipv6(number: int) -> IPv6Address:
    return IPv6Address(IPV6_PREFIX | number)


def with_addresses(seed: int, addresses: list[Address], vlan: int = 0) -> ServerMachine:
    machine = ServerMachine(seed=seed)
    pid = machine.vnas_start(1, 1)
    for address in addresses:
        assert machine.validate(pid, address, "eth0", vlan=vlan)
    return machine


def with_pids(seed: int, pids: list[int]) -> ServerMachine:
    machine = ServerMachine(seed=seed)
    for pid in pids:
        machine.fork(1, pid=pid)
    return machine


def with_vnases(seed: int, vnases: list[int]) -> ServerMachine:
    machine = ServerMachine(seed=seed)
    for vnas in vnases:
        machine.vnas_start(1, vnas)
    return machine


IPV6_PREFIX = 0x2001_0DB8 << 96
IPV6_FIRST_WORD = int.from_bytes(packed16(IPv6Address(IPV6_PREFIX))[:8], "little")

COLLISIONS = {
    "IPv4 addresses": lambda seed: with_addresses(seed, [ipv4(n) for n in colliding(last_word_of_ipv4)]),
    "IPv6 addresses": lambda seed: with_addresses(seed, [ipv6(n) for n in colliding(last_word, IPV6_FIRST_WORD)]),
    "PIDs": lambda seed: with_pids(seed, colliding(number_itself)),
    "VNAS IDs": lambda seed: with_vnases(seed, colliding(number_itself)),
}


@pytest.mark.parametrize("what", COLLISIONS)
def test_keys_that_collide_under_a_known_seed_spread_under_others(what: str) -> None:
    load = COLLISIONS[what]
    assert longest(load(KNOWN_SEED)) > N_COLLIDING // 2  # they do collide, so this is a test
    for seed in OTHER_SEEDS:
        machine = load(seed)
        machine.check()
        assert longest(machine) <= MOST_PROBES, seed


def test_without_a_seed_the_colliding_keys_spread() -> None:
    """The seed that nobody chose is another one in each machine."""
    for _ in range(3):
        machine = ServerMachine()
        pid = machine.vnas_start(1, 1)
        for number in colliding(last_word_of_ipv4):
            machine.validate(pid, ipv4(number), "eth0")
        assert longest(machine) <= MOST_PROBES


def regular_addresses() -> Iterator[tuple[str, list[Address]]]:
    """Give addresses as attackers, and administrators, choose them."""
    numbers = range(1, N_REGULAR + 1)
    for shift in (0, 1, 4, 8, 12, 16, 18):
        yield f"IPv4, every {1 << shift}th", [IPv4Address(0x0A000000 + (n << shift) & 0xFFFFFFFF) for n in numbers]
    for octet in range(4):
        shift = 8 * octet
        rest = 0x0A0A0A0A & ~(0xFF << shift)
        yield f"IPv4, octet {3 - octet} only", [IPv4Address(rest | value << shift) for value in range(256)]
    swapped = (int.from_bytes(n.to_bytes(4, "big"), "little") for n in numbers)
    yield "IPv4, counting from the first octet on", [IPv4Address(n) for n in swapped]
    yield "IPv4, the same low 16 bits", [IPv4Address(n << 16 | 0x0A01) for n in numbers]
    yield "IPv4, both halves alike", [IPv4Address(n << 16 | n) for n in numbers]
    yield "IPv4, one bit or two", [IPv4Address(1 << a | 1 << b) for a in range(32) for b in range(a + 1)]
    prefix = IPV6_PREFIX
    yield "IPv6, sequential interface IDs", [IPv6Address(prefix | n) for n in numbers]
    yield "IPv6, a subnet each", [IPv6Address(prefix | n << 64 | 1) for n in numbers]
    yield "IPv6, subnet and interface ID alike", [IPv6Address(prefix | n << 64 | n) for n in numbers]
    yield "IPv6, every 2**48th", [IPv6Address(prefix | n << 48) for n in numbers]
    yield "IPv6, one bit or two", [IPv6Address(prefix | 1 << a | 1 << b) for a in range(96) for b in range(a + 1)]
    yield "IPv6, an IPv4 address each", [IPv6Address(0x0064_FF9B << 96 | 0x0A000000 + n) for n in numbers]


REGULAR = dict(regular_addresses())


@pytest.mark.parametrize("what", REGULAR)
def test_regular_addresses_spread(what: str) -> None:
    for seed in (KNOWN_SEED, *OTHER_SEEDS):
        machine = with_addresses(seed, REGULAR[what])
        assert longest(machine) <= MOST_PROBES, seed
        # By chance one in 440 finds no room in its line of the data plane.
        assert sum(crowded_out(machine.tables)) <= len(REGULAR[what]) // 20, seed


def test_the_same_address_on_every_vlan_spreads() -> None:
    for seed in OTHER_SEEDS:
        machine = ServerMachine(seed=seed)
        pid = machine.vnas_start(1, 1)
        for vlan in range(4096):
            machine.validate(pid, "10.0.0.1", "eth0", vlan=vlan)
            machine.validate(pid, "2001:db8::1", "eth0", vlan=vlan)
        assert longest(machine) <= MOST_PROBES, seed


@pytest.mark.parametrize("stride", [1, 2, 256, 65536, 2**17, 99_991])
def test_regular_process_and_vnas_ids_spread(stride: int) -> None:
    for seed in OTHER_SEEDS:
        machine = ServerMachine(seed=seed)
        for number in range(1, N_REGULAR + 1):
            machine.vnas_start(1, number * stride, pid=number * stride + 1)
        assert longest(machine) <= MOST_PROBES, seed


@pytest.mark.parametrize("step", [1, 8, 256])
def test_sockets_of_regular_places_spread(step: int) -> None:
    """Many addresses on one port, many ports on one address, and both for several VNASs."""
    for seed in OTHER_SEEDS:
        machine = ServerMachine(seed=seed)
        pids = [machine.vnas_start(1, vnas) for vnas in range(1, 5)]
        for number in range(N_REGULAR // 4):
            for pid in pids:
                machine.bind(pid, "tcp", 80, IPv4Address(0x0A000000 + number * step), freebind=True)
                machine.bind(pid, "udp", 1 + number, "10.0.0.1", freebind=True)
                machine.bind(pid, "sctp", 1 + number * 16)
        assert longest(machine) <= MOST_PROBES, seed


def test_loopback_owners_spread() -> None:
    for seed in OTHER_SEEDS:
        machine = ServerMachine(seed=seed)
        for number in range(N_REGULAR):
            machine.bind(1, "tcp", 1 + number % 64, IPv4Address(0x7F000000 + (number >> 6 << 8)))
        assert longest(machine) <= MOST_PROBES, seed


@pytest.mark.parametrize("length", [24, 32])
def test_regular_routes_spread(length: int) -> None:
    for seed in OTHER_SEEDS:
        machine = ServerMachine(seed=seed)
        for number in range(N_REGULAR):
            machine.set_route(f"{IPv4Address(0x0A000000 + (number << 32 - length))}/{length}", "eth0")
        assert longest(machine) <= MOST_PROBES, seed


def test_what_was_removed_lengthens_no_probe() -> None:
    """Adding and removing forever leaves nothing behind that a lookup must pass."""
    machine = ServerMachine(seed=2)
    pid = machine.vnas_start(1, 1)
    for turn in range(20):
        addresses = [IPv4Address(0x0A000000 + (turn << 12) + number) for number in range(1000)]
        for address in addresses:
            machine.validate(pid, address, "eth0")
        for address in addresses:
            machine.invalidate(pid, address)
    machine.check()
    assert longest(machine) <= 2
