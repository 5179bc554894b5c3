"""Ruff and strict mypy find nothing, and each extension module is what its stub says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXTENSIONS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / "vnasfast").rglob("*.pyx")
)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("mypy",), ("mypy.stubtest", "--ignore-missing-stub", *EXTENSIONS)],
    ids=lambda command: command[0],
)
def test_checker_finds_nothing(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
