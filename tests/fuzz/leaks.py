"""Nothing grows: what is opened and closed, made and dropped, registered and removed leaves the memory as it was.

Under AddressSanitizer (see sanitized.py) the bytes allocated are known exactly, and with PYTHONMALLOC=malloc those of
Python's objects are among them; without it, the size of the process tells less exactly.
"""

import ctypes
import gc
import gzip
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import captures_builder as build
import numpy as np

from vnasfast import ServerMachine, TableFileError, flow_keys
from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError
from vnasfast.parse import FragmentTable

WARM_UP = 30
ROUNDS = 150
# Far below one leaked object a round, of the smallest kind that there is.
ALLOWED_BYTES = 8 * ROUNDS
ALLOWED_RSS_BYTES = 4 << 20
PCAPS = Path(__file__).resolve().parents[2] / "pcaps"


def allocated() -> tuple[int, int]:
    """Give the bytes in use, and how many more of them would be a leak."""
    gc.collect()
    try:
        exact = ctypes.CDLL(None).__sanitizer_get_current_allocated_bytes
    except AttributeError:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * 4096, ALLOWED_RSS_BYTES
    exact.restype = ctypes.c_size_t
    return exact(), ALLOWED_BYTES


machine = ServerMachine(seed=3)
frames = build.some_frames(40)
pcapng = build.pcapng_file(frames) + build.section() + build.interface(options=build.option(2, b"eth0"))
files = [
    build.pcap_file(frames),
    build.pcap_file(frames)[:-5],
    build.pcap_file(frames)[:60] + b"\xff" * 60,
    pcapng,
    pcapng[:-3],
    gzip.compress(pcapng),
    gzip.compress(pcapng)[:-20],
    b"no capture",
    b"",
]
texts = [path.read_text() for path in sorted(PCAPS.glob("*.toml"))]


def register_and_remove(number: int) -> None:
    """Processes, addresses, sockets and routes of ever new numbers."""
    server = machine.vnas_start(1, 1 + number % 3)
    child = machine.fork(server)
    for i in range(40):
        address = f"10.{number % 250}.{i}.1" if i & 1 else f"fd00:{number:x}::{i:x}"
        machine.validate(server, address, "eth0", vlan=i % 3)
        machine.bind(child, "tcp", 1 + (97 * number + i) % 65000, address, sharing=True)
        machine.bind(server, "tcp", 1 + (97 * number + i) % 65000, address, sharing=True)
        machine.bind(child, "udp", 1 + (97 * number + i) % 65000)
        machine.set_route(f"10.{number % 250}.{i}.0/24", "eth0")
    keys = flow_keys(destination=[f"10.{number % 250}.{i}.1" for i in range(40)], destination_port=80, protocol="tcp")
    machine.dispatch_batch(keys)
    machine.explain_key(keys[0])
    for i in range(40):
        machine.invalidate(server, f"10.{number % 250}.{i}.1" if i & 1 else f"fd00:{number:x}::{i:x}", vlan=i % 3)
        machine.remove_route(f"10.{number % 250}.{i}.0/24")
    machine.exit(child)
    machine.exit(server)
    assert machine.sockets == machine.addresses == []
    assert len(machine.processes) == 1
    machine.check()


def make_machines(number: int) -> None:
    """Machines from table files, sound and with a mistake."""
    for text in texts:
        made = ServerMachine.from_toml(text, seed=number)
        made.to_toml(embodiment=2)
        try:
            ServerMachine.from_toml(text.replace("pid = ", "pid = 9", 1 + number % 5))
        except TableFileError:
            continue


def open_and_close(number: int) -> None:
    """Captures of all kinds: read whole, read in part, damaged; from memory, streamed, mapped."""
    with tempfile.NamedTemporaryFile() as file:
        for data in files:
            file.seek(0)
            file.truncate()
            file.write(data)
            file.flush()
            for target in (data, io.BytesIO(data), file.name):
                try:
                    with open_capture(target, block_frames=7) as capture:
                        while capture.read() and (number & 1):
                            capture.times_ns.sum()
                except CaptureError:
                    continue


def follow_fragments(number: int) -> None:
    """Fragment tables that fill up and are dropped."""
    keys = flow_keys(destination=["10.0.0.1"] * 50, destination_port=range(1, 51), protocol="udp")
    keys["status"] = np.where(np.arange(50) % 2, -7, 1)
    keys["fragment_id"] = np.arange(50) // 2 + number
    table = FragmentTable(16)
    table.follow(keys)
    table.copy().reset()
    machine.fragments.follow(keys)
    machine.fragments.reset()


def growth(action: Callable[[int], None]) -> tuple[int, int]:
    """Bytes that many rounds leave behind after a warm-up, and how many are no leak."""
    for number in range(WARM_UP):
        action(number)
    before, allowed = allocated()
    for number in range(WARM_UP, WARM_UP + ROUNDS):
        action(number)
    return allocated()[0] - before, allowed


def main() -> int:
    """Try each action; 1 if one of them grows."""
    code = 0
    for action in (register_and_remove, make_machines, open_and_close, follow_fragments):
        bytes_left, allowed = growth(action)
        print(f"{action.__name__}: {bytes_left:+,} bytes after {ROUNDS} rounds (allowed: {allowed:,})", flush=True)
        code |= bytes_left > allowed
    return code


if __name__ == "__main__":
    sys.exit(main())
