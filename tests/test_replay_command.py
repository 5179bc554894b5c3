"""Each option of the replayer, and several captures at once."""

import bz2
import gzip
import json
import lzma
import shutil
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replayer import PCAPS, fails, report_of, rows_of, run, without_speed
from tabulate import tabulate

from vnasfast import ServerMachine
from vnasfast.console import table

CAPTURE = PCAPS / "three-servers.pcap"
TABLES = PCAPS / "three-servers.toml"


def test_the_screen_shows_capture_tables_services_outcomes_and_speed():
    made = run(CAPTURE)
    assert made.returncode == 0
    assert made.stderr == ""
    assert "ETHERNET (1)" in made.stdout
    assert f"{TABLES} (beside the capture)" in made.stdout
    assert "3 VNASs, 7 processes, 7 addresses, 18 sockets, 1 route" in made.stdout
    report = report_of(CAPTURE)
    assert f"{report['packets']:,} packets, {report['bytes']:,} bytes" in made.stdout
    for service in report["services"]:
        line = [f"{service['protocol']} {service['port']}", f"{service['packets']:,}", f"{service['bytes']:,}"]
        assert any(all(part in text for part in line) for text in made.stdout.splitlines()), line
    for vnas in ("1 alpha", "2 beta", "3 gamma"):
        assert vnas in made.stdout
    for outcome in report["outcomes"]:
        assert outcome["outcome"] in made.stdout
    assert "packets/s" in made.stdout
    assert "reading" in made.stdout


def test_the_screen_is_aligned():
    lines = run(CAPTURE).stdout.splitlines()
    (top,) = [i for i, line in enumerate(lines) if line.startswith("VNAS ")]
    widths = {len(line) for line in lines[top + 1 : lines.index("", top)]}
    assert len(widths) == 1
    assert max(map(len, lines)) <= 140


def test_tables_given_are_used_and_named(tmp_path):
    copy = tmp_path / "a.pcap"
    shutil.copy(CAPTURE, copy)
    report = report_of("--tables", TABLES, copy)
    assert (report["tables"]["origin"], report["tables"]["path"]) == ("given", str(TABLES))
    assert report["services"] == report_of(CAPTURE)["services"]


def test_tables_beside_are_found_for_a_compressed_capture_too(tmp_path):
    (tmp_path / "a.pcap.gz").write_bytes(gzip.compress(CAPTURE.read_bytes()))
    shutil.copy(TABLES, tmp_path / "a.toml")
    report = report_of(tmp_path / "a.pcap.gz")
    assert (report["tables"]["origin"], report["tables"]["path"]) == ("beside", str(tmp_path / "a.toml"))
    assert "gzip" in report["captures"][0]["format"]


def test_tables_given_win_over_those_beside(tmp_path):
    shutil.copy(CAPTURE, tmp_path / "a.pcap")
    (tmp_path / "a.toml").write_text("this is no table file")
    assert report_of("--tables", TABLES, tmp_path / "a.pcap")["tables"]["origin"] == "given"


@pytest.mark.parametrize("embodiment", ["1", "2"])
def test_saved_tables_dispatch_the_same(tmp_path, embodiment):
    saved = tmp_path / "saved.toml"
    first = report_of("--save-tables", saved, "--embodiment", embodiment, CAPTURE)
    assert first["tables"]["saved"] == str(saved)
    assert f"embodiment = {embodiment}" in saved.read_text()
    second = report_of("--tables", saved, CAPTURE)
    for key in ("services", "outcomes", "delivered_packets"):
        assert first[key] == second[key]
    assert ServerMachine.load(saved).sockets == ServerMachine.load(TABLES).sockets


def test_standard_input_is_read_like_a_file():
    from_file = without_speed(report_of("--tables", TABLES, CAPTURE))
    from_pipe = without_speed(report_of("--tables", TABLES, "-", stdin_bytes=CAPTURE.read_bytes()))
    assert from_pipe["captures"][0].pop("name") == "-"
    from_file["captures"][0].pop("name")
    assert from_pipe == from_file


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_standard_input_may_be_compressed(compress):
    report = report_of("--tables", TABLES, "-", stdin_bytes=compress(CAPTURE.read_bytes()))
    assert report["packets"] == report_of(CAPTURE)["packets"]


