"""What the kernel's part costs: connections a second with and without it, and nanoseconds of its lookup.

Two worlds stand side by side, each with the same servers: in one they are processes like any other, in the other they
are in a VNAS. Many short pairs, the order in a pair alternating, so that what else the machine does falls on both; of
their ratios the median, and between which values the true median is with 95 % confidence. Servers and clients share
one core, so that whatever the programs take, on either side, is missing for connections; what else runs there waits
for them (nice -20). As root:

    python benchmarks/rule_cost.py --pairs 120
"""

import argparse
import json
import math
import os
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from rule_world import BLUE4, BLUE6, CLIENT4, CLIENT6, HOST4, HOST6, VNASES, World, tables, why_not

_CONFIG = """
daemon off; worker_processes 1; pid nginx.pid; error_log error.log; events { worker_connections 4096; }
http { access_log off; keepalive_timeout 0; server { listen 80; listen [::]:80; return 200 x; } }
"""
_SCRIPT = """
function done(summary, latency)
  local errors = summary.errors
  -- not errors.read, which counts each connection's end
  local failed = errors.connect + errors.write + errors.status + errors.timeout
  print("DONE", summary.requests / summary.duration * 1e6, latency:percentile(99), failed)
end
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


def connections(world: World, address: str, script: Path) -> tuple[float, float]:
    """Ask for connections a second and the 99th percentile of the latency in microseconds, for half a second."""
    url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
    wrk = ("wrk", "-t1", "-c8", "-d9s", "-s", str(script), url)
    made = world.among_clients("timeout", "--signal=INT", "0.5", *wrk).stdout
    rate, slowest, failed = map(float, made.rpartition("DONE")[2].split())
    assert not failed, made
    return rate, slowest


def echoes(world: World, count: int) -> tuple[float]:
    """Ask a UDP echo server in turns, and say how many answers a second there are."""
    with world.socket(2) as client:
        start = time.perf_counter()
        for _ in range(count):
            client.sendto(b"?", (BLUE4, 53))
            client.recv(100)
        return (count / (time.perf_counter() - start),)


def in_pairs(count: int, plain: Callable[[], Sequence[float]], ruled: Callable[[], Sequence[float]]) -> list[str]:
    """Measure in pairs. Gives for each figure its median without the programs, and the ratio with them to that."""
    plain(), ruled()  # a rehearsal
    pairs = []
    for number in range(count):
        if number % 2:
            with_them = ruled()
            pairs.append((plain(), with_them))
        else:
            pairs.append((plain(), ruled()))
    texts = []
    for figure in zip(*(zip(*pair, strict=True) for pair in pairs), strict=True):
        low, middle, high = median_and_bounds([ruled / plain for plain, ruled in figure])
        without = statistics.median(plain for plain, _ in figure)
        texts.append(f"{without:,.0f} without, with {middle:.3f} of it ({low:.3f} to {high:.3f})")
    return texts


def median_and_bounds(values: Sequence[float]) -> tuple[float, float, float]:
    """Give the median, and the ranks between which that of the population is with 95 % confidence (binomial)."""
    ranked = sorted(values)
    reach = 0.98 * math.sqrt(len(ranked))
    low = max(0, math.floor(len(ranked) / 2 - reach))
    return ranked[low], statistics.median(ranked), ranked[len(ranked) - 1 - low]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=120, help="For each family, a second each. Default: 120.")
    parser.add_argument("--core", type=int, default=max(os.sched_getaffinity(0)), help="Default: the last.")
    options = parser.parse_args()
    if why_not():
        sys.exit(why_not())
    os.sched_setaffinity(0, {options.core})  # and with this process all that it starts
    os.nice(-20)
    with tempfile.TemporaryDirectory() as name, World(Path(name)) as plain, World(Path(name)) as ruled:
        script = Path(name) / "done.lua"
        script.write_text(_SCRIPT)
        ruled.up(tables())
        start_nginx(plain, Path(name) / "plain", ruled=False)
        start_nginx(ruled, Path(name) / "ruled", ruled=True)
        plain.serve(None, "udp:0.0.0.0:53", name="plain")
        ruled.serve("blue", "udp:0.0.0.0:53")
        lookups(ruled)
        print(f"{options.pairs} pairs on core {options.core}")
        for family, address in (("IPv4", BLUE4), ("IPv6", BLUE6)):
            rate, latency = in_pairs(
                options.pairs,
                lambda address=address: connections(plain, address, script),
                lambda address=address: connections(ruled, address, script),
            )
            print(f"TCP {family}, connections/s: {rate}")
            print(f"TCP {family}, p99 latency in µs: {latency}")
        (rate,) = in_pairs(options.pairs, lambda: echoes(plain, 4000), lambda: echoes(ruled, 4000))
        print(f"UDP IPv4, answers/s: {rate}")


def lookups(world):
    """Run the lookup program alone."""
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
