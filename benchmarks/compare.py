"""Measure vnasfast and the yardsticks side by side: python benchmarks/compare.py.

Every round runs each competitor once, one after the other, so that a neighbour who takes half of the machine takes it
from all. Figures are medians of the rounds; a ratio is the median of the rounds' own ratios.
"""

import json
import shutil
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
REPLAY_SOCKETS = 10_000
FRAME_BYTES = 60

KEYS_BAR_NS = 10.0
REPLAY_BAR = 1.0

#: Gives nanoseconds per packet of one run.
Run = Callable[[], float]


@dataclass(frozen=True)
class Row:
    """One competitor at one work."""

    work: str
    name: str
    ns: list[float]
    yardstick: str
    ratio: float | None

    @property
    def median(self) -> float:
        """Nanoseconds per packet."""
        return statistics.median(self.ns)


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
@click.option("--huge-pages", is_flag=True, help="Ask for huge pages under the floor's region.")
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
    huge_pages: bool,
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
                rows += compare(f"keys, {n:,} sockets", *_keys(programs, n, packets, huge_pages), rounds)
        if only != "keys":
            rows += compare(f"replay, {frames:,} frames", *_replay(programs, Path(temporary), frames), rounds)
    _progress("")
    click.echo(tabulate([_shown(row) for row in rows], headers="keys", floatfmt=".2f", disable_numparse=[4, 5]))
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
    """Run all in turn, several times; the ratios are to the yardstick, where it is there."""
    ns: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds):
        _progress(f"{work}: round {number + 1} of {rounds}")
        for name, run in runs.items():
            ns[name].append(run())
    rows = []
    for name, values in ns.items():
        base = ns.get(yardstick)
        ratio = statistics.median(mine / its for mine, its in zip(values, base, strict=True)) if base else None
        rows.append(Row(work, name, values, yardstick, ratio))
    return rows


# ---- parsed keys -----------------------------------------------------------------------------------------------------

FLOOR_NAME = "floor"
UNCOUNTED = "dispatch_batch, count=False"
COUNTED = "dispatch_batch"


def _keys(programs: Mapping[Peer, Path], sockets: int, packets: int, huge_pages: bool) -> tuple[dict[str, Run], str]:
    _progress(f"keys: making a machine of {sockets:,} sockets")
    work = workload(Shape(sockets))
    keys, expected = work.keys(packets)
    out = np.empty(packets, np.int32)
    if not np.array_equal(work.machine.dispatch_batch(keys, out=out, count=False), expected):
        raise click.ClickException("dispatch_batch answers wrongly: the figures would mean nothing")
    runs: dict[str, Run] = {}
    if FLOOR in programs:
        command = [str(programs[FLOOR]), str(sockets), str(packets), str(PASSES), "huge" if huge_pages else "small"]
        runs[FLOOR_NAME] = lambda: float(output_of(*command))
    runs[UNCOUNTED] = lambda: _timed(lambda: work.machine.dispatch_batch(keys, out=out, count=False), packets)
    runs[COUNTED] = lambda: _timed(lambda: work.machine.dispatch_batch(keys, out=out), packets)
    return runs, FLOOR_NAME


def _timed(call: Callable[[], Any], n: int) -> float:
    """Call once to warm the caches, as the floor does, then give the median of the passes."""
    call()
    seconds = []
    for _ in range(PASSES):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds) / n * 1e9


# ---- replay ----------------------------------------------------------------------------------------------------------

LIBPCAP = "libpcap, empty loop, whole process"
WHOLE = "vnasfast.replay --quiet, whole process"
CAT = "cat to nothing, whole process"
STAGES = ("reading", "parsing", "dispatching")


def _replay(programs: Mapping[Peer, Path], folder: Path, frames: int) -> tuple[dict[str, Run], str]:
    _progress(f"replay: writing a capture of {frames:,} frames")
    work = workload(Shape(REPLAY_SOCKETS))
    capture, tables = folder / "capture.pcap", folder / "tables.toml"
    n_bytes = write_capture(capture, work, frames, FRAME_BYTES)
    if shutil.disk_usage(folder).free < n_bytes:
        click.echo("the disk is nearly full: the capture may not stay in the page cache", err=True)
    work.machine.save(tables)
    command = [sys.executable, "-m", "vnasfast.replay", "--tables", str(tables), str(capture), "--quiet"]
    engine: dict[str, float] = {}

    def whole() -> float:
        return seconds_of(*command) / frames * 1e9

    def inside() -> float:
        report = json.loads(output_of(*command, "--json"))
        if report["packets"] != frames or report["delivered_packets"] != frames:
            raise click.ClickException(f"{report['delivered_packets']} of {report['packets']} packets were delivered")
        engine.update({stage: report["speed"][f"{stage}_ns"] for stage in STAGES})
        return float(report["speed"]["seconds"] / frames * 1e9)

    runs: dict[str, Run] = {}
    if PCAP_EMPTY in programs:
        if int(output_of(programs[PCAP_EMPTY], capture)) != frames:
            raise click.ClickException("libpcap reads another number of packets than were written")
        runs[LIBPCAP] = lambda: seconds_of(programs[PCAP_EMPTY], capture) / frames * 1e9
    runs[WHOLE] = whole
    runs["  its engine (--json)"] = inside
    for stage in STAGES:
        runs[f"    {stage}"] = lambda stage=stage: engine[stage]
    runs[CAT] = lambda: seconds_of("cat", capture) / frames * 1e9
    return runs, LIBPCAP


# ---- output ----------------------------------------------------------------------------------------------------------


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _shown(row: Row) -> dict[str, Any]:
    return {
        "work": row.work,
        "who": row.name,
        "ns per packet": row.median,
        "best": min(row.ns),
        "ratio": "" if row.ratio is None else f"{row.ratio:.2f}",
        "to": row.yardstick.partition(",")[0],
    }


def _verdicts(rows: list[Row]) -> list[str]:
    verdicts = []
    for row in rows:
        if row.name == UNCOUNTED and row.work == "keys, 10,000 sockets":
            verdicts.append(_verdict("parsed keys at 10k sockets, ns per packet", row.median, KEYS_BAR_NS))
        if row.name == WHOLE and row.ratio is not None:
            verdicts.append(_verdict("replay whole / libpcap's empty loop whole", row.ratio, REPLAY_BAR))
    return verdicts


def _verdict(what: str, value: float, bar: float) -> str:
    return f"{'met' if value <= bar else 'MISSED'}: {what}: {value:.2f}, at most {bar:.2f}"


if __name__ == "__main__":
    main()
