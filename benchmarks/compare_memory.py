"""Resident bytes per IPv4 socket, measured in a process of its own: python benchmarks/compare_memory.py SOCKETS.

In all: by how much the resident memory grew while the machine was made. Data plane: the pages that readers touch, from
the kernel's own "referenced" marks: they are cleared, then packets for every socket are dispatched. Keys, answers and
code, which are touched too, are taken off: they are what dispatching the same packets in a machine without sockets
touches. Huge pages are off, so that a page is 4 KiB.
"""

import ctypes
import gc
import json
import sys
from pathlib import Path

import numpy as np
from workload import Shape, planned, registered, traffic_of
from yardsticks import without_huge_pages

from vnasfast import ServerMachine

CHUNK = 1 << 16


def measured(sockets: int) -> dict[str, float]:
    """Make a machine in this process and measure it: bytes per socket, of the data plane and in all."""
    without_huge_pages()
    plan = planned((Shape(sockets),))
    registered(planned((Shape(20),)))  # what is imported and allocated once is not the table's
    before = _resident()
    machine = registered(plan)
    in_all = _resident() - before
    packets = traffic_of(plan, 4 * sockets).keys
    out = np.zeros(CHUNK, np.int32)
    touched = _referenced(machine, packets, out) - _referenced(ServerMachine(), packets, out)
    return {"data plane": touched / sockets, "in all": in_all / sockets}


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
