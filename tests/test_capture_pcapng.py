import io
import struct

import dpkt
import pytest
from captures_builder import (
    Frame,
    block,
    enhanced,
    interface,
    obsolete,
    option,
    pcapng_file,
    read_all,
    section,
    simple,
    some_frames,
)
from scapy.utils import RawPcapNgReader

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError

COMMENT = option(1, b"a comment of odd length") + option(0, b"")


@pytest.mark.parametrize("order", "<>")
def test_every_kind_of_block(order):
    frames = some_frames(9)
    frames[1:2] = [frames[1]._replace(ticks=0, wire=len(frames[1].data))]
    data = section(order, options=option(1, b"comment", order)) + block(5, bytes(12), order)
    data += interface(order) + enhanced(frames[0], order, options=option(1, b"xyz", order))
    data += simple(frames[1], order) + block(0x80000BAD, bytes(40), order) + obsolete(frames[2], order)
    data += b"".join(enhanced(frame, order) for frame in frames[3:]) + block(4, bytes(4), order)
    assert read_all(data) == (frames, None)
    with open_capture(data) as capture:
        assert capture.format == "pcapng"
        assert capture.description == f"pcapng, {'big' if order == '>' else 'little'}-endian"
        while capture.read():
            pass
        assert capture.position == len(data)


@pytest.mark.parametrize("order", "<>")
def test_dpkt_and_scapy_read_the_same(order):
    data = pcapng_file(some_frames(9), order)
    ours, error = read_all(data)
    assert error is None
    from_dpkt = list(dpkt.pcapng.Reader(io.BytesIO(data)))
    assert [f.data for f in ours] == [packet for _, packet in from_dpkt]
    assert [f.ticks / 10**6 for f in ours] == [time for time, _ in from_dpkt]
    from_scapy = list(RawPcapNgReader(io.BytesIO(data)))
    assert [(f.data, f.ticks, f.wire) for f in ours] == [
        (packet, meta.tshigh << 32 | meta.tslow, meta.wirelen) for packet, meta in from_scapy
    ]


def test_sections_of_both_orders_have_interfaces_of_their_own():
    first = some_frames(4, rows=(0, 1))
    second = [frame._replace(row=frame.row + 2) for frame in some_frames(4, rows=(0, 1, 2))]
    data = section("<", length=12_345) + interface("<", 1) + interface("<", 113)
    data += b"".join(enhanced(frame, "<") for frame in first)
    data += section(">") + interface(">", 101) + interface(">", 228) + interface(">", 229)
    data += b"".join(enhanced(frame, ">", number=frame.row - 2) for frame in second)
    data += (
        section("<") + section(">", version=(1, 2)) + interface(">", 9) + enhanced(second[0], ">", number=0)
    )
    frames, error = read_all(data)
    assert error is None
    assert frames == [*first, *second, second[0]._replace(row=5)]
    with open_capture(data) as capture:
        assert capture.interfaces == []
        while capture.read():
            pass
        assert [i.link_type for i in capture.interfaces] == [1, 113, 101, 228, 229, 9]


@pytest.mark.parametrize("order", "<>")
def test_options_of_an_interface(order):
    options = option(2, b"eth0.100", order) + option(9, b"\x09", order)
    options += option(14, struct.pack(order + "q", -3_600), order) + option(99, b"abcde", order)
    data = section(order) + interface(order, snaplen=96, options=options + option(0, b""))
    data += interface(order, options=option(9, bytes([0x80 | 20]), order) + option(2, b"\xff\0", order))
    with open_capture(data) as capture:
        assert capture.read() == 0
        first, second = capture.interfaces
    assert first == (1, 96, 9, False, -3_600, "eth0.100")
    assert first.ticks_per_second == 10**9
    assert second == (1, 0, 20, True, 0, "\N{REPLACEMENT CHARACTER}")
    assert second.ticks_per_second == 2**20


def test_option_after_the_last_is_not_read():
    options = option(0, b"") + option(9, b"\x09")
    with open_capture(section() + interface(options=options)) as capture:
        capture.read()
        assert capture.interfaces[0].exponent == 6


def test_simple_packets_are_cut_to_the_snaplen():
    data = section() + interface(snaplen=10)
    data += block(3, struct.pack("<I", 60) + bytes(range(12))) + block(3, struct.pack("<I", 3) + b"abc\0")
    assert read_all(data) == ([Frame(bytes(range(10)), 0, 60), Frame(b"abc", 0, 3)], None)


