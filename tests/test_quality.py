"""Ruff, strict mypy and stubtest find nothing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "command",
    [
        ("ruff", "check", "."),
        ("mypy",),
        ("mypy.stubtest", "vnasfast", "--ignore-missing-stub", "--allowlist", "tests/stubtest-allowlist.txt"),
    ],
    ids=lambda command: command[0],
)
def test_checker_finds_nothing(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
