"""Stage 1: files to frames.

::

    file, pipe, bytes          source.py    opens, maps into memory or streams, unpacks
            |
      window of bytes          window.pyx   mapped or read, whichever is faster
            |
    pcap.pxd / pcapng.pxd      walk the records: no Python object a packet, no GIL
            |
       FrameBlock              columns: offset, lengths, ticks, interface of each frame
            |
         Capture               reader.pyx   one block a read(); the damage after the last sound frame

It knows no tables and looks into no frame: the next stage, :mod:`vnasfast.parse`, does.
"""

from os import PathLike
from typing import Any

from vnasfast.capture.interfaces import Interface
from vnasfast.capture.reader import Capture
from vnasfast.capture.source import open_source

__all__ = ["Capture", "Interface", "open_capture"]

#: Frames a read; measured: fewer cost calls, more leave the first-level cache.
BLOCK_FRAMES = 2048


#: Bytes of a file made ready at a time: mapped or read, they fit the second-level cache until they are used.
WINDOW_BYTES = 1 << 18


def open_capture(
    path: str | PathLike[str] | Any,
    *,
    block_frames: int = BLOCK_FRAMES,
    mapped: bool | None = None,
    window_bytes: int = WINDOW_BYTES,
) -> Capture:
    """Open a capture: pcap or pcapng, as it is or compressed by gzip, bzip2, xz or zstd.

    What it is, is seen from its first bytes, never from its name.

    Parameters
    ----------
    path : path-like, file object or bytes
        A file; ``-`` for standard input; a binary file object, read from where it stands and not closed; or
        the bytes of a capture.
    block_frames : int
        The most frames that one :meth:`Capture.read` gives.
    mapped : bool, optional
        Whether to map a file that isn't compressed into memory, which must then not be cut shorter while it is
        read, or to read it piece by piece. Default: the first windows are mapped and read in turns, and what took
        less time is kept to. It depends on the machine and on the hour: walking the same 10M records of 76 bytes took
        3 ns each mapped in one hour and 13 to 17 in another, against 5 and 7 read.
    window_bytes : int
        Bytes of a file that are mapped or read at a time.

    Returns
    -------
    Capture
        To be closed, best by ``with``.

    Raises
    ------
    OSError
        The file is missing, a directory, or not readable: the builtin that fits, such as FileNotFoundError.
    CaptureError
        It is empty, or no capture, or one whose header is damaged or of a variant that isn't read.
    MissingExtra
        It is compressed with zstd, and the extra of that name is not installed.

    Examples
    --------
    >>> import struct
    >>> header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    >>> with open_capture(header + struct.pack("<IIII", 1, 5, 3, 60) + b"abc") as capture:
    ...     capture.read(), capture.lengths, capture.format_time(0, capture.ticks[0])
    (1, array([3], dtype=uint32), '1.000005')
    """
    source = open_source(path, mapped)
    try:
        return Capture(source, block_frames=block_frames, window_bytes=window_bytes)
    except BaseException:
        source.close()
        raise
