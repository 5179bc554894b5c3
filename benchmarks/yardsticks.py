"""Programs to compare with: what they need, how they are built, how they are run."""

import os
import resource
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).with_name("peers")


@dataclass(frozen=True)
class Peer:
    """A C program of ours under ``peers/``, and the Debian packages without which it can't be built."""

    source: str
    packages: tuple[str, ...]
    libraries: tuple[str, ...] = ()


FLOOR = Peer("floor.c", ("gcc", "libc6-dev"))
PCAP_EMPTY = Peer("pcap_empty.c", ("gcc", "libc6-dev", "libpcap-dev"), ("-lpcap",))


class Missing(Exception):
    """A yardstick can't be used here; says what to install."""


def build(peer: Peer, folder: Path) -> Path:
    """Build a peer and return its program.

    Raises
    ------
    Missing
        There is no compiler, or it refused, as it does without the library.
    """
    program = folder / Path(peer.source).stem
    advice = f"{peer.source} can't be built: apt-get install {' '.join(peer.packages)}"
    compiler = shutil.which("gcc")
    if compiler is None:
        raise Missing(f"{advice} (there is no gcc)")
    command = [compiler, "-O3", "-march=native", "-Wall", "-o", str(program), str(PEERS / peer.source), *peer.libraries]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        reason = next((line for line in built.stderr.splitlines() if "error" in line), built.stderr.strip())
        raise Missing(f"{advice} ({reason})")
    return program


def output_of(*command: str | Path) -> str:
    """Run a program to its end and return what it prints."""
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def seconds_of(*command: str | Path) -> tuple[float, float]:
    """Run a program, its output to nothing; return the seconds from start to exit, and those of the processor."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def pin(core: int | None) -> int:
    """Keep this process and its children on one core, by default the last one it may use; return which."""
    core = max(os.sched_getaffinity(0)) if core is None else core
    os.sched_setaffinity(0, {core})
    return core


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
