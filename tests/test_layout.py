"""The structure that the design asks for: data flows one way, files stay small, stubs lie beside modules."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import vnasfast
import vnasfast.replay

PACKAGE = Path(vnasfast.__file__).parent
ROOT = Path(__file__).parents[1]
IMPORT = re.compile(r"^\s*(?:from|cimport|import)\s+(vnasfast[\w.]*)", re.MULTILINE)

#: Part of the package → the parts it may import. Parts that are missing here are files at the top, which may import
#: what lies below them; nothing imports replay, host or bench, but for UPWARDS.
ALLOWED = {
    "typedefs": set(),
    "dtypes": set(),
    "errors": set(),
    "outcome": set(),
    "columns": {"dtypes", "errors"},
    "capture": {"typedefs", "errors", "vector"},
    "parse": {"typedefs", "dtypes", "errors", "columns", "vector"},
    "tables": {"typedefs", "errors"},
    "vector": {"errors"},
    "dispatch": {"typedefs", "dtypes", "errors", "outcome", "columns", "parse", "tables", "vector"},
    "bulk": {"columns", "errors", "parse", "tables", "values"},
    "values": {"errors", "parse"},
    "files": set(),
    "console": {"errors"},
    "commands": {"console"},
    "tablefile": {"errors", "files", "linux", "parse", "tables", "values", "views", "machine"},
    "views": {"outcome", "errors", "parse", "tables", "dispatch", "values", "tablefile"},
    "snapshot": {"errors", "files", "parse", "tables", "values", "views"},
    "linux": {"errors", "tables", "values"},
    "machine": {"errors", "linux", "parse", "tables", "values", "tablefile", "bulk", "views", "snapshot"},
}

#: Who may import what nothing else may: the benchmark measures replays, a replay may be through this machine's tables.
UPWARDS = {("bench", "replay"), ("replay", "host")}


def sources():
    return sorted(path for suffix in ("py", "pyx", "pxd") for path in PACKAGE.rglob(f"*.{suffix}"))


def part_of(module):
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_one_way(path):
    relative = path.relative_to(PACKAGE)
    part = relative.parts[0].partition(".")[0]
    for imported in map(part_of, IMPORT.findall(path.read_text())):
        if imported in {part, "__init__"}:
            continue
        assert imported not in {"replay", "host", "bench"} or (part, imported) in UPWARDS, (
            f"{relative} imports {imported}, which nothing may import"
        )
        if part in ALLOWED:
            assert imported in ALLOWED[part], f"{relative} imports {imported}: data flows the other way"


def test_the_rule_above_can_fail():
    assert part_of("vnasfast.replay.cli") == "replay"
    assert IMPORT.findall("from vnasfast.replay.cli import main\n    import vnasfast.host") == [
        "vnasfast.replay.cli",
        "vnasfast.host",
    ]


@pytest.mark.parametrize("path", sources(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_hold_one_idea(path):
    assert len(path.read_text().splitlines()) <= 430


def test_each_extension_module_has_a_stub():
    assert [path for path in PACKAGE.rglob("*.pyx") if not path.with_suffix(".pyi").exists()] == []


def test_a_block_is_counted_at_once():
    """Tables may not import the parser's constant; what counts has arrays of its own on the stack."""

    def constant(name, file):
        return int(re.search(rf"^ +{name} = (\d+)", (PACKAGE / file).read_text(), re.MULTILINE)[1])

    assert constant("BLOCK", "parse/plain.pxd") <= constant("MOST_COUNTED", "tables/usage.pxd")


def test_importing_vnasfast_imports_no_replay_no_command_line_and_no_numpy():
    code = "import sys, vnasfast; print([m for m in ('vnasfast.replay', 'click', 'numpy') if m in sys.modules])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_replaying_needs_no_numpy():
    """Its import would take longer than all else that a small capture needs."""
    code = "import sys; sys.modules['numpy'] = None; from vnasfast.replay.cli import main; main(['pcaps/corners.pcap'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert run.returncode == 0, run.stderr


#: What a replay that prints no report does without. Most of a short replay is the import of modules.
NEEDLESS = {
    "numpy",
    "pathlib",
    "tomli",
    "tqdm",
    "vnasfast.dispatch.explain",
    "vnasfast.files",
    "vnasfast.replay.learn",
    "vnasfast.replay.report",
    "vnasfast.replay.screen",
    "vnasfast.snapshot",
    "vnasfast.tablefile.writing",
    "vnasfast.tables.check",
    "vnasfast.tables.probes",
    "vnasfast.tables.rows",
}


def imported_by(code):
    """What code imports, beside what the interpreter had imported before it ran."""
    code = f"import sys; before = set(sys.modules)\ntry:\n    {code}\nfinally:\n    print(*set(sys.modules) - before)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(run.stdout.split())


def test_a_replay_imports_what_it_needs():
    code = "from vnasfast.replay.cli import main; main(['--quiet', 'pcaps/three-servers.pcap'])"
    found = imported_by(code)
    assert "vnasfast.replay.run" in found
    assert found & NEEDLESS == set()


def test_help_needs_no_replay():
    code = "from vnasfast.replay.cli import main; main(['--help'])"
    assert imported_by(code) & {"vnasfast.replay.run", "vnasfast.capture"} == set()


@pytest.mark.parametrize("package", [vnasfast, vnasfast.replay], ids=lambda package: package.__name__)
def test_public_names_are_there_when_they_are_asked_for(package):
    assert set(package.__all__) <= set(dir(package))
    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nobody'"):
        package.nobody  # noqa: B018
