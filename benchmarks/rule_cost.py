"""What the kernel's part costs: connections a second with and without it, and nanoseconds of its lookup.

Two worlds run side by side, each with the same nginx: in one it is a process like any other, in the other it is in a
VNAS. wrk asks them in turns, a connection for each request, so that what else the machine does falls on both. As root:

    python benchmarks/rule_cost.py --rounds 7 --seconds 2
"""

import argparse
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rule_world import BLUE4, BLUE6, CLIENT4, CLIENT6, HOST4, HOST6, VNASES, World, tables, why_not

_CONFIG = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log; events { worker_connections 4096; }
http { access_log off; keepalive_timeout 0; server { listen 80; listen [::]:80; return 200 x; } }
"""
_LOOKUPS = """
import json, struct, sys
from vnasfast.host.rule import loader
from vnasfast.host.rule.engine import Rule
rule = Rule()
answers = []
for context in json.loads(sys.stdin.read()):
    runs = [loader.test_run(rule.places.programs / "vnas_dispatch", bytes.fromhex(context), 200_000) for _ in range(5)]
    answers.append(min(ns for _, ns in runs))
print(json.dumps(answers))
"""


def context(local, port, remote, protocol):
    """Write a struct bpf_sk_lookup."""
    local, remote = ip_address(local), ip_address(remote)
    four = local.version == 4
    row = struct.pack("=QII", 0, 2 if four else 10, protocol)
    row += (remote.packed + bytes(16)) if four else (bytes(4) + remote.packed)
    row += struct.pack(">HH", 40000, 0)
    row += (local.packed + bytes(16)) if four else (bytes(4) + local.packed)
    return (row + struct.pack("=II", port, 0)).ljust(72, b"\0").hex()


def start_nginx(world, folder, ruled):
    folder.mkdir()
    (folder / "nginx.conf").write_text(_CONFIG)
    command = ["nginx", "-p", f"{folder}/", "-c", "nginx.conf"]
    if ruled:
        world.start("blue", *command)
    else:
        for address in (*VNASES["blue"][1],):
            length = 128 if ":" in address else 32
            world.among_servers("ip", "addr", "add", f"{address}/{length}", "dev", "srv", check=True)
        world.running.append(subprocess.Popen(["nsenter", f"--net=/run/netns/{world.servers}", *command]))
    host = f"http://{BLUE4}/"
    got = world.among_clients("curl", "-s", "--retry", "50", "--retry-connrefused", "--retry-delay", "0", host)
    assert got.stdout == "x", got


def measure(world, address, seconds):
    """Ask for connections a second and the 99th percentile of the latency in microseconds."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    made = world.among_clients("wrk", "-t1", "-c8", f"-d{seconds}s", "--latency", url, check=True).stdout
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", made)[1])
    number, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", made).groups()
    return rate, float(number) * {"us": 1, "ms": 1e3, "s": 1e6}[unit]


def echo_time(world, address, count):
    """Ask a UDP echo server in turns, and say how long an answer takes in microseconds."""
    start = time.perf_counter()
    with world.socket(2) as client:
        for _ in range(count):
            client.sendto(b"?", (address, 53))
            client.recv(100)
    return (time.perf_counter() - start) / count * 1e6


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=int, default=2)
    options = parser.parse_args()
    if why_not():
        sys.exit(why_not())
    with tempfile.TemporaryDirectory() as name, World(Path(name)) as plain, World(Path(name)) as ruled:
        ruled.up(tables())
        start_nginx(plain, Path(name) / "plain", ruled=False)
        start_nginx(ruled, Path(name) / "ruled", ruled=True)
        plain.serve(None, "udp:0.0.0.0:53", name="plain")
        ruled.serve("blue", "udp:0.0.0.0:53")
        lookups(ruled)
        for family, address in (("IPv4", BLUE4), ("IPv6", BLUE6)):
            pairs = [
                (measure(plain, address, options.seconds), measure(ruled, address, options.seconds))
                for _ in range(options.rounds)
            ]
            without, rates, slower = (
                statistics.median(pair[0][0] for pair in pairs),
                statistics.median(pair[1][0] / pair[0][0] for pair in pairs),
                statistics.median(pair[1][1] / pair[0][1] for pair in pairs),
            )
            print(
                f"TCP {family}: {without:,.0f} connections/s without; with: {rates:.3f} of it, p99 {slower:.3f} of it"
            )
        pairs = [(echo_time(plain, BLUE4, 3000), echo_time(ruled, BLUE4, 3000)) for _ in range(options.rounds)]
        without = statistics.median(pair[0] for pair in pairs)
        slower = statistics.median(pair[1] / pair[0] for pair in pairs)
        print(f"UDP IPv4: {without:.1f} µs a round trip without; with: {slower:.3f} of it")


def lookups(world):
    """Run the lookup program alone."""
    import json  # noqa: PLC0415
    import os  # noqa: PLC0415

    cases = {
        "TCP IPv4, ANY socket": context(BLUE4, 80, CLIENT4, 6),
        "TCP IPv6, ANY socket": context(BLUE6, 80, CLIENT6, 6),
        "UDP IPv4, ANY socket": context(BLUE4, 53, CLIENT4, 17),
        "NO_SOCKET": context(BLUE4, 81, CLIENT4, 6),
        "address of no VNAS, IPv4": context(HOST4, 80, CLIENT4, 6),
        "address of no VNAS, IPv6": context(HOST6, 80, CLIENT6, 6),
    }
    world.ask_udp(BLUE4, 53)
    made = world.among_servers(
        *(sys.executable, "-c", _LOOKUPS.replace("Rule()", f"Rule({world.instance!r})")),
        input=json.dumps(list(cases.values())),
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )
    assert made.returncode == 0, made.stderr
    for case, nanoseconds in zip(cases, json.loads(made.stdout), strict=True):
        print(f"lookup, {case}: {nanoseconds} ns")


if __name__ == "__main__":
    main()
