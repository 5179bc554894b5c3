"""Measure vnasfast and the yardsticks side by side: python benchmarks/compare.py.

Every round runs each competitor once, one after the other, so that a neighbour who takes half of the machine takes it
from all. Figures are medians of the rounds; a ratio is the median of the rounds' own ratios. Time is taken by the clock
on the wall, and by the processor's, which does not run while somebody else has the core.
"""

import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
from tabulate import tabulate
from workload import Shape, workload, write_capture
from yardsticks import FLOOR, PCAP_EMPTY, Missing, Peer, build, machine, output_of, pin, seconds_of

PASSES = 3
PART = 1 << 16  # packets timed at once: few enough to end before most interruptions
REPLAY_SOCKETS = 10_000
FRAME_BYTES = 60

KEYS_BAR_NS = 10.0
REPLAY_BAR = 1.0

#: Nanoseconds per packet: on the wall, and of the processor where that is known.
Sample = tuple[float, float | None]
Run = Callable[[], Sample]


@dataclass(frozen=True)
class Row:
    """One competitor at one work; medians, and ratios to the yardstick where it is there."""

    work: str
    name: str
    ns: float
    best: float
    ratio: float | None
    cpu_ns: float | None
    cpu_ratio: float | None


@click.command()
@click.option("--only", type=click.Choice(["keys", "replay"]), help="Run a part only.")
@click.option(
    "--sockets",
    default=(1_000, 10_000, 100_000, 1_000_000),
    multiple=True,
    show_default=True,
    help="Table sizes for keys.",
)
@click.option("--packets", default=1 << 21, show_default=True, help="Keys dispatched in a pass.")
@click.option("--frames", default=10_000_000, show_default=True, help="Frames of the capture that is replayed.")
@click.option("--rounds", default=9, show_default=True, help="How often each competitor runs.")
@click.option("--core", type=int, help="The core to run on. Default: the last.")
@click.option(
    "--folder", type=click.Path(file_okay=False), help="Where the capture goes for a while. Default: a temporary one."
)
@click.option(
    "--smoke", is_flag=True, help="Small sizes and one round: shows that all of it runs, the figures mean nothing."
)
def main(
    only: str | None,
    sockets: tuple[int, ...],
    packets: int,
    frames: int,
    rounds: int,
    core: int | None,
    folder: str | None,
    smoke: bool,
) -> None:
    """Measure vnasfast and the yardsticks side by side, in one run on one core."""
    if smoke:
        sockets, packets, frames, rounds = (400,), 20_000, 20_000, 1
    for name, value in machine().items():
        click.echo(f"{name}: {value}")
    click.echo(f"core {pin(core)}, {rounds} rounds{', smoke run' if smoke else ''}\n")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="vnasfast-", dir=folder) as temporary:
        programs = _build(Path(temporary))
        if only != "replay":
            for n in sockets:
                rows += compare(f"keys, {n:,} sockets", *_keys(programs, n, packets), rounds)
        if only != "keys":
            rows += compare(f"replay, {frames:,} frames", *_replay(programs, Path(temporary), frames), rounds)
    _progress("")
    click.echo(
        tabulate(
            [_shown(row) for row in rows], headers="keys", disable_numparse=True, colalign=["left"] * 2 + ["right"] * 5
        )
    )
    click.echo()
    for verdict in [] if smoke else _verdicts(rows):
        click.echo(verdict)
    click.echo(f"load average at the end: {machine()['load average']}")


def _build(folder: Path) -> dict[Peer, Path]:
    programs = {}
    for peer in (FLOOR, PCAP_EMPTY):
        try:
            programs[peer] = build(peer, folder)
        except Missing as missing:
            click.echo(f"left out: {missing}", err=True)
    return programs


def compare(work: str, runs: Mapping[str, Run], yardstick: str, rounds: int) -> list[Row]:
    """Run all in turn, several times."""
    samples: dict[str, list[Sample]] = {name: [] for name in runs}
    for number in range(rounds):
        _progress(f"{work}: round {number + 1} of {rounds}")
        for name, run in runs.items():
            samples[name].append(run())
    base_wall, base_cpu = _columns(samples.get(yardstick, []))
    rows = []
    for name, mine in samples.items():
        wall, cpu = _columns(mine)
        cpu_ns = statistics.median(cpu) if cpu else None
        row = Row(
            work, name, statistics.median(wall), min(wall), _ratio(wall, base_wall), cpu_ns, _ratio(cpu, base_cpu)
        )
        rows.append(row)
    return rows


def _columns(samples: list[Sample]) -> tuple[list[float], list[float]]:
    return [wall for wall, _cpu in samples], [cpu for _wall, cpu in samples if cpu is not None]


def _ratio(mine: list[float], base: list[float]) -> float | None:
    if not mine or not base:
        return None
    return statistics.median(each / its for each, its in zip(mine, base, strict=True))


# ---- parsed keys -----------------------------------------------------------------------------------------------------

FLOOR_NAME = "floor"
UNCOUNTED = "dispatch_batch, count=False"
COUNTED = "dispatch_batch"


