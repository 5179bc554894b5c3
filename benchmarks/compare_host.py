"""Reading a machine with many sockets and their processes: vnasfast, ss and psutil, in turns.

In a network namespace of its own; the sockets are of several processes, because one may have so many files only::

    python benchmarks/compare_host.py --sockets 20000
"""

import contextlib
import ctypes
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from ipaddress import IPv6Address

import click
import numpy as np
from tabulate import tabulate

from vnasfast import FLOW_KEY
from vnasfast.host import snapshot
from vnasfast.host.agreement import receivers
from vnasfast.host.tables import tables_of

CLONE_NEWNET = 0x40000000
#: Of each ten sockets of a process: TCP listeners, UDP sockets; the rest are ends of connections.
LISTENERS, UDP = 5, 3


@click.command()
@click.option("--sockets", default=20_000, show_default=True, help="How many sockets there are.")
@click.option("--processes", default=4, show_default=True, help="How many processes hold them.")
@click.option("--rounds", default=5, show_default=True, help="How often each reader reads; the median is shown.")
@click.option("--questions", default=200_000, show_default=True, help="Packets that tables and kernel dispatch.")
def main(sockets: int, processes: int, rounds: int, questions: int) -> None:
    """Measure how long it takes to list all sockets with their processes, and ask the kernel whether they are right."""
    enter_netns()
    children = [start_holder(place, sockets // processes) for place in range(processes)]
    try:
        for told, _tell in children:
            os.read(told, 1)
        click.echo(tabulate(measure(rounds), headers="keys", floatfmt=".3f"))
        n, differing, seconds = ask_both(questions)
        click.echo(f"tables made in {seconds:.2f} s; of {n:,} packets, the kernel gives {differing:,} to others")
    finally:
        for told, tell in children:
            os.close(told)
            os.close(tell)
        for _ in children:
            os.wait()


def enter_netns() -> None:
    """Leave the network of this machine alone."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise click.ClickException(f"no network namespace of its own: {os.strerror(ctypes.get_errno())}; run as root")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)


def start_holder(place: int, n: int) -> tuple[int, int]:
    """Start a process that holds `n` sockets until the second file descriptor is closed."""
    told, told_end = os.pipe()
    wait, tell = os.pipe()
    if os.fork() == 0:
        for fd in (told, tell):
            os.close(fd)
        kept = hold(f"127.0.1.{place + 1}", n)
        os.write(told_end, b".")
        os.close(told_end)
        with contextlib.suppress(OSError):
            os.read(wait, 1)
        os._exit(len(kept) != n)
    os.close(told_end)
    os.close(wait)
    return told, tell


def hold(address: str, n: int) -> list[socket.socket]:
    """Make sockets: listeners, UDP sockets and both ends of connections."""
    kept = []
    listeners = n * LISTENERS // 10
    for port in range(listeners):
        kept.append(socket.create_server((address, 1025 + port)))
    for port in range(n * UDP // 10):
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind((address, 1025 + port))
        kept.append(made)
    while len(kept) + 2 <= n:
        server = kept[len(kept) % listeners]
        kept.append(socket.create_connection(server.getsockname()))
        kept.append(server.accept()[0])
    if len(kept) < n:
        kept.append(socket.create_server((address, 0)))
    return kept


def measure(rounds: int) -> list[dict[str, object]]:
    """Time each reader, in turns."""
    readers = dict(available())
    seconds: dict[str, list[float]] = {name: [] for name in readers}
    found = {}
    for _ in range(rounds + 1):
        for name, reader in readers.items():
            started = time.perf_counter()
            found[name] = reader()
            seconds[name].append(time.perf_counter() - started)
    ours = statistics.median(seconds["vnasfast.host.snapshot()"][1:])
    return [
        {
            "reader": name,
            "sockets": found[name],
            "seconds": statistics.median(times[1:]),  # the first is a rehearsal
            "times ours": statistics.median(times[1:]) / ours,
        }
        for name, times in seconds.items()
    ]


def ask_both(n: int) -> tuple[int, int, float]:
    """Compare tables and kernel: packets from known peers and from strangers, to sockets and to ports beside them."""
    host = snapshot()
    started = time.perf_counter()
    tables = tables_of(host)
    seconds = time.perf_counter() - started
    random = np.random.default_rng(1)
    rows = host.sockets[random.integers(len(host.sockets), size=n)]
    keys = np.zeros(n, FLOW_KEY)
    keys["destination"], keys["destination_port"] = rows["local"], rows["local_port"]
    keys["source"], keys["source_port"], keys["protocol"] = rows["remote"], rows["remote_port"], rows["protocol"]
    strange = (rows["remote_port"] == 0) | (random.random(n) < 0.3)
    keys["source"][strange] = np.frombuffer(IPv6Address("::ffff:127.0.9.9").packed, np.uint8)
    keys["source_port"][strange] = random.integers(1, 65536, size=n)[strange]
    beside = random.random(n) < 0.1
    keys["destination_port"][beside] += 1
    keys["source_pid"] = tables.process_in(host.namespaces[0].name)
    ours, kernel = receivers(host, tables, keys)
    return n, int((ours != kernel).sum()), seconds


def available() -> list[tuple[str, Callable[[], int]]]:
    """List the readers that are installed; each gives the number of sockets that it found."""
    command = [sys.executable, "-m", "vnasfast", "host", "--json"]
    readers: list[tuple[str, Callable[[], int]]] = [
        ("vnasfast.host.snapshot()", lambda: len(snapshot().sockets)),
        ("  without options", lambda: len(snapshot(options=False).sockets)),
        ("vnasfast host --json", lambda: printed(command).count(b'"inode"') - 1),
    ]
    if shutil.which("ss"):
        readers.append(("ss -anutp", lambda: printed(["ss", "-anutpH"]).count(b"\n")))
    with contextlib.suppress(ImportError):
        import psutil  # noqa: PLC0415 (may be missing)

        readers.append(("psutil.net_connections()", lambda: len(psutil.net_connections("inet"))))
    return readers


def printed(command: list[str]) -> bytes:
    """Run a command as a person does; give what it prints."""
    return subprocess.run(command, capture_output=True, check=True).stdout


if __name__ == "__main__":
    main()
