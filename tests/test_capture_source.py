import bz2
import gc
import gzip
import io
import lzma
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import zstandard
from captures_builder import Frame, frames_of_block, pcap_file, pcapng_file, read_all, some_frames
from hypothesis import given
from hypothesis import strategies as st

import vnasfast
from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError, InvalidValue, MissingExtra

COMPRESS = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zstd": lambda data: zstandard.ZstdCompressor(write_checksum=True).compress(data),
}
FILES = {"pcap": pcap_file, "pcapng": pcapng_file}


class Pieces(io.RawIOBase):
    """A raw file that gives pieces of the sizes asked for, as a pipe may."""

    def __init__(self, data, sizes):
        self.data = data
        self.sizes = sizes
        self.turn = 0

    def readable(self):
        return True

    def readinto(self, buffer):
        size = min(self.sizes[self.turn % len(self.sizes)], len(buffer))
        self.turn += 1
        piece, self.data = self.data[:size], self.data[size:]
        buffer[: len(piece)] = piece
        return len(piece)


class OnlyRead:
    """The least file object."""

    def __init__(self, data):
        self.file = io.BytesIO(data)

    def read(self, size):
        return self.file.read(size)


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_every_way_in_gives_the_same(make, tmp_path):
    frames = some_frames(50)
    data = make(frames)
    path = tmp_path / "capture"
    path.write_bytes(data)
    with path.open("rb") as file:
        ways = [path, str(path), data, bytearray(data), memoryview(data), io.BytesIO(data)]
        for way in (*ways, file, OnlyRead(data)):
            assert read_all(way) == (frames, None)


def test_what_a_capture_says_of_a_file(tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_file(some_frames(3)))
    with open_capture(path) as capture:
        assert capture.name == str(path)
        assert capture.size == path.stat().st_size
        assert capture.position == capture.source_position == 24
    with path.open("rb") as file, open_capture(file) as capture:
        assert capture.name == str(path)
        assert capture.size is None


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
@given(sizes=st.lists(st.integers(1, 200), min_size=1, max_size=20), cut=st.integers(0, 3_000))
def test_pieces_of_a_stream_equal_the_whole(make, sizes, cut):
    data = make(some_frames(40))[:cut]
    frames, error = read_all(data, block_frames=16)
    from_pieces, error_of_pieces = read_all(Pieces(data, sizes), block_frames=16)
    assert from_pieces == frames
    if error is None:
        assert error_of_pieces is None
    else:
        assert (error_of_pieces.offset, error_of_pieces.problem) == (error.offset, error.problem)


def test_records_larger_than_the_buffer_and_many_buffers():
    frames = [
        Frame(bytes([i]) * size, i, size) for i, size in enumerate((3_000_000, 10, 1 << 20, 0, 2_500_000))
    ]
    data = pcap_file(frames, network=189)
    assert read_all(data) == (frames, None)
    assert read_all(Pieces(data, [65_536, 1_000_000])) == (frames, None)
    many = some_frames(60_000)
    assert read_all(Pieces(pcap_file(many), [65_536]), block_frames=4_096) == (many, None)


def test_a_mapped_file_longer_than_what_is_given_back(tmp_path):
    frames = [Frame(bytes([i & 0xFF]) * 200_000, i, 200_000) for i in range(200)]
    path = tmp_path / "long.pcap"
    path.write_bytes(pcap_file(frames))
    assert read_all(path) == (frames, None)


def test_limit():
    frames = some_frames(10)
    with open_capture(pcap_file(frames), block_frames=4) as capture:
        assert [capture.read(limit) for limit in (1, 3, 100, None, None, 1)] == [1, 3, 4, 2, 0, 0]
        for limit in (0, -1):
            with pytest.raises(InvalidValue):
                capture.read(limit)
    for limit in (1, 2, 3):
        assert read_all(pcap_file(frames), limit=limit) == (frames, None)


@pytest.mark.parametrize("block_frames", [0, 1 << 25])
def test_block_frames_out_of_range(block_frames):
    with pytest.raises(InvalidValue, match="block_frames"):
        open_capture(pcap_file([]), block_frames=block_frames)


def run_from_stdin(**stdin):
    program = (
        "from vnasfast.capture import open_capture\n"
        "with open_capture('-') as c:\n"
        "    while n := c.read(): print(n, bytes(c.data[c.offsets[0]:][:c.lengths[0]]))\n"
        "    print(c.name, c.n_frames, c.size)\n"
    )
    root = str(Path(vnasfast.__file__).parents[1])
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        check=True,
        env={**os.environ, "PYTHONPATH": root},
        **stdin,
    )
    return result.stdout.decode()


