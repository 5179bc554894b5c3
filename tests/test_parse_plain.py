"""Plain frames to keys: which frames these are, and that their keys say what those of parse_frames say."""

import os
import subprocess
import sys
from itertools import zip_longest
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_strategies import frames

from vnasfast import InvalidValue, vector
from vnasfast import ipv4_keys as ipv4_keys_of
from vnasfast.dtypes import FLOW_KEY_IPV4
from vnasfast.parse import parse_frames, parse_plain

PORTS = bytes([0x9C, 0x40, 0x00, 0x50]) + bytes(4)


def ipv4(protocol=17, first=0x45, total=28, fragment=0x4000, payload=PORTS):
    lengths = bytes([first, 0]) + total.to_bytes(2, "big")
    header = lengths + b"\0\1" + fragment.to_bytes(2, "big") + bytes([64, protocol])
    return header + bytes(2) + bytes([192, 0, 2, 9, 10, 1, 2, 3]) + payload + bytes(20)


def ipv6(protocol=17, first=0x60, length=8, payload=PORTS):
    header = bytes([first, 0, 0, 0]) + length.to_bytes(2, "big") + bytes([protocol, 64])
    return header + bytes.fromhex("20010db8" + "00" * 11 + "09" + "20010db8" + "00" * 11 + "03") + payload


def ethernet(inner, ethertype=0x0800, tags=()):
    for kind, identifier in reversed(tags):
        inner = identifier.to_bytes(2, "big") + ethertype.to_bytes(2, "big") + inner
        ethertype = kind
    return bytes(range(12)) + ethertype.to_bytes(2, "big") + inner


def split(cases, link_type=1):
    """Parse frames both ways; returns places and keys of either family after holding that the two ways agree."""
    buffer = b"".join(cases)
    lengths = np.array([len(frame) for frame in cases], np.uint32)
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
    ipv4_keys, ipv4, ipv6_keys, ipv6, others = parse_plain(buffer, offsets, lengths, link_type)
    assert sorted([*ipv4.tolist(), *ipv6.tolist(), *others.tolist()]) == list(range(len(cases)))
    for places in (ipv4, ipv6, others):
        assert places.tolist() == sorted(places.tolist())
    assert ipv4_keys.dtype == FLOW_KEY_IPV4
    wide = parse_frames(buffer, offsets, lengths, link_type)
    assert (wide["status"][np.concatenate([ipv4, ipv6])] == 0).all()
    np.testing.assert_array_equal(ipv4_keys, ipv4_keys_of(wide[ipv4]))
    np.testing.assert_array_equal(ipv6_keys, wide[ipv6])
    return ipv4.tolist(), ipv4_keys, ipv6.tolist(), ipv6_keys


PLAIN = {
    "tcp": ethernet(ipv4(6)),
    "udp": ethernet(ipv4()),
    "sctp": ethernet(ipv4(132)),
    "dccp": ethernet(ipv4(33)),
    "udplite": ethernet(ipv4(136)),
    "may be fragmented": ethernet(ipv4(fragment=0)),
    "reserved flag": ethernet(ipv4(fragment=0x8000)),
    "shortest payload with ports": ethernet(ipv4(total=24)),
    "46 bytes": ethernet(ipv4())[:46],
    "802.1Q": ethernet(ipv4(), tags=[(0x8100, 0xE123)]),
    "802.1ad": ethernet(ipv4(), tags=[(0x88A8, 7)]),
    "priority tag": ethernet(ipv4(), tags=[(0x8100, 0xE000)]),
    "two tags": ethernet(ipv4(), tags=[(0x88A8, 5), (0x8100, 6)]),
    "two tags, 46 bytes": ethernet(ipv4(), tags=[(0x8100, 0), (0x8100, 0xF007)])[:46],
}
PLAIN_IPV6 = {
    "tcp": ethernet(ipv6(6), 0x86DD),
    "udp": ethernet(ipv6(), 0x86DD),
    "sctp": ethernet(ipv6(132), 0x86DD),
    "dccp": ethernet(ipv6(33), 0x86DD),
    "udplite": ethernet(ipv6(136), 0x86DD),
    "traffic class": ethernet(ipv6(first=0x6F), 0x86DD),
    "shortest payload with ports": ethernet(ipv6(length=4), 0x86DD)[:58],
    "802.1Q": ethernet(ipv6(), 0x86DD, [(0x8100, 0xE123)])[:62],
    "802.1ad": ethernet(ipv6(), 0x86DD, [(0x88A8, 7)]),
    "two tags": ethernet(ipv6(), 0x86DD, [(0x88A8, 0), (0x8100, 6)])[:66],
}
NOT_PLAIN = {
    "no ports": ethernet(ipv4(1)),
    "options": ethernet(ipv4(first=0x46)),
    "another version": ethernet(ipv4(first=0x65)),
    "first fragment": ethernet(ipv4(fragment=0x2000)),
    "later fragment": ethernet(ipv4(fragment=0x0001)),
    "too short a payload": ethernet(ipv4(total=23)),
    "segmentation left to the card": ethernet(ipv4(total=0)),
    "45 bytes": ethernet(ipv4())[:45],
    "empty": b"",
    "ARP": ethernet(bytes(46), 0x0806),
    "three tags": ethernet(ipv4(), tags=[(0x88A8, 5), (0x8100, 6), (0x8100, 7)]),
    "an old tag": ethernet(ipv4(), tags=[(0x9100, 5)]),
    "IPv6 without ports": ethernet(ipv6(58), 0x86DD),
    "IPv6 with an extension header": ethernet(ipv6(0), 0x86DD),
    "IPv6 of another version": ethernet(ipv6(first=0x40), 0x86DD),
    "IPv6 with too short a payload": ethernet(ipv6(length=3), 0x86DD),
    "IPv6, cut before its ports": ethernet(ipv6(), 0x86DD)[:57],
    "IPv6 with a tag, cut before its ports": ethernet(ipv6(), 0x86DD, [(0x8100, 5)])[:61],
    "IPv6 with two tags, cut before its ports": ethernet(ipv6(), 0x86DD, [(0x8100, 5), (0x8100, 6)])[:65],
    "IPv4 inside IPv6's Ethertype": ethernet(ipv4(), 0x86DD),
}


