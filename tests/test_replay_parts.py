"""The parts below the command: the bounded table of misses, and addresses as text."""

import ipaddress
import random
import struct

import pytest
from captures_builder import Frame, pcap_file
from replayer import rows_of

from vnasfast import InvalidValue, Outcome, ServerMachine
from vnasfast.replay import replay
from vnasfast.replay.misses import MissTable

MOST = 262_144


def test_misses_are_bounded_and_nothing_is_lost():
    table = MissTable(seed=1)
    for i in range(MOST + 1000):
        table.add(i.to_bytes(16, "big"), Outcome.NO_PORT, port=80, n_bytes=60)
    table.add((5).to_bytes(16, "big"), Outcome.NO_PORT, port=80, n_bytes=40)
    assert len(table) == MOST
    assert table.beyond(Outcome.NO_PORT) == (1000, 60_000)
    assert table.beyond(Outcome.NO_VNAS) == (0, 0)
    rows = table.rows()
    assert int(rows["packets"].sum()) == MOST + 1
    assert (int(rows["packets"][5]), int(rows["bytes"][5])) == (2, 100)


def test_ports_are_summed_up_only_where_nobody_has_the_address():
    table = MissTable()
    for port in (80, 81, 81):
        table.add(b"a" * 16, Outcome.NO_VNAS, port=port)
        table.add(b"a" * 16, Outcome.NO_PORT, port=port)
    table.add(b"b" * 16, Outcome.NO_VNAS, port=443)
    rows = table.without_ports().rows()
    found = {(int(r["outcome"]), bytes(r["destination"])[:1], int(r["n_ports"]), int(r["packets"])) for r in rows}
    assert found == {(-1, b"a", 2, 3), (-2, b"a", 1, 1), (-2, b"a", 1, 2), (-1, b"b", 1, 1)}
    assert {int(r["port"]) for r in rows if r["n_ports"] == 1} == {80, 81, 443}


def test_misses_refuse_what_is_no_outcome():
    with pytest.raises(InvalidValue):
        MissTable().add(b"a" * 16, 0)
    with pytest.raises(InvalidValue):
        MissTable().add(b"a", Outcome.NO_VNAS)
    with pytest.raises(InvalidValue):
        MissTable().beyond(-10)


def test_addresses_are_written_as_ipaddress_writes_them(tmp_path):
    chooser = random.Random(6)
    packed = [
        b"".join(struct.pack(">H", chooser.choice([0, 0, 0, 1, 0xF, 0x10, 0xABC, 0xFFFF])) for _ in range(8))
        for _ in range(5000)
    ]
    packed += [bytes(16), bytes(15) + b"\1", b"\0" * 10 + b"\xff\xff\x0a\0\0\1", b"\1" + bytes(15)]
    packets = [
        b"\x60" + bytes(3) + struct.pack(">HBB", 8, 17, 64) + source + destination + struct.pack(">HHHH", 7, 9, 8, 0)
        for source, destination in zip(packed, reversed(packed), strict=True)
    ]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_file([Frame(packet, 10**6, len(packet)) for packet in packets], network=229))
    replay(path, ServerMachine(), deliveries=tmp_path / "rows.csv")

    def text(octets):
        address = ipaddress.IPv6Address(octets)
        return str(address.ipv4_mapped or address)

    rows = rows_of(tmp_path / "rows.csv")
    assert [row["source"] for row in rows] == [text(octets) for octets in packed]
    assert [row["destination"] for row in rows] == [text(octets) for octets in reversed(packed)]


def test_ipv4_addresses_are_written_with_all_octets(tmp_path):
    packets = [
        struct.pack(">BBHHHBBH", 0x45, 0, 28, 0, 0, 64, 17, 0)
        + bytes([i, 0, 255 - i, i, i, i, i, i])
        + struct.pack(">HHHH", 7, 9, 8, 0)
        for i in range(256)
    ]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap_file([Frame(packet, 10**6, len(packet)) for packet in packets], network=228))
    replay(path, ServerMachine(), deliveries=tmp_path / "rows.csv")
    rows = rows_of(tmp_path / "rows.csv")
    assert [row["source"] for row in rows] == [f"{i}.0.{255 - i}.{i}" for i in range(256)]
    assert [row["destination"] for row in rows] == [f"{i}.{i}.{i}.{i}" for i in range(256)]


def test_a_machine_of_ones_own_counts_on_and_the_report_counts_anew():
    from replayer import PCAPS

    machine = ServerMachine.load(PCAPS / "three-servers.toml")
    first = replay(PCAPS / "three-servers.pcap", machine)
    second = replay(PCAPS / "three-servers.pcap", machine)
    assert second.services == first.services
    assert second.outcomes == first.outcomes
    assert machine.outcomes[Outcome.DELIVERED].packets == 2 * first.delivered_packets


def test_no_capture_is_refused():
    with pytest.raises(InvalidValue):
        replay([])
