"""Ruff and strict mypy find nothing, and each extension module is what its stub says."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: All that are compiled: without libbpf's headers one is left out, which .ci/run does not let happen.
EXTENSIONS = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in (ROOT / "vnasfast").rglob("*.pyx")
    if list(path.parent.glob(f"{path.stem}.*.so"))
)


@pytest.mark.parametrize(
    "command",
    [("ruff", "check", "."), ("mypy",), ("mypy.stubtest", "--ignore-missing-stub", *EXTENSIONS)],
    ids=lambda command: command[0],
)
def test_checker_finds_nothing(command):
    run = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
