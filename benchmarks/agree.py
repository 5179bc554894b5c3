"""Whether runs of the comparison agree: python benchmarks/agree.py 1.json 2.json 3.json.

Of each figure the least and the greatest of the runs' medians, and of each bar what the runs say of it. Runs contradict
each other where one says that a bar is met and another that it is missed: then the exit code is 1.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

Run = dict[str, Any]

#: The kinds of bars, by what the runs say.
SAME, NOT_ALIKE, CONTRADICTED = "the same in all runs", "not alike in all runs", "contradicted"


@click.command()
@click.argument(
    "files", nargs=-1, required=True, metavar="RUN...", type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
def main(files: tuple[Path, ...]) -> None:
    """Compare what runs of compare.py --json wrote."""
    runs = [_read(path) for path in files]
    click.echo(tabulate(_figures(runs), headers=("work", "who", "ns per packet", "ratio"), disable_numparse=True))
    click.echo()
    numbers = dict.fromkeys((SAME, NOT_ALIKE, CONTRADICTED), 0)
    for what, says in _said(runs).items():
        kind = kind_of(says, len(runs))
        numbers[kind] += 1
        click.echo(f"{kind}: {what}: {says[0] if kind == SAME else ', '.join(says)}")
    click.echo(f"of {sum(numbers.values())} bars " + ", ".join(f"{n} {kind}" for kind, n in numbers.items()))
    sys.exit(1 if numbers[CONTRADICTED] else 0)


def _read(path: Path) -> Run:
    try:
        run: Run = json.loads(path.read_text())
        if not {"rows", "verdicts"} <= run.keys():
            raise ValueError
    except (ValueError, AttributeError):
        raise click.ClickException(f"{path} is no run of compare.py: give what its --json wrote") from None
    return run


def _figures(runs: list[Run]) -> Iterator[tuple[str, str, str, str]]:
    """Give each row of the table, with the least and the greatest of the runs that have it."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in runs:
        for row in run["rows"]:
            rows.setdefault((row["work"], row["name"]), []).append(row)
    before = ""
    for (work, name), of_runs in rows.items():
        yield work if work != before else "", name, _span(of_runs, "ns"), _span(of_runs, "ratio")
        before = work


def _span(rows: list[dict[str, Any]], column: str) -> str:
    values = [row[column] for row in rows if row[column] is not None]
    return f"{min(values):,.2f} to {max(values):,.2f}" if values else ""


def _said(runs: list[Run]) -> dict[str, list[str]]:
    """Give what each run says of each bar."""
    said: dict[str, list[str]] = {}
    for run in runs:
        for verdict in run["verdicts"]:
            said.setdefault(verdict["what"], []).append(verdict["says"])
    return said


def kind_of(says: list[str], n_runs: int) -> str:
    """Say how what the runs say of a bar lies to each other; a run without that bar says nothing."""
    if {"met", "missed"} <= set(says):
        return CONTRADICTED
    return SAME if len(says) == n_runs and len(set(says)) == 1 else NOT_ALIKE


if __name__ == "__main__":
    main()
