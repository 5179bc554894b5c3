"""The bars that the project holds itself to, and whether a run meets them.

A bar is met when half of the rounds, from quartile to quartile, lie within it, by both clocks: on a busy machine one
clock may flatter. It is missed when by one clock they all lie beyond. Between these it is neither, and the run says so:
another run may put the median on the other side.
"""

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import compare_files as files
import compare_frames as in_memory
import compare_keys as keys
from rounds import Results, Sample, by_clock, quartiles
from workload import NARROW

#: Of the floor, at most, by table size.
FLOOR_BARS = {1_000: 2.5, 10_000: 2.5, 100_000: 2.5, 1_000_000: 1.0, 10_000_000: 1.5}
#: At least so many times as fast as these.
FASTER = {keys.DPDK_TWO: 4.0, keys.BOOST_TWO: 3.0, keys.BOOST_ONE: 1.5}
MISSES_BAR = 1.0
IPV6_BAR = 1.5
SHAPES_BAR = 2.0
BYTES_BARS = {"data plane": 32.0, "in all": 64.0}
FRAMES_NS = dict(zip(in_memory.KINDS, (8.0, 15.0, 10.0), strict=True))
ONE_FRAME_NS = {in_memory.TO_INTEGER: 100.0, in_memory.TO_DELIVERY: 250.0}
SMALL_NS, SMALL_TWO_NS, SMALL_FASTER = 15.0, 8.0, 4.5
IMIX_NS, IMIX_TWO_NS = 35.0, 20.0
PCAPNG_BAR = 1.3
WHOLE_FRAMES, WHOLE_SECONDS = 10_000_000, 0.32
FEW_SECONDS = 0.25
PIPE_GIGABYTES, PIPE_MEGABYTES = 20.0, 150.0


@dataclass(frozen=True)
class Verdict:
    """One bar, and what each round measured by both clocks; none: nothing was. `named` may differ between runs."""

    what: str
    bar: float
    measured: list[Sample]
    at_least: bool = False
    unit: str = "times"
    named: str = ""

    @property
    def says(self) -> str:
        """Say how what was measured lies to the bar."""
        if not self.measured:
            return "not measured"
        side = -1 if self.at_least else 1
        beyond = [[side * end > side * self.bar for end in quartiles(values)] for values in by_clock(self.measured)]
        if any(map(all, beyond)):
            return "missed"
        return "on both sides" if any(map(any, beyond)) else "met"

    @property
    def bound(self) -> str:
        """Say what the bar asks for."""
        return f"{'≥' if self.at_least else '≤'} {self.bar:g} {self.unit}"


def of_keys(results: Results, sizes: Iterable[int]) -> Iterator[Verdict]:
    """Judge hits in uniform order at each table size."""
    for sockets in sizes:
        work = keys.sizes_title(sockets)
        at = f"at {sockets:,} sockets"
        for kind in _kinds():
            if sockets in FLOOR_BARS:
                yield _ratio(results, work, kind, keys.FLOOR_NAME, FLOOR_BARS[sockets], f"{kind} {at}, of the floor")
            for peer, bar in FASTER.items():
                what = f"{kind} {at}, times as fast as {peer}"
                yield _ratio(results, work, peer, kind, bar, what, at_least=True)
            yield _ratio(results, work, keys.IPV6, kind, IPV6_BAR, f"IPv6 {at}, of IPv4 by {kind}")


def of_orders(results: Results, sizes: Iterable[int]) -> Iterator[Verdict]:
    """Judge misses: as fast as hits."""
    for sockets in sizes:
        work = keys.orders_title(sockets)
        for kind in (keys.NARROW_KEYS, keys.WIDE_KEYS):
            for misses in ("port scan", "flood for nobody"):
                mine, hits = f"{misses}: {kind}", f"uniform hits: {kind}"
                if results.has(work, mine, hits):
                    what = f"{misses}, {kind} at {sockets:,} sockets, of hits"
                    yield _ratio(results, work, mine, hits, MISSES_BAR, what)


def of_shapes(results: Results, sizes: Iterable[int]) -> Iterator[Verdict]:
    """Judge the worst machine against the best."""
    for sockets in sizes:
        work = keys.shapes_title(sockets)
        names = list(results.samples.get(work, {}))
        if names:
            worst = max(names, key=lambda name: results.ns(work, name)[0])
            best = min(names, key=lambda name: results.ns(work, name)[0])
            what = f"the worst shape at {sockets:,} sockets, of the best"
            yield replace(_ratio(results, work, worst, best, SHAPES_BAR, what), named=f" ({worst}, {best})")


