"""The storm: one thread changes the tables, others read them; each answer must be right for some moment of its call.

    python tests/storm.py [--seconds S] [--readers N] [--rate R] [--sockets N] [--seed N] [--json]

Rounds of a second are stormed and then checked: the operations are replayed by the model's rules, and each answer must
be the one of some version of the tables between its call's begin and end. Then the engine's views and counters must be
what the log says. The exit code is 0 when nothing is wrong.
"""

import json
import sys
import time
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from random import Random
from statistics import median
from threading import Event
from typing import Any

import click
import numpy as np
from pair import NAMES
from storm_answers import Answers
from storm_check import Checked, check
from storm_log import Writer
from storm_readers import Keys, Reader
from storm_scripts import Steady, Tide, all_scripts

from vnasfast import Outcome, ServerMachine
from vnasfast.tables.probes import spare_answers

SWITCH_SECONDS = 2e-4
PACE = 100  # operations between two looks at the clock
#: By seed: with none to spare ports move between lines and arrays all the time, with many each has an array.
SPARE_ANSWERS = (1 << 20, 0, 2000)


@dataclass
class Report:
    """Sums of a storm."""

    checked: Checked = field(default_factory=Checked)
    rounds: int = 0
    rates: tuple[list[float], list[float]] = field(default_factory=lambda: ([], []))  # uncounted rounds, counted ones
    stormed_seconds: float = 0.0
    checked_seconds: float = 0.0
    most_sockets: int = 0
    most_addresses: int = 0

    def figures(self) -> dict[str, Any]:
        checked = self.checked
        windows = np.array(checked.windows or [0])
        return {
            "operations": checked.operations,
            "operations_per_second": round(median(self.rates[False])),
            "operations_per_second_while_counting": round(median(self.rates[True] or [0.0])),
            "calls": dict(checked.calls),
            "answers": dict(checked.answers),
            "answers_checked": sum(checked.answers.values()),
            "answers_to_keys_that_changed_meanwhile": checked.in_change,
            "answers_newer_than_their_call": checked.new,
            "operations_during_a_call": {
                "median": float(np.median(windows)),
                "p99": float(np.percentile(windows, 99)),
                "most": int(windows.max()),
            },
            "most_sockets": self.most_sockets,
            "most_addresses": self.most_addresses,
            "rounds": self.rounds,
            "seconds": round(self.stormed_seconds, 1),
            "seconds_of_checking": round(self.checked_seconds, 1),
            "wrong": len(checked.wrong),
        }


