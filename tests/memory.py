"""Replay a capture as long as wanted through a pipe, or from a file, and hold that memory stays flat.

    python tests/memory.py --gigabytes 20
    python tests/memory.py --gigabytes 4 --file

The capture repeats the frames of pcaps/corners.pcap, with fragments and every outcome among them, and full-sized ones.
"""

import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click

ROOT = Path(__file__).parents[1]
PIECE_BYTES = 1 << 22
MOST_MEGABYTES = 150


def piece() -> bytes:
    """Records of some MiB, to be written again and again."""
    corners = (ROOT / "pcaps" / "corners.pcap").read_bytes()[24:]
    full = struct.pack("<IIII", 1_700_000_000, 0, 1514, 1514) + bytes(1514)
    some = corners + 20 * full
    return some * (PIECE_BYTES // len(some))


def write(path: int, records: bytes, n: int) -> None:
    """Write a capture of the records, n times."""
    with open(path, "wb", buffering=0) as file:
        file.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for _ in range(n):
            left = memoryview(records)
            while left:
                left = left[file.write(left) :]


@click.command()
@click.option("--gigabytes", type=float, default=1.0, show_default=True, help="Size of the capture.")
@click.option("--file", "from_file", is_flag=True, help="Write it to a temporary file, and replay that.")
def main(gigabytes: float, from_file: bool) -> None:
    """Hold that a replay of a long capture takes at most 150 MB."""
    records = piece()
    n = max(1, round(gigabytes * 1e9 / len(records)))
    command = [sys.executable, "-m", "vnasfast.replay", "--quiet", "--tables", str(ROOT / "pcaps" / "corners.toml")]
    with tempfile.NamedTemporaryFile(prefix="vnasfast-", suffix=".pcap") as file:
        started = time.monotonic()
        if from_file:
            write(os.dup(file.fileno()), records, n)
            started = time.monotonic()
            process = subprocess.Popen([*command, file.name], cwd=ROOT)
        else:
            process = subprocess.Popen([*command, "-"], cwd=ROOT, stdin=subprocess.PIPE)
            write(os.dup(process.stdin.fileno()), records, n)
            process.stdin.close()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    seconds = time.monotonic() - started
    size = n * len(records) / 1e9
    megabytes = usage.ru_maxrss * 1024 / 1e6
    click.echo(f"{size:.1f} GB in {seconds:.1f} s, exit code {process.returncode}: {megabytes:.0f} MB at most")
    if process.returncode != 0 or megabytes > MOST_MEGABYTES:
        raise click.ClickException(f"wanted exit code 0 and at most {MOST_MEGABYTES} MB")


if __name__ == "__main__":
    main()