def test_quiet_prints_nothing(tmp_path):
    made = run("--quiet", "--deliveries", tmp_path / "rows.csv", CAPTURE)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert len(rows_of(tmp_path / "rows.csv")) == report_of(CAPTURE)["packets"]


def test_quiet_leaves_json():
    made = run("--quiet", "--json", CAPTURE)
    assert json.loads(made.stdout)["packets"] > 0


@pytest.mark.parametrize("limit", [1, 5, 100, 475])
def test_limit_ends_early(tmp_path, limit):
    report = report_of("--limit", limit, "--deliveries", tmp_path / "rows.csv", CAPTURE)
    assert report["packets"] == limit
    assert report["limited"]
    whole = tmp_path / "whole.csv"
    report_of("--deliveries", whole, CAPTURE)
    assert rows_of(tmp_path / "rows.csv") == rows_of(whole)[:limit]


def test_a_limit_that_is_not_reached_changes_nothing():
    report = report_of("--limit", 10**9, CAPTURE)
    assert not report["limited"]
    assert without_speed(report) == without_speed(report_of(CAPTURE))


def test_several_captures_go_through_the_same_tables(tmp_path):
    other = tmp_path / "again.pcap"
    shutil.copy(CAPTURE, other)
    one = report_of(CAPTURE)
    both = report_of(CAPTURE, other, "--deliveries", tmp_path / "rows.csv")
    n = one["packets"]
    assert both["packets"] == 2 * n
    assert [capture["name"] for capture in both["captures"]] == [str(CAPTURE), str(other)]
    assert [capture["packets"] for capture in both["captures"]] == [n, n]
    assert [capture["first_frame"] for capture in both["captures"]] == [1, n + 1]
    assert [capture["delivered"] for capture in both["captures"]] == [one["delivered_packets"]] * 2
    assert both["delivered_packets"] == 2 * one["delivered_packets"]
    for twice, once in zip(both["services"], one["services"], strict=True):
        assert (twice["packets"], twice["bytes"]) == (2 * once["packets"], 2 * once["bytes"])
    rows = rows_of(tmp_path / "rows.csv")
    assert [row["frame"] for row in rows] == [str(i + 1) for i in range(2 * n)]
    shown = run(CAPTURE, other).stdout
    assert f"frames {n + 1:,} to {2 * n:,}" in shown
    assert "together" in shown


def test_the_limit_counts_all_captures(tmp_path):
    n = report_of(CAPTURE)["packets"]
    report = report_of("--limit", n + 3, "--tables", TABLES, CAPTURE, PCAPS / "corners.pcap")
    assert [capture["packets"] for capture in report["captures"]] == [n, 3]


def test_two_table_files_beside_the_captures_are_no_choice():
    fails(run(CAPTURE, PCAPS / "corners.pcap"), "--tables", "corners.toml", "three-servers.toml")


def test_help_names_everything():
    text = run("--help").stdout
    for word in (
        *("--tables", "--save-tables", "--embodiment", "--deliveries", "--limit", "--json", "--quiet", "--version"),
        *("standard input", "Exit codes", "130", "Examples", "tcpdump"),
    ):
        assert word in text
    assert run("-h").stdout == text


def test_version():
    made = run("--version")
    assert made.returncode == 0
    assert made.stdout.startswith("vnasfast ")


def test_piped_output_holds_no_progress_and_no_control_characters():
    made = run(CAPTURE)
    assert made.stderr == ""
    assert all(character.isprintable() or character == "\n" for character in made.stdout)


def test_an_importer_gets_no_command_line():
    import subprocess

    code = "import sys; from vnasfast.replay import replay; print({'click', 'tqdm', 'tabulate'} & set(sys.modules))"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "set()"


@given(
    st.integers(1, 5).flatmap(
        lambda n: st.tuples(
            st.lists(st.tuples(*n * [st.text(alphabet="ab 1.é", max_size=9)]), min_size=1, max_size=6),
            st.text(alphabet="lr", min_size=n, max_size=n),
            st.just(()) | st.tuples(*n * [st.text(alphabet="xyz", max_size=9)]),
        )
    )
)
def test_tables_on_screen_are_those_of_a_library(case):
    rows, align, headers = case
    library = tabulate(
        rows,
        headers,
        tablefmt="simple" if headers else "plain",
        disable_numparse=True,
        colalign=[{"l": "left", "r": "right"}[side] for side in align],
    )
    assert table(rows, align, headers) == library
