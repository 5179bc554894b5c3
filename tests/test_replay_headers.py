"""Lengths and times that a replay takes from the headers of many records at a time, against plain integers."""

import os
import random
import struct
import subprocess
import sys
from ipaddress import ip_address

import pytest
from captures_builder import (
    NANOSECONDS,
    Frame,
    enhanced,
    interface,
    obsolete,
    option,
    pcap_file,
    section,
    simple,
)

from vnasfast import ServerMachine, vector
from vnasfast.replay import replay

LEAST, MOST = -(2**63), 2**63 - 1
PIECE = 512
ADDRESS = "10.0.0.1"
LATEST = 6 * 10**18  # nanoseconds; later ones are worked out one by one


def udp(payload):
    datagram = struct.pack(">HHHH", 40_000, 53, 8 + payload, 0) + bytes(payload)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(datagram), 1, 0, 64, 17, 0)
    return bytes(12) + b"\x08\x00" + header + ip_address("10.9.9.9").packed + ip_address(ADDRESS).packed + datagram


def frames_at(ticks, lengths=(20, 20, 20, 20, 20, 20, 20, 20, 21)):
    frames = [udp(length) for length in lengths]
    return [
        Frame(frames[i % len(frames)], each, len(frames[i % len(frames)]) + i % 7) for i, each in enumerate(ticks)
    ]


def replayed(path, data):
    """What the report and the socket say: packets, bytes, first and last time."""
    path.write_bytes(data)
    machine = ServerMachine(seed=1)
    pid = machine.vnas_start(1, 1)
    machine.validate(pid, ADDRESS, "eth0")
    machine.bind(pid, "udp", 53)
    report = replay(path, machine, threads=1)
    (capture,) = report.captures
    assert capture.damage is None
    (row,) = machine.sockets
    assert row.usage.packets == capture.packets == capture.delivered
    assert row.usage.bytes == capture.bytes
    return capture, row.usage


def check(path, data, frames, times):
    capture, usage = replayed(path, data)
    assert capture.packets == len(frames)
    assert capture.bytes == sum(frame.wire for frame in frames)
    assert capture.captured_bytes == sum(len(frame.data) for frame in frames)
    known = [time for time in times if time]
    assert capture.first_ns == min(known, default=None)
    assert capture.last_ns == max(known, default=None)
    if all(time > 0 for time in times):
        assert (usage.first_ns, usage.last_ns) == (min(times), max(times))


def times_of(frames, per_second, offset):
    times = (frame.ticks * 10**9 // per_second + offset * 10**9 for frame in frames)
    return [min(max(time, LEAST), MOST) for time in times]


def pcapng(frames, resolution=6, offset=0, order="<", kinds=(enhanced,)):
    options = option(9, bytes([resolution]), order) + option(14, struct.pack(order + "q", offset), order)
    blocks = (kinds[i % len(kinds)](frame, order) for i, frame in enumerate(frames))
    return section(order) + interface(order, options=options) + b"".join(blocks)


def in_order(n, per_second, start=1_700_000_000):
    return [start * per_second + 3 * i for i in range(n)]


@pytest.mark.parametrize("n", [1, 7, 8, 9, PIECE, PIECE + 1, 3 * PIECE + 5])
@pytest.mark.parametrize("resolution", [0, 3, 6, 9, 12, 0x8A])
def test_enhanced_packets_of_each_resolution(tmp_path, n, resolution):
    per_second = 2 ** (resolution & 0x7F) if resolution & 0x80 else 10**resolution
    frames = frames_at(in_order(n, per_second, start=1_700_000_000 if resolution != 12 else 17_000_000))
    check(tmp_path / "x.pcapng", pcapng(frames, resolution), frames, times_of(frames, per_second, 0))


@pytest.mark.parametrize(
    "offset", [1, -1, -1_700_000_000, -1_700_000_001, -2_999_999_999, 2_999_999_999, 3_000_000_000, -(10**10), 10**12]
)
@pytest.mark.parametrize("resolution", [6, 9])
def test_offsets_of_an_interface(tmp_path, offset, resolution):
    frames = frames_at(in_order(PIECE + 30, 10**resolution))
    check(tmp_path / "x.pcapng", pcapng(frames, resolution, offset), frames, times_of(frames, 10**resolution, offset))


@pytest.mark.parametrize("resolution", [0, 6, 9])
@pytest.mark.parametrize("beyond", [-(2**33), -(2**32), -1, 0, 1, 2**32, 2**33, None])
@pytest.mark.parametrize("place", [0, 11, PIECE - 1, PIECE + 2])
def test_a_late_time(tmp_path, resolution, beyond, place):
    ticks = in_order(PIECE + 30, 10**resolution)
    late = 2**64 - 1 if beyond is None else LATEST // 10 ** (9 - resolution) + beyond
    ticks[place] = min(max(late, 0), 2**64 - 1)
    frames = frames_at(ticks)
    for offset in (0, 2_999_999_999, -2_999_999_999):
        data = pcapng(frames, resolution, offset)
        check(tmp_path / "x.pcapng", data, frames, times_of(frames, 10**resolution, offset))


@pytest.mark.parametrize("kinds", [(enhanced, obsolete), (enhanced,) * 9 + (obsolete,), (obsolete,)])
@pytest.mark.parametrize("order", ["<", ">"])
def test_other_kinds_of_blocks(tmp_path, kinds, order):
    frames = frames_at(in_order(PIECE + 30, 10**6))
    check(tmp_path / "x.pcapng", pcapng(frames, order=order, kinds=kinds), frames, times_of(frames, 10**6, 0))


@pytest.mark.parametrize("place", [0, 3, 100, PIECE - 1, PIECE, PIECE + 29])
def test_one_simple_packet_has_no_time(tmp_path, place):
    frames = [frame._replace(wire=len(frame.data)) for frame in frames_at(in_order(PIECE + 30, 10**6))]
    kinds = [enhanced] * len(frames)
    kinds[place] = simple
    times = times_of(frames, 10**6, 0)
    times[place] = 0
    check(tmp_path / "x.pcapng", pcapng(frames, kinds=kinds), frames, times)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("kind", ["pcap", "pcap of nanoseconds", "pcapng"])
def test_times_in_any_order(tmp_path, kind, seed):
    chooser = random.Random(seed)
    ticks = in_order(PIECE + 100, 10**9 if "nano" in kind else 10**6, start=chooser.choice([0, 1, 2**31]))
    for _ in range(chooser.choice([1, 1, 600])):
        ticks[chooser.randrange(len(ticks))] = chooser.choice([0, 1, ticks[0], ticks[-1], 2**32])
    lengths = chooser.choices(range(90), k=chooser.choice([1, 2, 50]))
    frames = frames_at(ticks, lengths)
    if kind == "pcapng":
        check(tmp_path / "x", pcapng(frames), frames, times_of(frames, 10**6, 0))
    elif kind == "pcap":
        check(tmp_path / "x", pcap_file(frames), frames, times_of(frames, 10**6, 0))
    else:
        check(tmp_path / "x", pcap_file(frames, magic=NANOSECONDS), frames, times_of(frames, 10**9, 0))


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
