"""Measure changes while others read: python benchmarks/storm.py.

What a reader loses to a writer beside it, how long single changes take while tables grow to a million sockets, and how
long a million sockets registered at once take. Reader and writer are threads of one process, each on a core of its own.
A writer that changes another machine's tables takes as much of the caches and of Python's lock: what a reader loses to
it, it does not lose to changes. The writer changes sockets or addresses; a reader whose packets are counted shares its
counters with whoever closes sockets, so there is a row for each. A round has every condition once, in turn; a loss is
the median of the rounds' own. The processor's clock leaves out what others on the machine take, and the waiting for
Python's lock.

Growing is not to be felt: no single change may take long because a table gets larger. The longest change is given by
both clocks, as the one on the wall counts whatever else the machine did meanwhile.
"""

import gc
import json
import os
import statistics
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate
from workload import SERVICES, Shape, Workload, narrowed, workload
from yardsticks import machine as machine_facts

from vnasfast import ServerMachine
from vnasfast.dtypes import FLOW_KEY_IPV4

BATCH = 1 << 20  # keys: the reader needs the GIL once in some milliseconds
WRITER_VNASES = 1000
OPEN = 2000  # sockets or addresses of the writer at a time
PULSE_SECONDS = 0.001
SWITCH_SECONDS = 2e-5

LOSS_BAR = 0.10
SINGLE_BAR_US = 3.0
LONGEST_BAR_US = 100.0
BULK_BAR_SECONDS = 0.15

QUIET, ELSEWHERE, HERE = "no writer", "writer on another machine", "writer on the reader's machine"


@click.command()
@click.option("--sockets", default=(100_000,), multiple=True, show_default=True, help="Table sizes for the reader.")
@click.option("--rate", default=100_000, show_default=True, help="Changes a second, half of them additions.")
@click.option("--rounds", default=7, show_default=True)
@click.option("--seconds", default=0.5, show_default=True, help="Of a condition in a round.")
@click.option("--grow-to", default=1_000_000, show_default=True, help="Sockets for single changes; 0: leave these out.")
@click.option("--json", "as_json", is_flag=True)
def main(sockets: tuple[int, ...], rate: int, rounds: int, seconds: float, grow_to: int, as_json: bool) -> None:
    """Measure what changes cost readers, and what they take themselves."""
    reading = [row for n in sockets for row in reader_rows(n, rate, rounds, seconds)]
    single = single_rows(grow_to) if grow_to else []
    bulk = bulk_row(grow_to) if grow_to else None
    if as_json:
        figures = {"machine": machine_facts(), "reading": reading, "single": single, "bulk": bulk}
        click.echo(json.dumps(figures, indent=1))
        return
    click.echo(tabulate(reading, headers="keys", floatfmt=",.2f"))
    if single:
        click.echo("\n" + tabulate(single, headers="keys", floatfmt=",.2f"))
    if bulk:
        click.echo("\n" + tabulate([bulk], headers="keys", floatfmt=",.3f"))
    click.echo("\n" + "\n".join(verdicts(reading, single, bulk)))


# ---- readers beside a writer -----------------------------------------------------------------------------------------


class Sockets:
    """Adds sockets to a machine and removes them, on ports that the reader's packets go to."""

    def __init__(self, machine: ServerMachine, services: NDArray[np.uint16]) -> None:
        self.machine = machine
        self.services = [(int(protocol), int(port)) for protocol, port in services]
        self.pids = [machine.vnas_start(1, 2**30 + number) for number in range(WRITER_VNASES)]
        self.places = self._places()
        self.open: deque[int] = deque()
        for _ in range(OPEN):
            self._add()

    def _places(self) -> Iterator[tuple[int, int, int]]:
        while True:
            for protocol, port in self.services:
                for pid in self.pids:
                    yield pid, protocol, port

    def _add(self) -> None:
        self.open.append(self.machine.bind(*next(self.places)))

    def change(self) -> None:
        """Add one and remove another."""
        self._add()
        self.machine.close(self.open.popleft())


class Addresses:
    """Validates addresses of a machine and invalidates them."""

    def __init__(self, machine: ServerMachine) -> None:
        self.machine = machine
        self.pid = machine.vnas_start(1, 2**29)
        self.open = deque(IPv4Address(0xC0000000 + number) for number in range(OPEN))
        for address in self.open:
            machine.validate(self.pid, address, "eth0")

    def change(self) -> None:
        """Remove one and add it again."""
        address = self.open.popleft()
        self.machine.invalidate(self.pid, address)
        self.machine.validate(self.pid, address, "eth0")
        self.open.append(address)


Changes = Sockets | Addresses


def write_until(stop: threading.Event, writer: Changes, rate: int, counts: list[int]) -> None:
    """Change so many times a second until told to stop; the number of changes a second goes to `counts`."""
    begin = time.perf_counter()
    done = 0
    while not stop.is_set():
        due = int((time.perf_counter() - begin) * rate)
        while done < due and not stop.is_set():
            writer.change()
            done += 2
        time.sleep(PULSE_SECONDS)
    counts.append(int(done / (time.perf_counter() - begin)))


