"""Several threads give what one gives, byte for byte, whatever the capture holds."""

import contextlib
import json
import random
import struct
import threading
from pathlib import Path

import pytest
from captures_builder import (
    Frame,
    block,
    enhanced,
    interface,
    obsolete,
    option,
    pcap_file,
    pcap_header,
    pcap_record,
    pcapng_file,
    section,
    simple,
)
from replayer import PCAPS, report_of, without_speed

from vnasfast import Outcome, ServerMachine
from vnasfast.capture import open_capture
from vnasfast.errors import InvalidValue
from vnasfast.replay import Replay
from vnasfast.replay.choose import GIVEN, Chosen

THREADS = (2, 3, 5)
#: A window of a few bytes holds no record at all or one; larger ones end in the middle of every part of a record.
WINDOW_BYTES = (1, 48, 333, 4096)
TABLES = PCAPS / "corners.toml"


def outcome_of(path, out, threads, window_bytes, mapped=None, limit=None):
    """All that a replay leaves: the report as JSON, the deliveries, the counters of each socket."""
    machine = ServerMachine.load(TABLES, seed=1)
    running = Replay(Chosen(machine, GIVEN, None, []), deliveries=str(out), limit=limit, threads=threads)
    with running, open_capture(path, mapped=mapped, window_bytes=window_bytes) as capture:
        running.feed(capture)
        left_at = capture.position, capture.n_frames, capture.interfaces
    report = without_speed(running.report(top=50).as_dict())
    return json.dumps(report), out.read_bytes(), machine.sockets, machine.outcomes, left_at


def hold_equal(path, tmp_path, windows=WINDOW_BYTES, **options):
    """Hold that threads and windows change nothing; returns what came out."""
    want = outcome_of(path, tmp_path / "one.csv", 1, 1 << 18, mapped=True, **options)
    for number, window_bytes in enumerate(windows):
        for threads in (1, *THREADS):
            for mapped in (None, False) if number % 2 else (None, True):
                got = outcome_of(path, tmp_path / "many.csv", threads, window_bytes, mapped=mapped, **options)
                assert got == want, (threads, window_bytes, mapped)
    return json.loads(want[0])


def corner_frames():
    """The frames of the corner capture: every outcome, fragments before and after their first, all kinds of headers."""
    data = (PCAPS / "corners.pcap").read_bytes()
    position, frames = 24, []
    while position < len(data):
        seconds, fraction, captured, wire = struct.unpack_from("<IIII", data, position)
        position += 16
        frames.append(Frame(data[position : position + captured], seconds * 10**6 + fraction, wire))
        position += captured
    return frames


def many_frames(n, seed=7):
    """Corner frames in random order and number, their times forwards and backwards."""
    chooser = random.Random(seed)
    frames = corner_frames()
    return [
        chooser.choice(frames)._replace(ticks=1_700_000_000_000_000 + 1000 * i + chooser.randrange(-3000, 3000))
        for i in range(n)
    ]


