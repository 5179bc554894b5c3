"""Captures through tables, beside programs that read captures; most do less."""

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

from captures import write_capture
from exchange import write_tables
from rounds import Run, Sample, Work, WrongAnswersError
from workload import Shape, Workload, workload
from yardsticks import (
    CAPINFOS,
    CYPCAP,
    DPKT,
    PCAP_EMPTY,
    PCAPY,
    PEERS,
    TCPDUMP,
    Command,
    Package,
    Peer,
    found,
    on,
    output_of,
    replay_options,
    seconds_of,
)

SOCKETS = 10_000
FRAME_BYTES = 60
FEW_PACKETS, FEW_SOCKETS = 200, 60

LIBPCAP = "libpcap, empty loop, whole process"
WHOLE = "vnasfast.replay --quiet, whole process"
START = "vnasfast.replay --quiet, one frame only"
ENGINE = "vnasfast.replay, its engine"
TWO_CORES = "vnasfast.replay, its engine, two threads"
CAT = "cat to nothing, whole process"
COUNTING = {"capinfos -c, whole process": CAPINFOS, "tcpdump --count, whole process": TCPDUMP}
PCAPNG = "vnasfast.replay, its engine, pcapng"
STAGES = ("reading", "parsing", "dispatching")
FEW = f"{FEW_PACKETS} packets, {FEW_SOCKETS} sockets, start to exit"


def small_title(frames: int) -> str:
    """Name the work on small frames."""
    return f"replay, {frames:,} frames of {FRAME_BYTES} bytes"


def imix_title(frames: int) -> str:
    """Name the work on frames of mixed lengths."""
    return f"replay, {frames:,} frames of IMIX"


def formats_title(frames: int) -> str:
    """Name the work on both formats."""
    return f"replay, pcap and pcapng, {frames:,} frames of {FRAME_BYTES} bytes"


def slow_title(frames: int) -> str:
    """Name the work that the slow ones do too."""
    return f"reading in Python, {frames:,} frames of {FRAME_BYTES} bytes"


