"""Run the tests under sanitizers: python tests/fuzz/sanitized.py [--captures FOLDER] [pytest's arguments]

It compiles a copy of the package with gcc's AddressSanitizer and UndefinedBehaviorSanitizer in a folder of its own and
runs there: the test suite (whole, or what the arguments choose), then leaks.py, then, with --captures FOLDER, every
file of that folder through reader, parser and dispatcher. A sanitizer's finding ends its part. Needs what the
tests need, gcc and its libasan and libubsan; no clang.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import instrumented

WITHOUT = [
    # Linters and type checkers in processes of their own: minutes, and nothing of ours runs.
    "--ignore=tests/test_quality.py",
    # Holds the size of the process, which here is that of the sanitizer's quarantine; leaks.py counts exactly.
    "--deselect=tests/test_accounts.py::test_registering_and_removing_forever_grows_nothing",
    # Valgrind can't run what is sanitized.
    "--deselect=tests/test_bench.py::test_counting_repeats",
    "--deselect=tests/test_bench.py::test_counting_a_command",
    "--deselect=tests/test_bench.py::test_commands_that_can_not_be_counted",
]


def library(name: str) -> str:
    """Ask gcc for the path of one of its libraries."""
    run = subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True)
    path = run.stdout.strip()
    if not Path(path).is_absolute():
        sys.exit(f"gcc has no {name}: install gcc's sanitizer libraries")
    return path


def run(what: str, command: list[str], folder: Path, environment: dict[str, str]) -> int:
    """Run one part."""
    print(f"--- {what}", flush=True)
    code = subprocess.run([sys.executable, *command], cwd=folder, env=environment, check=False).returncode
    print(f"--- {what}: {'nothing found' if code == 0 else f'exit code {code}'}", flush=True)
    return code


def main() -> int:
    """Build, run all parts, and return 0 if none found anything."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, help="keep the build here; a build is used again")
    parser.add_argument("--captures", type=Path, help="also every file of this folder")
    given, chosen = parser.parse_known_args()
    # A shell starts what runs in the background without SIGINT, and tests that send one would wait for ever.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    folder = given.folder.resolve() if given.folder else Path(tempfile.mkdtemp(prefix="vnasfast-sanitized-"))
    folder.mkdir(parents=True, exist_ok=True)
    instrumented.build(folder, "gcc", instrumented.SANITIZE)
    # numpy's C++ code throws; the runtime wraps throwing only if the library that does it is there from the start.
    preload = (library("libasan.so"), library("libstdc++.so.6"))
    environment = instrumented.environment(folder, *preload)
    here = Path("tests") / "fuzz"
    pytest = ["-m", "pytest", "-p", "no:cacheprovider", *WITHOUT]
    codes = [
        run("tests", [*pytest, *chosen], folder, environment),
        run("leaks", [str(here / "leaks.py")], folder, environment),
    ]
    if given.captures:
        every = [str(here / "every_capture.py"), str(given.captures.resolve())]
        codes.append(run("captures", every, folder, environment))
    return int(any(codes))


if __name__ == "__main__":
    sys.exit(main())
