"""Fuzz one stage: python tests/fuzz/run.py {capture,parse,tables,replay} --seconds 1200

It compiles an instrumented copy of the package in a folder of its own, and runs the target there under atheris
(libFuzzer): coverage comes from the C code of the extension modules and from the Python modules, and AddressSanitizer
and UndefinedBehaviorSanitizer watch the C code. Needs clang with its runtime libraries (Debian: clang libclang-rt-dev)
and, in this Python, atheris, setuptools, Cython and what vnasfast itself needs.

The exit code is 0 when the time was used up without a finding. The input of a finding lies in FOLDER/findings; to run
it again, give it as --input.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import instrumented

# Coverage counters and traced comparisons for libFuzzer, whose engine atheris brings.
FLAGS = [*instrumented.SANITIZE, "-fsanitize=fuzzer-no-link"]
# Much memory: under atheris the parser's target grows by some KB an input, where the same inputs without it leave none.
LIMITS = ["-timeout=30", "-rss_limit_mb=6000", "-max_len=4096", "-use_value_profile=0", "-print_final_stats=1"]


def runtime() -> str:
    """Find the library of sanitizers and libFuzzer that atheris brings."""
    spec = importlib.util.find_spec("atheris")
    if spec is None or spec.origin is None:
        sys.exit("fuzzing needs atheris: pip install atheris")
    library = Path(spec.origin).parents[1] / "asan_with_fuzzer.so"
    if not library.exists():
        sys.exit(f"this atheris has no {library.name}: install another version")
    return str(library)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("target", choices=("capture", "parse", "tables", "replay"))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seeds", type=Path, help="a folder of captures, as further first inputs")
    parser.add_argument("--folder", type=Path, help="keep build, corpus, log and findings here; a build is used again")
    parser.add_argument("--input", type=Path, help="run this input once, and nothing else")
    return parser.parse_args()


def prepare(folder: Path, given: argparse.Namespace, environment: dict[str, str]) -> list[str]:
    """Write the first inputs with the instrumented package itself; returns libFuzzer's arguments."""
    corpus, findings = folder / given.target / "corpus", folder / "findings"
    findings.mkdir(exist_ok=True)
    write = [sys.executable, str(Path(__file__).with_name("seeds.py")), given.target, str(corpus)]
    subprocess.run([*write, *([str(given.seeds)] if given.seeds else [])], env=environment, check=True)
    return [
        str(corpus),
        f"-dict={corpus.with_name('dictionary')}",
        f"-artifact_prefix={findings}/{given.target}-",
        f"-max_total_time={given.seconds}",
        *LIMITS,
    ]


def fuzz(folder: Path, given: argparse.Namespace) -> int:
    """Build and run; returns the exit code."""
    library = runtime()
    instrumented.build(folder / "build", "clang", FLAGS)
    environment = instrumented.environment(folder / "build", library, fast=True)
    worker = [sys.executable, str(Path(__file__).with_name("worker.py")), given.target]
    if given.input:
        return subprocess.run([*worker, str(given.input)], env=environment, check=False).returncode
    log = folder / f"{given.target}.log"
    command = [*worker, *prepare(folder, given, environment)]
    with log.open("wb") as output:
        code = subprocess.run(command, env=environment, stdout=output, stderr=output, check=False).returncode
    report(log.read_text(errors="replace"), code)
    if code:
        print(f"finding: see {log} and {folder / 'findings'}")
    return code


def report(text: str, code: int) -> None:
    """Print what a run did, and the end of its log if it found something."""
    lines = text.splitlines()
    print("\n".join(line for line in lines if line.startswith("INFO: Loaded") or "seed corpus" in line))
    if code:
        print("\n".join(lines[-60:]))
    progress = [line for line in lines if re.match(r"#\d+\s+[A-Z]\w*\s.*cov:", line)]
    print("\n".join([*progress[-1:], *(line for line in lines if line.startswith(("stat::", "Done ")))]))


def main() -> int:
    """Run the command line."""
    given = arguments()
    if shutil.which("clang") is None:
        sys.exit("fuzzing needs clang and its runtime libraries (Debian: apt install clang libclang-rt-dev)")
    if given.folder is None:
        given.folder = Path(tempfile.mkdtemp(prefix="vnasfast-fuzz-"))
        print(f"build, corpus, log and findings: {given.folder}")
    given.folder.mkdir(parents=True, exist_ok=True)
    return fuzz(given.folder.resolve(), given)


if __name__ == "__main__":
    sys.exit(main())
