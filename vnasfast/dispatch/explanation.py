"""What explain answers: a decision as steps."""

from typing import NamedTuple

from vnasfast.outcome import Outcome


class Step(NamedTuple):
    """One step of the flow chart.

    Attributes
    ----------
    name : str
        What was asked.
    rows : tuple of str
        The table rows looked at, in the order of looking, each with what it said.
    answer : str
        What the step decided, and by which rule.
    """

    name: str
    rows: tuple[str, ...]
    answer: str

    def __str__(self) -> str:
        return "\n".join([self.name, *(f"    {row}" for row in self.rows), f"  → {self.answer}"])


class Explanation(NamedTuple):
    """A decision, as steps; ``str()`` is for people.

    Attributes
    ----------
    socket, pid, vnas : int or None
        As in a Delivery.
    outcome : Outcome
    steps : tuple of Step
    """

    socket: int | None
    pid: int | None
    vnas: int | None
    outcome: Outcome
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        if self.socket is None:
            end = f"{self.outcome.name}: no socket"
        else:
            end = f"DELIVERED to socket {self.socket} of process {self.pid}, VNAS {self.vnas}"
        return "\n".join([*map(str, self.steps), end])
