"""Where the instructions of a packet go, and which lines of source touch memory: python benchmarks/where.py CASE.

Counted by callgrind, as ``python -m vnasfast.bench`` counts, and told apart by lines of our source: the hot loops are
made of inlined functions, so that a table by function would have one row. The C that Cython made must lie beside the
sources, as it does after ``pip install -e .``.
"""

import re
import sys
import tempfile
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray
from tabulate import tabulate

from vnasfast.bench.cases import names
from vnasfast.bench.counting import CannotMeasure, callgrind_files, vector_paths

ROOT = Path(__file__).parents[1]

#: Columns, and the events of callgrind's that are summed for each.
COLUMNS = {
    "instructions": ("Ir",),
    "loads": ("Dr",),
    "stores": ("Dw",),
    "lines into L1": ("D1mr", "D1mw"),
    "lines from memory": ("DLmr", "DLmw"),
}

#: A place in the source: its file, its line, and the text of that line.
Place = tuple[str, int, str]
Costs = dict[Place, NDArray[np.float64]]

_TRIGGER = re.compile(r"^desc: Trigger: Client Request: \S+ (\d+)$", re.MULTILINE)
# A file's name is written where it comes first, which may be where a function of it is called (cfl, cfi).
_NAME = re.compile(r"^(c?)f[lie]=\((\d+)\)(?: (.*))?$")
_COMMENT = re.compile(r'^\s*/\* "(vnasfast/[^"]+)":(\d+)$')


@click.command()
@click.argument("case", type=click.Choice(names()), default="keys-ipv4-1k")
@click.option(
    "--path", type=click.Choice(vector_paths()), help="The vector path. Default: the fastest of this machine."
)
@click.option("--rows", default=30, show_default=True, help="How many lines of source to show.")
def main(case: str, path: str | None, rows: int) -> None:
    """Show where the instructions and cache lines of a packet go, by line of source."""
    path = path or vector_paths()[-1]
    try:
        costs = measured(case, path)
    except CannotMeasure as problem:
        click.echo(f"Error: {problem}", err=True)
        sys.exit(2)
    click.echo(f"{case}, {path}: for one packet; caches of 32 KiB and 4 MiB\n")
    shown = [_row(f"{file}:{line}", cost, text) for (file, line, text), cost in ordered(costs)[:rows]]
    files: Costs = defaultdict(lambda: np.zeros(len(COLUMNS)))
    for (file, _line, _text), cost in costs.items():
        files[file, 0, ""] += cost
    by_file = [_row(file, cost) for (file, _line, _text), cost in ordered(files) if cost[0] >= 0.05]
    everything = _row("all", sum(costs.values(), np.zeros(len(COLUMNS))))
    for head, table in (("file", [*by_file, everything]), ("line", [*shown, everything])):
        alignment = ["left", *["right"] * len(COLUMNS), "left"][: len(table[0])]
        click.echo(tabulate(table, (head, *COLUMNS, "source"), disable_numparse=True, colalign=alignment))
        click.echo()


def measured(case: str, path: str) -> Costs:
    """Give what one packet costs at each line of source: the difference between n and 2n packets.

    Raises
    ------
    CannotMeasure
    """
    runs: dict[int, Costs] = {}
    with tempfile.TemporaryDirectory(prefix="vnasfast-") as folder:
        callgrind_files([case], path, Path(folder))
        for file in Path(folder).iterdir():
            text = file.read_text()
            if trigger := _TRIGGER.search(text):
                runs[int(trigger[1])] = _places(text)
    few, many = sorted(runs)
    none = np.zeros(len(COLUMNS))
    return {
        place: (runs[many].get(place, none) - runs[few].get(place, none)) / (many - few)
        for place in runs[many] | runs[few]
    }


def ordered(costs: Costs) -> list[tuple[Place, NDArray[np.float64]]]:
    """Sort by instructions, the most first."""
    return sorted(costs.items(), key=lambda item: -item[1][0])


def _row(name: str, cost: NDArray[np.float64], text: str = "") -> list[str]:
    return [name, *(f"{value + 0.0:.2f}" if abs(value) >= 0.005 else "" for value in cost), text]


def _places(text: str) -> Costs:
    """Sum up a file of callgrind's by place; a function's costs without those of the functions that it calls."""
    events = next(line for line in text.splitlines() if line.startswith("events: ")).split()[1:]
    columns = [[events.index(event) for event in of] for of in COLUMNS.values()]
    costs: Costs = defaultdict(lambda: np.zeros(len(COLUMNS)))
    for file, line, counts in _lines(text):
        values = np.zeros(len(events))
        values[: len(counts)] = counts
        costs[_place(file, line)] += [values[of].sum() for of in columns]
    return costs


def _lines(text: str) -> Iterator[tuple[str, int, list[int]]]:
    """Give the file, the line and the counts of each line of costs."""
    known: dict[str, str] = {}
    file, line = "", 0
    called = False  # the next line of costs is what a call took in all
    for row in text.splitlines():
        if name := _NAME.match(row):
            found = known.setdefault(name[2], name[3] or "")
            file = file if name[1] else found
        elif row.startswith("calls="):
            called = True
        elif row[:1] in "0123456789+-*" and row:
            position, *counts = row.split()
            # Line numbers are written relative to the one before, also to that of a call.
            line = line if position == "*" else line + int(position) if position[0] in "+-" else int(position)
            if not called:
                yield file, line, [int(count) for count in counts]
            called = False


def _place(file: str, line: int) -> Place:
    if (ROOT / "vnasfast") not in Path(file).parents:
        return f"({Path(file).name or 'unknown'})", line, ""
    if not file.endswith(".c"):
        source = str(Path(file).relative_to(ROOT))
        return source, line, _text(source)[line - 1].strip()
    lines, sources = _sources(Path(file))
    at = bisect_right(lines, line) - 1
    if at < 0:  # C that stands in our sources as it is
        return f"({Path(file).name})", line, Path(file).read_text().splitlines()[line - 1].strip()
    source, number = sources[at]
    text = _text(source)
    return source, number, text[number - 1].strip() if number <= len(text) else ""


@cache
def _sources(file: Path) -> tuple[list[int], list[tuple[str, int]]]:
    """Give the lines at which Cython says which line of ours the C behind comes from, and what it says."""
    found = [
        (number, (comment[1], int(comment[2])))
        for number, text in enumerate(file.read_text().splitlines(), 1)
        if (comment := _COMMENT.match(text))
    ]
    return [number for number, _source in found], [source for _number, source in found]


@cache
def _text(source: str) -> list[str]:
    return (ROOT / source).read_text().splitlines()


if __name__ == "__main__":
    main()