@pytest.mark.parametrize("pack", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_standard_input(pack, tmp_path):
    frames = [Frame(b"first", 1, 5), Frame(b"second", 2, 6)]
    data = pack(pcap_file(frames))
    want = "2 b'first'\n- 2 None\n"
    assert run_from_stdin(input=data) == want
    (tmp_path / "file").write_bytes(data)
    with (tmp_path / "file").open("rb") as file:
        assert run_from_stdin(stdin=file) == want


def test_named_pipe_gives_frames_as_they_come(tmp_path):
    path = tmp_path / "pipe"
    os.mkfifo(path)
    frames = some_frames(3)
    data = pcap_file(frames)
    second_may_come = threading.Event()

    def write():
        with path.open("wb", buffering=0) as file:
            file.write(data[:-5])
            assert second_may_come.wait(60)
            file.write(data[-5:])

    writer = threading.Thread(target=write)
    writer.start()
    with open_capture(path) as capture:
        assert capture.read() == 2
        got = frames_of_block(capture)
        second_may_come.set()
        assert capture.read() == 1
        assert got + frames_of_block(capture) == frames
        assert capture.read() == 0
        assert capture.source_position == len(data)
    writer.join()


@pytest.mark.parametrize("compression", COMPRESS)
@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
def test_compressed(compression, make, tmp_path):
    frames = some_frames(20_000)
    data = make(frames)
    packed = COMPRESS[compression](data)
    path = tmp_path / "misnamed.pcap"
    path.write_bytes(packed)
    assert read_all(path, block_frames=1_000) == (frames, None)
    assert read_all(packed, block_frames=1_000) == (frames, None)
    assert read_all(Pieces(packed, [1, 5_000]), block_frames=1_000) == (frames, None)
    with open_capture(path) as capture:
        assert capture.description.endswith(f", {compression}-compressed")
        assert 0 < capture.source_position <= capture.size == len(packed)
        while capture.read():
            pass
        assert capture.position == len(data)
        assert capture.source_position == capture.size


@pytest.mark.parametrize("compression", COMPRESS)
def test_several_compressed_streams_in_one_file(compression):
    frames = some_frames(100)
    data = pcap_file(frames)
    pack = COMPRESS[compression]
    assert read_all(pack(data[:1_000]) + pack(data[1_000:])) == (frames, None)


@pytest.mark.parametrize("compression", COMPRESS)
def test_every_cut_of_a_compressed_stream_is_noticed(compression):
    frames = some_frames(60)
    packed = COMPRESS[compression](pcap_file(frames))
    for cut in range(8, len(packed)):
        got, error = read_all(packed[:cut], block_frames=100)
        assert got == frames[: len(got)]
        assert f"the {compression} stream is cut short" in error.problem
    assert got == frames or compression in {"bzip2", "zstd"}


@pytest.mark.parametrize("compression", COMPRESS)
def test_damage_of_a_compressed_stream_comes_after_the_frames_before(compression):
    frames = [Frame(bytes([i]) * 1_000, i, 1_000) for i in range(200)]
    data = pcap_file(frames)
    half = 24 + 100 * 1_016
    first, second = (COMPRESS[compression](piece) for piece in (data[:half], data[half:]))
    got, error = read_all(first + second[:2] + bytes([second[2] ^ 0x55]) + second[3:])
    assert got == frames[:100]
    assert error.offset == half
    assert f"the {compression} stream is damaged" in error.problem


@pytest.mark.parametrize("compression", COMPRESS)
def test_zeros_after_a_compressed_stream_are_padding(compression):
    frames = some_frames(10)
    assert read_all(COMPRESS[compression](pcap_file(frames)) + bytes(20_000)) == (frames, None)


@pytest.mark.parametrize("compression", COMPRESS)
def test_anything_else_after_a_compressed_stream_is_damage(compression):
    frames = some_frames(10)
    got, error = read_all(COMPRESS[compression](pcap_file(frames)) + b"rubbish rubbish rubbish")
    assert got == frames
    assert error.offset == len(pcap_file(frames))


@pytest.mark.parametrize(("compression", "place"), [("gzip", -8), ("bzip2", -3), ("xz", -30), ("zstd", -1)])
def test_wrong_checksum_comes_after_all_frames(compression, place):
    frames = some_frames(50)
    packed = bytearray(COMPRESS[compression](pcap_file(frames)))
    packed[place] ^= 0x40
    got, error = read_all(bytes(packed))
    assert got == frames
    assert error.offset == len(pcap_file(frames))
    assert f"the {compression} stream is damaged (" in error.problem


@pytest.mark.parametrize("make", FILES.values(), ids=FILES)
@given(
    changes=st.lists(st.tuples(st.integers(0, 3_000), st.integers(0, 255)), max_size=6),
    sizes=st.lists(st.integers(1, 500), min_size=1, max_size=5),
)
def test_damaged_bytes_never_crash_and_a_stream_equals_the_whole(make, changes, sizes):
    data = bytearray(make(some_frames(40)))
    for place, value in changes:
        data[place % len(data)] = value
    data = bytes(data)
    frames, error = read_all(data)
    from_pieces, error_of_pieces = read_all(Pieces(data, sizes))
    assert from_pieces == frames
    assert getattr(error_of_pieces, "problem", None) == getattr(error, "problem", None)
    assert getattr(error_of_pieces, "offset", None) == getattr(error, "offset", None)


def test_zstd_without_its_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(MissingExtra, match=r"pip install 'vnasfast\[zstd\]'"):
        open_capture(COMPRESS["zstd"](pcap_file([])))


NO_CAPTURES = {
    b"": "the file is empty; a capture begins with",
    b"ab": "is a text file that begins with 'ab'",
    b"hello world, this is text\n": "is a text file that begins with 'hello world, this is",
    "größe".encode(): "is a text file",
    b"\x00\x01\x02\x03\x04": "starts with the bytes 00 01 02 03, which is no pcap or pcapng magic",
    b"\xd4\xc3": "starts with the bytes d4 c3, which",
    b"snoop\0\0\0\0\0\0\2": "is a snoop capture; convert it",
    b"RTSS\0\0\0\0": "Network Monitor",
    b"PK\x03\x04....": "is a zip archive; unpack it first",
    gzip.compress(b""): "the unpacked gzip stream is empty",
    gzip.compress(b"hello world"): "the unpacked gzip stream is a text file",
    gzip.compress(gzip.compress(pcap_file([]))): "gzip-compressed once more; unpack it first",
    b"\xd4\xc3\xb2\xa1\2\0\4\0": "the file ends inside its header of 24 bytes",
}


@pytest.mark.parametrize("data", NO_CAPTURES, ids=NO_CAPTURES.values())
def test_what_is_no_capture(data, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(data)
    for target in (path, data, io.BytesIO(data)):
        with pytest.raises(CaptureError) as caught:
            open_capture(target)
        assert NO_CAPTURES[data] in caught.value.problem
        assert caught.value.offset == (8 if "inside" in NO_CAPTURES[data] else 0)
        assert str(caught.value) == f"{caught.value.name}: byte {caught.value.offset}: {caught.value.problem}"
    with pytest.raises(CaptureError, match="/file: byte"):
        open_capture(path)


def test_directory_missing_file_and_file_without_size(tmp_path):
    with pytest.raises(IsADirectoryError, match=str(tmp_path)):
        open_capture(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.pcap"):
        open_capture(tmp_path / "none.pcap")
    with pytest.raises(CaptureError, match="text file"):
        open_capture("/proc/self/status")


def test_a_device_without_end_is_no_capture():
    with pytest.raises(CaptureError, match="starts with the bytes 00 00 00 00"):
        open_capture("/dev/zero")


@pytest.mark.parametrize("target", [7, None, 1.5, object()])
def test_no_target(target):
    with pytest.raises(InvalidValue, match=type(target).__name__):
        open_capture(target)


def test_text_file_object_and_non_blocking_one(tmp_path):
    with pytest.raises(InvalidValue, match="binary mode"):
        open_capture(io.StringIO("abc"))
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    with os.fdopen(reading, "rb", buffering=0) as file, pytest.raises(BlockingIOError, match="non-blocking"):
        open_capture(file)
    os.close(writing)


def test_real_errors_of_a_file_stay_what_they_are():
    class Broken(io.RawIOBase):
        def readable(self):
            return True

        def readinto(self, buffer):
            raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output"):
        open_capture(Broken())


def test_closing(tmp_path):
    frames = some_frames(10)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_file(frames))
    for target in (path, io.BytesIO(path.read_bytes())):
        capture = open_capture(target)
        capture.read()
        data, offsets, lengths = capture.data, capture.offsets, capture.lengths
        capture.close()
        capture.close()
        with pytest.raises(ValueError, match="closed"):
            capture.read()
        assert len(capture.offsets) == len(capture.data) == len(capture.times_ns) == 0
        assert [bytes(data[o:][:n]) for o, n in zip(offsets.tolist(), lengths.tolist(), strict=True)] == [
            frame.data for frame in frames
        ]
    assert not target.closed


def test_files_are_closed(tmp_path):
    for name, data in (
        ("plain", pcap_file(some_frames(9))),
        ("text", b"hello hello"),
        ("gz", gzip.compress(pcap_file([]))),
    ):
        (tmp_path / name).write_bytes(data)
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        for path in tmp_path.iterdir():
            read_all(path)
    assert len(os.listdir("/proc/self/fd")) == before


def test_columns_are_views_and_data_is_read_only():
    with open_capture(pcap_file(some_frames(4)), block_frames=2) as capture:
        capture.read()
        first = capture.ticks
        times = first.tolist()
        capture.read()
        assert first.tolist() == capture.ticks.tolist() != times
        assert capture.data.readonly
    with open_capture(io.BytesIO(pcap_file(some_frames(4)))) as capture:
        capture.read()
        assert capture.data.readonly


def test_the_walk_lets_other_threads_run(tmp_path):
    """Threads with a capture each, all at once, get what one thread gets."""
    frames = some_frames(3_000)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_file(frames))
    results = []
    threads = [threading.Thread(target=lambda: results.append(read_all(path, 7))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [(frames, None)] * 4
