"""Fuzz target: the capture reader.

An input is the bytes of a capture, and behind them two bytes that choose how it is read besides "whole, from memory":
in small pieces, or compressed and in pieces. Both ways must give the same frames and the same error.
"""

import bz2
import gzip
import io
import lzma
from typing import NamedTuple

import numpy as np

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError

PACKERS = (
    *(None,) * 13,
    lambda data: gzip.compress(data, 1),
    lambda data: bz2.compress(data, 1),
    lambda data: lzma.compress(data, preset=0),
)
MAGICS = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd")
SIZES = (1, 2, 3, 7, 16, 64, 1000, 4096)
BLOCK_FRAMES = (1, 2, 3, 16, 17, 64)
# Small pieces of a long input find no more than those of a short one, and take long.
MOST_PIECES = 48
INT64 = np.iinfo(np.int64)


class Reading(NamedTuple):
    frames: list[tuple]
    offset: int | None  # of the damage
    problem: str | None


class Pieces(io.RawIOBase):
    """A pipe that gives at most so many bytes at a time."""

    def __init__(self, data: bytes, size: int) -> None:
        self.data = memoryview(data)
        self.size = size

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        n = min(self.size, len(buffer), len(self.data))
        buffer[:n] = self.data[:n]
        self.data = self.data[n:]
        return n


def check_time(capture, row: int, ticks: int, time_ns: int) -> None:
    """Both ways to nanoseconds and to text must agree with whole numbers of any size."""
    interface = capture.interfaces[row]
    assert capture.format_time(row, ticks) == interface.format_time(ticks)
    exact = (ticks * 10**9) // interface.ticks_per_second + interface.offset_seconds * 10**9
    assert time_ns == min(max(exact, INT64.min), INT64.max), (ticks, time_ns, exact, interface)


def read(target, n_bytes: int | None, block_frames: int, limit: int | None) -> Reading:
    frames = []
    try:
        with open_capture(target, block_frames=block_frames) as capture:
            assert capture.description
            position = capture.position
            compressed = "compressed" in capture.description
            while n := capture.read(limit):
                data = capture.data
                columns = (capture.offsets, capture.lengths, capture.wire_lengths, capture.ticks)
                columns += (capture.interface_rows,)
                assert all(len(column) == n for column in (*columns, capture.times_ns))
                for offset, length, wire_length, ticks, row in zip(*(c.tolist() for c in columns), strict=True):
                    assert offset + length <= len(data)
                    frames.append((bytes(data[offset : offset + length]), wire_length, ticks, row))
                check_time(capture, int(columns[4][n - 1]), int(columns[3][n - 1]), int(capture.times_ns[n - 1]))
                assert capture.position > position
                position = capture.position
                assert capture.n_frames == len(frames)
                assert n_bytes is None or compressed or position <= n_bytes
            assert capture.read() == 0
    except CaptureError as error:
        return Reading(frames, error.offset, error.problem)
    return Reading(frames, None, None)


def run(data: bytes) -> None:
    """Run one input."""
    data, (how, sizes) = data[:-2], data[-2:].rjust(2, b"\0")
    blocks = BLOCK_FRAMES[sizes // len(SIZES) % len(BLOCK_FRAMES)]
    # Sanitizers watch the end of this array; bytes have a zero behind them.
    whole = read(np.frombuffer(data, np.uint8).copy(), len(data), blocks, 2 if how & 0x80 else None)
    pack = PACKERS[how % len(PACKERS)]
    packed = data if pack is None else pack(data)
    size = max(SIZES[sizes % len(SIZES)], len(packed) // MOST_PIECES)
    pieces = read(Pieces(packed, size), None, BLOCK_FRAMES[how // len(PACKERS) % len(BLOCK_FRAMES)], None)
    # How much of a damaged compressed stream unpacks depends on the pieces it comes in. And what an empty or foreign
    # file is said to be names the compression.
    if not data.startswith(MAGICS) and (pack is None or whole.frames or pieces.frames):
        assert pieces == whole, (how, sizes)