def of_frames(results: Results) -> Iterator[Verdict]:
    """Judge frames in memory, and one frame from Python."""
    for kind, bar in FRAMES_NS.items():
        yield _ns(results, in_memory.title(kind), in_memory.COUNTED, bar, f"{kind}, parse + dispatch + count")
    for name, bar in ONE_FRAME_NS.items():
        yield _ns(results, in_memory.one_frame_title(), name, bar, f"one frame from Python, {name}")


def of_files(results: Results, frames: int) -> Iterator[Verdict]:
    """Judge replays."""
    small, mixed, formats = files.small_title(frames), files.imix_title(frames // 4), files.formats_title(frames // 4)
    yield _ns(results, small, files.ENGINE, SMALL_NS, "60-byte frames, engine, one core")
    what = "60-byte frames, engine, one core, times as fast as libpcap's empty loop"
    yield _ratio(results, small, files.LIBPCAP, files.ENGINE, SMALL_FASTER, what, at_least=True)
    yield _ns(results, small, files.TWO_CORES, SMALL_TWO_NS, "60-byte frames, engine, two cores")
    if frames == WHOLE_FRAMES:
        yield _seconds(results, small, frames, WHOLE_SECONDS, "10M frames of 60 bytes, start to exit, one core")
    yield _ns(results, mixed, files.ENGINE, IMIX_NS, "IMIX, engine, one core")
    yield _ns(results, mixed, files.TWO_CORES, IMIX_TWO_NS, "IMIX, engine, two cores")
    yield _ratio(results, formats, files.PCAPNG, files.ENGINE, PCAPNG_BAR, "pcapng, of pcap, engine")
    yield _seconds(results, files.FEW, files.FEW_PACKETS, FEW_SECONDS, "200 packets, start to exit, cold interpreter")


def of_memory(bytes_each: dict[str, float], sockets: int) -> Iterator[Verdict]:
    """Judge resident bytes per IPv4 socket."""
    for part, bar in BYTES_BARS.items():
        what = f"bytes per IPv4 socket at {sockets:,}, {part}"
        yield Verdict(what, bar, [(bytes_each[part], None)] if part in bytes_each else [], unit="bytes")


def of_pipe(n_bytes: float | None, gigabytes: float) -> Iterator[Verdict]:
    """Judge what replaying a large capture takes."""
    if gigabytes >= PIPE_GIGABYTES:
        measured: list[Sample] = [] if n_bytes is None else [(n_bytes / 1e6, None)]
        yield Verdict(f"memory of the replay of {gigabytes:g} GB from a pipe", PIPE_MEGABYTES, measured, unit="MB")


def line(verdict: Verdict) -> str:
    """Say it in one line: the median, and the quartiles of the rounds."""
    if not verdict.measured:
        return f"{verdict.says}: {verdict.what}: {verdict.bound}"
    shown = " and by the processor's clock ".join(map(_figure, by_clock(verdict.measured)))
    return f"{verdict.says}: {verdict.what}{verdict.named}: {shown}, {verdict.bound}"


def _figure(values: list[float]) -> str:
    lower, upper = quartiles(values)
    return f"{statistics.median(values):.2f}" + (f" ({lower:.2f} to {upper:.2f})" if len(values) > 1 else "")


def _kinds() -> list[str]:
    kinds = [keys.NARROW_KEYS] if NARROW is not None else []
    kinds.append(keys.WIDE_KEYS)
    return kinds


def _ratio(
    results: Results, work: str, name: str, base: str, bar: float, what: str, *, at_least: bool = False
) -> Verdict:
    measured = results.ratios(work, name, base) if results.has(work, name, base) else []
    return Verdict(what, bar, measured, at_least)


def _ns(results: Results, work: str, name: str, bar: float, what: str) -> Verdict:
    return Verdict(what, bar, results.samples.get(work, {}).get(name, []), unit="ns a packet")


def _seconds(results: Results, work: str, packets: int, bar: float, what: str) -> Verdict:
    samples = results.samples.get(work, {}).get(files.WHOLE, [])
    seconds = [(wall * packets / 1e9, None if cpu is None else cpu * packets / 1e9) for wall, cpu in samples]
    return Verdict(what, bar, seconds, unit="s")
