"""What a replay counts, whatever the order of the times and the lengths on the wire, against plain integers."""

import random
import struct
from collections import defaultdict
from ipaddress import ip_address

import pytest
from captures_builder import NANOSECONDS, Frame, pcap_file

from vnasfast import Outcome, ServerMachine
from vnasfast.capture import open_capture
from vnasfast.replay import Replay
from vnasfast.replay.choose import GIVEN, Chosen

BLOCK = 512  # frames are counted so many at a time
# Their sockets are as many as tables have room for before they grow: nor has what a thread counts to room for more.
N_VNASES = 80
PORTS = [53, 123, 161]
CLOSED_PORT = 80
START = 1_700_000_000 * 10**9
LONG, TOO_LONG = 2**22 - 1, 2**32 - 1


def udp(vnas, port):
    """A datagram for a VNAS; 0 is none."""
    payload = struct.pack(">HHHH", 40_000, port, 26, 0) + bytes(18)
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), 1, 0, 64, 17, 0)
    return bytes(12) + b"\x08\x00" + header + ip_address("10.9.9.9").packed + bytes([10, 0, 1, vnas]) + payload


FRAMES = {(vnas, port): udp(vnas, port) for vnas in range(N_VNASES + 1) for port in [*PORTS, CLOSED_PORT]}


def outcome_of(vnas, port):
    """What becomes of such a datagram: its socket, or why there is none."""
    if vnas == 0:
        return Outcome.NO_VNAS
    return (vnas, port) if port in PORTS else Outcome.NO_PORT


def rising(chooser, n):
    """In order, now and then two at the same time."""
    times, now = [], START
    for _ in range(n):
        now += chooser.choice([0, 1, 1000, 10**6])
        times.append(now)
    return times


def jumping(chooser, n):
    """In order within pieces that begin before or after the one before, some of them as long as a block."""
    times = []
    while len(times) < n:
        begin = START + chooser.randrange(10**12)
        size = chooser.choice([3, 100, BLOCK, 3 * BLOCK])
        times += [begin + 1000 * i for i in range(size)]
    return times[:n]


def nearly_rising(chooser, n):
    """One block in three has a packet that is late."""
    times = rising(chooser, n)
    for begin in range(0, n - BLOCK, 3 * BLOCK):
        times[begin + chooser.randrange(BLOCK)] -= 10**9
    return times


def some_at_zero(chooser, n):
    """Of what has no time, only packets and bytes are counted."""
    times = rising(chooser, n)
    for i in range(0, n, 2 * BLOCK + 1):
        times[i] = 0
    return times


def falling(chooser, n):
    return rising(chooser, n)[::-1]


def usual(chooser):
    return chooser.choice([60, 60, 60, 1514, 9000])


def long(_chooser):
    return LONG


def too_long(_chooser):
    return TOO_LONG


def some_too_long(chooser):
    return chooser.choice([60, LONG, TOO_LONG]) if chooser.random() < 1 / BLOCK else 60


def expected_of(sent):
    """Packets, bytes, first and last time of each socket and each outcome."""
    rows = defaultdict(lambda: [0, 0, 0, 0])
    for (vnas, port), time, wire in sent:
        what = outcome_of(vnas, port)
        for name in (what, *([Outcome.DELIVERED] if isinstance(what, tuple) else [])):
            row = rows[name]
            row[0] += 1
            row[1] += wire
            if time:
                row[2] = min(row[2] or time, time)
                row[3] = max(row[3], time)
    return {name: tuple(row) for name, row in rows.items()}


def counted_of(machine):
    rows = {(row.vnas, row.port): row.usage for row in machine.sockets} | machine.outcomes
    return {name: (u.packets, u.bytes, u.first_ns, u.last_ns) for name, u in rows.items() if u.packets}


@pytest.fixture
def machine():
    machine = ServerMachine(seed=1)
    for vnas in range(1, N_VNASES + 1):
        pid = machine.vnas_start(1, vnas)
        assert machine.validate(pid, f"10.0.1.{vnas}", "eth0")
        for port in PORTS:
            machine.bind(pid, "udp", port)
    return machine


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("wire", [usual, long, some_too_long, too_long], ids=lambda made: made.__name__)
@pytest.mark.parametrize(
    "times", [rising, jumping, nearly_rising, some_at_zero, falling], ids=lambda made: made.__name__
)
def test_counters_are_what_was_sent(machine, times, wire, threads, tmp_path):
    chooser = random.Random(7)
    kinds = [(1, 53)] if wire in {long, too_long} else list(FRAMES)  # more than 2**36 bytes to one socket
    n = 40 * BLOCK + 17
    sent = [(chooser.choice(kinds), time, wire(chooser)) for time in times(chooser, n)]
    path = tmp_path / "capture"
    path.write_bytes(pcap_file([Frame(FRAMES[kind], time, length) for kind, time, length in sent], magic=NANOSECONDS))
    with Replay(Chosen(machine, GIVEN, None, []), threads=threads) as running:
        for _ in range(2):  # the second time all of it lies before what was counted last
            with open_capture(path, window_bytes=1 << 16) as capture:
                running.feed(capture)
    assert counted_of(machine) == expected_of(sent + sent)
    machine.check()
