"""How far the parser agrees with an independent reading of a folder of captures.

Usage: python tests/agreement.py CAPTURES_FOLDER [EXPECTED.csv.gz] [--differences]

EXPECTED has one row a frame, with the columns file, frame, layers, vlans, version, src, dst, transport,
sport, dport; without it, CAPTURES_FOLDER-expected.csv.gz beside the folder. A frame counts as IP when either
side reads an address in it. Not a test: it needs captures that are not part of the project.

In the tcpdump project's captures, read by tshark 4.0, 20 of 5,439 frames with IP differ, all of them
Ethernet. In 18, IP lies behind an Ethertype that is not passed over: Arista's timestamps (12), MACsec without
encryption (5), NSH (1). In 2, the IPv4 header contradicts itself: tshark shows no addresses, and we do.
"""

import csv
import gzip
import ipaddress
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError
from vnasfast.parse import address_of, link_is_known, parse_frames

Reading = tuple[str, str, str, str, int]


@dataclass
class Tally:
    """Counts of one link type."""

    frames: int = 0
    ip_frames: int = 0
    vlan_frames: int = 0
    wrong: dict[str, int] = field(default_factory=lambda: {"addresses": 0, "ports": 0, "VLAN": 0})


def ours(key: np.void) -> Reading:
    """Source, destination, their ports and the VLAN, as the expected readings write them."""
    source, destination = (str(address_of(key[name]) or "") for name in ("source", "destination"))
    ports = (str(key["source_port"]), str(key["destination_port"])) if key["status"] >= 0 else ("", "")
    return source, destination, *ports, int(key["vlan"])


def theirs(row: dict[str, str]) -> Reading:
    """The same of an expected row."""
    addresses = [ipaddress.ip_address(row[name]) if row[name] else None for name in ("src", "dst")]
    # A key writes the unspecified IPv6 address like no address at all, and a mapped one as IPv4.
    source, destination = (
        ""
        if address is None or (address.version == 6 and int(address) == 0)
        else str(getattr(address, "ipv4_mapped", None) or address)
        for address in addresses
    )
    # `vlans` also lists tags inside tunnels; only so many lie before the outermost IP header.
    tags = row["layers"].split(":").count("vlan")
    vlans = [int(vlan) for vlan in row["vlans"].split(",")[:tags] if vlan]
    return source, destination, row["sport"], row["dport"], next(filter(None, vlans), 0)


def read_keys(path: Path) -> Iterator[tuple[int, np.void]]:
    """Link type and key of each frame up to the capture's end or damage."""
    try:
        with open_capture(path) as capture:
            while capture.read():
                rows = capture.interface_rows
                types = np.array([interface.link_type for interface in capture.interfaces])[rows]
                keys = [
                    parse_frames(
                        capture.data,
                        capture.offsets[i : i + 1],
                        capture.lengths[i : i + 1],
                        int(link_type),
                        wire_lengths=capture.wire_lengths[i : i + 1],
                    )[0]
                    for i, link_type in enumerate(types)
                ]
                yield from zip(types.tolist(), keys, strict=True)
    except CaptureError:
        return


def main(arguments: list[str]) -> int:
    """Print the agreement per link type; exit code 0: all known link types together reach 99.5 %."""
    show = "--differences" in arguments
    paths = [Path(argument) for argument in arguments if not argument.startswith("-")]
    if not paths or len(paths) > 2:
        print(__doc__, file=sys.stderr)
        return 2
    folder = paths[0]
    table = paths[1] if len(paths) == 2 else folder.with_name(folder.name + "-expected.csv.gz")
    expected = defaultdict(list)
    with gzip.open(table, "rt", newline="") as rows:
        for row in csv.DictReader(rows):
            expected[row["file"]].append(row)
    tallies: defaultdict[int, Tally] = defaultdict(Tally)
    for name in sorted(expected):
        frames = list(read_keys(folder / name))
        if len(frames) != len(expected[name]):
            print(f"{name}: {len(frames)} frames, {len(expected[name])} expected")
        for row, (link_type, key) in zip(expected[name], frames, strict=False):
            here, there = ours(key), theirs(row)
            tally = tallies[link_type]
            tally.frames += 1
            tally.ip_frames += any(here[:2]) or any(there[:2])
            tally.vlan_frames += "vlan" in row["layers"].split(":")
            # Where the other side found no IP, its row doesn't say where the tags lie.
            same = {
                "addresses": here[:2] == there[:2],
                "ports": here[2:4] == there[2:4],
                "VLAN": here[4] == there[4] or not row["layers"],
            }
            for what, is_same in same.items():
                tally.wrong[what] += not is_same
            if show and link_is_known(link_type) and not all(same.values()):
                print(
                    f"{name}:{row['frame']} {row['layers']}: {here} status {key['status']}, expected {there}"
                )
    print_tallies(dict(tallies))
    known = [tally for link_type, tally in tallies.items() if link_is_known(link_type)]
    n_wrong = max(sum(tally.wrong[what] for tally in known) for what in ("addresses", "ports"))
    return int(n_wrong > 0.005 * sum(tally.ip_frames for tally in known))


def print_tallies(tallies: dict[int, Tally]) -> None:
    """One line a link type, the known ones first, then their sum."""
    total = Tally()
    print(
        f"{'link type':>12} {'frames':>7} {'with IP':>7}   same addresses        same ports   VLAN of tagged"
    )
    for link_type, tally in sorted(tallies.items(), key=lambda item: (not link_is_known(item[0]), item[0])):
        known = link_is_known(link_type)
        print_tally(f"{link_type}" if known else f"({link_type})", tally)
        if known:
            total.frames += tally.frames
            total.ip_frames += tally.ip_frames
            total.vlan_frames += tally.vlan_frames
            for what, n in tally.wrong.items():
                total.wrong[what] += n
    print_tally("all known", total)


def print_tally(name: str, tally: Tally) -> None:
    """Agreement is counted over the frames with IP only: that others show no address is no merit."""
    columns = []
    for what, n in (("addresses", tally.ip_frames), ("ports", tally.ip_frames), ("VLAN", tally.vlan_frames)):
        right = n - tally.wrong[what]
        columns.append(f"{right:7} {100 * right / n:7.2f} %" if n else f"{'-':>17}")
    print(f"{name:>12} {tally.frames:7} {tally.ip_frames:7}", *columns)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