def works(programs: Mapping[Peer, Path], folder: Path, frames: int, cores: set[int]) -> Iterator[Work]:
    """Small frames, mixed ones, both formats, what Python packages can do, and a capture of a few packets."""
    work = workload(Shape(SOCKETS))
    tables = folder / "tables.toml"
    work.machine.save(tables)
    write_tables(folder, work)
    yield Work(small_title(frames), _small(programs, folder, work, frames, cores), LIBPCAP)
    part = frames // 4
    capture = _written(folder / "imix.pcap", partial(write_capture, work=work, n=part, size=None))
    runs = _libpcap(programs, capture, part) | _engine(capture, tables, part, cores)
    yield Work(imix_title(part), runs, LIBPCAP)
    capture.unlink()
    pcap = _written(folder / "part.pcap", partial(write_capture, work=work, n=part, size=FRAME_BYTES))
    pcapng = _written(folder / "part.pcapng", partial(write_capture, work=work, n=part, size=FRAME_BYTES, pcapng=True))
    runs = {ENGINE: _inside(pcap, tables, part, {}), PCAPNG: _inside(pcapng, tables, part, {})}
    yield Work(formats_title(part), runs, ENGINE)
    pcap.unlink()
    pcapng.unlink()
    few = max(1, frames // 50)
    yield Work(slow_title(few), _slow(programs, folder, work, few), LIBPCAP)
    machine = workload(Shape(FEW_SOCKETS))
    capture = _written(folder / "few.pcap", partial(write_capture, work=machine, n=FEW_PACKETS))
    machine.machine.save(folder / "few.toml")
    yield Work(FEW, {WHOLE: _process(FEW_PACKETS, *_replay(capture, folder / "few.toml"), "--quiet")}, WHOLE)
    workload.cache_clear()


def _written(path: Path, write: Callable[[Path], int]) -> Path:
    write(path)
    os.sync()  # or the disk is still busy with the capture while it is read
    return path


def _small(programs: Mapping[Peer, Path], folder: Path, work: Workload, frames: int, cores: set[int]) -> dict[str, Run]:
    tables = folder / "tables.toml"
    first = _written(folder / "first.pcap", partial(write_capture, work=work, n=1, size=FRAME_BYTES))
    capture = _written(folder / "small.pcap", partial(write_capture, work=work, n=frames, size=FRAME_BYTES))
    runs = _libpcap(programs, capture, frames)
    runs[WHOLE] = _process(frames, *_replay(capture, tables), "--quiet")
    runs[START] = _process(frames, *_replay(first, tables), "--quiet")
    runs |= _engine(capture, tables, frames, cores)
    runs[CAT] = _process(frames, "cat", capture)
    options: dict[Command, tuple[str | Path, ...]] = {
        CAPINFOS: ("-c", capture),
        TCPDUMP: (*_as_root(), "--count", "-r", capture),
    }
    return runs | {name: _process(frames, tool.name, *options[tool], needs=tool) for name, tool in COUNTING.items()}


def _as_root() -> tuple[str, ...]:
    """Keep tcpdump from giving up rights without which it can't open a file of ours."""
    return ("-Z", "root") if os.geteuid() == 0 else ()


def _slow(programs: Mapping[Peer, Path], folder: Path, work: Workload, frames: int) -> dict[str, Run]:
    capture = _written(folder / "slow.pcap", partial(write_capture, work=work, n=frames, size=FRAME_BYTES))
    runs = _libpcap(programs, capture, frames)
    runs[WHOLE] = _process(frames, *_replay(capture, folder / "tables.toml"), "--quiet")
    reader = (sys.executable, PEERS / "read_capture.py")
    for package in (CYPCAP, PCAPY, DPKT):
        name = f"{package.project}: read only"
        runs[name] = _process(frames, *reader, package.module, capture, needs=package, prints=str(frames))
    replaying = (sys.executable, PEERS / "dpkt_dict.py", capture, folder)
    runs["dpkt and two dicts: read, parse, dispatch"] = _process(frames, *replaying, needs=DPKT, prints=str(frames))
    return runs


def _libpcap(programs: Mapping[Peer, Path], capture: Path, frames: int) -> dict[str, Run]:
    if PCAP_EMPTY not in programs:
        return {}
    return {LIBPCAP: _process(frames, programs[PCAP_EMPTY], capture, prints=str(frames))}


def _process(
    frames: int, *command: str | Path, needs: Command | Package | None = None, prints: str | None = None
) -> Run:
    """Time a program from start to exit; look once whether it is there, and prints what it must."""
    looked = False

    def run() -> Sample:
        nonlocal looked
        if not looked and needs is not None:
            found(needs)
        if not looked and prints is not None and (printed := output_of(*command).strip()) != prints:
            raise WrongAnswersError(f"{command[0]} prints {printed!r}, not {prints!r}")
        looked = True
        wall, cpu = seconds_of(*command)
        return wall / frames * 1e9, cpu / frames * 1e9

    return run


def _replay(capture: Path, tables: Path, threads: int = 1) -> tuple[str | Path, ...]:
    parallel = ("--threads", str(threads)) if "--threads" in replay_options() else ()
    return (sys.executable, "-m", "vnasfast.replay", "--tables", tables, capture, *parallel)


def _engine(capture: Path, tables: Path, frames: int, cores: set[int]) -> dict[str, Run]:
    """Give what the replay reports of itself, with its stages; and the same on two cores."""
    stages: dict[str, float] = {}
    runs: dict[str, Run] = {ENGINE: _inside(capture, tables, frames, stages)}
    for stage in STAGES:
        runs[f"{ENGINE}: {stage}"] = partial(_stage, stages, stage)
    if "--threads" in replay_options() and len(cores) > 1:
        one_run = _inside(capture, tables, frames, {}, threads=2)

        def on_two_cores() -> Sample:
            with on(set(sorted(cores)[-2:])):
                return one_run()

        runs[TWO_CORES] = on_two_cores
    return runs


def _stage(stages: Mapping[str, float], stage: str) -> Sample:
    return stages[stage], None


def _inside(capture: Path, tables: Path, frames: int, stages: dict[str, float], threads: int = 1) -> Run:
    command = (*_replay(capture, tables, threads), "--quiet", "--json")

    def run() -> Sample:
        report = json.loads(output_of(*command))
        if report["packets"] != frames or report["delivered_packets"] != frames:
            raise WrongAnswersError(f"{report['delivered_packets']} of {report['packets']} packets were delivered")
        stages.update({stage: report["speed"].get(f"{stage}_ns", 0.0) for stage in STAGES})
        return report["speed"]["seconds"] / frames * 1e9, None

    return run
