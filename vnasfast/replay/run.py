"""A replay: captures through tables, and the report of it."""

import os
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vnasfast.capture import Capture, open_capture
from vnasfast.capture.link_types import LINK_TYPES
from vnasfast.errors import CaptureError, InvalidValue
from vnasfast.machine import ServerMachine
from vnasfast.outcome import Outcome
from vnasfast.parse import link_is_known
from vnasfast.replay.captured import CaptureReport, DamageReport, LinkReport
from vnasfast.replay.choose import GIVEN, Chosen, Progress, choose_tables, find_beside, must_spool, spool
from vnasfast.replay.deliveries import DeliveryWriter
from vnasfast.replay.misses import MissTable
from vnasfast.replay.pipeline import Pipeline
from vnasfast.tables.resources import Usage

if TYPE_CHECKING:
    from vnasfast.replay.report import Report

#: Offenders listed for each outcome.
TOP = 5
#: Threads of a replay at most: more than this wait for each other.
MOST_THREADS = 64

_NO_LIMIT = 2**63 - 1


class Replay:
    """Captures, one after the other, through the same tables; `report` may be asked for at any time.

    Parameters
    ----------
    chosen : Chosen
        The tables, and where they came from.
    deliveries : str, optional
        The CSV file to write, one row a frame.
    limit : int, optional
        The most packets of all captures together.
    threads : int, optional
        The most threads that work on a file that isn't compressed; the results don't depend on it. Default: as many as
        the process may have processors.

    Raises
    ------
    OSError
        The file of the deliveries can't be written.
    """

    def __init__(
        self, chosen: Chosen, *, deliveries: str | None = None, limit: int | None = None, threads: int | None = None
    ) -> None:
        if limit is not None and limit < 1:
            raise InvalidValue(f"limit is {limit}; it must be at least 1")
        if threads is None:
            threads = min(len(os.sched_getaffinity(0)), MOST_THREADS)
        if not 1 <= threads <= MOST_THREADS:
            raise InvalidValue(f"threads is {threads}; it must be from 1 to {MOST_THREADS}")
        self.chosen = chosen
        self.interrupted = False
        self.saved: str | None = None
        self._left = limit
        self._limited = False
        self._captures: list[CaptureReport] = []
        self._packets = 0
        self._seconds = 0.0
        self._name = ""
        self._misses = MissTable()
        self._file = open(deliveries, "wb", buffering=0) if deliveries is not None else None  # noqa: SIM115
        writer = DeliveryWriter(self._file) if self._file is not None else None
        self._writer = writer
        self._pipeline = Pipeline(chosen.machine, self._misses, writer, threads=threads)
        self._outcomes_before = chosen.machine.outcomes
        self._delivered_before = self._delivered
        counted = any(usage.packets for usage in self._outcomes_before.values())
        self._sockets_before = {row.socket: row.usage for row in chosen.machine.sockets} if counted else {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Write the rest of the deliveries and close their file.

        Raises
        ------
        OSError
        """
        file, self._file = self._file, None
        if file is not None and self._writer is not None:
            with file:
                self._writer.flush()

    @property
    def _delivered(self) -> int:
        return self.chosen.machine.outcomes[Outcome.DELIVERED].packets

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self._left == 0

    def feed(self, capture: Capture, *, name: str | None = None, on_progress: Progress | None = None) -> None:
        """Dispatch all packets of a capture. Damage ends it and is reported.

        Parameters
        ----------
        capture : Capture
        name : str, optional
            What the report calls it.
        on_progress : callable, optional

        Raises
        ------
        KeyboardInterrupt
            What was done until then is in the report.
        OSError
            The deliveries can't be written.
        """
        pipeline = self._pipeline
        damage: DamageReport | None = None
        before = self._packets
        delivered_before = self._delivered
        started = time.perf_counter()
        pipeline.begin(capture)
        try:
            while self._left != 0:
                n = pipeline.step(self._left if self._left is not None else _NO_LIMIT)
                if n == 0:
                    break
                if self._left is not None:
                    self._left -= n
                if on_progress is not None:
                    on_progress(capture, before + pipeline.packets)
            else:
                self._limited = True
        except CaptureError as error:
            named = CaptureError(name or error.name, error.offset, error.problem)
            damage = DamageReport(error.offset, str(named))
        except OSError as error:
            if not pipeline.reading:
                raise
            damage = DamageReport(None, f"{name or capture.name}: can't be read further: {error.strerror or error}")
        finally:
            self._seconds += time.perf_counter() - started
            self._packets = before + pipeline.packets
            self._captures.append(
                CaptureReport(
                    name=name or capture.name,
                    format=capture.description,
                    link_types=_link_types(capture, pipeline.interface_packets),
                    packets=pipeline.packets,
                    bytes=pipeline.bytes,
                    captured_bytes=pipeline.captured_bytes,
                    first_ns=pipeline.first_ns,
                    last_ns=pipeline.last_ns,
                    delivered=self._delivered - delivered_before,
                    first_frame=before + 1,
                    damage=damage,
                )
            )

    @property
    def captures(self) -> list[CaptureReport]:
        """The captures fed so far."""
        return list(self._captures)

    def report(self, *, top: int = TOP) -> "Report":
        """Make the report of all that was fed so far.

        Parameters
        ----------
        top : int, optional
            Offenders listed for each outcome.

        Returns
        -------
        Report
        """
        from vnasfast.replay.report import (  # noqa: PLC0415 (3 % of a short replay that prints none)
            Report,
            outcomes_of,
            services_of,
            share_of,
            speed_of,
            tables_of,
        )

        chosen = self.chosen
        machine = chosen.machine
        counts = {
            outcome: Usage(
                usage.packets - self._outcomes_before[outcome].packets,
                usage.bytes - self._outcomes_before[outcome].bytes,
            )
            for outcome, usage in machine.outcomes.items()
        }
        delivered = counts[Outcome.DELIVERED]
        packets = self._packets
        services = services_of(machine, self._sockets_before, packets, chosen.owners)
        return Report(
            captures=self.captures,
            packets=packets,
            bytes=sum(capture.bytes for capture in self._captures),
            first_ns=min((c.first_ns for c in self._captures if c.first_ns is not None), default=None),
            last_ns=max((c.last_ns for c in self._captures if c.last_ns is not None), default=None),
            tables=tables_of(machine, chosen.origin, chosen.path, self.saved, chosen.notes),
            services=services,
            delivered_packets=delivered.packets,
            delivered_bytes=delivered.bytes,
            delivered_share=share_of(delivered.packets, packets),
            outcomes=outcomes_of(counts, self._misses, packets, top),
            speed=speed_of(self._seconds, packets, self._pipeline.stage_ns),
            interrupted=self.interrupted,
            limited=self._limited,
        )


def _link_types(capture: Capture, packets: Sequence[int]) -> list[LinkReport]:
    counts: dict[int, int] = {}
    for interface, n in zip(capture.interfaces, packets, strict=True):
        counts[interface.link_type] = counts.get(interface.link_type, 0) + n
    return [
        LinkReport(number, LINK_TYPES.get(number, "unregistered"), n, link_is_known(number))
        for number, n in counts.items()
    ]


def replay(
    captures: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    tables: str | os.PathLike[str] | ServerMachine | None = None,
    *,
    limit: int | None = None,
    deliveries: str | os.PathLike[str] | None = None,
    threads: int | None = None,
    top: int = TOP,
    on_progress: Progress | None = None,
) -> "Report":
    """Dispatch all packets of captures to the sockets of one machine.

    Parameters
    ----------
    captures : path-like, or iterable of these
        Files, ``-`` for standard input; one after the other through the same tables.
    tables : path-like or ServerMachine, optional
        A table file, or a machine, whose counters count on. Without it: the table file beside the captures
        (``a.toml`` beside ``a.pcap``), else tables learned from the captures.
    limit : int, optional
        The most packets of all captures together.
    deliveries : path-like, optional
        A CSV file to write, one row a frame; frames count from 1 through all captures.
    threads : int, optional
        The most threads that work on a file that isn't compressed; the results don't depend on it. Default: as many as
        the process may have processors.
    top : int, optional
        Offenders listed for each outcome.
    on_progress : callable, optional
        Called after each block with the Capture under reading and the packets of all captures so far.

    Returns
    -------
    Report
        A capture that is damaged is reported up to the damage; see ``report.damaged`` and ``captures[i].damage``.

    Raises
    ------
    OSError
        A file can't be read or written.
    CaptureError
        A file is no capture.
    TableFileError
        The table file has a mistake.
    InvalidValue
        Several table files lie beside the captures, or there is no capture.
    """
    if isinstance(captures, (str, os.PathLike)):
        captures = [captures]
    names = [os.fspath(capture) for capture in captures]
    if not names:
        raise InvalidValue("there is no capture to replay")
    with Sources(names, learning=tables is None and find_beside(names) is None) as sources:
        if isinstance(tables, ServerMachine):
            chosen = Chosen(tables, GIVEN, None, [])
        else:
            chosen = choose_tables(sources.paths, tables, limit=limit)
        with Replay(
            chosen, deliveries=None if deliveries is None else os.fspath(deliveries), limit=limit, threads=threads
        ) as running:
            for name, path in zip(names, sources.paths, strict=True):
                if running.full:
                    break
                with open_capture(path) as capture:
                    running.feed(capture, name=name, on_progress=on_progress)
        return running.report(top=top)


class Sources:
    """The captures' paths, streams spooled to temporary files if they are to be learned from.

    Parameters
    ----------
    names : sequence of str
        As the person gave them.
    learning : bool
        Whether captures are read twice.

    Attributes
    ----------
    paths : list of str
    interrupted : bool
        Ctrl-C ended the spooling; ``paths`` ends with what was spooled until then.
    """

    def __init__(self, names: Sequence[str], *, learning: bool) -> None:
        self.paths = list(names)
        self.interrupted = False
        self._folder: Any = None
        if learning and any(must_spool(name) for name in names):
            import tempfile  # noqa: PLC0415 (only for streams)

            self._folder = tempfile.TemporaryDirectory(prefix="vnasfast-")
            try:
                for place, name in enumerate(names):
                    if must_spool(name) and not self.interrupted:
                        self.paths[place], self.interrupted = spool(name, self._folder.name)
                    if self.interrupted:    # what comes after it was not read
                        del self.paths[place + 1 :]
                        break
            except BaseException:
                self._folder.cleanup()
                raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._folder is not None:
            self._folder.cleanup()