def test_damaged_options_of_a_packet_harm_nothing():
    frames = some_frames(1)
    data = section() + interface() + enhanced(frames[0], options=struct.pack("<HH", 1, 60_000))
    assert read_all(data) == (frames, None)


@pytest.mark.parametrize("order", "<>")
def test_every_cut_gives_the_frames_before_and_the_place(order):
    frames = some_frames(4)
    blocks = [section(order), interface(order, options=option(9, b"\6", order) + COMMENT)]
    if order == ">":
        blocks[1] = interface(order)
    blocks += [enhanced(frames[0], order), obsolete(frames[1], order), block(77, bytes(8), order)]
    blocks += [enhanced(frame, order) for frame in frames[2:]]
    places = [sum(map(len, blocks[:i])) for i in range(len(blocks) + 1)]
    frames_at = dict(zip(places, [0, 0, 0, 1, 2, 2, 3, 4], strict=True))
    data = b"".join(blocks)
    for cut in range(len(data)):
        got, error = read_all(data[:cut])
        place = max(place for place in places if place <= cut)
        assert got == frames[: frames_at[place]]
        if cut and cut == place:
            assert error is None
        else:
            assert error.offset == place
            assert cut < 4 or "ends inside a block" in error.problem


def lengths_of(kind, first, last=None, body=b""):
    return struct.pack("<II", kind, first) + body + struct.pack("<I", first if last is None else last)


DAMAGES = {
    "length of 8, less than the 12": lengths_of(5, 8),
    "length of 0, less than the 12": lengths_of(5, 0),
    "length of 13, no multiple of 4": lengths_of(5, 13, body=bytes(8)),
    "length of 16,777,220, more than the 16,777,216": lengths_of(5, (16 << 20) + 4, body=bytes(8)),
    "length is 16 at its beginning, but 20 at its end": lengths_of(5, 16, 20, bytes(4)),
    "length of 28, less than the 32": lengths_of(6, 28, body=bytes(16)),
    "length of 24, less than the 32": lengths_of(2, 24, body=bytes(12)),
    "length of 12, less than the 16": lengths_of(3, 12),
    "length of 16, less than the 20": lengths_of(1, 16, body=bytes(4)),
    "is of interface 1, but its section has described 1": enhanced(some_frames(1)[0], number=1),
    "is of interface 7, but": obsolete(some_frames(1)[0], number=7),
    "60 captured bytes, but its block has room for 8": block(
        6, struct.pack("<5I", 0, 0, 0, 60, 60) + bytes(8)
    ),
    "61 captured bytes, but its block has room for 60": block(3, struct.pack("<I", 61) + bytes(60)),
    "byte-order magic 01020304": block(0x0A0D0D0A, bytes([1, 2, 3, 4]) + bytes(12)),
    "version 2 of pcapng": section(version=(2, 0)),
    "length of 24, less than the 28": lengths_of(
        0x0A0D0D0A, 24, body=struct.pack("<IIII", 0x1A2B3C4D, 1, 0, 0)
    ),
    "an option (code 9) of 9 bytes where 4 are left": interface(options=struct.pack("<HHI", 9, 9, 0)),
    "a time resolution of 2 bytes": interface(options=option(9, b"ab")),
    "a time offset of 4 bytes": interface(options=option(14, b"abcd")),
}


@pytest.mark.parametrize("problem", DAMAGES)
def test_damage_comes_after_the_frames_before(problem):
    frames = some_frames(5)
    data = pcapng_file(frames)
    got, error = read_all(data + DAMAGES[problem] + bytes(100))
    assert got == frames
    assert error.offset == len(data)
    assert problem in error.problem


def test_damaged_first_header_is_an_error_of_opening():
    with pytest.raises(CaptureError, match="byte 0: the section header has the byte-order magic"):
        open_capture(section()[:8] + bytes(40))


def test_simple_packet_without_interface():
    got, error = read_all(section() + simple(Frame(b"abc", 0, 3)))
    assert got == []
    assert "is of interface 0, but its section has described 0" in error.problem


def test_large_blocks_of_link_types_with_large_frames():
    frame = Frame(bytes((16 << 20) + 8), 1, (16 << 20) + 8)
    assert read_all(section() + interface(link_type=249) + enhanced(frame)) == ([frame], None)


def test_more_interfaces_than_rows():
    data = section() + interface() * 65_537
    with open_capture(data) as capture:
        with pytest.raises(CaptureError, match="more than 65,536 interfaces") as caught:
            capture.read()
        assert caught.value.offset == len(data) - len(interface())
        assert len(capture.interfaces) == 65_536
