"""Measure vnasfast and the yardsticks side by side: python benchmarks/compare.py.

The programs under ``peers/`` are built when their Debian packages are installed; what is missing is named, with how to
get it. All competitors run in turn in one run; one table, one verdict for each bar, and on request a drawing and the
samples as JSON come out.
"""

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import compare_files
import compare_frames
import compare_keys
import compare_memory
import verdicts
from plot import draw
from rounds import Results, Row, Work, WrongAnswersError
from tabulate import tabulate
from verdicts import Verdict
from yardsticks import (
    ABSL,
    BOOST,
    DPDK_HASH,
    DPDK_PTYPE,
    FLOOR,
    KERNEL,
    PCAP_EMPTY,
    READ_KEYS,
    Missing,
    Peer,
    build,
    machine,
    output_of,
    pin,
    without_huge_pages,
)

GROUPS = ("keys", "orders", "shapes", "frames", "files", "memory")
PEERS = (FLOOR, READ_KEYS, BOOST, ABSL, DPDK_HASH, KERNEL, DPDK_PTYPE, PCAP_EMPTY)


@dataclass(frozen=True)
class Sizes:
    """How much of what."""

    sockets: tuple[int, ...]
    order_sockets: tuple[int, ...] = (10_000, 1_000_000)
    shape_sockets: tuple[int, ...] = (100_000,)
    frame_sockets: int = compare_frames.SOCKETS
    memory_sockets: int = 1_000_000
    pipe_gigabytes: float = 20.0
    packets: int = 1 << 20
    frames: int = 10_000_000
    rounds: int = 3
    sittings: int = 2


SMOKE: dict[str, Any] = {
    "sockets": (400,),
    "order_sockets": (400,),
    "shape_sockets": (4_000,),
    "frame_sockets": 400,
    "memory_sockets": 400,
    "pipe_gigabytes": 0.1,
    "packets": 5_000,
    "frames": 10_000,
    "rounds": 1,
    "sittings": 1,
}


@click.command()
@click.option("--only", type=click.Choice(GROUPS), multiple=True, help="Run a part only; several are possible.")
@click.option(
    "--sockets",
    default=(1_000, 10_000, 100_000, 1_000_000, 10_000_000),
    multiple=True,
    show_default=True,
    help="Table sizes for keys.",
)
@click.option(
    "--packets",
    default=Sizes.packets,
    show_default=True,
    help="Keys dispatched in a pass; a fourth of the sockets where that is more.",
)
@click.option("--frames", default=Sizes.frames, show_default=True, help="Frames of the capture that is replayed.")
@click.option(
    "--rounds",
    type=click.IntRange(1),
    default=Sizes.rounds,
    show_default=True,
    help="How often each competitor runs in a sitting.",
)
@click.option(
    "--sittings",
    type=click.IntRange(1),
    default=Sizes.sittings,
    show_default=True,
    help="How often all of it is done: rounds of one work then lie minutes apart.",
)
@click.option("--core", type=int, help="The core to run on. Default: the last.")
@click.option(
    "--folder", type=click.Path(file_okay=False), help="Where captures and tables go for a while. Default: temporary."
)
@click.option("--huge-pages/--no-huge-pages", default=True, show_default=True, help="Huge pages for all, or for none.")
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Draw to this file: .svg, .png or .pdf.")
@click.option("--json", "data", type=click.Path(dir_okay=False, path_type=Path), help="Write all samples to this file.")
@click.option(
    "--smoke", is_flag=True, help="Small sizes and one round: shows that all of it runs, the figures mean nothing."
)
def main(
    only: tuple[str, ...],
    sockets: tuple[int, ...],
    packets: int,
    frames: int,
    rounds: int,
    sittings: int,
    core: int | None,
    folder: str | None,
    huge_pages: bool,
    plot: Path | None,
    data: Path | None,
    smoke: bool,
) -> None:
    """Measure vnasfast and the yardsticks side by side, in one run."""
    sizes = Sizes(sockets, packets=packets, frames=frames, rounds=rounds, sittings=sittings)
    sizes = replace(sizes, **SMOKE) if smoke else sizes
    if not huge_pages:
        without_huge_pages()
    about = machine()
    for name, value in about.items():
        click.echo(f"{name}: {value}")
    core, cores = pin(core)
    shown = "huge pages for all" if huge_pages else "huge pages for none"
    counted = f"{sizes.sittings} sittings of {sizes.rounds} rounds"
    click.echo(f"core {core}, {counted}, {shown}{', smoke run' if smoke else ''}\n")
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # captures are removed then, too
    results = Results()
    bytes_each: dict[str, float] = {}
    pipe_bytes = None
    wrong = ""
    peer_bytes: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory(prefix="vnasfast-", dir=folder) as temporary:
        programs = _build(Path(temporary))
        try:
            for sitting in range(1, sizes.sittings + 1):
                with tempfile.TemporaryDirectory(dir=temporary) as folder_of_sitting:
                    for work in _works(only or GROUPS, programs, Path(folder_of_sitting), sizes, cores, peer_bytes):
                        results.run(work, sizes.rounds, partial(_progress_in, sitting, sizes.sittings))
            if not only or "memory" in only:
                bytes_each = _memory(sizes.memory_sockets)
                _progress(f"replaying {sizes.pipe_gigabytes:g} GB from a pipe")
                pipe_bytes = compare_memory.replayed(Path(temporary), sizes.pipe_gigabytes)
        except WrongAnswersError as error:
            wrong = str(error)
    _progress("")
    for name, reason in results.left_out.items():
        click.echo(f"left out: {name}: {reason}", err=True)
    rows = list(results.rows())
    _print(rows)
    _print_bytes(peer_bytes)
    judged = [] if smoke or wrong else list(_verdicts(results, only or GROUPS, sizes, bytes_each, pipe_bytes))
    for verdict in judged:
        click.echo(verdicts.line(verdict))
    about["load average at the end"] = machine()["load average"]
    click.echo(f"load average at the end: {about['load average at the end']}")
    if wrong:
        raise click.ClickException(f"{wrong}; no bar is judged")
    if data is not None:
        data.write_text(_json(about, results, rows, judged, {**peer_bytes, "vnasfast": bytes_each}))
    if plot is not None:
        try:
            draw(plot, rows, sizes.sockets, f"{about['processor']}, {about['kernel']}, {about['date']}")
        except Missing as missing:
            raise click.ClickException(str(missing)) from None


