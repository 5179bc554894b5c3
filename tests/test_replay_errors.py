"""What goes wrong: one clear line, a sensible exit code, and all that could be read before."""

import json
import os
import shutil
import signal
import struct
import subprocess
import time

import pytest
from captures_builder import Frame, pcap_file, pcapng_file, some_frames
from replayer import COMMAND, PCAPS, fails, report_of, rows_of, run, without_speed

CAPTURE = PCAPS / "three-servers.pcap"
TABLES = PCAPS / "three-servers.toml"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["byte 0", "is empty"]),
        (b"this is a text\n", ["byte 0", "text"]),
        (b"\x00\x01\x02\x03" * 20, ["byte 0", "pcap"]),
        (CAPTURE.read_bytes()[:20], ["byte "]),
    ],
)
def test_a_file_that_is_no_capture(tmp_path, content, words):
    path = tmp_path / "a.pcap"
    path.write_bytes(content)
    fails(run("--tables", TABLES, path), str(path), *words)
    fails(run("--tables", TABLES, CAPTURE, path), str(path), *words)
    fails(run("--tables", TABLES, "-", stdin_bytes=content), "-: ", *words)


def test_a_missing_file(tmp_path):
    fails(run(tmp_path / "none.pcap"), "none.pcap", "No such file")
    fails(run("--tables", TABLES, CAPTURE, tmp_path / "none.pcap"), "none.pcap", "No such file")


def test_a_directory(tmp_path):
    fails(run(tmp_path), str(tmp_path), "directory")


def test_no_capture_at_all():
    fails(run(), "CAPTURE")


@pytest.mark.parametrize("option", [["--limit", "0"], ["--limit", "x"], ["--embodiment", "3"], ["--nonsense"]])
def test_a_wrong_option(option):
    fails(run(*option, CAPTURE), option[0])


def test_standard_input_twice():
    fails(run("--tables", TABLES, "-", "-", stdin_bytes=b""), "standard input")


def test_a_mistake_in_the_table_file(tmp_path):
    path = tmp_path / "machine.toml"
    path.write_text(TABLES.read_text().replace("port = 80\n", "port = 70000\n", 1))
    fails(run("--tables", path, CAPTURE), str(path), "port", "70000")
    shutil.copy(CAPTURE, tmp_path / "machine.pcap")
    fails(run(tmp_path / "machine.pcap"), str(path), "port", "70000")


@pytest.mark.parametrize("text", ["[", "embodiment = 7", "\x00"])
def test_a_table_file_that_is_none(tmp_path, text):
    path = tmp_path / "machine.toml"
    path.write_text(text)
    fails(run("--tables", path, CAPTURE), str(path))


def test_a_missing_table_file(tmp_path):
    fails(run("--tables", tmp_path / "none.toml", CAPTURE), "none.toml", "No such file")
    fails(run("--tables", tmp_path, CAPTURE), str(tmp_path), "irectory")


@pytest.mark.parametrize("option", ["--deliveries", "--save-tables"])
def test_an_output_that_cannot_be_written(tmp_path, option):
    fails(run(option, tmp_path / "no" / "file", CAPTURE), str(tmp_path / "no"), "no such folder")
    fails(run(option, tmp_path, CAPTURE), str(tmp_path), "directory")


@pytest.mark.parametrize("option", ["--deliveries", "--save-tables"])
def test_an_output_never_overwrites_a_capture(tmp_path, option):
    path = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, path)
    (tmp_path / "link").symlink_to(path)
    for output in (path, tmp_path / "link"):
        fails(run("--tables", TABLES, option, output, path), "would overwrite a capture")
    assert path.read_bytes() == CAPTURE.read_bytes()


def test_deliveries_never_overwrite_the_table_file(tmp_path):
    path = tmp_path / "a.toml"
    shutil.copy(TABLES, path)
    fails(run("--tables", path, "--deliveries", path, CAPTURE), "would overwrite the table file")
    assert path.read_text() == TABLES.read_text()


def test_a_full_disk():
    fails(run("--deliveries", "/dev/full", CAPTURE), "/dev/full", "No space left")
    with open("/dev/full", "wb") as full:
        made = subprocess.run([*COMMAND, str(CAPTURE)], stdout=full, stderr=subprocess.PIPE, check=False)
    assert made.returncode == 2
    assert made.stderr.decode().splitlines() == ["Error: standard output: No space left on device"]


