"""Programs to compare with: what they need, how they are built, how they are run."""

import ctypes
import importlib.util
import os
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PEERS = Path(__file__).with_name("peers")

#: glibc's own memory on huge pages, as the tables of vnasfast and numpy's arrays are.
HUGE_PAGES = {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}

_PR_SET_THP_DISABLE = 41

_COMPILERS = {".c": ("gcc",), ".cpp": ("g++", "-std=c++17", "-DNDEBUG")}


@dataclass(frozen=True)
class Peer:
    """A C or C++ program of ours under ``peers/``, and the Debian packages without which it can't be built."""

    source: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...] = ()
    pkg_config: str = ""  # where the headers lie
    bpf: str = ""  # a BPF program beside it


@dataclass(frozen=True)
class Command:
    """A program of a Debian package."""

    name: str
    package: str


@dataclass(frozen=True)
class Package:
    """A Python package, by what is imported and by its name on PyPI."""

    module: str
    project: str


_GCC = ("gcc", "libc6-dev")
FLOOR = Peer("floor.c", _GCC)
READ_KEYS = Peer("read_keys.c", _GCC)
BOOST = Peer("boost_flat_map.cpp", ("g++", "libboost1.81-dev"))
ABSL = Peer(
    "absl_flat_map.cpp",
    ("g++", "libabsl-dev"),
    tuple(
        f"-labsl_{name}"
        for name in ("raw_hash_set", "hash", "city", "low_level_hash", "hashtablez_sampler", "throw_delegate")
    ),
)
DPDK_HASH = Peer("dpdk_hash.c", (*_GCC, "pkg-config", "libdpdk-dev"), ("-lrte_hash", "-lrte_eal"), "libdpdk")
DPDK_PTYPE = Peer("dpdk_ptype.c", (*_GCC, "pkg-config", "libdpdk-dev"), ("-lrte_net", "-lrte_mbuf"), "libdpdk")
KERNEL = Peer("kernel_lookup.c", (*_GCC, "clang", "libbpf-dev"), ("-lbpf",), bpf="kernel_lookup.bpf.c")
PCAP_EMPTY = Peer("pcap_empty.c", (*_GCC, "libpcap-dev"), ("-lpcap",))

CAPINFOS = Command("capinfos", "wireshark-common")
TCPDUMP = Command("tcpdump", "tcpdump")

DPKT = Package("dpkt", "dpkt")
PCAPY = Package("pcapy", "pcapy-ng")
CYPCAP = Package("cypcap", "cypcap")


class Missing(Exception):
    """A yardstick can't be used here; says what to install."""


def build(peer: Peer, folder: Path) -> Path:
    """Build a peer and return its program; a BPF program lies beside it, with the suffix ``.bpf.o``.

    Raises
    ------
    Missing
        There is no compiler, or it refused, as it does without the library.
    """
    program = folder / Path(peer.source).stem
    advice = f"{peer.source} can't be built: apt-get install {' '.join(peer.packages)}"
    compiler, *options = _COMPILERS[Path(peer.source).suffix]
    flags = _output(advice, "pkg-config", "--cflags", peer.pkg_config).split() if peer.pkg_config else []
    options += ["-O3", "-Wall", *flags, "-march=native", "-o", str(program), str(PEERS / peer.source), *peer.libraries]
    _output(advice, compiler, *options)
    if peer.bpf:
        include = f"-I/usr/include/{_output(advice, 'gcc', '-print-multiarch').strip()}"
        target = program.with_suffix(".bpf.o")
        _output(advice, "clang", "-O2", "-g", "-target", "bpf", include, "-c", str(PEERS / peer.bpf), "-o", str(target))
    return program


def _output(advice: str, name: str, *options: str) -> str:
    if shutil.which(name) is None:
        raise Missing(f"{advice} (there is no {name})")
    run = subprocess.run([name, *options], capture_output=True, text=True, check=False)
    if run.returncode != 0:
        reason = next((line for line in run.stderr.splitlines() if "error" in line), run.stderr.strip())
        raise Missing(f"{advice} ({reason})")
    return run.stdout


def found(tool: Command | Package) -> None:
    """Look for a program or a Python package.

    Raises
    ------
    Missing
    """
    if isinstance(tool, Command) and shutil.which(tool.name) is None:
        raise Missing(f"there is no {tool.name}: apt-get install {tool.package}")
    if isinstance(tool, Package) and importlib.util.find_spec(tool.module) is None:
        raise Missing(f"there is no {tool.project}: {sys.executable} -m pip install {tool.project}")


def output_of(*command: str | Path, environment: Mapping[str, str] | None = None) -> str:
    """Run a program to its end and return what it prints.

    Raises
    ------
    Missing
        It refused; says what it said.
    """
    run = subprocess.run(
        command, capture_output=True, text=True, check=False, env={**os.environ, **(environment or {})}
    )
    if run.returncode != 0:
        reason = (run.stderr.strip() or f"exit code {run.returncode}").splitlines()[-1]
        raise Missing(f"{Path(command[0]).name} refused: {reason}")
    return run.stdout


def seconds_of(*command: str | Path) -> tuple[float, float]:
    """Run a program, its output to nothing; return the seconds from start to exit, and those of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@cache
def replay_options() -> str:
    """Give the help of the replayer: which options this version has."""
    return output_of(sys.executable, "-m", "vnasfast.replay", "--help")


def pin(core: int | None) -> tuple[int, set[int]]:
    """Keep this process and its children on one core, by default the last one; return it, and all it could have had."""
    cores = os.sched_getaffinity(0)
    core = max(cores) if core is None else core
    os.sched_setaffinity(0, {core})
    return core, cores


@contextmanager
def on(cores: set[int]) -> Iterator[None]:
    """Let children run on other cores for a while."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def without_huge_pages() -> None:
    """Keep this process and its children from huge pages, whoever asks for them."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_THP_DISABLE, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "huge pages can't be switched off")


def machine() -> dict[str, str]:
    """Describe the machine, as far as it matters for the figures."""
    cpu = next((line for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "unknown").split(":")[-1]
    huge_pages = next(iter(_lines("/sys/kernel/mm/transparent_hugepage/enabled")), "unknown")
    system = os.uname()
    return {
        "processor": f"{cpu.strip()}, {os.cpu_count()} cores",
        "kernel": f"{system.sysname} {system.release} {system.machine}",
        "transparent huge pages": huge_pages,
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "date": time.strftime("%Y-%m-%d %H:%M %Z"),
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