#: Nanoseconds per packet, by the clock on the wall and by that of the reader's processor.
Sample = tuple[float, float]
WALL, CPU = 0, 1


def reader_rows(sockets: int, rate: int, rounds: int, seconds: float) -> list[dict[str, Any]]:
    """Give a row a condition."""
    work = workload(Shape(sockets))
    plan = work.plan
    served = np.unique(np.stack([plan.protocols.astype(np.uint16), plan.ports]), axis=1).T
    machines = {ELSEWHERE: ServerMachine(seed=2), HERE: work.machine}
    kinds: dict[str, dict[str, Changes | None]] = {
        "sockets": {QUIET: None, **{name: Sockets(machine, served) for name, machine in machines.items()}},
        "addresses": {QUIET: None, **{name: Addresses(machine) for name, machine in machines.items()}},
    }
    return [
        {"sockets": sockets, "changes": kind, "counted": "yes" if count else "no", **row}
        for kind, writers in kinds.items()
        for count in (False, True)
        for row in condition_rows(work, writers, rate, rounds, seconds, count)
    ]


def condition_rows(
    work: Workload, writers: dict[str, Changes | None], rate: int, rounds: int, seconds: float, count: bool
) -> list[dict[str, Any]]:
    """Read with each writer in turn, the packets counted or not."""
    traffic = work.traffic(BATCH)
    keys = narrowed(traffic.keys, FLOW_KEY_IPV4)
    out = np.empty(BATCH, np.int32)
    samples: dict[str, list[Sample]] = {name: [] for name in writers}
    reached: dict[str, list[int]] = {name: [] for name in writers}
    read = partial(read_for, work, keys, out, seconds, count)
    read()
    with switching(SWITCH_SECONDS):
        for _ in range(rounds):
            for name, writer in writers.items():
                samples[name].append(beside(writer, rate, reached[name], read))
                if traffic.wrong(out):
                    raise click.ClickException("a packet went to another socket")
    return [
        {
            "condition": name,
            "ns per packet": statistics.median(sample[WALL] for sample in samples[name]),
            "CPU ns": statistics.median(sample[CPU] for sample in samples[name]),
            "loses": loss(samples[name], samples[QUIET], WALL),
            "CPU loses": loss(samples[name], samples[QUIET], CPU),
            "of writer elsewhere": loss(samples[name], samples[ELSEWHERE], WALL),
            "CPU of it": loss(samples[name], samples[ELSEWHERE], CPU),
            "changes per second": statistics.median(reached[name] or [0]),
        }
        for name in writers
    ]


def loss(mine: list[Sample], others: list[Sample], clock: int) -> float:
    """Give the share of its throughput that a reader loses to another condition's."""
    return 1 - statistics.median(other[clock] / one[clock] for one, other in zip(mine, others, strict=True))


def beside(writer: Changes | None, rate: int, reached: list[int], read: Callable[[], Sample]) -> Sample:
    """Read while the writer writes, each on its own core; the reader on the last, this thread."""
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[-1]})
    stop = threading.Event()

    def write() -> None:
        os.sched_setaffinity(0, {cores[0]})
        if writer is not None:
            write_until(stop, writer, rate, reached)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        try:
            sample = read()
        finally:
            stop.set()
            os.sched_setaffinity(0, cores)
        writing.result()  # a writer that failed wrote nothing that a reader could lose to
        return sample


def read_for(work: Workload, keys: NDArray[Any], out: NDArray[np.int32], seconds: float, count: bool) -> Sample:
    """Dispatch batches for some seconds."""
    begin, cpu_begin = time.perf_counter(), time.thread_time()
    n = 0
    while (elapsed := time.perf_counter() - begin) < seconds:
        work.machine.dispatch_batch(keys, out=out, count=count)
        n += len(keys)
    return elapsed / n * 1e9, (time.thread_time() - cpu_begin) / n * 1e9