def test_a_reader_that_goes_away():
    made = subprocess.Popen([*COMMAND, str(CAPTURE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    made.stdout.close()
    assert made.stderr.read() == b""
    assert made.wait() == 0
    made.stderr.close()


# ---- damage ----------------------------------------------------------------------------------------------------------


def starts():
    """Where each record of the capture starts, and where the last one ends."""
    data = CAPTURE.read_bytes()
    position, found = 24, []
    while position < len(data):
        found.append(position)
        position += 16 + struct.unpack_from("<I", data, position + 8)[0]
    return [*found, position]


@pytest.mark.parametrize(
    ("frame", "inside"), [(0, 1), (0, 16), (1, 15), (2, 40), (100, 1), (100, 17), (475, 15), (475, 50)]
)
def test_a_capture_cut_short_gives_all_before(tmp_path, frame, inside):
    path = tmp_path / "cut.pcap"
    start = starts()[frame]
    path.write_bytes(CAPTURE.read_bytes()[: start + inside])
    made = run("--json", "--tables", TABLES, "--deliveries", tmp_path / "rows.csv", path)
    assert made.returncode == 1
    report = json.loads(made.stdout)
    assert report["packets"] == frame
    assert report["captures"][0]["damage"]["offset"] == start
    assert len(rows_of(tmp_path / "rows.csv")) == frame
    (line,) = made.stderr.splitlines()
    assert line.startswith(f"Error: {path}: byte {start}: ")
    if frame:
        expected = report_of("--limit", frame, CAPTURE)
        for key in ("packets", "bytes", "services", "outcomes", "first_ns", "last_ns"):
            assert report[key] == expected[key]


@pytest.mark.parametrize("frame", [0, 3, 200])
def test_a_record_of_impossible_length(tmp_path, frame):
    path = tmp_path / "broken.pcap"
    data = bytearray(CAPTURE.read_bytes())
    struct.pack_into("<I", data, starts()[frame] + 8, 0xFFFFFFFF)
    path.write_bytes(data)
    for made in (
        run("--tables", TABLES, path),
        run("--tables", TABLES, "-", stdin_bytes=bytes(data)),
    ):
        assert made.returncode == 1
        assert f"byte {starts()[frame]}: " in made.stderr
        assert len(made.stderr.splitlines()) == 1
        assert f"damaged at byte {starts()[frame]:,}" in made.stdout
        assert "packets/s" in made.stdout


def test_captures_after_a_damaged_one_are_read(tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(CAPTURE.read_bytes()[: starts()[10] + 5])
    report = report_of("--tables", TABLES, path, CAPTURE, code=1)
    assert [capture["packets"] for capture in report["captures"]] == [10, 476]
    assert [capture["damage"] is None for capture in report["captures"]] == [False, True]


# ---- unusual captures ------------------------------------------------------------------------------------------------


def test_a_capture_without_packets(tmp_path):
    path = tmp_path / "empty.pcap"
    path.write_bytes(pcap_file([]))
    report = report_of("--tables", TABLES, "--deliveries", tmp_path / "rows.csv", path)
    assert (report["packets"], report["delivered_share"], report["outcomes"]) == (0, 0, [])
    assert rows_of(tmp_path / "rows.csv") == []
    assert "0 packets" in run("--tables", TABLES, path).stdout


def test_a_link_type_that_is_not_read_is_named(tmp_path):
    path = tmp_path / "user.pcap"
    path.write_bytes(pcap_file(some_frames(7), network=147))
    text = run("--tables", TABLES, path).stdout
    assert "link type 147 (USER0) is not read: 7 frames" in text
    report = report_of("--tables", TABLES, path)
    assert report["captures"][0]["link_types"] == [{"link_type": 147, "name": "USER0", "packets": 7, "read": False}]
    assert [row["outcome"] for row in report["outcomes"]] == ["NOT_IP"]


def test_link_types_may_differ_within_a_capture(tmp_path, ethernet_frame):
    ethernet = ethernet_frame("10.1.0.21")
    frames = [
        Frame(data, 1_700_000_000_000_000 + i, len(data), row)
        for i, (data, row) in enumerate([(ethernet, 0), (ethernet[14:], 1), (ethernet[14:], 1), (ethernet, 0)] * 300)
    ]
    path = tmp_path / "both.pcapng"
    path.write_bytes(pcapng_two_links(frames))
    report = report_of("--tables", TABLES, "--deliveries", tmp_path / "rows.csv", path)
    assert {link["name"]: link["packets"] for link in report["captures"][0]["link_types"]} == {
        "ETHERNET": 600,
        "RAW": 600,
    }
    assert report["delivered_packets"] == 1200
    assert {(row["destination"], row["vnas"], row["source_port"]) for row in rows_of(tmp_path / "rows.csv")} == {
        ("10.1.0.21", "2", "40000")
    }


def pcapng_two_links(frames):
    from captures_builder import enhanced, interface, section

    head = section() + interface(link_type=1) + interface(link_type=101)
    return head + b"".join(enhanced(frame) for frame in frames)


@pytest.mark.parametrize(
    ("resolution", "ticks", "text"),
    [
        (9, 1_700_000_000_123_456_789, "1700000000.123456789"),
        (0, 1_700_000_000, "1700000000"),
        (0x80 | 10, 1_700_000_000 << 10 | 1, "1700000000.0009765625"),
        (0x80 | 30, 1_700_000_000 << 30 | 1, "1700000000.000000000931322574615478515625"),
    ],
)
def test_times_are_exact_in_every_unit(tmp_path, ethernet_frame, resolution, ticks, text):
    from captures_builder import enhanced, interface, option, section

    data = ethernet_frame("10.1.0.21")
    frames = b"".join(enhanced(Frame(data, ticks + i * 0, len(data))) for i in range(3))
    path = tmp_path / "a.pcapng"
    path.write_bytes(section() + interface(options=option(9, bytes([resolution]))) + frames)
    report_of("--tables", TABLES, "--deliveries", tmp_path / "rows.csv", path)
    rows = rows_of(tmp_path / "rows.csv")
    assert [row["time"] for row in rows] == [text] * 3
    assert [row["vnas"] for row in rows] == ["2"] * 3


def test_pcapng_and_pcap_of_the_same_frames_give_the_same(tmp_path):
    frames = some_frames(50)
    (tmp_path / "a.pcap").write_bytes(pcap_file(frames))
    (tmp_path / "b.pcapng").write_bytes(pcapng_file(frames))
    reports = [report_of("--tables", TABLES, tmp_path / name) for name in ("a.pcap", "b.pcapng")]
    for key in ("packets", "bytes", "outcomes", "first_ns", "last_ns"):
        assert reports[0][key] == reports[1][key]


# ---- Ctrl-C ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_json", [False, True])
def test_ctrl_c_leaves_a_correct_partial_report(tmp_path, as_json):
    rows = tmp_path / "rows.csv"
    options = ["--tables", str(TABLES), "--deliveries", str(rows), *(["--json"] if as_json else []), "-"]
    pipe = subprocess.PIPE
    running = subprocess.Popen([*COMMAND, *options], stdin=pipe, stdout=pipe, stderr=pipe)
    running.stdin.write(CAPTURE.read_bytes())
    running.stdin.flush()
    # More frames than the writer keeps back, so that rows in the file show that it is at work; then it waits for more.
    records = CAPTURE.read_bytes()[24:]
    for _ in range(100):
        running.stdin.write(records)
    running.stdin.flush()
    deadline = time.monotonic() + 60
    while (not rows.exists() or rows.stat().st_size == 0) and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    running.send_signal(signal.SIGINT)
    out = running.stdout.read().decode()
    error = running.stderr.read().decode()
    assert running.wait() == 130, error
    for stream in (running.stdin, running.stdout, running.stderr):
        stream.close()
    assert error == ""
    written = rows_of(rows)
    if not as_json:
        assert "interrupted" in out
        assert f"{len(written):,} packets" in out
        return
    report = json.loads(out)
    assert report["interrupted"]
    assert report["packets"] == len(written) > 0
    assert report["packets"] == report["delivered_packets"] + sum(row["packets"] for row in report["outcomes"])
    assert report["delivered_packets"] == sum(row["outcome"] == "DELIVERED" for row in written)
    assert [row["frame"] for row in written] == [str(i + 1) for i in range(len(written))]
    assert all(None not in row.values() for row in written)
    expected = report_of("--limit", 476, CAPTURE)
    assert report["first_ns"] == expected["first_ns"]


def test_ctrl_c_while_a_stream_is_learned_from_reports_what_came():
    """As Ctrl-C ends `tcpdump -w - | python -m vnasfast.replay -`."""
    pipe = subprocess.PIPE
    running = subprocess.Popen([*COMMAND, "--json", "-"], stdin=pipe, stdout=pipe, stderr=pipe)
    running.stdin.write(CAPTURE.read_bytes())
    running.stdin.flush()
    time.sleep(2)  # for the start and the copying; what comes is checked, not when
    running.send_signal(signal.SIGINT)
    out = running.stdout.read().decode()
    error = running.stderr.read().decode()
    assert running.wait() == 130, error
    for stream in (running.stdin, running.stdout, running.stderr):
        stream.close()
    report = json.loads(out)
    assert report["interrupted"]
    assert report["packets"] == 476
    assert report["tables"]["origin"] == "learned"
    assert report["delivered_packets"] == report_of(CAPTURE)["delivered_packets"]


@pytest.mark.parametrize(("data", "code"), [(CAPTURE.read_bytes()[:5000], 1), (b"no capture at all", 2)])
def test_a_stream_is_called_by_its_own_name(data, code):
    run = subprocess.run([*COMMAND, "-q", "-"], input=data, capture_output=True, check=False)
    assert run.returncode == code
    assert run.stderr.decode().startswith("Error: -: byte ")
    assert len(run.stderr.splitlines()) == 1


def test_a_stream_that_ends_early_is_damage_not_a_crash():
    reading, writing = os.pipe()
    os.write(writing, CAPTURE.read_bytes()[:1000])
    os.close(writing)
    with open(reading, "rb") as stream:
        made = subprocess.run([*COMMAND, "--tables", str(TABLES), "-"], stdin=stream, capture_output=True, check=False)
    assert made.returncode == 1
    assert b"-: byte " in made.stderr


def test_speed_is_no_part_of_what_repeats():
    assert without_speed(report_of(CAPTURE)) == without_speed(report_of(CAPTURE))