def _keys(programs: Mapping[Peer, Path], sockets: int, packets: int) -> tuple[dict[str, Run], str]:
    _progress(f"keys: making a machine of {sockets:,} sockets")
    work = workload(Shape(sockets))
    keys, expected = work.keys(packets)
    out = np.empty(packets, np.int32)
    if not np.array_equal(work.machine.dispatch_batch(keys, out=out, count=False), expected):
        raise click.ClickException("dispatch_batch answers wrongly: the figures would mean nothing")
    runs: dict[str, Run] = {}
    if FLOOR in programs:
        command = [str(programs[FLOOR]), str(sockets), str(packets), str(PASSES)]
        runs[FLOOR_NAME] = lambda: _floor(command)
    dispatch_batch = work.machine.dispatch_batch
    runs[UNCOUNTED] = lambda: _timed(lambda part: dispatch_batch(keys[part], out=out[part], count=False), packets)
    runs[COUNTED] = lambda: _timed(lambda part: dispatch_batch(keys[part], out=out[part]), packets)
    return runs, FLOOR_NAME


def _floor(command: list[str]) -> Sample:
    wall, cpu = output_of(*command).split()
    return float(wall), float(cpu)


def _timed(call: Callable[[slice], Any], n: int) -> Sample:
    """Go through all keys to warm the caches, then give the median over the parts of the passes, as the floor does."""
    parts = [slice(start, min(start + PART, n)) for start in range(0, n, PART)]
    wall, cpu = [], []
    for number in range(PASSES + 1):
        for part in parts:
            start, cpu_start = time.perf_counter(), time.thread_time()
            call(part)
            cpu_seconds, seconds = time.thread_time() - cpu_start, time.perf_counter() - start
            if number:
                wall.append(seconds / (part.stop - part.start) * 1e9)
                cpu.append(cpu_seconds / (part.stop - part.start) * 1e9)
    return statistics.median(wall), statistics.median(cpu)


# ---- replay ----------------------------------------------------------------------------------------------------------

LIBPCAP = "libpcap, empty loop, whole process"
WHOLE = "vnasfast.replay --quiet, whole process"
START = "vnasfast.replay --quiet, one frame only"
ENGINE = "vnasfast.replay, its engine"
CAT = "cat to nothing, whole process"
STAGES = ("reading", "parsing", "dispatching")


def _replay(programs: Mapping[Peer, Path], folder: Path, frames: int) -> tuple[dict[str, Run], str]:
    _progress(f"replay: writing a capture of {frames:,} frames")
    work = workload(Shape(REPLAY_SOCKETS))
    capture, first, tables = folder / "capture.pcap", folder / "first.pcap", folder / "tables.toml"
    write_capture(capture, work, frames, FRAME_BYTES)
    write_capture(first, work, 1, FRAME_BYTES)
    os.sync()  # or the disk is still busy with the capture while it is read
    work.machine.save(tables)
    command = [sys.executable, "-m", "vnasfast.replay", "--tables", str(tables), str(capture), "--quiet"]
    engine: dict[str, float] = {}

    def process(*words: str | Path) -> Sample:
        wall, cpu = seconds_of(*words)
        return wall / frames * 1e9, cpu / frames * 1e9

    def inside() -> Sample:
        report = json.loads(output_of(*command, "--json"))
        if report["packets"] != frames or report["delivered_packets"] != frames:
            raise click.ClickException(f"{report['delivered_packets']} of {report['packets']} packets were delivered")
        engine.update({stage: report["speed"][f"{stage}_ns"] for stage in STAGES})
        return report["speed"]["seconds"] / frames * 1e9, None

    runs: dict[str, Run] = {}
    if PCAP_EMPTY in programs:
        if int(output_of(programs[PCAP_EMPTY], capture)) != frames:
            raise click.ClickException("libpcap reads another number of packets than were written")
        runs[LIBPCAP] = lambda: process(programs[PCAP_EMPTY], capture)
    runs[WHOLE] = lambda: process(*command)
    runs[START] = lambda: process(*command[:-2], str(first), "--quiet")
    runs[ENGINE] = inside
    for stage in STAGES:
        runs[f"{ENGINE}: {stage}"] = lambda stage=stage: (engine[stage], None)
    runs[CAT] = lambda: process("cat", capture)
    return runs, LIBPCAP


# ---- output ----------------------------------------------------------------------------------------------------------


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _shown(row: Row) -> dict[str, Any]:
    return {
        "work": row.work,
        "who": row.name,
        "ns per packet": _number(row.ns),
        "best": _number(row.best),
        "ratio": _number(row.ratio),
        "CPU ns": _number(row.cpu_ns),
        "CPU ratio": _number(row.cpu_ratio),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _verdicts(rows: list[Row]) -> list[str]:
    verdicts = []
    for row in rows:
        if row.name == UNCOUNTED and row.work == "keys, 10,000 sockets":
            verdicts.append(_verdict("parsed keys at 10,000 sockets, ns per packet", row.ns, row.cpu_ns, KEYS_BAR_NS))
        if row.name == WHOLE and row.ratio is not None:
            verdicts.append(
                _verdict("replay whole, of libpcap's empty loop whole", row.ratio, row.cpu_ratio, REPLAY_BAR)
            )
    return verdicts


def _verdict(what: str, value: float, by_cpu: float | None, bar: float) -> str:
    by_processor = "" if by_cpu is None else f" ({by_cpu:.2f} by the processor's clock)"
    # On a busy machine one clock may flatter: neither may be over the bar.
    verdict = "met" if max(value, by_cpu or 0.0) <= bar else "missed"
    return f"{verdict}: {what}: {value:.2f}{by_processor}, at most {bar:.2f}"


if __name__ == "__main__":
    main()