def test_each_kind():
    cases = [frame for group in zip_longest(NOT_PLAIN.values(), PLAIN.values(), PLAIN_IPV6.values()) for frame in group]
    ipv4, ipv4_keys, ipv6, ipv6_keys = split([frame or b"" for frame in cases])
    assert ipv4 == list(range(1, 3 * len(PLAIN), 3))
    assert ipv6 == list(range(2, 3 * len(PLAIN_IPV6), 3))
    assert ipv4_keys["vlan"].tolist() == [0] * 9 + [0x123, 7, 0, 5, 7]
    assert ipv6_keys["vlan"].tolist() == [0] * 7 + [0x123, 7, 6]
    assert ipv4_keys["protocol"].tolist() == [6, 17, 132, 33, 136] + [17] * 9
    assert ipv6_keys["protocol"].tolist() == [6, 17, 132, 33, 136] + [17] * 5
    for keys in (ipv4_keys, ipv6_keys):
        assert set(keys["destination_port"].tolist()) == {80}
        assert set(keys["source_port"].tolist()) == {40000}
    assert bytes(ipv4_keys["destination"][0]) == bytes([10, 1, 2, 3])


@pytest.mark.parametrize("n", [1, 7, 8, 9, 63, 64, 65, 511, 512, 513, 1500])
def test_any_number_of_frames_in_any_mix(n):
    random = Random(n)
    kinds = [*PLAIN.values(), *PLAIN_IPV6.values(), *NOT_PLAIN.values()]
    split(random.choices(kinds, k=n))
    split(random.choices(list(PLAIN.values()), k=n))
    split(random.choices(list(PLAIN_IPV6.values()), k=n))
    # Runs of one kind: eight at once take a shorter way, unless others of their kind wait for it.
    split([frame for frame in random.choices(kinds, k=n) for _ in range(random.randint(1, 24))][:n])


def test_other_link_types_have_no_plain_frames():
    for link_type in (0, 101, 113, 228, 276, 999):
        ipv4, _, ipv6, _ = split([*PLAIN.values(), *PLAIN_IPV6.values()], link_type)
        assert ipv4 == ipv6 == []


@given(st.lists(frames().map(lambda case: case[1]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_parser_of_all_frames(cases):
    split(cases)


@given(st.sampled_from([*PLAIN.values(), *PLAIN_IPV6.values()]), st.data())
@settings(max_examples=300, deadline=None)
def test_agrees_on_damaged_frames(plain, data):
    frame = bytearray(plain)
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    split([bytes(frame[: data.draw(st.integers(0, len(frame)))]), bytes(frame)])


def test_refuses_frames_outside_the_buffer():
    with pytest.raises(InvalidValue, match="frame 1"):
        parse_plain(bytes(60), [0, 1], [60, 60], 1)
    with pytest.raises(InvalidValue, match="lengths"):
        parse_plain(bytes(60), [0, 0], [60], 1)


@pytest.mark.parametrize("offset", [1, 61, 1 << 32, 1 << 62, (1 << 63) - 1, 1 << 63, (1 << 64) - 60, (1 << 64) - 1])
@pytest.mark.parametrize("place", [0, 4, 8])
def test_finds_the_frame_outside_the_buffer(offset, place):
    offsets = np.zeros(9, np.uint64)
    offsets[place] = offset
    with pytest.raises(InvalidValue, match=f"frame {place}"):
        parse_plain(bytes(60), offsets, np.full(9, 60, np.uint32), 1)


@pytest.mark.skipif("VNASFAST_VECTOR" in os.environ, reason="one path is asked for")
@pytest.mark.parametrize("path", vector.paths)
def test_each_vector_path(path):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", __file__],
        env={**os.environ, "VNASFAST_VECTOR": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
