"""Running the replayer as a person does: in a process of its own."""

import csv
import json
import subprocess
import sys
from pathlib import Path

PCAPS = Path(__file__).parents[1] / "pcaps"
COMMAND = [sys.executable, "-W", "error", "-m", "vnasfast.replay"]


def run(*arguments, **options):
    """The finished process; standard output and error as text."""
    stdin = options.pop("stdin_bytes", None)
    made = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        input=stdin,
        capture_output=True,
        timeout=120,
        check=False,
        **({} if stdin is not None else {"stdin": subprocess.DEVNULL}),
        **options,
    )
    made.stdout = made.stdout.decode()
    made.stderr = made.stderr.decode()
    return made


def report_of(*arguments, code=0, **options):
    """The report of --json, of a run that ends with this code."""
    made = run("--json", *arguments, **options)
    assert made.returncode == code, made.stderr
    return json.loads(made.stdout)


def without_speed(report):
    """What does not differ from run to run."""
    return {key: value for key, value in report.items() if key != "speed"}


def rows_of(path):
    """The rows of a file of deliveries."""
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def fails(made, *words, code=2):
    """Hold that it ended with one clear line on standard error, and nothing else."""
    assert made.returncode == code, made.stderr
    assert made.stdout == ""
    lines = [line for line in made.stderr.splitlines() if line]
    # click explains how to ask for help above its own errors.
    lines = [line for line in lines if not line.startswith(("Usage: ", "Try "))]
    assert len(lines) == 1, made.stderr
    assert lines[0].startswith("Error: ")
    for word in words:
        assert word in lines[0]
