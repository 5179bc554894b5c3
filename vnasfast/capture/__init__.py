"""Stage 1: files to frames.

::

    file, pipe, bytes          source.py    opens, maps into memory or streams, unpacks
            |
      window of bytes
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


def open_capture(
    path: str | PathLike[str] | Any, *, block_frames: int = BLOCK_FRAMES, mapped: bool | None = None
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
        read, or to read it piece by piece. Default: files of less than 64 MiB are mapped.

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
        return Capture(source, block_frames=block_frames)
    except BaseException:
        source.close()
        raise
