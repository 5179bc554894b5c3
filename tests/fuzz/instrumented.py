"""A copy of the package whose extension modules are compiled with sanitizers, in a folder of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# Any undefined behaviour ends the program: a message that scrolls by is no finding. Frame pointers and -g give
# readable stacks; -O1 is as fast as sanitized code gets while each source line keeps its own branches.
SANITIZE = ["-g", "-O1", "-fno-omit-frame-pointer", "-fno-sanitize-recover=undefined", "-fsanitize=address,undefined"]

# setup.py asks for -O3 behind all that the environment says, so the compiler is wrapped to have the last word.
_WRAPPER = """#!/bin/sh
exec {compiler} "$@" {flags}
"""


def _made(folder: str, names: list[str]) -> list[str]:
    """Which files a build made: the C of a .pyx, and what is compiled of it."""
    return [
        name
        for name in names
        if name == "__pycache__"
        or name.endswith((".so", ".bpf.o"))
        or (name.endswith(".c") and Path(folder, name).with_suffix(".pyx").exists())
    ]


def build(folder: Path, compiler: str, flags: list[str]) -> None:
    """Copy package, tests and captures to `folder` and compile there; a folder that holds a build is left as it is."""
    done = folder / ".built"
    wanted = f"{compiler} {' '.join(flags)}"
    if done.exists() and done.read_text() == wanted:
        print(f"using the build in {folder}", flush=True)
        return
    for name in ("vnasfast", "tests", "pcaps"):
        shutil.copytree(ROOT / name, folder / name, ignore=_made, dirs_exist_ok=True)
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, folder)
    wrapper = folder / f"sanitizing-{compiler}"
    wrapper.write_text(_WRAPPER.format(compiler=compiler, flags=" ".join(flags)))
    wrapper.chmod(0o755)
    print(f"compiling with {wanted}", flush=True)
    run = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace", f"-j{os.cpu_count()}"],
        cwd=folder,
        env=os.environ | {"CC": str(wrapper)},
        capture_output=True,
        text=True,
        check=False,
    )
    if run.returncode:
        sys.exit(run.stdout[-4000:] + run.stderr[-4000:])
    done.write_text(wanted)


def environment(folder: Path, *preload: str, fast: bool = False) -> dict[str, str]:
    """Give the variables under which Python loads the modules of `folder`.

    - The sanitizers' runtime must be there before all else, hence LD_PRELOAD.
    - detect_leaks=0: Python itself frees little at its end; leaks.py looks for ours by the size of the process.
    - PYTHONMALLOC=malloc: Python's own pools would hide what is read past the end of a small object. `fast` does
      without, for programs that copy what they pass to arrays of exactly its size; with a short memory of who
      allocated and freed what, it is four times as fast.
    - allocator_may_return_null=1: a MemoryError is Python's business, not a finding.
    - abort_on_error=1 and halt_on_error=1: the first finding ends the run, with a stack.
    """
    options = "detect_leaks=0:allocator_may_return_null=1:abort_on_error=1:halt_on_error=1"
    if fast:
        options += ":malloc_context_size=3:quarantine_size_mb=16"
    return os.environ | {
        "LD_PRELOAD": ":".join(preload),
        "PYTHONPATH": f"{folder}:{folder / 'tests'}",
        "PYTHONMALLOC": "pymalloc" if fast else "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ASAN_OPTIONS": options,
        "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    }
