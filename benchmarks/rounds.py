"""Competitors in turn, round after round; medians, and ratios within the rounds.

Every round runs each competitor of a work once, one after the other, so that a neighbour who takes half of the machine
takes it from all. A run has several sittings, each with some rounds of all works: a machine that changes its speed for
minutes does so between rounds of most works then, and not only between runs. Figures are medians of the rounds; a ratio
is the median of the rounds' own ratios. Time is taken by the clock on the wall, and by the processor's, which does not
run while somebody else has the core.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yardsticks import HUGE_PAGES, Missing, output_of

PASSES = 3
PART = 1 << 16  # packets timed at once: few enough to end before most interruptions

#: Nanoseconds per packet: on the wall, and of the processor where that is known.
Sample = tuple[float, float | None]
Run = Callable[[], Sample]


class WrongAnswersError(Exception):
    """A competitor answers wrongly: its figures would mean nothing."""


@dataclass(frozen=True)
class Work:
    """What all competitors do; their ratios are to the yardstick."""

    title: str
    runs: Mapping[str, Run]
    yardstick: str


@dataclass(frozen=True)
class Row:
    """One competitor at one work; medians, and ratios to the yardstick where it is there."""

    work: str
    name: str
    ns: float
    best: float
    ratio: float | None
    cpu_ns: float | None
    cpu_ratio: float | None


@dataclass
class Results:
    """All samples of a run, and who was left out of which work and why."""

    samples: dict[str, dict[str, list[Sample]]] = field(default_factory=dict)
    yardsticks: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, work: Work, rounds: int, progress: Callable[[str], None]) -> None:
        """Run all in turn, several times; who can't run is left out. The same work once more adds to its rounds."""
        samples = self.samples.setdefault(work.title, {name: [] for name in work.runs})
        for number in range(rounds):
            for name in list(samples):
                progress(f"{work.title}: round {number + 1} of {rounds}: {name}")
                try:
                    samples[name].append(work.runs[name]())
                except Missing as missing:
                    self.left_out[name] = str(missing)
                    del samples[name]
        self.yardsticks[work.title] = work.yardstick

    def has(self, work: str, *names: str) -> bool:
        """Tell whether all these were measured at a work."""
        return all(self.samples.get(work, {}).get(name) for name in names)

    def ns(self, work: str, name: str) -> Sample:
        """Give the medians by both clocks."""
        return medians(self.samples[work][name])

    def ratios(self, work: str, name: str, base: str) -> list[Sample]:
        """Give the rounds' own ratios by both clocks."""
        pairs = zip(self.samples[work][name], self.samples[work][base], strict=True)
        return [(mine[0] / its[0], mine[1] / its[1] if mine[1] and its[1] else None) for mine, its in pairs]

    def rows(self) -> Iterator[Row]:
        """Give the table."""
        for work, samples in self.samples.items():
            yardstick = self.yardsticks[work]
            for name in samples:
                ratio, cpu_ratio = medians(self.ratios(work, name, yardstick)) if yardstick in samples else (None, None)
                ns, cpu_ns = self.ns(work, name)
                yield Row(work, name, ns, min(wall for wall, _cpu in samples[name]), ratio, cpu_ns, cpu_ratio)


def by_clock(samples: list[Sample]) -> Iterator[list[float]]:
    """Give the samples by the clock on the wall; then those by the processor's, where there are any."""
    yield [wall for wall, _cpu in samples]
    if cpu := [by_processor for _wall, by_processor in samples if by_processor is not None]:
        yield cpu


def medians(samples: list[Sample]) -> Sample:
    """Give the medians by both clocks."""
    wall, *cpu = map(statistics.median, by_clock(samples))
    return wall, cpu[0] if cpu else None


def quartiles(values: list[float]) -> tuple[float, float]:
    """Give the lower and the upper quartile: of five values the second and the fourth."""
    if len(values) == 1:
        return values[0], values[0]
    lower, _median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, upper


def timed(call: Callable[[slice], Any], n: int, passes: int = PASSES) -> Sample:
    """Go through all packets to warm the caches, then give the median over the parts of the passes, as peers do."""
    parts = [slice(start, min(start + PART, n)) for start in range(0, n, PART)]
    wall, cpu = [], []
    for number in range(passes + 1):
        for part in parts:
            start, cpu_start = time.perf_counter(), time.thread_time()
            call(part)
            cpu_seconds, seconds = time.thread_time() - cpu_start, time.perf_counter() - start
            if number:
                wall.append(seconds / (part.stop - part.start) * 1e9)
                cpu.append(cpu_seconds / (part.stop - part.start) * 1e9)
    return statistics.median(wall), statistics.median(cpu)


def sample_of(*command: str | Path, note: Callable[[float], None] | None = None) -> Sample:
    """Run a peer, which prints its nanoseconds by both clocks, how many answers are wrong, and its bytes a socket.

    Raises
    ------
    Missing, WrongAnswersError
    """
    wall, cpu, *rest = output_of(*command, environment=HUGE_PAGES).split()
    if rest and int(rest[0]):
        raise WrongAnswersError(f"{Path(command[0]).name}: {rest[0]} answers are wrong")
    if note is not None:
        note(float(rest[1]))
    return float(wall), float(cpu)
