"""Instructions and cache lines per packet, counted by callgrind.

Every count is a difference: what 2n packets take, less what n packets take, divided by n. All that a run does once, as
it checks its arguments, is in both and cancels out. The built-in cases run n and 2n packets in one process that asks
callgrind when to count (``callgrind.pyx``); of a command of somebody else's both whole runs are counted, so it needs to
know nothing of callgrind.

There is no clock in a count: it repeats to 0.01 % in the same environment. In another, memory lies elsewhere: batches
then repeat to 0.1 %, replays to 0.6 %, and calls from Python, whose dicts go by addresses, to 2 %.
What another compiler, interpreter, numpy or C library does it does show; ``tools`` names these.
"""

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import vnasfast
from vnasfast import vector
from vnasfast.bench import callgrind
from vnasfast.errors import VnasError

# The same caches on all machines: the tables of 1k sockets fit the last one, those of 200k don't.
_CACHES = ("--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64", "--LL=4194304,16,64")

_TRIGGER = re.compile(r"^desc: Trigger: Client Request: (\S+) (\d+)$", re.MULTILINE)
_EVENTS = re.compile(r"^events: (.*)$", re.MULTILINE)
_TOTALS = re.compile(r"^totals: (.*)$", re.MULTILINE)


class CannotMeasure(VnasError):
    """A measurement can't be made here; the message says why and what to do."""


@dataclass(frozen=True)
class Command:
    """A hot loop of somebody else's: a command that handles as many packets as it is told.

    Attributes
    ----------
    name : str
    command : str
        Words as a shell would split them; ``{n}`` stands for the number of packets.
    n : int
        Packets; also twice as many are run.
    """

    name: str
    command: str
    n: int


@dataclass(frozen=True)
class Count:
    """What one packet takes.

    Attributes
    ----------
    instructions : float
    lines : float or None
        Cache lines that had to come from memory, read or written, with a last-level cache of 4 MiB; None: not counted.
    """

    instructions: float
    lines: float | None


def vector_paths() -> list[str]:
    """Return the vector paths that are counted on this machine."""
    return list(vector.paths)


def tools() -> str:
    """Name what else decides how many instructions a packet takes.

    Two builds of the same CPython may differ by an eighth for a call; the date of its build tells them apart.
    """
    built = " ".join(platform.python_build()[1].split())
    return ", ".join(
        (
            f"gcc {callgrind.compiler}",
            f"CPython {platform.python_version()} ({built})",
            f"numpy {np.__version__}",
            " ".join(platform.libc_ver()),
            platform.machine(),
        )
    )


def environment(path: str) -> dict[str, str]:
    """Return the environment of a process that takes a vector path, imports us, and always hashes strings the same."""
    own = str(Path(vnasfast.__file__).parents[1])
    paths = os.pathsep.join(part for part in (own, os.environ.get("PYTHONPATH")) if part)
    return os.environ | {"VNASFAST_VECTOR": path, "PYTHONHASHSEED": "0", "PYTHONPATH": paths}


def count_cases(names: list[str], path: str) -> dict[str, Count]:
    """Count built-in cases in one process.

    Raises
    ------
    CannotMeasure
    """
    with tempfile.TemporaryDirectory(prefix="vnasfast-") as folder:
        callgrind_files(names, path, Path(folder))
        runs: dict[str, dict[int, dict[str, int]]] = {}
        for dump in Path(folder).iterdir():
            text = dump.read_text()
            if trigger := _TRIGGER.search(text):
                runs.setdefault(trigger[1], {})[int(trigger[2])] = totals(text)
    if set(runs) != set(names):
        raise CannotMeasure("callgrind wrote no counts: instructions are counted on x86-64 only")
    return {name: _difference(runs[name]) for name in names}


def callgrind_files(names: list[str], path: str, folder: Path) -> None:
    """Run built-in cases under callgrind, which writes a file for each case and number of packets to a folder.

    Raises
    ------
    CannotMeasure
    """
    options = ("--instr-atstart=no", *_CACHES)
    _callgrind(options, [sys.executable, "-m", "vnasfast.bench.child", "count", *names], path, folder)


def count_command(command: Command, path: str) -> Count:
    """Count a command, by two runs of it.

    Raises
    ------
    CannotMeasure
    """
    runs = {}
    for n in (command.n, 2 * command.n):
        words = [word.replace("{n}", str(n)) for word in shlex.split(command.command)]
        with tempfile.TemporaryDirectory(prefix="vnasfast-") as folder:
            _callgrind(("--trace-children=yes",), words, path, Path(folder))
            counts = [totals(dump.read_text()).get("Ir", 0) for dump in Path(folder).iterdir()]
        runs[n] = {"Ir": sum(counts)}
    count = _difference(runs)
    if count.instructions < 1:
        raise CannotMeasure(
            f"{command.name}: {2 * command.n} packets take no more than {command.n}: does it use {{n}}?"
        )
    return count


def totals(text: str) -> dict[str, int]:
    """Read the sums of a file of callgrind's."""
    events, sums = _EVENTS.search(text), _TOTALS.search(text)
    if events is None or sums is None:
        return {}
    return dict(zip(events[1].split(), map(int, sums[1].split()), strict=False))


def _difference(runs: dict[int, dict[str, int]]) -> Count:
    few, many = sorted(runs)
    more = {event: (runs[many][event] - runs[few][event]) / (many - few) for event in runs[few]}
    lines = max(0.0, more["DLmr"] + more["DLmw"]) if "DLmr" in more else None
    return Count(more["Ir"], lines)


def _callgrind(options: tuple[str, ...], words: list[str], path: str, folder: Path) -> None:
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise CannotMeasure("instructions are counted by valgrind, which is not installed: apt-get install valgrind")
    if shutil.which(words[0]) is None:
        raise CannotMeasure(f"there is no program {words[0]}")
    out = f"--callgrind-out-file={folder}/%p"
    run = subprocess.run(  # noqa: S603 (the words are the user's own)
        [valgrind, "-q", "--vgdb=no", "--tool=callgrind", out, *options, *words],
        env=environment(path),
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode != 0:
        said = "\n".join((run.stderr or run.stdout).splitlines()[-10:])
        raise CannotMeasure(f"under valgrind this ended with code {run.returncode}: {shlex.join(words)}\n{said}")
