import io
import struct

import dpkt
import pytest
from captures_builder import (
    MICROSECONDS,
    MODIFIED,
    NANOSECONDS,
    Frame,
    frames_of_block,
    pcap_file,
    pcap_header,
    pcap_record,
    read_all,
    some_frames,
)
from scapy.utils import RawPcapReader

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError

VARIANTS = [(order, magic) for order in "<>" for magic in (MICROSECONDS, NANOSECONDS, MODIFIED)]


def frames_for(magic, n=7):
    return some_frames(n, 10**9 if magic == NANOSECONDS else 10**6)


@pytest.mark.parametrize(("order", "magic"), VARIANTS)
def test_each_variant_field_by_field(order, magic):
    frames = frames_for(magic)
    with open_capture(pcap_file(frames, order, magic, snaplen=4_096, network=101)) as capture:
        assert capture.read() == len(frames)
        assert frames_of_block(capture) == frames
        (interface,) = capture.interfaces
        assert (interface.link_type, interface.snaplen) == (101, 4_096)
        assert interface.ticks_per_second == (10**9 if magic == NANOSECONDS else 10**6)
        assert interface.link_type_text == "RAW (101)"
        assert capture.format == "pcap"
        assert ("big-endian" in capture.description) == (order == ">")
        assert ("nanoseconds" in capture.description) == (magic == NANOSECONDS)
        assert capture.read() == 0
        assert capture.read() == 0
        assert capture.position == capture.size == capture.source_position


@pytest.mark.parametrize(("order", "magic"), [v for v in VARIANTS if v[1] != MODIFIED])
def test_dpkt_and_scapy_read_the_same(order, magic):
    data = pcap_file(frames_for(magic), order, magic)
    ours, error = read_all(data)
    assert error is None
    per_second = 10**9 if magic == NANOSECONDS else 10**6
    from_dpkt = list(dpkt.pcap.Reader(io.BytesIO(data)))
    assert [f.data for f in ours] == [packet for _, packet in from_dpkt]
    for frame, (time, _) in zip(ours, from_dpkt, strict=True):
        assert abs(frame.ticks / per_second - float(time)) < 1e-5
    from_scapy = list(RawPcapReader(io.BytesIO(data)))
    assert [(f.data, *divmod(f.ticks, per_second), f.wire) for f in ours] == [
        (packet, meta.sec, meta.usec, meta.wirelen) for packet, meta in from_scapy
    ]


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("version", "swapped"),
    [((2, 2), True), ((2, 0), True), ((543, 0), True), ((2, 3), True), ((2, 3), False)],
)
def test_lengths_of_old_versions(order, version, swapped):
    frames = [frame._replace(wire=len(frame.data) + 5) for frame in some_frames()]
    records = [pcap_record(frame, order, swap_lengths=swapped) for frame in frames]
    assert read_all(pcap_header(order, version=version) + b"".join(records)) == (frames, None)


def test_version_from_the_future_is_refused():
    with pytest.raises(CaptureError, match=r"byte 4: is pcap of version 2\.5; only"):
        open_capture(pcap_header(version=(2, 5)))


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("magic", "words"),
    [
        (0xA1B234CD, "Mesquita"),
        (0xA12B3C4D, "Navtel"),
        (0xA1B2C3CB, "filter"),
        (0xA1E2CB12, "netsniff-ng"),
        (0x1C0001AB, "Ixia"),
        (0x1C0001AC, "Ixia"),
    ],
)
def test_other_magics_are_refused_by_name(order, magic, words):
    with pytest.raises(CaptureError) as caught:
        open_capture(pcap_header(order, magic))
    assert caught.value.offset == 0
    assert words in caught.value.problem
    assert f"{magic:08x}" in caught.value.problem


def test_bits_of_the_frame_check_sequence_are_no_link_type():
    with open_capture(pcap_header(network=0x34000071)) as capture:
        assert capture.interfaces[0].link_type == 0x71


def test_fraction_beyond_a_second_carries():
    data = pcap_header() + struct.pack("<IIII", 10, 3_500_000, 0, 0)
    with open_capture(data) as capture:
        assert capture.read() == 1
        assert capture.format_time(0, capture.ticks[0]) == "13.500000"
        assert capture.times_ns.tolist() == [13_500_000_000]


def test_largest_numbers_of_a_record():
    data = pcap_header(magic=NANOSECONDS) + struct.pack("<IIII", 2**32 - 1, 2**32 - 1, 0, 2**32 - 1)
    frames, error = read_all(data)
    assert error is None
    assert frames == [Frame(b"", (2**32 - 1) * 10**9 + 2**32 - 1, 2**32 - 1)]


@pytest.mark.parametrize(("order", "magic"), VARIANTS)
def test_every_cut_gives_the_frames_before_and_the_place(order, magic):
    frames = frames_for(magic, 4)
    data = pcap_file(frames, order, magic)
    ends = [24]
    for frame in frames:
        ends.append(ends[-1] + (24 if magic == MODIFIED else 16) + len(frame.data))
    for cut in range(len(data)):
        got, error = read_all(data[:cut])
        whole = sum(end <= cut for end in ends) - 1
        assert got == frames[: max(whole, 0)]
        if cut in ends:
            assert error is None
        elif cut < 24:
            assert error.offset == (0 if cut < 4 else cut)
        else:
            assert error.offset == ends[whole]
            assert "ends inside a record" in error.problem


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("network", "limit"),
    [(1, 262_144), (231, 128 << 20), (189, 128 << 20), (249, 128 << 20), (9_999, 262_144)],
)
def test_absurd_length_is_damage_after_the_frames_before(order, network, limit):
    frames = some_frames(5)
    data = pcap_file(frames, order, network=network)
    got, error = read_all(data + struct.pack(order + "IIII", 1, 2, limit + 1, 60) + bytes(100))
    assert got == frames
    assert error.offset == len(data)
    assert f"{limit + 1:,} captured bytes" in error.problem
    assert f"{limit:,}" in error.problem
    assert f"({network})" in error.problem
    got, error = read_all(data + struct.pack(order + "IIII", 1, 2, limit, 60) + bytes(100))
    assert got == frames
    assert "ends inside a record" in error.problem


def test_error_stays():
    with open_capture(pcap_file(some_frames(2)) + b"xyz") as capture:
        assert capture.read() == 2
        for _ in range(3):
            with pytest.raises(CaptureError, match="<bytes>: byte 69: the file ends inside a record"):
                capture.read()
            assert len(capture.offsets) == 0
        assert capture.n_frames == 2


def test_captured_bytes_beyond_the_snaplen_are_kept():
    frames = [Frame(bytes(100), 5, 100)]
    assert read_all(pcap_file(frames, snaplen=60)) == (frames, None)
