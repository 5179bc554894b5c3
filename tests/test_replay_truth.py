"""Deliveries and reports against the captures whose truth is known, and against dpkt."""

import csv
import ipaddress
from collections import Counter

import dpkt
import pytest
from replayer import PCAPS, report_of, rows_of, without_speed

from vnasfast.replay import replay

HEADER = "frame,time,vlan,source,destination,protocol,source_port,destination_port,vnas,socket,pid,outcome"
PROTOCOLS = {6: "tcp", 17: "udp", 1: "icmp", 58: "icmp6"}


def truth(name):
    with open(PCAPS / f"{name}-truth.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module", params=["three-servers", "corners"])
def replayed(request, tmp_path_factory):
    """A capture's name, report and deliveries."""
    path = tmp_path_factory.mktemp("replay") / "rows.csv"
    report = report_of(PCAPS / f"{request.param}.pcap", "--deliveries", path)
    return request.param, report, path


def test_the_first_line_names_the_columns(replayed):
    with open(replayed[2]) as file:
        assert file.readline() == HEADER + "\n"


def test_each_frame_has_a_row_with_its_number_and_exact_time(replayed):
    name, report, path = replayed
    rows = rows_of(path)
    with open(PCAPS / f"{name}.pcap", "rb") as file:
        data = file.read()
    times = []
    position = 24
    while position < len(data):
        seconds, fraction, captured = (
            int.from_bytes(data[position + 4 * i : position + 4 * i + 4], "little") for i in range(3)
        )
        times.append(f"{seconds}.{fraction:06d}")
        position += 16 + captured
    assert [row["frame"] for row in rows] == [str(i + 1) for i in range(len(times))]
    assert [row["time"] for row in rows] == times
    assert report["packets"] == len(times)


def test_every_request_of_the_servers_logs_reaches_the_server_that_answered_it(tmp_path):
    report_of(PCAPS / "three-servers.pcap", "--deliveries", tmp_path / "rows.csv")
    frames = {}
    for row in rows_of(tmp_path / "rows.csv"):
        flow = (row["protocol"], row["source"], row["source_port"], row["destination"], row["destination_port"])
        frames.setdefault(flow, set()).add((row["vnas"], row["outcome"]))
    requests = truth("three-servers")
    assert requests
    for request in requests:
        flow = tuple(request[key] for key in ("protocol", "client", "client_port", "address", "port"))
        assert frames[flow] == {(request["vnas"], "DELIVERED")}


def test_every_frame_of_the_corners_goes_where_the_design_says(tmp_path):
    report_of(PCAPS / "corners.pcap", "--deliveries", tmp_path / "rows.csv")
    rows = rows_of(tmp_path / "rows.csv")
    expected = truth("corners")
    assert len(rows) == len(expected)
    for row, wanted in zip(rows, expected, strict=True):
        assert (row["frame"], row["outcome"]) == (wanted["frame"], wanted["outcome"]), wanted["why"]
        if wanted["outcome"] == "DELIVERED":
            assert row["vnas"] == wanted["vnas"], wanted["why"]
            assert row["pid"] in wanted["socket_pids"].split("|"), wanted["why"]
            assert row["socket"] != ""
        else:
            assert (row["socket"], row["pid"]) == ("", "")
            assert (row["vnas"] != "") == (row["outcome"] in {"NO_PORT", "NO_SOCKET"})


def test_the_columns_are_what_dpkt_reads(replayed):
    name, _, path = replayed
    rows = rows_of(path)
    with open(PCAPS / f"{name}.pcap", "rb") as file:
        frames = [data for _, data in dpkt.pcap.Reader(file)]
    compared = Counter()
    for row, data in zip(rows, frames, strict=True):
        try:
            ethernet = dpkt.ethernet.Ethernet(data)
        except (dpkt.UnpackError, AttributeError):  # dpkt fails on some orders of extension headers
            continue
        ip = ethernet.data
        if not isinstance(ip, dpkt.ip.IP | dpkt.ip6.IP6):
            continue
        vlan = next((tag.id for tag in getattr(ethernet, "vlan_tags", []) if tag.id), 0)
        # dpkt does not show the outer of two 802.1ad tags.
        if data[12:14] != b"\x88\xa8":
            assert row["vlan"] == (str(vlan) if vlan else ""), row
        if row["outcome"] in {"MALFORMED", "TRUNCATED"}:
            continue
        source, destination = (ipaddress.ip_address(address) for address in (ip.src, ip.dst))
        for column, address in (("source", source), ("destination", destination)):
            mapped = getattr(address, "ipv4_mapped", None)
            assert row[column] == str(mapped or address), row
        compared["addresses"] += 1
        if isinstance(ip, dpkt.ip6.IP6) and ip.nxt not in PROTOCOLS:
            continue
        if row["protocol"] in {"tcp", "udp"} and hasattr(ip.data, "sport"):
            assert PROTOCOLS[ip.p] == row["protocol"]
            assert (row["source_port"], row["destination_port"]) == (str(ip.data.sport), str(ip.data.dport)), row
            compared["ports"] += 1
    assert compared["addresses"] > 100
    assert compared["ports"] > 80


