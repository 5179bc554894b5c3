"""Captures through tables inside one process; compare.py measures the command as a whole."""

import pytest
from captures import write_capture
from workload import Shape, workload

from vnasfast.replay import replay

SOCKETS = 10_000
PACKETS = {"60-bytes": 2_000_000, "imix": 1_000_000}


@pytest.fixture
def capture(tmp_path):
    """Give a path for a capture that is removed at once, since it is large."""
    path = tmp_path / "capture.pcap"
    yield path
    path.unlink(missing_ok=True)


@pytest.mark.parametrize("size", PACKETS)
def test_replay(benchmark, measure, scaled, capture, size):
    work = workload(Shape(scaled(sockets=SOCKETS)))
    n = scaled(packets=PACKETS[size])
    n_bytes = write_capture(capture, work, n, None if size == "imix" else 60)
    report = measure(lambda: replay(capture, work.machine), n, rounds=7)
    speed = report.speed
    benchmark.extra_info |= {
        "bytes": n_bytes,
        "reading_ns": speed.reading_ns,
        "parsing_ns": speed.parsing_ns,
        "dispatching_ns": speed.dispatching_ns,
    }
    assert report.delivered_packets == n
