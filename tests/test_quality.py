"""Ruff and strict mypy find nothing, and each extension module is what its stub says."""

import pytest
from checkers import ROOT, ended

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
    code, said = ended(command)  # conftest.py had it start when the tests began
    assert code == 0, said