@contextmanager
def switching(seconds: float) -> Iterator[None]:
    """Have threads that wait for the GIL get it sooner."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(seconds)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


# ---- changes ---------------------------------------------------------------------------------------------------------


def single_rows(most: int) -> list[dict[str, Any]]:
    """Time each change by itself, from Python, while every table grows from nothing to `most` sockets, and shrinks."""
    n_vnases = max(1, most // SERVICES)
    rows = [growing_together(n_vnases)]
    machine = ServerMachine(seed=1)
    addresses = [IPv4Address(0x0A000000 + 2 * number) for number in range(n_vnases)]
    more = [IPv4Address(0x0B000000 + 2 * number) for number in range(n_vnases)]
    pids: list[int] = []
    sockets: list[int] = []
    with collected():
        rows.append(timed("vnas_start, from none", machine.vnas_start, [(1, 1 + n) for n in range(n_vnases)], pids))
        owned = list(zip(pids, addresses, strict=True))
        rows.append(timed("validate, from none", machine.validate, [(*row, "eth0") for row in owned]))
        places = [(pid, "tcp", port) for port in range(1, SERVICES + 1) for pid in pids]
        rows.append(timed("bind, from none", machine.bind, places, sockets))
        # From here on the tables hold `most` sockets.
        later = [(pid, address, "eth0") for pid, address in zip(pids, more, strict=True)]
        rows.append(timed("validate", machine.validate, later))
        rows.append(timed("invalidate", machine.invalidate, [row[:2] for row in later]))
        extra: list[int] = []
        rows.append(timed("bind", machine.bind, [(pid, "udp", 53) for pid in pids], extra))
        rows.append(timed("close", machine.close, [(socket,) for socket in extra]))
        shuffled = np.random.default_rng(1).permutation(sockets).tolist()
        rows.append(timed("close, to none", machine.close, [(socket,) for socket in shuffled]))
        rows.append(timed("invalidate, to none", machine.invalidate, owned))
    return rows


def growing_together(n_vnases: int) -> dict[str, Any]:
    """Time the changes of a machine to which one VNAS after the other comes, with an address and its sockets."""
    machine = ServerMachine(seed=1)
    start = partial(machine.vnas_start, 1)
    changes: list[tuple[Any, ...]] = []
    for number in range(n_vnases):
        pid = number + 2  # the next that is free
        changes.append((start, number + 1))
        changes.append((machine.validate, pid, IPv4Address(0x0A000000 + 2 * number), "eth0"))
        changes += [(machine.bind, pid, "tcp", port) for port in range(1, SERVICES + 1)]
    with collected():
        return timed("all, VNAS by VNAS, from none", lambda change, *values: change(*values), changes)


def timed(name: str, change: Callable[..., Any], rows: list[tuple[Any, ...]], results: Any = None) -> dict[str, Any]:
    """Call it with each row; give percentiles of one call, in µs, the clocks' own time taken off."""
    wall, cpu = time.perf_counter_ns, time.thread_time_ns
    ns = np.empty((len(rows), 2), np.int64)
    for number, row in enumerate(rows):
        cpu_begin = cpu()
        begin = wall()
        result = change(*row)
        ns[number, WALL] = wall() - begin
        ns[number, CPU] = cpu() - cpu_begin
        if results is not None:
            results.append(result)
    empty_wall = np.median([-(wall() - wall()) for _ in range(10_000)])
    empty_cpu = np.median([-(cpu() - cpu()) for _ in range(10_000)]) + empty_wall
    us = (ns - (empty_wall, empty_cpu)) / 1e3
    p50, p99, p999 = np.percentile(us[:, WALL], (50, 99, 99.9))
    longest, cpu_longest = us.max(axis=0)
    each = {"p50 us": p50, "p99": p99, "p99.9": p999, "max": longest, "CPU max": cpu_longest}
    return {"change": name, "calls": len(rows), **each}


@contextmanager
def collected() -> Iterator[None]:
    """Keep Python's garbage collector from walking millions of objects between two clocks."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def bulk_row(most: int) -> dict[str, Any] | None:
    """Time the registration of `most` sockets from arrays, where the engine has it."""
    if not hasattr(ServerMachine, "bind_many"):
        return None
    seconds = []
    for _ in range(5):
        machine = ServerMachine(seed=1)
        pids = np.array([machine.vnas_start(1, vnas) for vnas in range(1, max(1, most // SERVICES) + 1)], np.int32)
        all_pids = np.tile(pids, SERVICES)
        ports = np.repeat(np.arange(1, SERVICES + 1, dtype=np.uint16), len(pids))
        begin = time.perf_counter()
        machine.bind_many(all_pids, "tcp", ports)
        seconds.append(time.perf_counter() - begin)
    return {"bulk": "bind_many", "sockets": len(all_pids), "seconds": statistics.median(seconds), "best": min(seconds)}


# ---- verdicts --------------------------------------------------------------------------------------------------------


def verdicts(reading: list[dict[str, Any]], single: list[dict[str, Any]], bulk: dict[str, Any] | None) -> list[str]:
    """Say which bars are met."""
    lines = []
    for row in reading:
        if row["condition"] == HERE:
            reader = "counting reader" if row["counted"] == "yes" else "reader"
            changes = f"{row['changes per second']:,.0f} changes of {row['changes']} a second"
            what = f"{reader}'s loss at {row['sockets']:,} sockets to {changes}"
            lines.append(verdict(what, row["loses"], LOSS_BAR))
            lines.append(verdict(f"{what}, by the processor's clock", row["CPU loses"], LOSS_BAR))
    for row in single:
        lines.append(verdict(f"{row['change']}, median, us", row["p50 us"], SINGLE_BAR_US))
        lines.append(verdict(f"{row['change']}, longest by the processor's clock, us", row["CPU max"], LONGEST_BAR_US))
    if bulk is not None:
        lines.append(verdict(f"{bulk['sockets']:,} sockets at once, seconds", bulk["seconds"], BULK_BAR_SECONDS))
    return lines


def verdict(what: str, value: float, bar: float) -> str:
    """Write one line."""
    return f"{'met' if value <= bar else 'missed'}: {what}: {value:.2f}, at most {bar:.2f}"


if __name__ == "__main__":
    main()
