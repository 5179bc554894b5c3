"""Captures through tables: ``python -m vnasfast.replay capture.pcap``, or from Python::

    from vnasfast.replay import replay

    report = replay("capture.pcap")
    report.services[0].packets

Nothing in vnasfast imports this package.

::

    run.py        captures, one after the other  ── choose.py   which tables: given, beside, learned
       |
    pipeline.pyx  windows of a capture through one lane or several ── turns.pxd   each in its turn
       |
    lane.pyx      a thread's memory; read, parse, dispatch, a piece of frames at a time
       |      |── misses.pyx       what was not delivered, by what it was for
       |      `── deliveries.pyx   one CSV row a frame
    captured.py, report.py   the result as data  ── screen.py, cli.py  what a person sees
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnasfast.replay.captured import CaptureReport, DamageReport, LinkReport
    from vnasfast.replay.report import (
        OffenderReport,
        OutcomeReport,
        Report,
        ServiceReport,
        SpeedReport,
        TablesReport,
    )
    from vnasfast.replay.run import Replay, replay

_PLACES = {
    "CaptureReport": "captured",
    "DamageReport": "captured",
    "LinkReport": "captured",
    "OffenderReport": "report",
    "OutcomeReport": "report",
    "Replay": "run",
    "Report": "report",
    "ServiceReport": "report",
    "SpeedReport": "report",
    "TablesReport": "report",
    "replay": "run",
}

__all__ = [
    "CaptureReport",
    "DamageReport",
    "LinkReport",
    "OffenderReport",
    "OutcomeReport",
    "Replay",
    "Report",
    "ServiceReport",
    "SpeedReport",
    "TablesReport",
    "replay",
]


def __getattr__(name: str) -> object:
    # ``python -m vnasfast.replay`` imports this package before it can take care of Ctrl-C, and --help needs none of it.
    if name in _PLACES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(f"vnasfast.replay.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
