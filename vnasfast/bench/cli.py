"""The command line of the benchmark."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
from tabulate import tabulate

from vnasfast.bench.baseline import Baseline, Figures, Key, altered, read, update
from vnasfast.bench.cases import calls, names, timed
from vnasfast.bench.counting import CannotMeasure, Command, count_cases, count_command, environment, tools, vector_paths
from vnasfast.console import CONTEXT

FINE = 0
GREW = 1
UNMEASURED = 2

# How often times that are over the tolerance are taken again.
PATIENCE = 3

#: What a figure counts, for messages.
MEASURES = {"instructions": "instructions", "lines": "cache lines from memory", "ratio": "times the floor"}
HEADERS = ("case", "path", "instructions", "baseline", "change", "lines", "baseline", "floors", "baseline")

_EPILOG = """\b
Examples:
  python -m vnasfast.bench
  python -m vnasfast.bench --check speed.toml
  python -m vnasfast.bench --update speed.toml --why "first measured"

\b
Exit codes:
  0    no figure grew by more than the tolerance
  1    one did, or has no baseline, or a move of the baseline was altered
  2    it can't be measured: without valgrind, on another processor than x86-64, or the file has a mistake
"""


@click.command(epilog=_EPILOG, context_settings=CONTEXT)
@click.option("--check", metavar="FILE", type=click.Path(path_type=Path), help="Compare with the figures of a file.")
@click.option(
    "--update",
    "update_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Move the figures of a file to those of now.",
)
@click.option("--why", metavar="TEXT", help="Why they move; --update asks for it.")
@click.option(
    "--since", metavar="REVISION", help="With --check: the moves that FILE had in this Git revision must still stand."
)
@click.option("--only", metavar="TEXT", multiple=True, help="Measure only the cases whose name begins so.")
@click.option("--path", "wanted", metavar="NAME", multiple=True, help="Measure only this vector path.")
def main(
    check: Path | None,
    update_file: Path | None,
    why: str | None,
    since: str | None,
    only: tuple[str, ...],
    wanted: tuple[str, ...],
) -> None:
    """Count what a packet takes: instructions and cache lines, repeatable on a noisy machine.

    The counts are callgrind's (of valgrind); beside them stands the time in multiples of the floor's, which touches one
    random cache line per packet and does nothing else.
    """
    if check is not None and update_file is not None:
        raise click.UsageError("--check and --update exclude each other")
    if (update_file is not None) != (why is not None):
        raise click.UsageError("--update and --why belong together")
    if why is not None and not why.strip():
        raise click.UsageError("--why needs a reason")
    if since is not None and check is None:
        raise click.UsageError("--since belongs to --check")
    try:
        sys.exit(_run(check, update_file, why or "", since, only, wanted))
    except (CannotMeasure, OSError) as error:
        click.echo(f"Error: {error}", err=True)
        sys.exit(UNMEASURED)


def _run(
    check: Path | None,
    update_file: Path | None,
    why: str,
    since: str | None,
    only: Sequence[str],
    wanted: Sequence[str],
) -> int:
    file = check or update_file
    known = file is not None and (check is not None or file.exists())
    baseline = read(file) if file is not None and known else Baseline()
    complaint = altered(check, since) if check is not None and since is not None else None
    if complaint is not None:
        click.echo(f"refused: {complaint}", err=True)
        return GREW
    now = measure(baseline, only, wanted)
    for _ in range(PATIENCE):  # somebody else may have had the core
        slow = [key for key in now if key[1] == "ratio" and _over(baseline, key, now[key])]
        again = _ratios([case for _path, _measure, case in slow], {path for path, _measure, _case in slow})
        now |= {key: min(now[key], ratio) for key, ratio in again.items()}
    click.echo(tabulate(rows(baseline, now), HEADERS, disable_numparse=True, colalign=["left"] * 2 + ["right"] * 7))
    if update_file is not None:
        n = update(update_file, now, why, tools())
        click.echo(f"{n} figures moved in {update_file}" if n else f"nothing moved: {update_file} is as it was")
        return FINE
    if check is None:
        return FINE
    others = {of for key, of in baseline.tools.items() if key in now and of != tools()}
    for other in sorted(others):
        click.echo(
            f"note: a baseline was measured with {other}; now it is {tools()}. Calls from Python are not compared."
        )
    missing = sorted({path for path, _measure, _case in baseline.figures} - {path for path, _measure, _case in now})
    if missing:
        click.echo(f"not measured here: vector path {', '.join(missing)}")
    complaints = judge(baseline, now)
    for complaint in complaints:
        click.echo(f"refused: {complaint}")
    if complaints:
        click.echo(
            "Make it as fast as it was, or move the baseline in the same commit:"
            f' python -m vnasfast.bench --update {check} --why "the reason"'
        )
        return GREW
    click.echo(f"fine: nothing grew by more than {baseline.tolerance:.0%}")
    return FINE


# ---- measuring -------------------------------------------------------------------------------------------------------


def measure(baseline: Baseline, only: Sequence[str] = (), wanted: Sequence[str] = ()) -> Figures:
    """Measure the cases of a baseline, several at once where there are several cores.

    Raises
    ------
    CannotMeasure
    """

    def is_wanted(name: str) -> bool:
        return not only or name.startswith(tuple(only))

    paths = [path for path in vector_paths() if not wanted or path in wanted]
    built_in = [name for name in names() if is_wanted(name)] if baseline.built_in else []
    commands = [command for command in baseline.commands if is_wanted(command.name)]
    if not paths or not (built_in or commands):
        raise CannotMeasure("there is nothing of that name to measure")
    jobs: list[Callable[[], Figures]] = []
    for path in paths:
        # Those of the same tables together: making large tables is most of the work.
        by_size: dict[str, list[str]] = {}
        for name in built_in:
            by_size.setdefault(name.rpartition("-")[2], []).append(name)
        jobs += [lambda path=path, some=some: _counted(some, path) for some in by_size.values()]  # type: ignore[misc]
        jobs += [lambda path=path, command=command: _commanded(command, path) for command in commands]  # type: ignore[misc]
    figures: Figures = {}
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for found in pool.map(lambda job: job(), jobs):
            figures |= found
    return figures | _ratios(built_in, paths)


def _counted(some: list[str], path: str) -> Figures:
    figures: Figures = {}
    for name, count in count_cases(some, path).items():
        figures[path, "instructions", name] = count.instructions
        if count.lines is not None:
            figures[path, "lines", name] = count.lines
    return figures


def _commanded(command: Command, path: str) -> Figures:
    return {(path, "instructions", command.name): count_command(command, path).instructions}


def _ratios(some: Sequence[str], paths: Sequence[str] | set[str]) -> Figures:
    figures: Figures = {}
    some = [name for name in some if name in timed()]
    for path in paths if some else ():
        run = subprocess.run(  # noqa: S603 (our own interpreter)
            [sys.executable, "-m", "vnasfast.bench.child", "time", *some],
            env=environment(path),
            capture_output=True,
            text=True,
            check=False,
        )
        if run.returncode != 0:
            raise CannotMeasure(f"timing ended with code {run.returncode}: {run.stderr.strip()}")
        figures |= {(path, "ratio", name): ratio for name, ratio in json.loads(run.stdout).items()}
    return figures


# ---- judging and showing ---------------------------------------------------------------------------------------------


def _over(baseline: Baseline, key: Key, value: float) -> bool:
    most = baseline.most(key)
    return most is not None and value > most


def judge(baseline: Baseline, now: Figures) -> list[str]:
    """Say what grew too much, or has no baseline."""
    figures, measured_with = baseline.figures, baseline.tools
    complaints = []
    for key, value in now.items():
        path, of, case = key
        base, most = figures.get(key), baseline.most(key)
        what = f"{case} ({path}): {value:.2f} {MEASURES[of]} per packet"
        if base is None or most is None:
            complaints.append(f"{what}, and no baseline")
        elif value > most and not (case in calls() and measured_with[key] != tools()):
            complaints.append(f"{what}, {_change(value, base)} over the {base:.2f} of the baseline, at most {most:.2f}")
    return complaints


def rows(baseline: Baseline, now: Figures) -> list[list[str]]:
    """Give the rows of the table, one a case and path."""
    figures = baseline.figures
    shown = []
    for path, case in dict.fromkeys((path, case) for path, _measure, case in now):
        row = [case, path]
        for of in MEASURES:
            value, base = now.get((path, of, case)), figures.get((path, of, case))
            row += ["" if figure is None else f"{figure:,.2f}" for figure in (value, base)]
            if of == "instructions":
                row.append("" if value is None or base is None else _change(value, base))
        shown.append(row)
    return shown


def _change(value: float, base: float) -> str:
    return f"{(value / base - 1) * 100:+.1f} %" if base else ""
