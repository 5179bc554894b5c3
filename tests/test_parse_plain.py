"""Plain frames to narrow keys: which frames these are, and that a narrow key says what the wide one says."""

import os
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_strategies import frames

from vnasfast import InvalidValue, ipv4_keys, vector
from vnasfast.dtypes import FLOW_KEY_IPV4
from vnasfast.parse import parse_frames, parse_plain

PORTS = bytes([0x9C, 0x40, 0x00, 0x50]) + bytes(4)


def ipv4(protocol=17, first=0x45, total=28, fragment=0x4000, payload=PORTS):
    lengths = bytes([first, 0]) + total.to_bytes(2, "big")
    header = lengths + b"\0\1" + fragment.to_bytes(2, "big") + bytes([64, protocol])
    return header + bytes(2) + bytes([192, 0, 2, 9, 10, 1, 2, 3]) + payload + bytes(20)


def ethernet(inner, ethertype=0x0800, tags=()):
    for kind, identifier in reversed(tags):
        inner = identifier.to_bytes(2, "big") + ethertype.to_bytes(2, "big") + inner
        ethertype = kind
    return bytes(range(12)) + ethertype.to_bytes(2, "big") + inner


def split(cases, link_type=1):
    """Parse frames both ways; returns places and keys after holding that the two ways agree."""
    buffer = b"".join(cases)
    lengths = np.array([len(frame) for frame in cases], np.uint32)
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
    keys, places, others = parse_plain(buffer, offsets, lengths, link_type)
    assert sorted([*places.tolist(), *others.tolist()]) == list(range(len(cases)))
    assert places.tolist() == sorted(places.tolist())
    assert others.tolist() == sorted(others.tolist())
    assert keys.dtype == FLOW_KEY_IPV4
    wide = parse_frames(buffer, offsets, lengths, link_type)
    assert (wide["status"][places] == 0).all()
    np.testing.assert_array_equal(keys, ipv4_keys(wide[places]))
    return places.tolist(), keys


PLAIN = {
    "tcp": ethernet(ipv4(6)),
    "udp": ethernet(ipv4()),
    "sctp": ethernet(ipv4(132)),
    "dccp": ethernet(ipv4(33)),
    "udplite": ethernet(ipv4(136)),
    "may be fragmented": ethernet(ipv4(fragment=0)),
    "reserved flag": ethernet(ipv4(fragment=0x8000)),
    "shortest payload with ports": ethernet(ipv4(total=24)),
    "42 bytes": ethernet(ipv4())[:42],
    "802.1Q": ethernet(ipv4(), tags=[(0x8100, 0xE123)]),
    "802.1ad": ethernet(ipv4(), tags=[(0x88A8, 7)]),
    "priority tag": ethernet(ipv4(), tags=[(0x8100, 0xE000)]),
}
NOT_PLAIN = {
    "no ports": ethernet(ipv4(1)),
    "options": ethernet(ipv4(first=0x46)),
    "another version": ethernet(ipv4(first=0x65)),
    "first fragment": ethernet(ipv4(fragment=0x2000)),
    "later fragment": ethernet(ipv4(fragment=0x0001)),
    "too short a payload": ethernet(ipv4(total=23)),
    "segmentation left to the card": ethernet(ipv4(total=0)),
    "41 bytes": ethernet(ipv4())[:41],
    "empty": b"",
    "IPv6": ethernet(bytes([0x60]) + bytes(60), 0x86DD),
    "ARP": ethernet(bytes(46), 0x0806),
    "two tags": ethernet(ipv4(), tags=[(0x88A8, 5), (0x8100, 6)]),
    "an old tag": ethernet(ipv4(), tags=[(0x9100, 5)]),
}


def test_each_kind():
    cases = [frame for pair in zip(NOT_PLAIN.values(), [*PLAIN.values(), b""], strict=True) for frame in pair]
    places, keys = split(cases)
    assert places == list(range(1, 2 * len(PLAIN), 2))
    assert keys["vlan"].tolist() == [0] * 9 + [0x123, 7, 0]
    assert keys["protocol"].tolist() == [6, 17, 132, 33, 136] + [17] * 7
    assert set(keys["destination_port"].tolist()) == {80}
    assert set(keys["source_port"].tolist()) == {40000}
    assert bytes(keys["destination"][0]) == bytes([10, 1, 2, 3])


def test_other_link_types_have_no_plain_frames():
    for link_type in (0, 101, 113, 228, 276, 999):
        places, _keys = split(list(PLAIN.values()), link_type)
        assert places == []


@given(st.lists(frames().map(lambda case: case[1]), max_size=30))
@settings(max_examples=300, deadline=None)
def test_agrees_with_the_parser_of_all_frames(cases):
    split(cases)


@given(st.sampled_from(sorted(PLAIN)), st.data())
@settings(max_examples=300, deadline=None)
def test_agrees_on_damaged_frames(name, data):
    frame = bytearray(PLAIN[name])
    for _ in range(data.draw(st.integers(0, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] = data.draw(st.integers(0, 255))
    split([bytes(frame[: data.draw(st.integers(0, len(frame)))]), bytes(frame)])


def test_refuses_frames_outside_the_buffer_and_too_many():
    with pytest.raises(InvalidValue, match="frame 1"):
        parse_plain(bytes(60), [0, 1], [60, 60], 1)
    with pytest.raises(InvalidValue, match="65536"):
        parse_plain(b"", [0] * 65537, [0] * 65537, 1)
    with pytest.raises(InvalidValue, match="lengths"):
        parse_plain(bytes(60), [0, 0], [60], 1)


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
