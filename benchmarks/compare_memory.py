"""Resident memory: bytes per IPv4 socket, and what replaying a large capture takes.

Bytes per socket are measured in a process of its own: python benchmarks/compare_memory.py SOCKETS.

In all: by how much the resident memory grew while the machine was made. Data plane: the pages that readers touch, from
the kernel's own "referenced" marks: they are cleared, then packets for every socket are dispatched. Keys, answers and
code, which are touched too, are taken off: they are what dispatching the same packets in a machine without sockets
touches. A huge page counts whole, though only a part of it may be used.
"""

import ctypes
import gc
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
from captures import write_capture
from rounds import WrongAnswersError
from workload import Shape, planned, registered, traffic_of, workload

from vnasfast import ServerMachine

CHUNK = 1 << 16
REPLAY_SOCKETS, REPLAY_FRAMES = 10_000, 1 << 18
PCAP_HEADER = 24


def measured(sockets: int) -> dict[str, float]:
    """Make a machine in this process and measure it: bytes per socket, of the data plane and in all."""
    plan = planned((Shape(sockets),))
    registered(planned((Shape(20),)))  # what is imported and allocated once is not the table's
    before = _resident()
    machine = registered(plan)
    in_all = _resident() - before
    packets = traffic_of(plan, 4 * sockets).keys
    out = np.zeros(CHUNK, np.int32)
    touched = _referenced(machine, packets, out) - _referenced(ServerMachine(), packets, out)
    return {"data plane": touched / sockets, "in all": in_all / sockets}


def replayed(folder: Path, gigabytes: float) -> int:
    """Replay a capture of IMIX from a pipe, and give the most memory that the replay had, in bytes."""
    work = workload(Shape(REPLAY_SOCKETS))
    tables, capture = folder / "pipe.toml", folder / "pipe.pcap"
    work.machine.save(tables)
    write_capture(capture, work, REPLAY_FRAMES, None)
    header, records = capture.read_bytes()[:PCAP_HEADER], capture.read_bytes()[PCAP_HEADER:]
    capture.unlink()
    command: list[str | Path] = [sys.executable, "-m", "vnasfast.replay", "--tables", tables, "-", "--quiet"]
    replay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert replay.stdin is not None
    try:
        replay.stdin.write(header)
        for _ in range(math.ceil(gigabytes * 1e9 / len(records))):
            replay.stdin.write(records)
        most = _kilobytes(f"/proc/{replay.pid}/status", "VmHWM:")
        replay.stdin.close()
    except BrokenPipeError:
        raise WrongAnswersError(f"the replay of a pipe ended before its end, with exit code {replay.wait()}") from None
    if replay.wait() != 0:
        raise WrongAnswersError(f"the replay of a pipe ended with exit code {replay.returncode}")
    return most


def _referenced(machine: ServerMachine, packets: np.ndarray, out: np.ndarray) -> int:
    """Count the bytes of the pages that dispatching touches."""
    Path("/proc/self/clear_refs").write_text("1")
    for start in range(0, len(packets), CHUNK):
        part = packets[start : start + CHUNK]
        machine.dispatch_batch(part, out=out[: len(part)], count=False)
    return _kilobytes("/proc/self/smaps_rollup", "Referenced:")


def _resident() -> int:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return _kilobytes("/proc/self/status", "VmRSS:")


def _kilobytes(path: str, name: str) -> int:
    line = next(line for line in Path(path).read_text().splitlines() if line.startswith(name))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    print(json.dumps(measured(int(sys.argv[1]))))
