"""First inputs of each target: from the tests' builders, the captures in pcaps/ and, if given, a folder of captures."""

import hashlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import captures_builder as build
from target_parse import LINK_TYPES

from vnasfast.capture import open_capture
from vnasfast.errors import VnasError

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 4096

DICTIONARY = {
    "capture": [
        *(bytes.fromhex(magic) for magic in ("a1b2c3d4", "a1b23c4d", "a1b2cd34", "0a0d0d0a", "1a2b3c4d")),
        *(bytes.fromhex(magic)[::-1] for magic in ("a1b2c3d4", "a1b23c4d", "a1b2cd34", "1a2b3c4d")),
    ],
    "parse": [
        *(bytes.fromhex(ethertype) for ethertype in ("0800", "86dd", "8100", "88a8", "8864", "8847")),
        bytes.fromhex("aaaa03000000"),
        *(bytes.fromhex(address) for address in ("0a020001", "7f000001", "ffff7f000001", "fd000002")),
    ],
    "tables": [
        *(f"\n[[{table}]]\n".encode() for table in ("vnas", "processes", "addresses", "sockets", "routes")),
        b"\n[[any_tables]]\n",
        b"[[any_tables.addresses]]\n",
        *(f"{key} = ".encode() for key in ("id", "pid", "vnas", "parent", "vlan", "port", "family", "order")),
        *(f"{key} = true\n".encode() for key in ("v6only", "sharing", "freebind")),
        *(f'{key} = "'.encode() for key in ("name", "address", "interface", "protocol", "network")),
        *(b'tcp"\n', b'udp"\n', b'ANY"\n', b'default"\n', b'"10.0.0.1"\n', b'"::1"\n'),
        *(b"embodiment = 2\n", b"embodiment = 1\n"),
    ],
}


def captures(folder: Path | None) -> list[Path]:
    extra = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    return [*sorted((ROOT / "pcaps").glob("*.pcap")), *extra]


def capture_seeds(folder: Path | None) -> Iterator[bytes]:
    files = [path.read_bytes()[: MOST_BYTES - 2] for path in captures(folder)]
    for order, magic in itertools.product("<>", (build.MICROSECONDS, build.NANOSECONDS, build.MODIFIED)):
        files.append(build.pcap_file(build.some_frames(), order, magic))
    files += [build.pcap_file(build.some_frames(), version=version) for version in ((2, 2), (2, 3), (543, 0))]
    for order in "<>":
        frames = build.some_frames(rows=(0, 1))
        options = b"".join(
            (
                build.option(2, b"eth0", order),
                build.option(9, b"\x09", order),
                build.option(14, (5).to_bytes(8, "big" if order == ">" else "little"), order),
                build.option(0, b"", order),
            )
        )
        binary = build.option(9, b"\x8a", order)
        files.append(
            build.section(order, options=build.option(1, b"made", order))
            + build.interface(order, options=options)
            + build.interface(order, 276, 60, options=binary)
            + b"".join(build.enhanced(frame, order) for frame in frames)
            + b"".join(build.obsolete(frame, order) for frame in frames)
            + build.simple(build.Frame(b"simple", 0, 6), order)
            + build.block(5, bytes(16), order)
            + build.pcapng_file(build.some_frames(), "<" if order == ">" else ">")
        )
    for number, data in enumerate(files):
        yield data + bytes([number % 251, number // 7 % 256])


def record(link_type: int, frame: bytes, options: int = 0, seconds: int = 0) -> bytes:
    kind = LINK_TYPES.index(link_type) if link_type in LINK_TYPES else LINK_TYPES.index(105)
    frame = frame[:1500]
    return bytes([kind, options, seconds]) + len(frame).to_bytes(2, "little") + frame


def parse_seeds(folder: Path | None) -> Iterator[bytes]:
    for path in captures(folder):
        rows = []
        try:
            with open_capture(path) as capture:
                while capture.read(64) and len(rows) < 400:
                    types = [capture.interfaces[row].link_type for row in capture.interface_rows.tolist()]
                    frames = build.frames_of_block(capture)
                    rows += [record(kind, frame.data) for kind, frame in zip(types, frames, strict=True)]
        except (VnasError, OSError):
            pass  # what came before the damage is a seed as good as others
        for start in range(0, len(rows), 4):
            yield b"".join(rows[start : start + 4])[:MOST_BYTES]
    yield bytes([14, 0, 0, 96, 0]) + bytes(range(96))


def table_seeds(folder: Path | None) -> Iterator[bytes]:
    del folder
    for path in sorted((ROOT / "pcaps").glob("*.toml")):
        yield b"\0" + path.read_bytes()
    yield b"\0embodiment = 2\n[[processes]]\npid = 2\nvnas = 1\n[[any_tables]]\nname = 'A'\nvnas = 1\n" + (
        b"[[any_tables.addresses]]\naddress = '10.0.0.1'\ninterface = 'eth0'\norder = 1\n"
        b"[[sockets]]\nprotocol = 'tcp'\nport = 80\naddress = 'A'\nfamily = 4\npid = 2\n"
    )
    for step in (1, 3, 5, 7, 11):
        yield b"\x80" + bytes(step * i % 256 for i in range(600))


SEEDS = {"capture": capture_seeds, "parse": parse_seeds, "tables": table_seeds, "replay": capture_seeds}
DICTIONARY["replay"] = DICTIONARY["capture"] + DICTIONARY["parse"]


def write(target: str, corpus: Path, folder: Path | None) -> int:
    """Write a target's first inputs into the corpus folder, and the dictionary beside it; returns their number."""
    corpus.mkdir(parents=True, exist_ok=True)
    for data in SEEDS[target](folder):
        (corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word) + '"\n' for word in DICTIONARY[target])
    corpus.with_name("dictionary").write_text("".join(lines))
    return sum(1 for _ in corpus.iterdir())


if __name__ == "__main__":
    folders = [Path(name) for name in sys.argv[2:]]
    print(write(sys.argv[1], folders[0], folders[1] if len(folders) > 1 else None), "first inputs")
