"""Was each answer right at some moment between its call's begin and end?

The log is replayed once, in order; each call is compared with the answers at its begin, all its keys at once. Only what
differs needs the keys' histories: an answer is right when some version of the call's window gave it.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from model import Key
from numpy.typing import NDArray
from storm_answers import Answer, Answers
from storm_log import BIND, CLOSE, Operation, told

BEFORE = 100  # operations before a window that are looked at for a report
SHOWN = 30


@dataclass
class Call:
    """What a reader noted of one call."""

    how: str
    first: int  # the versions that the tables may have had meanwhile, both included
    last: int
    indices: NDArray[np.int64]  # of the watched keys
    found: NDArray[np.int32]
    delivery: Answer | None = None  # of a call that says more than the result
    counted: bool = False


@dataclass
class Wrong:
    """An answer that was right at no moment of its call."""

    how: str
    key: Key
    index: int
    found: Any
    first: int
    last: int
    right: list[tuple[int, Answer]]  # versions from which on other answers were right
    operations: list[str]  # those that concern the key, of the window and some before it

    def __str__(self) -> str:
        rights = "\n".join(f"      from version {version} on: {tuple(answer)}" for version, answer in self.right)
        done = "\n".join(f"      {operation}" for operation in self.operations)
        return (
            f"{self.how} answered {self.found} to {self.key}\n"
            f"   between versions {self.first} and {self.last}; right (result, VNAS, PID) was\n{rights}\n"
            f"   operations meanwhile and just before:\n{done}"
        )


@dataclass
class Checked:
    """What a check found; sums of several checks."""

    operations: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    answers: Counter[str] = field(default_factory=Counter)
    new: int = 0  # answers that became right only after their call began
    in_change: int = 0  # answers to keys for which more than one was right
    outcomes: Counter[int] = field(default_factory=Counter)  # of counted calls; 0: delivered
    windows: list[int] = field(default_factory=list)
    wrong: list[Wrong] = field(default_factory=list)

    def add(self, other: "Checked") -> None:
        self.operations += other.operations
        self.calls += other.calls
        self.answers += other.answers
        self.new += other.new
        self.in_change += other.in_change
        self.outcomes += other.outcomes
        self.windows += other.windows
        self.wrong += other.wrong


def check(answers: Answers, log: Sequence[Operation], calls: Sequence[Call]) -> Checked:
    """Replay the log, which begins at the answers' version, and check the calls that were made meanwhile."""
    begin = answers.version
    answers.forget()
    checked = Checked(operations=len(log))
    doubtful: list[tuple[Call, int]] = []
    for call in sorted(calls, key=lambda call: call.first):
        answers.replay(log[answers.version - begin : call.first - begin])
        for place in np.nonzero(call.found != answers.results[call.indices])[0].tolist():
            doubtful.append((call, place))
        if call.delivery is not None and call.found[0] == answers.results[call.indices[0]]:
            doubtful.append((call, 0))
        count(checked, call)
    answers.replay(log[answers.version - begin :])
    for call, place in doubtful:
        index = int(call.indices[place])
        found = call.delivery or int(call.found[place])
        right = list(window(answers.history[index], call.first, call.last))
        if any(found == (answer if call.delivery else answer.result) for _, answer in right):
            checked.new += call.delivery is None
        else:
            near = log[max(0, call.first - begin - BEFORE) : call.last - begin]
            texts = [told(operation) for operation in about(answers.keys[index], near)]
            checked.wrong.append(
                Wrong(call.how, answers.keys[index], index, found, call.first, call.last, right, texts)
            )
    checked.in_change = answers_in_change(answers, calls)
    return checked


def about(key: Key, operations: Sequence[Operation]) -> list[Operation]:
    """Give the operations that name an address or service of the key, or a process that does; the last of many."""
    services = {(key.protocol, key.destination_port), (key.protocol, key.source_port)}
    pids = {key.source_pid}
    chosen = []
    for operation in operations:
        match operation:
            case (number, _, pid, protocol, port, *_) if number == BIND and (protocol, port) in services:
                pids.add(pid)
            case (number, pid, _, address, _) if number != BIND and address in (key.destination, key.source):
                pids.add(pid)
    sockets = set()
    for operation in operations:
        number, first, *rest = operation
        if number == BIND and tuple(rest[1:3]) in services:
            sockets.add(first)
            chosen.append(operation)
        elif first in (sockets if number == CLOSE else pids):
            chosen.append(operation)
    return chosen[-SHOWN:]


def count(checked: Checked, call: Call) -> None:
    checked.calls[call.how] += 1
    checked.answers[call.how] += len(call.indices)
    checked.windows.append(call.last - call.first)
    if call.counted:
        numbers = np.bincount(-np.minimum(call.found, 0))
        checked.outcomes.update(dict(enumerate(numbers.tolist())))


def window(history: list[tuple[int, Answer]], first: int, last: int) -> Iterator[tuple[int, Answer]]:
    """Give the answers of the versions from `first` to `last`."""
    place = bisect_right(history, first, key=lambda entry: entry[0]) - 1
    for version, answer in history[place:]:
        if version > last:
            return
        yield version, answer


def answers_in_change(answers: Answers, calls: Sequence[Call]) -> int:
    """Count the answers to keys for which more than one answer was right during the call."""
    versions = [np.array([version for version, _ in history]) for history in answers.history]
    changes = np.concatenate([row[1:] for row in versions])
    of_key = np.repeat(np.arange(len(versions)), [len(row) - 1 for row in versions])
    order = np.argsort(changes, kind="stable")
    changes, of_key = changes[order], of_key[order]
    n = 0
    for call in calls:
        begin, end = np.searchsorted(changes, (call.first, call.last), "right")
        if begin < end:
            changed = np.zeros(len(versions), bool)
            changed[of_key[begin:end]] = True
            n += int(changed[call.indices].sum())
    return n