def like_records(n, order="<"):
    """Frames whose bytes look like a chain of records: whoever looks for one in the middle of a file finds these."""
    chooser = random.Random(8)
    inner = b"".join(pcap_record(frame, order) for frame in corner_frames()[:40])
    frames = []
    for i in range(n):
        start = chooser.randrange(len(inner) // 2)
        frames.append(Frame(inner[start : start + chooser.randrange(4000)], 1_700_000_000_000_000 + i, 5000))
    return frames


def mixed_pcapng():
    """Sections of both byte orders, interfaces that come late, of three link types and many units of time."""
    chooser = random.Random(9)
    frames = many_frames(1500, seed=10)
    parts = []
    for number in range(12):
        order = "<>"[number % 2]
        parts += [section(order), interface(order, snaplen=0 if number % 3 else 60)]
        known = 1
        for frame in frames[125 * number : 125 * number + 125]:
            if chooser.random() < 0.05:
                unit = chooser.choice([6, 9, 0x80 | 10, 0x80 | 64, 0, 19])
                options = option(9, bytes([unit]), order) + option(2, b"late", order)
                parts.append(interface(order, chooser.choice([1, 1, 113, 101]), options=options))
                known += 1
            if chooser.random() < 0.1:
                parts.append(block(chooser.choice([4, 5, 0x0BAD]), bytes(4 * chooser.randrange(30)), order))
            make = chooser.choice([enhanced, enhanced, enhanced, obsolete, simple])
            if make is simple:
                data = frame.data[:60] if number % 3 == 0 else frame.data
                parts.append(simple(frame._replace(data=data, wire=len(data) or 1) if data else frame, order))
            else:
                parts.append(make(frame, order, number=chooser.randrange(known)))
    return b"".join(parts)


CAPTURES = {
    "corners": lambda: pcap_file(corner_frames()),
    "corners-swapped": lambda: pcap_file(corner_frames(), ">"),
    "many": lambda: pcap_file(many_frames(3000)),
    "modified": lambda: pcap_file(many_frames(700), magic=0xA1B2CD34),
    "lengths-exchanged": lambda: pcap_header(version=(2, 2))
    + b"".join(pcap_record(frame, swap_lengths=True) for frame in many_frames(700)),
    "like-records": lambda: pcap_file(like_records(300)),
    "like-records-swapped": lambda: pcap_file(like_records(300, ">"), ">"),
    "large-records": lambda: pcap_file(
        [
            frame._replace(data=frame.data + bytes(9000 * (i % 20)), wire=200_000)
            for i, frame in enumerate(many_frames(60))
        ]
    ),
    "empty-records": lambda: pcap_file([Frame(b"", i, i) for i in range(2000)]),
    "no-records": lambda: pcap_file([]),
    "pcapng": lambda: pcapng_file(many_frames(1500)),
    "pcapng-swapped": lambda: pcapng_file(many_frames(1500), ">"),
    "pcapng-mixed": mixed_pcapng,
    "pcapng-without-packets": lambda: section() + interface() + 500 * block(5, bytes(40)),
}


@pytest.mark.parametrize("kind", CAPTURES)
def test_threads_and_windows_change_nothing(kind, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(CAPTURES[kind]())
    small = path.stat().st_size < 60_000
    report = hold_equal(path, tmp_path, WINDOW_BYTES if small else WINDOW_BYTES[2:])
    assert report["packets"] > 0 or kind in {"no-records", "pcapng-without-packets"}
    assert report["captures"][0]["damage"] is None


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.pcap")), ids=lambda path: path.stem)
def test_captures_of_the_repository(path, tmp_path):
    hold_equal(path, tmp_path, windows=(333, 4096))


def test_the_option(tmp_path):
    """No socket of these tables shares its port, so that no choice depends on a process's seed."""
    path = PCAPS / "three-servers.pcap"
    one, *others = [
        without_speed(report_of("--threads", threads, "--deliveries", tmp_path / f"{threads}.csv", path))
        for threads in (1, 2, 5)
    ]
    assert others == [one, one]
    assert len({(tmp_path / f"{threads}.csv").read_bytes() for threads in (1, 2, 5)}) == 1


@pytest.mark.parametrize("kind", ["many", "pcapng-mixed", "like-records"])
@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_damage_ends_all_threads_where_it_ends_one(kind, place, tmp_path):
    data = CAPTURES[kind]()
    path = tmp_path / "capture"
    cut = int(len(data) * place)
    for broken in (data[:cut], data[:cut] + bytes([0xFF]) * 64 + data[cut:]):
        path.write_bytes(broken)
        report = hold_equal(path, tmp_path, windows=(333, 4096))
        assert report["packets"] > 0


@pytest.mark.parametrize("limit", [1, 2, 511, 512, 513, 1499, 1500, 3000, 3001])
def test_limit(limit, tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(CAPTURES["many"]())
    report = hold_equal(path, tmp_path, windows=(333, 4096), limit=limit)
    assert report["packets"] == min(limit, 3000)


def test_fragments_follow_their_first_across_windows(tmp_path):
    """Each first fragment lies some windows before its later ones, and the same IDs come again with other ports."""

    def fragment(first, identity, port):
        payload = struct.pack(">HHHH", 40000, port, 16, 0) + bytes(8) if first else bytes(16)
        flags = 0x2000 if first else 2
        header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(payload), identity, flags, 64, 17, 0)
        return bytes(12) + b"\x08\x00" + header + bytes([192, 0, 2, 9, 10, 0, 0, 1]) + payload

    chooser = random.Random(11)
    frames, waiting = [], []
    for i in range(1200):
        frames.append(fragment(True, i % 50, 50 + i))
        waiting.append(i)
        while waiting and chooser.random() < 0.6:
            late = waiting.pop(chooser.randrange(len(waiting)))
            frames.append(fragment(False, late % 50, 0))
    path = tmp_path / "capture"
    path.write_bytes(pcap_file([Frame(data, 1_700_000_000_000_000 + i, 60) for i, data in enumerate(frames)]))
    hold_equal(path, tmp_path, windows=(48, 333, 4096))
    deliveries = (tmp_path / "one.csv").read_text()
    assert deliveries.count("udp,,,") > 300  # later fragments, which show no port themselves


def test_misses_beyond_their_table_are_those_of_one_thread(tmp_path):
    """More addresses than the table of misses has rows: which of them are counted depends on the order."""
    header = bytes(12) + b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0, 46, 1, 0, 64, 17, 0) + bytes([192, 0, 2, 9])
    frames = []
    for i in range(300_000):
        address = (i * 7919 % 290_000 + 0x0B000000).to_bytes(4, "big")
        frames.append(Frame(header + address + struct.pack(">HHHH", 1, 9, 26, 0) + bytes(18), i, 60))
    path = tmp_path / "capture"
    path.write_bytes(pcap_file(frames))
    report = hold_equal(path, tmp_path, windows=(100_000,))
    assert report["outcomes"][0]["uncounted"] > 0


def test_sockets_that_close_meanwhile_lose_no_packet(tmp_path):
    """Each thread counts apart: whoever closes a socket takes what all counted to it, and to no other socket."""
    machine = ServerMachine(seed=1)
    pids = [machine.vnas_start(1, vnas) for vnas in (1, 2, 3)]
    header = bytes(12) + b"\x08\x00" + struct.pack(">BBHHHBBH", 0x45, 0, 46, 1, 0, 64, 17, 0) + bytes([192, 0, 2, 9])
    udp = struct.pack(">HHHH", 1, 53, 26, 0) + bytes(18)
    frames = [Frame(header + bytes([10, 0, 0, 1 + i % 3]) + udp, 1_700_000_000 + i, 60 + i % 3) for i in range(60_000)]
    path = tmp_path / "capture"
    path.write_bytes(pcap_file(frames))
    for number, pid in enumerate(pids, 1):
        machine.validate(pid, f"10.0.0.{number}", "eth0")
    sockets = {pid: machine.bind(pid, "udp", 53) for pid in pids}
    chosen = Chosen(machine, GIVEN, None, [])
    reports = []
    chooser = random.Random(12)

    def replay_often():
        with Replay(chosen, threads=3) as running:
            for _ in range(12):
                with open_capture(path, window_bytes=4096) as capture:
                    running.feed(capture)
            reports.append(running.report())

    thread = threading.Thread(target=replay_often)
    thread.start()
    changes = 0
    while thread.is_alive():
        for socket in sockets.values():
            machine.close(socket)
        chooser.shuffle(pids)  # a socket's number goes to a socket of another VNAS
        sockets = {pid: machine.bind(pid, "udp", 53) for pid in pids}
        changes += 1
    thread.join()
    assert changes > 1
    outcomes = machine.outcomes
    assert sum(usage.packets for usage in outcomes.values()) == reports[0].packets == 12 * len(frames)
    used = machine.usage_of_vnas()
    assert sum(usage.packets for usage in used.values()) == outcomes[Outcome.DELIVERED].packets
    assert sum(usage.bytes for usage in used.values()) == outcomes[Outcome.DELIVERED].bytes > 0
    # Nothing went to another VNAS than its own: the packets of each have another length on the wire.
    assert [used[vnas].bytes for vnas in (1, 2, 3)] == [used[vnas].packets * (59 + vnas) for vnas in (1, 2, 3)]
    machine.check()


def test_an_interrupted_replay_tells_of_what_it_counted(tmp_path):
    """Ctrl-C between two steps: counters, deliveries and report speak of the same frames."""
    path = tmp_path / "capture"
    path.write_bytes(CAPTURES["many"]())
    machine = ServerMachine.load(TABLES, seed=1)
    out = tmp_path / "rows.csv"
    running = Replay(Chosen(machine, GIVEN, None, []), deliveries=str(out), threads=3)

    def interrupt(_capture, packets):
        raise KeyboardInterrupt

    with running, open_capture(path, window_bytes=333) as capture, contextlib.suppress(KeyboardInterrupt):
        running.feed(capture, on_progress=interrupt)
    report = running.report()
    assert 0 < report.packets == sum(usage.packets for usage in machine.outcomes.values())
    assert len(out.read_text().splitlines()) == 1 + report.packets


def test_threads_out_of_range():
    for threads in (0, -1, 65):
        with pytest.raises(InvalidValue, match="threads"):
            Replay(Chosen(ServerMachine(), GIVEN, None, []), threads=threads)
    assert Path(TABLES).exists()