class Storm:
    """A machine, a writer with its scripts, and readers."""

    def __init__(self, *, readers: int = 2, rate: int = 0, sockets: int = 100_000, seed: int = 1) -> None:
        self.machine = ServerMachine(seed=seed)
        spare_answers(self.machine.tables, SPARE_ANSWERS[seed % len(SPARE_ANSWERS)])
        self.writer = Writer(self.machine)
        self.rate = rate
        self.random = Random(seed)
        self.scripts = all_scripts(self.writer, sockets)
        keys = [key for script in self.scripts for key in script.keys]
        starts = [0, *accumulate(len(script.keys) for script in self.scripts)]
        self.groups = [range(begin, end) for begin, end in pairwise(starts)]
        self.keys = Keys(keys, self.groups)
        self.answers = Answers(keys, seed)
        self.readers = [Reader(self.writer, self.keys, seed + number) for number in range(readers)]
        self.bursts = [script.bursts() for script in self.scripts]
        # The tide has half of the turns, as it has far to go.
        self.weights = [len(self.scripts) if isinstance(script, Tide) else 1 for script in self.scripts]
        # Before anybody reads: what stays must have its socket IDs before others use and leave them.
        next(self.bursts[0])
        self.report = Report()
        self.expected_outcomes: dict[int, int] = dict.fromkeys(map(int, Outcome), 0)
        self.steady_packets = 0

    def round(self, seconds: float) -> Checked:
        """Storm for some seconds, then check. Every other round counts no packet: then no reader keeps changes away."""
        counting = self.report.rounds % 2 == 1
        stop = Event()
        interval = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_SECONDS)
        try:
            for reader in self.readers:
                reader.begin(stop, counting)
            rate = self.write(seconds)
            self.report.rates[counting].append(rate)
        finally:
            stop.set()
            calls = [call for reader in self.readers for call in reader.end()]
            sys.setswitchinterval(interval)
        begin = time.perf_counter()
        first, log = self.writer.take_log()
        assert first == self.answers.version
        checked = check(self.answers, log, calls)
        self.compare(checked, calls)
        self.report.checked.add(checked)
        self.report.rounds += 1
        self.report.checked_seconds += time.perf_counter() - begin
        return checked

    def write(self, seconds: float) -> float:
        """Change for some seconds; give the operations a second."""
        writer = self.writer
        begin = time.perf_counter()
        end, at_first, look = begin + seconds, writer.done, writer.done + PACE
        while True:
            for burst in self.random.choices(self.bursts, self.weights, k=20):
                next(burst)
            if writer.done < look:
                continue
            look = writer.done + PACE
            now = time.perf_counter()
            if now >= end:
                self.report.stormed_seconds += now - begin
                return (writer.done - at_first) / (now - begin)
            ahead = (writer.done - at_first) / self.rate - (now - begin) if self.rate else 0.0
            if ahead > 0:
                time.sleep(ahead)

    def compare(self, checked: Checked, calls: list[Any]) -> None:
        """Hold the engine at rest to the log: answers, counters, views."""
        answers, machine = self.answers, self.machine
        assert (machine.dispatch_batch(self.keys.wide, count=False) == answers.results).all()
        for number, n in checked.outcomes.items():
            self.expected_outcomes[-number] += n
        counted = {int(outcome): usage.packets for outcome, usage in machine.outcomes.items()}
        assert counted == self.expected_outcomes, f"counted {counted}, answered {self.expected_outcomes}"
        machine.check()
        rows = [row[:-1] for row in machine.sockets]
        by_order = [
            (row.socket, NAMES[row.protocol], row.port, row.address, row.pid, row.vnas, row.v6only, row.sharing)
            for row in answers.sockets.values()
        ]
        assert rows == by_order, "the socket table is not what the log says"
        assert {(row.vlan, row.address): row.vnas for row in machine.addresses} == answers.addresses
        assert {row.pid: row.vnas for row in machine.processes} == answers.processes
        self.compare_steady(calls, {row.socket: row.usage.packets for row in machine.sockets})
        self.report.most_sockets = max(self.report.most_sockets, len(rows))
        self.report.most_addresses = max(self.report.most_addresses, len(answers.addresses))

    def compare_steady(self, calls: list[Any], packets: dict[int, int]) -> None:
        """Sockets that stayed have counted every packet that they were answered to get."""
        steady = self.scripts[0]
        assert isinstance(steady, Steady)
        for call in calls:
            if call.counted:
                self.steady_packets += int(np.isin(call.found, steady.sockets).sum())
        assert sum(packets[socket] for socket in steady.sockets) == self.steady_packets


def run(storm: Storm, seconds: float, *, progress: bool = False) -> Report:
    """Storm in rounds of a second until so many seconds were stormed, or something is wrong."""
    while storm.report.stormed_seconds < seconds and not storm.report.checked.wrong:
        storm.round(min(1.0, seconds / 2))  # both kinds of rounds
        if progress:
            figures = storm.report.figures()
            print(
                f"\r{figures['seconds']:.0f} s, {figures['operations']:,} operations, "
                f"{figures['answers_checked']:,} answers, {figures['wrong']} wrong",
                end="",
                file=sys.stderr,
                flush=True,
            )
    if progress:
        print(file=sys.stderr)
    return storm.report


@click.command(help=__doc__)
@click.option("--seconds", default=10.0, show_default=True, help="To storm; checking takes about as long again.")
@click.option("--readers", default=2, show_default=True, help="Threads that read.")
@click.option("--rate", default=100_000, show_default=True, help="At most so many operations a second; 0: no limit.")
@click.option("--sockets", default=100_000, show_default=True, help="To which the tables grow.")
@click.option("--seed", default=1, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def main(seconds: float, readers: int, rate: int, sockets: int, seed: int, as_json: bool) -> None:
    storm = Storm(readers=readers, rate=rate, sockets=sockets, seed=seed)
    report = run(storm, seconds, progress=sys.stderr.isatty())
    figures = report.figures()
    if as_json:
        print(json.dumps(figures, indent=1))
    else:
        for name, value in figures.items():
            print(f"{name.replace('_', ' '):<40}", f"{value:,}" if isinstance(value, int) else value)
    distinct = {wrong.index: wrong for wrong in reversed(report.checked.wrong)}
    for wrong in list(distinct.values())[:5]:
        print(f"\nWRONG: {wrong}")
    sys.exit(bool(report.checked.wrong))


if __name__ == "__main__":
    main()