def _build(folder: Path) -> dict[Peer, Path]:
    programs = {}
    for peer in PEERS:
        _progress(f"building {peer.source}")
        try:
            programs[peer] = build(peer, folder)
        except Missing as missing:
            _progress("")
            click.echo(f"left out: {missing}", err=True)
    return programs


def _works(
    groups: tuple[str, ...],
    programs: dict[Peer, Path],
    folder: Path,
    sizes: Sizes,
    cores: set[int],
    peer_bytes: dict[int, dict[str, float]],
) -> Iterator[Work]:
    if "keys" in groups:
        yield from compare_keys.by_size(programs, folder, sizes.sockets, sizes.packets, peer_bytes)
    if "orders" in groups:
        yield from compare_keys.by_order(programs, folder, sizes.order_sockets, sizes.packets)
    if "shapes" in groups:
        yield from compare_keys.by_shape(sizes.shape_sockets, sizes.packets)
    if "frames" in groups:
        yield from compare_frames.by_kind(programs, folder, sizes.frame_sockets, sizes.packets // 2)
    if "files" in groups:
        yield from compare_files.works(programs, folder, sizes.frames, cores)


def _memory(sockets: int) -> dict[str, float]:
    _progress(f"memory of {sockets:,} sockets")
    program = Path(__file__).with_name("compare_memory.py")
    bytes_each: dict[str, float] = json.loads(output_of(sys.executable, program, str(sockets)))
    return bytes_each


def _verdicts(
    results: Results,
    groups: tuple[str, ...],
    sizes: Sizes,
    bytes_each: dict[str, float],
    pipe_bytes: float | None,
) -> Iterator[Verdict]:
    if "keys" in groups:
        yield from verdicts.of_keys(results, sizes.sockets)
    if "orders" in groups:
        yield from verdicts.of_orders(results, sizes.order_sockets)
    if "shapes" in groups:
        yield from verdicts.of_shapes(results, sizes.shape_sockets)
    if "memory" in groups:
        yield from verdicts.of_memory(bytes_each, sizes.memory_sockets)
        yield from verdicts.of_pipe(pipe_bytes, sizes.pipe_gigabytes)
    if "frames" in groups:
        yield from verdicts.of_frames(results)
    if "files" in groups:
        yield from verdicts.of_files(results, sizes.frames)


# ---- output ----------------------------------------------------------------------------------------------------------


def _progress(text: str) -> None:
    if sys.stderr.isatty():
        click.echo(f"\r\033[K{text}", nl=False, err=True)


def _progress_in(sitting: int, sittings: int, text: str) -> None:
    _progress(text if sittings == 1 else f"sitting {sitting} of {sittings}: {text}")


def _print(rows: list[Row]) -> None:
    shown = []
    work = None
    for row in rows:
        shown.append(
            {
                "work": row.work if row.work != work else "",
                "who": row.name,
                "ns per packet": _number(row.ns),
                "best": _number(row.best),
                "ratio": _number(row.ratio),
                "CPU ns": _number(row.cpu_ns),
                "CPU ratio": _number(row.cpu_ratio),
            }
        )
        work = row.work
    aligned = ["left"] * 2 + ["right"] * 5
    click.echo(tabulate(shown, headers="keys", disable_numparse=True, colalign=aligned if shown else ()))
    click.echo()


def _print_bytes(peer_bytes: dict[int, dict[str, float]]) -> None:
    """Print what the tables of peers take at the largest size: at small ones, memory is taken in pieces too large."""
    largest = max((n for n, noted in peer_bytes.items() if noted), default=None)
    if largest is not None:
        each = ", ".join(f"{name}: {value:.0f}" for name, value in peer_bytes[largest].items())
        click.echo(f"resident bytes per socket at {largest:,} sockets, with its share of the addresses: {each}\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.2f}"


def _json(
    about: dict[str, str], results: Results, rows: list[Row], judged: list[Verdict], bytes_each: dict[Any, Any]
) -> str:
    content: dict[str, Any] = {
        "machine": about,
        "rows": [asdict(row) for row in rows],
        "bytes_per_socket": bytes_each,
        "verdicts": [{**asdict(verdict), "says": verdict.says, "line": verdicts.line(verdict)} for verdict in judged],
        "left_out": results.left_out,
        "samples": results.samples,
    }
    return json.dumps(content, indent=1)


if __name__ == "__main__":
    main()
