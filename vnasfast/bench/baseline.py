"""Files that say how many instructions a packet may take, and why.

TOML. The figures are a list of *moves*: each has a date, a reason, and the figures that it moves; the last figure of
a case holds. So no figure changes without a reason, also where there is no history of the file to compare with. What
was once there stays (``altered``), and ``update`` only appends::

    tolerance = 0.05           # by how much instructions and cache lines may grow
    built_in = true            # whether the cases of vnasfast itself are counted

    [[commands]]               # cases of one's own, counted on each vector path
    name = "my-loop"
    command = "python -m mine --packets {n}"
    n = 10000

    [[moves]]
    date = 2026-11-25
    why = "first measured"
    tools = "gcc 12.2.0, CPython 3.11.2, …"

    [moves.portable.instructions]
    my-loop = 412.7
"""

import datetime
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tomli
import tomli_w

from vnasfast.bench.counting import CannotMeasure, Command

#: By how much a figure may grow, unless the file says otherwise, and how much more of it is nothing.
TOLERANCE = 0.05
# Times are real, and noisy: in floors they repeat to 6 % at 1k sockets and to 25 % at 200k, under a load of 6.
RATIO_TOLERANCE = 0.5
SLACK = {"instructions": 0.0, "lines": 0.25, "ratio": 0.0}

# A figure that moved by less than this is not written again.
_STILL = 0.01

#: (vector path, measure, case) → a packet's figure.
Key = tuple[str, str, str]
Figures = dict[Key, float]

NEW_FILE = f"""\
# How many instructions and cache lines a packet may take. Checked by: python -m vnasfast.bench --check FILE
# Moved by: python -m vnasfast.bench --update FILE --why "the reason"
# A figure holds until a later move; moves are appended, never altered.

tolerance = {TOLERANCE}
ratio_tolerance = {RATIO_TOLERANCE}
built_in = true
"""


@dataclass(frozen=True)
class Baseline:
    """What a file says.

    Attributes
    ----------
    tolerance, ratio_tolerance : float
    built_in : bool
    commands : list of Command
    moves : list of dict
    """

    tolerance: float = TOLERANCE
    ratio_tolerance: float = RATIO_TOLERANCE
    built_in: bool = True
    commands: list[Command] = field(default_factory=list)
    moves: list[dict[str, Any]] = field(default_factory=list)

    @property
    def figures(self) -> Figures:
        """The last figure of each case."""
        figures: Figures = {}
        for move in self.moves:
            figures |= _figures_of(move)
        return figures

    @property
    def tools(self) -> dict[Key, str]:
        """What the last figure of each case was measured with."""
        return {key: str(move.get("tools", "")) for move in self.moves for key in _figures_of(move)}

    def most(self, key: Key) -> float | None:
        """Return the most that a figure may be; None where there is none."""
        base = self.figures.get(key)
        if base is None:
            return None
        tolerance = self.ratio_tolerance if key[1] == "ratio" else self.tolerance
        return base * (1 + tolerance) + SLACK.get(key[1], 0.0)


def _figures_of(move: dict[str, Any]) -> Figures:
    return {
        (path, measure, case): float(value)
        for path, measures in move.items()
        if isinstance(measures, dict)
        for measure, cases in measures.items()
        for case, value in cases.items()
    }


def read(path: Path) -> Baseline:
    """Read a file.

    Raises
    ------
    CannotMeasure
        It can't be read, or has a mistake; says which.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise CannotMeasure(f"{path} can't be read: {error}") from None


def parse(text: str, name: str) -> Baseline:
    """Read the text of a file.

    Raises
    ------
    CannotMeasure
    """
    try:
        found = tomli.loads(text)
        commands = [
            Command(str(row["name"]), str(row["command"]), int(row.get("n", 10_000)))
            for row in found.get("commands", [])
        ]
        baseline = Baseline(
            float(found.get("tolerance", TOLERANCE)),
            float(found.get("ratio_tolerance", RATIO_TOLERANCE)),
            bool(found.get("built_in", True)),
            commands,
            list(found.get("moves", [])),
        )
        _ = baseline.figures
    except tomli.TOMLDecodeError as error:
        raise CannotMeasure(f"{name} is no TOML: {error}") from None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CannotMeasure(
            f"{name} is no baseline ({type(error).__name__}: {error}): see vnasfast.bench.baseline"
        ) from None
    for number, move in enumerate(baseline.moves, 1):
        if not str(move.get("why", "")).strip():
            raise CannotMeasure(f'{name}: move {number} does not say why: add why = "the reason"')
    for command in commands:
        if "{n}" not in command.command or command.n < 1:
            raise CannotMeasure(
                f"{name}: command {command.name} needs {{n}}, where its number of packets goes, and n from 1"
            )
    return baseline


def altered(path: Path, revision: str) -> str | None:
    """Tell what is wrong with the moves that a file had in a revision of its Git repository; None: all still stand.

    Raises
    ------
    CannotMeasure
        Git does not know the revision.
    """
    folder = path.absolute().parent
    if _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").returncode != 0:
        raise CannotMeasure(f"Git does not know {revision} here")
    shown = _git(folder, "show", f"{revision}:./{path.name}")
    if shown.returncode != 0:  # the file is new
        return None
    before = parse(shown.stdout, f"{path} in {revision}").moves
    now = read(path).moves
    for number, move in enumerate(before):
        if number >= len(now) or now[number] != move:
            return f"move {number + 1} of {path} is not what it was in {revision}: append a move that says why instead"
    return None


def _git(folder: Path, *words: str) -> "subprocess.CompletedProcess[str]":
    command = ["git", "-C", str(folder), *words]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 (options can't hide in it)
    except FileNotFoundError:
        raise CannotMeasure("--since asks Git, which is not installed") from None


def moved(baseline: Baseline, now: Figures) -> Figures:
    """Return the figures of the cases of which one moved, or is new."""
    figures = baseline.figures
    cases = {(key[0], key[2]) for key, value in now.items() if _has_moved(baseline, figures.get(key), key, value)}
    return {key: value for key, value in now.items() if (key[0], key[2]) in cases}


def _has_moved(baseline: Baseline, base: float | None, key: Key, value: float) -> bool:
    if base is None:
        return True
    if key[1] == "instructions":
        return abs(value - base) > _STILL * base
    most = baseline.most(key)
    return most is not None and abs(value - base) > most - base


def update(path: Path, now: Figures, why: str, tools: str) -> int:
    """Append a move to a file, or begin one; returns how many figures moved.

    Raises
    ------
    OSError, CannotMeasure
    """
    text = path.read_text(encoding="utf-8") if path.exists() else NEW_FILE
    figures = moved(parse(text, str(path)), now)
    if figures:
        move: dict[str, Any] = {"date": datetime.date.today(), "why": why, "tools": tools}
        for (vector, measure, case), value in figures.items():
            move.setdefault(vector, {}).setdefault(measure, {})[case] = round(value, 2)
        # As a table, then called one of several: a list might be written on one line, to which nothing can be appended.
        table = tomli_w.dumps({"moves": move}).replace("[moves]", "[[moves]]", 1)
        path.write_text(f"{text.rstrip()}\n\n{table}", encoding="utf-8")
    return len(figures)