def test_later_fragments_show_no_ports_of_their_own(tmp_path):
    report_of(PCAPS / "corners.pcap", "--deliveries", tmp_path / "rows.csv")
    with open(PCAPS / "corners.pcap", "rb") as file:
        frames = [data for _, data in dpkt.pcap.Reader(file)]
    later = 0
    for row, data in zip(rows_of(tmp_path / "rows.csv"), frames, strict=True):
        # Not IPv4 without tags and options: not for this test.
        if data[12:15] != b"\x08\x00\x45" or len(data) < 34 or int.from_bytes(data[20:22], "big") & 0x1FFF == 0:
            continue
        later += 1
        assert (row["source_port"], row["destination_port"]) == ("", "")
        assert row["destination"] == str(ipaddress.IPv4Address(data[30:34]))
    assert later >= 5


def test_the_report_counts_what_the_deliveries_show(replayed):
    name, report, path = replayed
    rows = rows_of(path)
    outcomes = Counter(row["outcome"] for row in rows)
    delivered = outcomes.pop("DELIVERED")
    assert report["delivered_packets"] == delivered
    assert {row["outcome"]: row["packets"] for row in report["outcomes"]} == outcomes
    services = Counter(
        (int(row["vnas"]), row["protocol"], int(row["destination_port"]))
        for row in rows
        if row["outcome"] == "DELIVERED" and row["destination_port"]
    )
    fragments = sum(1 for row in rows if row["outcome"] == "DELIVERED" and not row["destination_port"])
    counted = {(s["vnas"], s["protocol"], s["port"]): s["packets"] for s in report["services"]}
    assert sum(counted.values()) == delivered == sum(services.values()) + fragments
    for service, packets in services.items():
        assert packets <= counted[service]
    if name == "three-servers":
        assert {key: n for key, n in counted.items() if n} == services


def test_everything_sums_up(replayed):
    _, report, _ = replayed
    assert report["packets"] == report["delivered_packets"] + sum(row["packets"] for row in report["outcomes"])
    assert report["bytes"] == report["delivered_bytes"] + sum(row["bytes"] for row in report["outcomes"])
    shares = report["delivered_share"] + sum(row["share"] for row in report["outcomes"])
    assert shares == pytest.approx(1)
    assert sum(service["bytes"] for service in report["services"]) == report["delivered_bytes"]
    for outcome in report["outcomes"]:
        listed = sum(row["packets"] for row in outcome["offenders"]) + outcome["leaving_packets"]
        assert listed <= outcome["packets"]
        if not outcome["more_offenders"]:
            assert listed == outcome["packets"]
            assert sum(row["bytes"] for row in outcome["offenders"]) + outcome["leaving_bytes"] == outcome["bytes"]


def test_offenders_are_those_of_the_deliveries(replayed):
    _, report, path = replayed
    rows = rows_of(path)
    for outcome in report["outcomes"]:
        if outcome["outcome"] not in {"NO_PORT", "NO_SOCKET", "UNKNOWN_SOURCE"}:
            continue
        counts = Counter(
            (row["vlan"], row["protocol"], row["destination"], row["destination_port"])
            for row in rows
            # Later fragments count for the ports of their first, and show none.
            if row["outcome"] == outcome["outcome"] and row["destination_port"]
        )
        assert len(counts) == len(outcome["offenders"]) + outcome["more_offenders"]
        for offender in outcome["offenders"]:
            vlan = str(offender["vlan"] or "")
            key = (vlan, offender["protocol"], offender["address"], str(offender["port"]))
            fragments = sum(
                (row["vlan"], row["protocol"], row["destination"], row["destination_port"]) == (*key[:3], "")
                for row in rows
                if row["outcome"] == outcome["outcome"]
            )
            assert counts[key] <= offender["packets"] <= counts[key] + fragments


def test_what_the_vnases_sent_themselves_is_no_offender():
    report = report_of(PCAPS / "three-servers.pcap")
    (no_vnas,) = [row for row in report["outcomes"] if row["outcome"] == "NO_VNAS"]
    assert no_vnas["leaving_packets"] == no_vnas["packets"]
    assert no_vnas["offenders"] == []


def test_the_function_gives_what_the_command_prints(replayed):
    name, report, _ = replayed
    made = replay(PCAPS / f"{name}.pcap")
    as_dict = without_speed(made.as_dict())
    assert as_dict == without_speed(report)
    assert not made.damaged
