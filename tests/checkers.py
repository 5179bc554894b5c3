"""Linters and type checkers that run beside the tests: a sixth of the tests' time, on another core."""

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

Command = tuple[str, ...]

ROOT = Path(__file__).parents[1]

_running: dict[Command, tuple[subprocess.Popen[bytes], IO[bytes]]] = {}


def start(command: Command) -> None:
    """Start ``python -m command``, unless it was."""
    if command not in _running:
        output = TemporaryFile()  # noqa: SIM115 (closed by its end)
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        _running[command] = process, output


def ended(command: Command) -> tuple[int, str]:
    """Wait for it; its exit code, and what it printed."""
    start(command)
    process, output = _running.pop(command)
    with output:
        code = process.wait()
        output.seek(0)
        return code, output.read().decode()


def stop() -> None:
    """End those that nobody waited for."""
    while _running:
        process, output = _running.popitem()[1]
        process.kill()
        process.wait()
        output.close()
