"""The built-in cases: the hot loops of vnasfast, each as a call that handles n packets.

====================  ==================================================================================================
case                  one packet of it
====================  ==================================================================================================
keys-narrow           an IPv4 key of 16 bytes through ``dispatch_batch``, not counted; it reaches a socket
keys-ipv4, keys-ipv6  a key of 48 bytes, likewise
keys-misses           a key for an address that no VNAS has, or a port that no socket has
keys-mix              VLANs, TCP and UDP, IPv4 and IPv6, shared ports, specific and ANY sockets, a quarter of misses
keys-sparse           as keys-ipv4, for ports that few VNASs have
keys-shared           as keys-ipv4, for ports that four sockets share
keys-counted          as keys-ipv4, and each packet is counted to its socket
frames-ipv4, -ipv6    a frame of 60 (74) bytes in memory through ``dispatch_frames``: parsed, dispatched, counted
replay-pcap, -pcapng  such a frame of a file through ``vnasfast.replay``
dispatch-id           one frame, one call, to an integer
dispatch              one frame, one call, to a ``Delivery``
bind-close            a socket registered, and closed again
source-address        one call of ``source_address``
====================  ==================================================================================================

A case's name ends in its number of sockets: 1k, whose tables lie in the cache, or 200k, whose tables are prefetched.
"""

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vnasfast.bench.workload import (
    REMOTE,
    Keys,
    Workload,
    frames,
    narrow,
    strangers,
    workload,
    write_pcap,
    write_pcapng,
)
from vnasfast.capture import open_capture
from vnasfast.replay import Replay, replay
from vnasfast.replay.choose import GIVEN, Chosen

SIZES = {"1k": 1_000, "200k": 200_000}

#: Packets of a batch that is counted, and of what Python calls one at a time.
BATCH = 4096
CALLS = 512
#: Frames of a replay, whose memory is asked for anew: what that takes varies, by 3 instructions a frame of 4,096.
FRAMES = 16384

Run = Callable[[int], object]


@dataclass(frozen=True)
class Case:
    """A hot loop, ready to run.

    Attributes
    ----------
    name : str
    sockets : int
    packets : int
        The most that `run` handles.
    run : callable
        Handles as many packets as it is told.
    """

    name: str
    sockets: int
    packets: int
    run: Run


def names() -> list[str]:
    """Return the names of all cases, in order."""
    kinds = [*_BATCHES, *_REPLAYS, *_CALLS]
    return [f"{kind}-{size}" for kind in kinds for size in SIZES if kind in _BATCHES or size == "1k"]


def calls() -> list[str]:
    """Return the names of the cases that are calls from Python, whose instructions are mostly the interpreter's."""
    return [name for name in names() if name.rpartition("-")[0] in _CALLS]


def timed() -> list[str]:
    """Return the names of the cases that compare with the floor: many packets in a call, and nothing but packets."""
    return [name for name in names() if name.rpartition("-")[0] in _BATCHES]


def prepared(wanted: list[str], scale: int = 1) -> Iterator[Case]:
    """Make the cases named, one after the other, those of the same tables together.

    Parameters
    ----------
    wanted : list of str
    scale : int, optional
        How many times more packets than are enough for counting.

    Raises
    ------
    AssertionError
        Packets don't get where they should: a figure would mean nothing.
    """
    for size, sockets in SIZES.items():
        kinds = [name.removesuffix(f"-{size}") for name in wanted if name.endswith(f"-{size}")]
        plain = workload(sockets) if set(kinds) - set(_OTHER_MACHINES) else None
        for kind in kinds:
            name = f"{kind}-{size}"
            if plain is None or kind in _OTHER_MACHINES:
                work = workload(sockets, _OTHER_MACHINES[kind])
                yield Case(name, sockets, BATCH * scale, _BATCHES[kind](work, BATCH * scale))
            elif kind in _REPLAYS:
                with tempfile.TemporaryDirectory(prefix="vnasfast-") as folder:
                    yield Case(name, sockets, FRAMES * scale, _replay(plain, FRAMES * scale, Path(folder), kind))
            elif kind in _CALLS:
                yield Case(name, sockets, CALLS * scale, _CALLS[kind](plain, CALLS * scale))
            else:
                yield Case(name, sockets, BATCH * scale, _BATCHES[kind](plain, BATCH * scale))


# ---- many at once ----------------------------------------------------------------------------------------------------


