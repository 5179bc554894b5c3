"""The command on captures without tables, and the progress bar on a terminal."""

import fcntl
import os
import shutil
import struct
import subprocess
import termios

from replayer import COMMAND, PCAPS, report_of, rows_of, run, without_speed

CAPTURE = PCAPS / "three-servers.pcap"
TABLES = PCAPS / "three-servers.toml"


def test_tables_are_learned_where_there_are_none(tmp_path):
    path = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, path)
    report = report_of(path)
    assert (report["tables"]["origin"], report["tables"]["path"]) == ("learned", None)
    assert report["tables"]["notes"]
    shown = run(path).stdout
    assert "learned from the capture" in shown
    for note in report["tables"]["notes"]:
        assert note.split()[0] in shown


def test_what_was_learned_can_be_kept_and_used(tmp_path):
    path = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, path)
    first = report_of("--save-tables", tmp_path / "kept.toml", path)
    second = report_of("--tables", tmp_path / "kept.toml", path)
    assert first["services"] == second["services"]
    assert first["delivered_packets"] == second["delivered_packets"] > 0
    assert (tmp_path / "kept.toml").read_text()


def test_learned_from_standard_input_as_from_the_file(tmp_path):
    path = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, path)
    from_file = without_speed(report_of(path))
    from_pipe = without_speed(report_of("-", stdin_bytes=CAPTURE.read_bytes()))
    assert from_file["captures"][0].pop("name") == str(path)
    assert from_pipe["captures"][0].pop("name") == "-"
    assert from_pipe == from_file


def test_a_named_pipe_can_be_learned_from(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with subprocess.Popen(["sh", "-c", f"cat '{CAPTURE}' > '{pipe}'"]) as writer:
        report = report_of(pipe)
    assert writer.returncode == 0
    assert (report["packets"], report["captures"][0]["name"]) == (476, str(pipe))


def test_a_damaged_capture_is_learned_from_and_replayed_up_to_the_damage(tmp_path):
    path = tmp_path / "cut.pcap"
    path.write_bytes(CAPTURE.read_bytes()[:-7])
    report = report_of(path, code=1)
    assert report["packets"] == 475
    assert report["delivered_packets"] > 0


def test_no_tables_are_saved_of_what_is_no_capture(tmp_path):
    path = tmp_path / "text.pcap"
    path.write_text("a text that is long enough to be looked at")
    made = run("--save-tables", tmp_path / "kept.toml", path)
    assert made.returncode == 2
    assert len(made.stderr.splitlines()) == 1
    assert not (tmp_path / "kept.toml").exists()


def test_the_limit_holds_for_learning_too(tmp_path):
    path = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, path)
    few = report_of("--limit", 30, path)
    assert few["packets"] == 30
    assert few["tables"]["sockets"] <= report_of(path)["tables"]["sockets"]


def test_a_terminal_sees_progress_on_long_work(tmp_path):
    """A stream that takes its time is long work; standard error is a terminal here."""
    main, terminal = os.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    data = CAPTURE.read_bytes()
    with subprocess.Popen(
        [*COMMAND, "--quiet", "--tables", str(TABLES), "--deliveries", str(tmp_path / "rows.csv"), "-"],
        stdin=subprocess.PIPE,
        stderr=terminal,
    ) as quiet:
        quiet.communicate(data)
    script = f"cat '{CAPTURE}'; for i in 1 2 3 4 5 6; do sleep 0.4; tail -c +25 '{CAPTURE}'; done"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE) as slow:
        shown = subprocess.run(
            [*COMMAND, "--tables", str(TABLES), "-"],
            stdin=slow.stdout,
            stdout=subprocess.PIPE,
            stderr=terminal,
            check=False,
        )
    os.close(terminal)
    seen = os.read(main, 1 << 16).decode()
    os.close(main)
    assert quiet.returncode == shown.returncode == 0
    assert len(rows_of(tmp_path / "rows.csv")) == 476
    assert "replaying" in seen
    assert "packets" in seen
    assert b"3,332 packets" in shown.stdout
