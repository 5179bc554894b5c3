"""Frames in memory to sockets, beside DPDK's parser, which only parses; and one frame from Python."""

import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from captures import frames
from exchange import write_packets
from rounds import PASSES, Run, Sample, Work, WrongAnswersError, sample_of, timed
from workload import TCP, Shape, Traffic, workload
from yardsticks import DPDK_PTYPE, Peer

SOCKETS = 10_000
ONE_BY_ONE = 65_536

PTYPE = "DPDK rte_net_get_ptype: parse only"
COUNTED = "dispatch_frames: parse, dispatch, count"
UNCOUNTED = "dispatch_frames, not counted"
TO_INTEGER = "dispatch_id: to an integer"
TO_DELIVERY = "dispatch: to a Delivery"

#: Families, protocols and VLANs; frames are 60 bytes long, or as long as their headers.
KINDS = {
    "IPv4/TCP, 60 bytes": ((4,), (TCP,), (0,)),
    "IPv6/TCP, 74 bytes": ((6,), (TCP,), (0,)),
    "IPv4/TCP with VLAN tags, 60 bytes": ((4,), (TCP,), (100,)),
}


def title(kind: str, sockets: int = SOCKETS) -> str:
    """Name the work on one kind of frames."""
    return f"frames, {kind}, {sockets:,} sockets"


def one_frame_title(sockets: int = SOCKETS) -> str:
    """Name the work on one frame at a time."""
    return f"one IPv4/TCP frame from Python, {sockets:,} sockets"


def by_kind(programs: Mapping[Peer, Path], folder: Path, sockets: int, packets: int) -> Iterator[Work]:
    """Frames of one kind after the other, then one frame at a time."""
    for number, (kind, parts) in enumerate(KINDS.items()):
        work = workload(Shape(sockets, *parts))
        traffic = work.traffic(packets)
        buffer, starts, lengths = frames(traffic.keys)
        runs: dict[str, Run] = {}
        if DPDK_PTYPE in programs:
            there = folder / f"frames-{number}"
            there.mkdir()
            write_packets(there, traffic)
            for name, array in (("frames", buffer), ("starts", starts), ("lengths", lengths)):
                array.tofile(there / name)
            runs[PTYPE] = partial(sample_of, programs[DPDK_PTYPE], there, str(PASSES))
        for name, count in ((COUNTED, True), (UNCOUNTED, False)):
            runs[name] = _dispatching(work.machine, traffic, (buffer, starts, lengths), count)
        yield Work(title(kind, sockets), runs, PTYPE)
    work = workload(Shape(sockets))
    traffic = work.traffic(min(packets, ONE_BY_ONE))
    buffer, starts, lengths = frames(traffic.keys)
    each = [buffer[start : start + length].tobytes() for start, length in zip(starts, lengths, strict=True)]
    runs = {name: _one_by_one(call, each) for name, call in _calls(work.machine).items()}
    yield Work(one_frame_title(sockets), runs, TO_INTEGER)
    workload.cache_clear()


def _calls(machine: Any) -> dict[str, Callable[[bytes], Any]]:
    return {TO_INTEGER: machine.dispatch_id, TO_DELIVERY: machine.dispatch}


def _dispatching(machine: Any, traffic: Traffic, arrays: tuple[Any, Any, Any], count: bool) -> Run:
    buffer, starts, lengths = arrays
    out = np.empty(len(starts), np.int32)

    def run() -> Sample:
        sample = timed(
            lambda part: machine.dispatch_frames(buffer, starts[part], lengths[part], out=out[part], count=count),
            len(starts),
        )
        if wrong := traffic.wrong(out):
            raise WrongAnswersError(f"dispatch_frames: {wrong} answers are wrong")
        return sample

    return run


def _one_by_one(call: Callable[[bytes], Any], each: list[bytes]) -> Run:
    """Time a call for each frame, net of nothing: the loop is in the figure."""

    def run() -> Sample:
        wall, cpu = [], []
        for _ in range(PASSES):
            start, cpu_start = time.perf_counter(), time.thread_time()
            for frame in each:
                call(frame)
            cpu.append((time.thread_time() - cpu_start) / len(each) * 1e9)
            wall.append((time.perf_counter() - start) / len(each) * 1e9)
        return median(wall), median(cpu)

    return run
