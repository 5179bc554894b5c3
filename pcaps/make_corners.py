#!/usr/bin/env python3
"""Write the corners: frames whose way through the tables is reasoned out by hand, not recorded.

The same bytes each time. Three files are written beside this script (or to ``--output FOLDER``):

``corners.pcap``
    the frames: Ethernet, microseconds, some snapped (captured shorter than on the wire).
``corners.toml``
    the tables they meet.
``corners-truth.csv``
    one row per frame, read off section 3 of the design:

    ===========  ====================================================================================
    frame        number of the frame in the file, from 1, as Wireshark counts
    vnas         the VNAS that it is delivered to; empty if it is not
    pid          the process that owns the receiving socket; empty if not delivered, or if several may
    outcome      DELIVERED, or why not
    socket_pids  the processes of which one receives it, joined by ``|``: more than one if they share a port
    why          the reason in a sentence
    ===========  ====================================================================================

Where the design leaves a choice, the rules used here are these. The outcome of parsing comes before any
table. The VLAN is the outermost VLAN ID that is not 0. Ports count as known when their four bytes were
captured, whatever else of the segment is missing. What was cut on the wire already is MALFORMED, what the
capture alone cut is TRUNCATED. A fragment belongs to the newest first fragment before it of the same VLAN,
source, destination, identification and, by IPv4 only, protocol (RFC 791, RFC 8200).
"""

import argparse
import csv
import sys
from dataclasses import astuple, fields
from pathlib import Path

import corner_packets
import corner_tables
import dpkt  # type: ignore[import-untyped]
from corner_truth import Corners, Truth

BEGIN_S = 1_700_000_000

TABLES = """\
# vnasfast tables
# What corners.pcap meets. Made by make_corners.py; corners-truth.csv says why each frame goes where it goes.
embodiment = 1

[[vnas]]
id = 1
name = "alpha"

[[vnas]]
id = 2
name = "beta"

[[vnas]]
id = 3
name = "gamma"
"""


def row(table: str, **values: str | int | bool) -> str:
    """Write a row of a table."""
    lines = [f"\n[[{table}]]"]
    for key, value in values.items():
        text = f'"{value}"' if isinstance(value, str) else str(value).lower()
        lines.append(f"{key} = {text}")
    return "\n".join(lines) + "\n"


def socket(protocol: str, port: int, address: str, pid: int, *options: str) -> str:
    """Write a row of the socket table; the options are v6only, sharing, freebind."""
    wanted = dict.fromkeys(options, True)
    return row("sockets", protocol=protocol, port=port, address=address, pid=pid, **wanted)


def tables() -> str:
    """Write the tables; rows of sockets are in order of registration, which decides."""
    parts = [TABLES]
    for pid in (101, 102, 103):
        parts.append(row("processes", pid=pid, vnas=1))
    for pid in (104, 105):
        parts.append(row("processes", pid=pid, vnas=1, parent=103))
    for pid in (201, 202, 203, 301, 303):
        parts.append(row("processes", pid=pid, vnas=pid // 100))
    for address, vnas in (
        ("10.2.0.254", 0),
        ("10.2.0.1", 1),
        ("10.2.0.11", 1),
        ("fd00:2::1", 1),
        ("10.2.0.2", 2),
        ("fd00:2::2", 2),
        ("10.2.0.3", 3),
        ("fd00:2::3", 3),
    ):
        parts.append(row("addresses", address=address, vnas=vnas, interface="eth0"))
    for address, vlan, vnas in (
        ("192.168.7.7", 100, 1),
        ("192.168.7.7", 200, 2),
        ("fd00:7::7", 100, 2),
        ("fd00:7::7", 200, 1),
    ):
        parts.append(row("addresses", address=address, vnas=vnas, interface=f"eth0.{vlan}", vlan=vlan))
    parts += [
        socket("tcp", 22, "ANY", 1),
        socket("tcp", 80, "ANY", 101),
        socket("tcp", 80, "ANY", 201),
        socket("tcp", 80, "::", 301, "v6only"),
        socket("udp", 53, "ANY", 102),
        socket("udp", 53, "ANY", 202),
        socket("tcp", 8080, "0.0.0.0", 301),  # noqa: S104  a row, no bind
        # A specific socket before an ANY socket of its VNAS, and one after.
        socket("tcp", 443, "10.2.0.1", 103),
        socket("tcp", 443, "ANY", 101),
        socket("tcp", 444, "ANY", 101),
        socket("tcp", 444, "10.2.0.1", 103),
        socket("udp", 514, "ANY", 104, "sharing"),
        socket("udp", 514, "ANY", 105, "sharing"),
        # Bound to an address of another VNAS: such a socket never matches.
        socket("udp", 5000, "10.2.0.2", 103, "freebind"),
        socket("udp", 5001, "10.2.0.2", 103, "freebind"),
        socket("udp", 5001, "ANY", 202),
        socket("sctp", 3868, "ANY", 101),
        socket("sctp", 3868, "ANY", 201),
        socket("dccp", 5004, "ANY", 102),
        socket("dccp", 5004, "ANY", 202),
        socket("udplite", 53, "ANY", 102),
        # Clients, by whose ports the source of loopback packets is found.
        socket("tcp", 40001, "127.0.0.1", 103),
        socket("tcp", 40002, "127.0.0.1", 103),
        socket("tcp", 40002, "127.0.0.1", 203),
        socket("tcp", 40003, "ANY", 203),
        socket("tcp", 40004, "::1", 303),
        socket("tcp", 40005, "ANY", 203),
        socket("tcp", 40005, "::", 303, "v6only"),
        socket("tcp", 40006, "ANY", 103),
        socket("tcp", 40006, "127.0.0.1", 101),
        socket("udp", 40010, "127.0.0.1", 103),
        socket("tcp", 8081, "127.0.0.1", 101),
        socket("tcp", 8081, "127.0.0.1", 201),
        row("routes", network="default", interface="eth0"),
    ]
    return "".join(parts)


def write_capture(path: Path, frames: list[tuple[bytes, int]]) -> None:
    """Write the frames a millisecond apart; dpkt's own writer knows no frame shorter than on the wire."""
    with path.open("wb") as file:
        file.write(bytes(dpkt.pcap.LEFileHdr(snaplen=65535, linktype=dpkt.pcap.DLT_EN10MB)))
        for n, (frame, wire) in enumerate(frames):
            seconds, microseconds = divmod(n * 1000, 1_000_000)
            header = dpkt.pcap.LEPktHdr(
                tv_sec=BEGIN_S + seconds, tv_usec=microseconds, caplen=len(frame), len=wire
            )
            file.write(bytes(header) + frame)


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Write the corners and the truth about them.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        metavar="FOLDER",
        help="where the files go; default: beside this script",
    )
    output: Path = parser.parse_args().output
    if not output.is_dir():
        print(f"make_corners.py: {output} is no folder", file=sys.stderr)
        return 1
    corners = Corners()
    corner_tables.add(corners)
    corner_packets.add(corners)
    write_capture(output / "corners.pcap", corners.frames)
    (output / "corners.toml").write_text(tables())
    with (output / "corners-truth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Truth))
        writer.writerows(astuple(truth) for truth in corners.truth)
    print(f"{len(corners.frames)} frames")
    return 0


if __name__ == "__main__":
    sys.exit(main())
