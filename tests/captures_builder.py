"""Capture files in plain struct code, for the tests: every variant that the readers know."""

import struct
from typing import NamedTuple

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError

MICROSECONDS = 0xA1B2C3D4
NANOSECONDS = 0xA1B23C4D
MODIFIED = 0xA1B2CD34


class Frame(NamedTuple):
    """A frame as a test means it; `ticks` counts the interface's units since the epoch."""

    data: bytes
    ticks: int
    wire: int
    row: int = 0


def some_frames(n=7, per_second=10**6, rows=(0,)):
    """Frames of many lengths, one of them empty and some cut, with contents that tell them apart."""
    return [
        Frame(
            data=bytes((17 * i + j) & 0xFF for j in range(i * 13 % 97)),
            ticks=(1_700_000_000 + i) * per_second + i * 1_001 % per_second,
            wire=i * 13 % 97 + i % 3 * 1_000,
            row=rows[i % len(rows)],
        )
        for i in range(n)
    ]


def pcap_header(order="<", magic=MICROSECONDS, version=(2, 4), snaplen=65_535, network=1):
    return struct.pack(order + "IHHiIII", magic, *version, 0, 0, snaplen, network)


def pcap_record(frame, order="<", magic=MICROSECONDS, swap_lengths=False):
    seconds, fraction = divmod(frame.ticks, 10**9 if magic == NANOSECONDS else 10**6)
    lengths = [len(frame.data), frame.wire]
    if swap_lengths:
        lengths.reverse()
    header = struct.pack(order + "IIII", seconds, fraction, *lengths)
    if magic == MODIFIED:
        header += struct.pack(order + "IHBB", 3, 0x0800, 0, 0)
    return header + frame.data


def pcap_file(frames, order="<", magic=MICROSECONDS, **header):
    return pcap_header(order, magic, **header) + b"".join(pcap_record(f, order, magic) for f in frames)


def option(code, value, order="<"):
    return struct.pack(order + "HH", code, len(value)) + value + bytes(-len(value) % 4)


def block(kind, body, order="<"):
    assert len(body) % 4 == 0
    length = struct.pack(order + "I", len(body) + 12)
    return struct.pack(order + "I", kind) + length + body + length


def section(order="<", length=-1, version=(1, 0), options=b""):
    return block(0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, *version, length) + options, order)


def interface(order="<", link_type=1, snaplen=0, options=b""):
    return block(1, struct.pack(order + "HHI", link_type, 0, snaplen) + options, order)


def enhanced(frame, order="<", number=None, options=b""):
    number = frame.row if number is None else number
    fixed = struct.pack(
        order + "IIIII", number, frame.ticks >> 32, frame.ticks & 0xFFFFFFFF, len(frame.data), frame.wire
    )
    return block(6, fixed + frame.data + bytes(-len(frame.data) % 4) + options, order)


def obsolete(frame, order="<", number=None, drops=0xFFFF):
    number = frame.row if number is None else number
    fixed = struct.pack(
        order + "HHIIII",
        number,
        drops,
        frame.ticks >> 32,
        frame.ticks & 0xFFFFFFFF,
        len(frame.data),
        frame.wire,
    )
    return block(2, fixed + frame.data + bytes(-len(frame.data) % 4), order)


def simple(frame, order="<"):
    return block(3, struct.pack(order + "I", frame.wire) + frame.data + bytes(-len(frame.data) % 4), order)


def pcapng_file(frames, order="<"):
    return section(order) + interface(order) + b"".join(enhanced(f, order) for f in frames)


def frames_of_block(capture):
    """The frames of the last read, from the columns."""
    data = capture.data
    return [
        Frame(bytes(data[offset : offset + length]), ticks, wire, row)
        for offset, length, ticks, wire, row in zip(
            capture.offsets.tolist(),
            capture.lengths.tolist(),
            capture.ticks.tolist(),
            capture.wire_lengths.tolist(),
            capture.interface_rows.tolist(),
            strict=True,
        )
    ]


def read_all(target, block_frames=3, limit=None):
    """All frames of a capture and the error that ended it, or None."""
    frames = []
    try:
        with open_capture(target, block_frames=block_frames) as capture:
            while n := capture.read(limit):
                block = frames_of_block(capture)
                assert len(block) == n
                frames += block
                assert capture.n_frames == len(frames)
    except CaptureError as error:
        return frames, error
    return frames, None