def _batch(work: Workload, keys: Keys, *, hits: float, count: bool = False) -> Run:
    out = np.empty(len(keys), np.int32)
    lengths = np.full(len(keys), 60, np.uint32) if count else None

    def run(n: int) -> None:
        some = None if lengths is None else lengths[:n]
        work.machine.dispatch_batch(keys[:n], wire_lengths=some, out=out[:n], count=count)

    run(len(keys))
    assert np.mean(out >= 0) == hits, f"{np.mean(out >= 0)} of the packets reach a socket"  # noqa: S101
    return run


def _mix(work: Workload, n: int) -> Run:
    keys = np.concatenate([work.keys(n // 2, 4), work.keys(n // 2, 6, specific=False)])
    keys[: n // 8] = strangers(keys[: n // 8], 4)
    keys[n // 2 : n // 2 + n // 8] = strangers(keys[n // 2 : n // 2 + n // 8], 6)
    return _batch(work, np.random.default_rng(1).permutation(keys), hits=0.75)


def _frames(work: Workload, n: int, family: int) -> Run:
    buffer, offsets, lengths = frames(work.keys(n, family))
    out = np.empty(n, np.int32)

    def run(some: int) -> None:
        work.machine.dispatch_frames(buffer.data, offsets[:some], lengths[:some], out=out[:some])

    run(n)
    assert (out >= 0).all()  # noqa: S101
    return run


_BATCHES: dict[str, Callable[[Workload, int], Run]] = {
    "keys-narrow": lambda work, n: _batch(work, narrow(work.keys(n, 4)), hits=1),
    "keys-ipv4": lambda work, n: _batch(work, work.keys(n, 4), hits=1),
    "keys-ipv6": lambda work, n: _batch(work, work.keys(n, 6), hits=1),
    "keys-misses": lambda work, n: _batch(work, strangers(work.keys(n, 4), 4), hits=0),
    "keys-mix": _mix,
    "keys-sparse": lambda work, n: _batch(work, work.keys(n, 4), hits=1),
    "keys-shared": lambda work, n: _batch(work, work.keys(n, 4), hits=1),
    "keys-counted": lambda work, n: _batch(work, work.keys(n, 4), hits=1, count=True),
    "frames-ipv4": lambda work, n: _frames(work, n, 4),
    "frames-ipv6": lambda work, n: _frames(work, n, 6),
}

#: The machines of cases that want none of the plain ones.
_OTHER_MACHINES = {"keys-mix": "mixed", "keys-sparse": "sparse", "keys-shared": "shared"}

_REPLAYS = {"replay-pcap": write_pcap, "replay-pcapng": write_pcapng}


def _replay(work: Workload, n: int, folder: Path, kind: str) -> Run:
    keys = work.keys(n // 2, 4)
    captures = {size: folder / f"{size}" for size in (n // 2, n)}
    for size, path in captures.items():
        # The same packets once or twice: what is done for each socket that has some cancels out.
        _REPLAYS[kind](path, np.tile(keys, 2 * size // n))

    def run(some: int) -> None:
        # Without the report: Python's sorting of its rows took a third of a packet's instructions, and never the same.
        with Replay(Chosen(work.machine, GIVEN, None, [])) as running, open_capture(captures[some]) as capture:
            running.feed(capture)
            assert capture.n_frames == some  # noqa: S101

    assert replay(captures[n], work.machine).delivered_packets == n  # noqa: S101
    return run


# ---- one at a time ---------------------------------------------------------------------------------------------------


def _one(work: Workload, n: int, call: str) -> Run:
    buffer, offsets, lengths = frames(work.keys(n, 4))
    each = [buffer[at : at + length].tobytes() for at, length in zip(offsets, lengths, strict=True)]
    dispatch = getattr(work.machine, call)

    def run(some: int) -> None:
        for frame in each[:some]:
            dispatch(frame)

    assert all(work.machine.dispatch_id(frame) >= 0 for frame in each)  # noqa: S101
    return run


def _bind_close(work: Workload, _n: int) -> Run:
    bind, close, pids = work.machine.bind, work.machine.close, work.pids
    port = int(work.services[:, 1].min()) ^ 1

    def run(some: int) -> None:
        for turn in range(some):
            close(bind(pids[turn % len(pids)], "tcp", port))

    return run


def _source_address(work: Workload, _n: int) -> Run:
    source_address, pids = work.machine.source_address, work.pids

    def run(some: int) -> None:
        for turn in range(some):
            source_address(pids[turn % len(pids)], REMOTE)

    return run


_CALLS: dict[str, Callable[[Workload, int], Run]] = {
    "dispatch-id": lambda work, n: _one(work, n, "dispatch_id"),
    "dispatch": lambda work, n: _one(work, n, "dispatch"),
    "bind-close": _bind_close,
    "source-address": _source_address,
}
