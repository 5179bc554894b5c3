"""Fuzz target: a whole replay of a capture by tables learned from it.

An input is the bytes of a capture, and a byte behind them. What is learned must be tables that a file can hold; the
report, the deliveries and the frames read must be as many.
"""

import csv
import json
import os
import tempfile

from vnasfast import Outcome, ServerMachine
from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError, TableFileError
from vnasfast.replay import Replay
from vnasfast.replay.choose import LEARNED, Chosen
from vnasfast.replay.learn import learn
from vnasfast.replay.screen import screen

HEAD = "frame,time,vlan,source,destination,protocol,source_port,destination_port,vnas,socket,pid,outcome"
OUTCOMES = {outcome.name for outcome in Outcome}
DELIVERIES = os.path.join(tempfile.mkdtemp(prefix="vnasfast-fuzz-"), "deliveries.csv")


def times(data: bytes) -> list[str]:
    """Read the capture once more, for the times of its frames."""
    found = []
    try:
        with open_capture(data) as capture:
            while capture.read():
                rows, ticks = capture.interface_rows.tolist(), capture.ticks.tolist()
                found += [capture.format_time(row, tick) for row, tick in zip(rows, ticks, strict=True)]
    except CaptureError:
        return found
    return found


def check_deliveries(data: bytes, packets: int, delivered: int) -> None:
    """One row a frame, with its time to the last digit, and an outcome."""
    with open(DELIVERIES, newline="") as file:
        assert file.readline().strip() == HEAD
        rows = list(csv.reader(file))
    assert len(rows) == packets
    assert [row[1] for row in rows] == times(data)
    assert [row[0] for row in rows] == [str(number) for number in range(1, packets + 1)]
    assert all(len(row) == 12 and row[11] in OUTCOMES for row in rows)
    assert sum(row[11] == "DELIVERED" for row in rows) == delivered
    assert all((row[9] != "") == (row[11] == "DELIVERED") for row in rows)


def check_tables(machine: ServerMachine) -> None:
    """What was learned is a machine like any other, and reads back from its file."""
    machine.check()
    text = machine.to_toml()
    assert ServerMachine.from_toml(text).to_toml() == text


def run(data: bytes) -> None:
    """Run one input."""
    data, options = data[:-1], (data[-1:] or b"\0")[0]
    try:
        open_capture(data).close()
    except CaptureError:
        return
    learned = learn([data], limit=None if options & 1 else 1 + options)
    assert all(isinstance(error, CaptureError) for error in learned.errors)
    assert all(isinstance(note, str) for note in learned.notes)
    try:
        check_tables(learned.machine)
    except TableFileError as error:
        raise AssertionError("what was learned is no table file") from error
    chosen = Chosen(learned.machine, LEARNED, None, learned.notes)
    with Replay(chosen, deliveries=DELIVERIES) as running, open_capture(data) as capture:
        running.feed(capture)
        report = running.report(top=3)
    assert screen(report)
    assert json.dumps(report.as_dict())
    assert report.packets == report.delivered_packets + sum(
        outcome.packets for outcome in report.outcomes if outcome.outcome != Outcome.DELIVERED.name
    )
    assert report.delivered_packets == sum(service.packets for service in report.services)
    assert len(learned.errors) == int(report.damaged) or options % 2 == 0
    check_deliveries(data, report.packets, report.delivered_packets)
