"""Where a capture's bytes come from: a file, a stream, a compressed stream, or memory.

A :class:`Source` is either whole (``data``: all bytes at once, ``fd``: any of them when asked for) or a stream
(``readinto``: the next bytes, as many as there are).
"""

import contextlib
import io
import mmap
import os
import stat
import sys
from collections.abc import Callable
from typing import Any

from vnasfast.errors import CaptureError, InvalidValue, MissingExtra

_HEAD_BYTES = 8

#: Magic number to the name of a compression that is read.
_COMPRESSIONS = {
    b"\x1f\x8b": "gzip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\0": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


class StreamDamaged(Exception):
    """A compressed stream can't be unpacked further; the text is the problem of a CaptureError."""


class Source:
    """The bytes of a capture, and what messages call it.

    Attributes
    ----------
    name : str
        The file's name; ``-`` for standard input.
    size : int or None
        Bytes of the file as it lies there, compressed or not; None if unknown.
    data : memoryview or None
        All bytes, if they lie in memory or are mapped.
    fd : int
        Of a file whose bytes can be read at any place; else -1. With neither this nor ``data`` the source is a stream.
    may_read : bool
        Whether a mapped file may also be read.
    compression : str
        Such as ``gzip``; empty for none.
    """

    def __init__(self, name: str, size: int | None, data: memoryview | None) -> None:
        self.name = name
        self.size = size
        self.data = data
        self.compression = ""
        self.fd = -1
        self.may_read = False
        self._mapping: mmap.mmap | None = None
        self._readinto: Callable[[memoryview], int | None] | None = None
        self._counted: _Counted | None = None
        self._closes: list[Any] = []

    @property
    def source_position(self) -> int | None:
        """Bytes taken from the underlying file of a stream so far; None if the source is whole."""
        return None if self._counted is None else self._counted.position

    def readinto(self, buffer: memoryview) -> int:
        """Read the next bytes of a stream into the buffer, as many as are there without a second wait.

        Returns
        -------
        int
            Number of bytes; 0 at the end.

        Raises
        ------
        OSError
            The file can't be read.
        StreamDamaged
            The compressed stream is damaged or cut short.
        """
        assert self._readinto is not None  # noqa: S101 (a source without data is a stream)
        try:
            count = self._readinto(buffer)
        except EOFError:
            raise StreamDamaged(f"the {self.compression} stream is cut short") from None
        except Exception as error:
            # The decompressors share no error class; a real OSError has an errno, theirs has none.
            if not self.compression or getattr(error, "errno", None) is not None:
                raise
            raise StreamDamaged(f"the {self.compression} stream is damaged ({error})") from error
        if count is None:
            raise _non_blocking(self.name)
        return count

    def close(self) -> None:
        """Close what was opened here; arrays and views of the data stay valid."""
        self.data = None
        mapping, self._mapping = self._mapping, None
        if mapping is not None:
            # If someone still looks at the bytes, the last view frees them.
            with contextlib.suppress(BufferError):
                mapping.close()
        while self._closes:
            self._closes.pop().close()


def _non_blocking(name: str) -> BlockingIOError:
    return BlockingIOError(f"{name}: the file object is in non-blocking mode; a capture can't wait for it")


class _Counted(io.RawIOBase):
    """A file whose first bytes were read already to see what it is; counts what was taken."""

    def __init__(self, head: bytes, file: Any) -> None:
        self._head = head
        self._file = file
        self.position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._head:
            count: int | None = min(len(self._head), len(buffer))
            buffer[:count] = self._head[:count]
            self._head = self._head[count:]
        else:
            count = _read_some(self._file, buffer)
        self.position += count or 0
        return count


def _read_some(file: Any, buffer: Any) -> int | None:
    """Read what one wait gives: readinto1 of a buffered file, readinto of a raw one, read of all else."""
    for method in ("readinto1", "readinto"):
        if hasattr(file, method):
            count: int | None = getattr(file, method)(buffer)
            return count
    piece = file.read(len(buffer))
    if piece is None:
        return None
    if not isinstance(piece, bytes):
        raise InvalidValue("the file object gives text; open it in binary mode ('rb')")
    buffer[: len(piece)] = piece
    return len(piece)


def _new_decompressor(compression: str) -> Callable[[], Any]:
    """Give what makes an object that unpacks one stream; all four kinds have the same few methods."""
    if compression == "gzip":
        import zlib  # noqa: PLC0415 (rarely needed)

        return lambda: zlib.decompressobj(31)  # 31: a gzip header, and the largest window
    if compression == "bzip2":
        import bz2  # noqa: PLC0415 (rarely needed)

        return bz2.BZ2Decompressor
    if compression == "xz":
        import lzma  # noqa: PLC0415 (rarely needed)

        return lzma.LZMADecompressor
    try:
        import zstandard  # noqa: PLC0415 (an optional part)
    except ImportError:
        raise MissingExtra("Reading a zstd-compressed capture", "zstd") from None
    return lambda: zstandard.ZstdDecompressor().decompressobj()


class _Unpacked:
    """What a compressed file unpacks to: one stream, or several one after another.

    The file objects of the libraries won't do: some stop without a word at a damaged stream that follows a
    sound one, or at the end of a file that was cut short.
    """

    # A few bytes can stand for very many: small pieces keep what one of them unpacks to in bounds.
    _PIECE = 16384
    # What a decompressor unpacks in the call that meets damage is lost. The end of a piece is fed byte by
    # byte, so that a wrong checksum at the end of a file costs nothing that came before it.
    _BYTEWISE = 48

    def __init__(self, compression: str, file: _Counted) -> None:
        self._file = io.BufferedReader(file, 1 << 17)
        self._new = _new_decompressor(compression)
        self._current: Any = None
        self._input = b""
        self._output = b""
        self._taken = 0

    def readinto(self, buffer: memoryview) -> int:
        """Give one piece at a time, so that damage hides nothing that was unpacked before it."""
        while self._taken == len(self._output):
            if not self._input:
                self._input = self._file.read1(self._PIECE)
                if not self._input:
                    if self._current is not None:
                        raise EOFError
                    return 0
            if self._current is None:
                # Zeros may fill a file up, on tapes and in archives.
                self._input = self._input.lstrip(b"\0")
                if not self._input:
                    continue
                self._current = self._new()
            self._taken = 0
            self._output = b""
            fed = max(len(self._input) - self._BYTEWISE, 1)
            self._output = self._current.decompress(self._input[:fed])
            self._input = self._input[fed:]
            if self._current.eof:
                self._input = self._current.unused_data + self._input
                self._current = None
        count = min(len(buffer), len(self._output) - self._taken)
        buffer[:count] = self._output[self._taken : self._taken + count]
        self._taken += count
        return count


def _compression(head: bytes) -> str:
    return next((name for magic, name in _COMPRESSIONS.items() if head.startswith(magic)), "")


def _stream(source: Source, head: bytes, file: Any) -> Source:
    """Make the source a stream of `file`, of which `head` was read already."""
    source._counted = _Counted(head, file)
    source.compression = _compression(head)
    if source.compression:
        source._readinto = _Unpacked(source.compression, source._counted).readinto
    else:
        source._readinto = source._counted.readinto
    return source


def _head_of(file: Any, name: str) -> bytes:
    """Read the first bytes of a stream, which may come in pieces."""
    head = bytearray(_HEAD_BYTES)
    filled = 0
    while filled < _HEAD_BYTES:
        count = _read_some(file, memoryview(head)[filled:])
        if count is None:
            raise _non_blocking(name)
        if count == 0:
            break
        filled += count
    return bytes(head[:filled])


def open_source(target: Any, mapped: bool | None = None) -> Source:
    """Open a path, ``-`` for standard input, a binary file object, or the bytes of a capture themselves.

    A file object is read from where it stands and is not closed.

    Raises
    ------
    OSError
        The file is missing, is a directory, or can't be read.
    MissingExtra
        It is compressed with zstd and the package zstandard is not installed.
    InvalidValue
        The target is none of these.
    """
    if isinstance(target, str | os.PathLike):
        if target == "-":
            return _stream(Source("-", None, None), _head_of(sys.stdin.buffer, "-"), sys.stdin.buffer)
        return _open_path(os.fspath(target), mapped)
    if hasattr(target, "read"):
        name = getattr(target, "name", None)
        name = name if isinstance(name, str) else "<file object>"
        return _stream(Source(name, None, None), _head_of(target, name), target)
    try:
        data = memoryview(target).cast("B")
    except TypeError:
        raise InvalidValue(
            f"a capture is a path, '-', a binary file object or bytes; not {type(target).__name__}"
        ) from None
    source = Source("<bytes>", len(data), data)
    if _compression(bytes(data[:_HEAD_BYTES])):
        source.data = None
        file = io.BytesIO(data)
        return _stream(source, _head_of(file, source.name), file)
    return source


def _open_path(path: str | bytes, mapped: bool | None) -> Source:
    name = os.fsdecode(path)
    file = open(path, "rb", buffering=0)  # noqa: SIM115 (the source closes it)
    try:
        head = _head_of(file, name)
        status = os.fstat(file.fileno())
        regular = stat.S_ISREG(status.st_mode)
        source = Source(name, status.st_size if regular else None, None)
        # Files of /proc have no size, and are read as a stream.
        if regular and status.st_size >= len(head) > 0 and not _compression(head):
            source._closes.append(file)
            source.fd = file.fileno()
            source.may_read = mapped is None
            if mapped is not False:
                with contextlib.suppress(OSError):  # some file systems can't map: then it is read
                    source._mapping = mmap.mmap(source.fd, status.st_size, access=mmap.ACCESS_READ)
                    source.data = memoryview(source._mapping)
            return source
        source._closes.append(file)
        return _stream(source, head, file)
    except BaseException:
        file.close()
        raise


# First bytes of formats that a person may take for a capture, or has one in.
_OTHER_KINDS = {
    b"snoop\0\0\0": "a snoop capture; convert it with: editcap -F pcapng IN OUT",
    b"btsnoop\0": "a Bluetooth btsnoop log; convert it with: editcap -F pcapng IN OUT",
    b"iptrace ": "an AIX iptrace capture; convert it with: editcap -F pcapng IN OUT",
    b"TRSNIFF ": "a Network General Sniffer capture; convert it with: editcap -F pcapng IN OUT",
    b"RTSS": "a Microsoft Network Monitor capture; convert it with: editcap -F pcapng IN OUT",
    b"GMBU": "a Microsoft Network Monitor capture; convert it with: editcap -F pcapng IN OUT",
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"\x04\x22\x4d\x18": "an lz4-compressed file; unpack it first",
    b"\x1f\x9d": "a file of compress (.Z); unpack it first",
    b"\x7fELF": "a program",
} | {magic: f"{name}-compressed once more; unpack it first" for magic, name in _COMPRESSIONS.items()}


def unknown_format(name: str, head: bytes, compression: str) -> CaptureError:
    """Make the error for a source that begins with `head` and is no capture."""
    inside = f"the unpacked {compression} stream " if compression else ""
    want = "a capture begins with the header of pcap or pcapng"
    if not head:
        return CaptureError(name, 0, f"{inside or 'the file '}is empty; {want}")
    for magic, kind in _OTHER_KINDS.items():
        if head.startswith(magic):
            return CaptureError(name, 0, f"{inside}is {kind}")
    printable = [byte in b"\t\n\r\f\x1b" or byte >= 0x20 for byte in head]
    if all(printable) and min(head) < 0x80:
        text = head.decode("utf-8", "replace")
        return CaptureError(name, 0, f"{inside}is a text file that begins with {text!r}; {want}")
    found = f"starts with the bytes {head[:4].hex(' ')}, which is no pcap or pcapng magic"
    return CaptureError(name, 0, f"{inside}{found}; {want}")
