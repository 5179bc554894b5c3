"""Which tables a replay goes by: given, beside the capture, or learned from it."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from vnasfast.capture import Capture
from vnasfast.errors import InvalidValue
from vnasfast.machine import ServerMachine

if TYPE_CHECKING:
    from vnasfast.replay.report import Owner

#: The ends of compressed captures' names.
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")

_PIECE_BYTES = 1 << 20

#: Called after each block with the capture under reading and the packets of all captures so far.
Progress = Callable[[Capture, int], object]

GIVEN = "given"
BESIDE = "beside"
LEARNED = "learned"
HOST = "host"


class Chosen(NamedTuple):
    """Tables, where they came from, and what there is to say about it."""

    machine: ServerMachine
    origin: str
    path: str | None
    notes: list[str]
    interrupted_after: int | None = None
    """The number of packets after which Ctrl-C ended the learning."""
    owners: "Mapping[int, Owner] | None" = None
    """Socket ID → whose it is, where the tables are those of a running machine."""


def table_file_beside(capture: str) -> str:
    """Name the table file that would lie beside a capture: ``a/b.toml`` for ``a/b.pcap`` and ``a/b.pcap.gz``."""
    path, end = os.path.splitext(capture)
    if end.lower() in _COMPRESSED:
        path = os.path.splitext(path)[0]
    return f"{path}.toml"


def find_beside(captures: Sequence[str]) -> str | None:
    """Find the one table file beside the captures.

    Raises
    ------
    InvalidValue
        There are several: which one is meant?
    """
    found: list[str] = []
    for capture in captures:
        if capture == "-":
            continue
        path = table_file_beside(capture)
        if os.path.isfile(path) and not any(os.path.samefile(path, other) for other in found):
            found.append(path)
    if len(found) > 1:
        raise InvalidValue(
            f"{found[0]} and {found[1]} lie beside the captures, and all captures go through the same tables:"
            " say which with --tables"
        )
    return found[0] if found else None


def choose_tables(
    captures: Sequence[str],
    tables: str | os.PathLike[str] | None = None,
    *,
    limit: int | None = None,
    on_progress: Progress | None = None,
    interruptible: bool = False,
) -> Chosen:
    """Load the tables given, or those beside the captures, or learn them.

    Parameters
    ----------
    captures : sequence of str
        Paths that can be read more than once: see `spooled`.
    tables : path-like, optional
        A table file.
    limit : int, optional
        The most packets of all captures together that are learned from.
    on_progress : callable, optional
        Called while learning, after each block, with the capture and the packets so far.
    interruptible : bool, optional
        Whether Ctrl-C only ends the learning.

    Raises
    ------
    OSError, TableFileError
        The table file can't be used.
    InvalidValue
        Several table files lie beside the captures.
    """
    if tables is not None:
        return Chosen(ServerMachine.load(tables), GIVEN, os.fspath(tables), [])
    path = find_beside(captures)
    if path is not None:
        return Chosen(ServerMachine.load(path), BESIDE, path, [])
    from vnasfast.replay.learn import learn  # noqa: PLC0415 (not needed with tables)

    # What can't be read is met again when it is replayed, and reported then.
    learned = learn(captures, limit=limit, progress=on_progress, interruptible=interruptible)
    interrupted_after = learned.frames if learned.interrupted else None
    return Chosen(learned.machine, LEARNED, None, list(learned.notes), interrupted_after)


def host_tables(netns: str | None, every_netns: bool, group_by: str) -> Chosen:
    """Take the tables of the running machine.

    Parameters
    ----------
    netns, every_netns
        As of `vnasfast.host.snapshot`.
    group_by : str
        What the report's groups are: see `vnasfast.host.Host.groups`. Dispatch is by network namespace in any case.

    Raises
    ------
    HostError, InvalidValue
    """
    from vnasfast.host import snapshot  # noqa: PLC0415 (with numpy)
    from vnasfast.host.tables import owners_of, tables_of  # noqa: PLC0415
    from vnasfast.replay.report import Owner  # noqa: PLC0415

    host = snapshot(netns, every_netns=every_netns)
    tables = tables_of(host)
    owners = {socket: Owner(*owner) for socket, owner in owners_of(host, tables, group_by).items()}
    return Chosen(tables.machine, HOST, None, [*tables.notes, *host.unseen], owners=owners)


def must_spool(capture: str) -> bool:
    """Tell whether a capture can be read only once: standard input, a pipe."""
    if capture == "-":
        return True
    return os.path.exists(capture) and not os.path.isfile(capture) and not os.path.isdir(capture)


def spool(capture: str, folder: str) -> tuple[str, bool]:
    """Copy a stream to a file in a temporary folder, because learning reads a capture twice.

    Returns
    -------
    str
        The file's path.
    bool
        Ctrl-C ended the copying, as it does where ``tcpdump -w -`` feeds the stream.
    """
    interrupted = False
    import tempfile  # noqa: PLC0415 (only for streams)

    stream: Any = sys.stdin.buffer if capture == "-" else open(capture, "rb")  # noqa: SIM115 (closed below)
    with tempfile.NamedTemporaryFile(dir=folder, delete=False) as copy, stream:
        try:
            # What one wait gives: a longer read would lose its bytes to Ctrl-C.
            while piece := stream.read1(_PIECE_BYTES):
                copy.write(piece)
        except KeyboardInterrupt:
            interrupted = True
    return copy.name, interrupted
