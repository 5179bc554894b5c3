"""Three VNASs with the same servers, under load, while servers restart, addresses move and tables are reloaded."""

import csv
import itertools
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest
from rule_world import BLUE4, BLUE4B, BLUE6, GREEN4, GREEN6, HERE, NEEDS_KERNEL, RED4, RED6, VNASES, World, tables

_MISSING = [name for name in ("nginx", "dnsmasq", "dig", "curl", "wrk", "tcpdump") if shutil.which(name) is None]
pytestmark = [
    NEEDS_KERNEL,
    pytest.mark.skipif(
        bool(_MISSING),
        reason=f"needs {', '.join(_MISSING)}: apt-get install nginx-light dnsmasq-base dnsutils curl wrk tcpdump",
    ),
]

MOVING, COMING = "10.77.0.61", "10.77.0.62"
FIXED = {address: name for name, (_, addresses) in VNASES.items() for address in addresses}
ECHO = 7000
_NGINX = """
daemon off; worker_processes 2; pid nginx.pid; error_log error.log; events { worker_connections 4096; }
http {
    log_format who "$server_addr $remote_addr $remote_port"; access_log access.log who;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    server { listen 80 reuseport; listen [::]:80; root html; }
}
"""
_ECHO = """
import os, selectors, socket, sys
name, log = sys.argv[1:]
waiting = selectors.DefaultSelector()
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
four.bind(("0.0.0.0", 7000))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
six.bind(("::", 7000))
for made in (four, six):
    waiting.register(made, selectors.EVENT_READ)
with open(log, "a", buffering=1) as log:
    while True:
        for key, _ in waiting.select():
            payload, peer = key.fileobj.recvfrom(2000)
            log.write(f"{peer[0]} {peer[1]}\\n")
            key.fileobj.sendto(payload + b" " + name.encode(), peer)
"""


class Farm:
    """The servers of all VNASs: start, restart."""

    def __init__(self, world):
        self.world = world
        self.processes = {}
        for name in VNASES:
            folder = world.folder / name
            (folder / "html").mkdir(parents=True)
            (folder / "html" / "index.html").write_text(f"{name}\n")
            (folder / "nginx.conf").write_text(_NGINX)
            folder.chmod(0o755)

    def command(self, name, kind):
        folder = self.world.folder / name
        return {
            "nginx": (
                "nginx",
                "-p",
                f"{folder}/",
                "-c",
                "nginx.conf",
                "-g",
                f"user {'nobody nogroup' if name == 'blue' else 'www-data'};",
            ),
            "dns": (
                *(
                    "dnsmasq",
                    "--keep-in-foreground",
                    "--conf-file=/dev/null",
                    "--no-resolv",
                    "--no-hosts",
                    "--user=nobody",
                ),
                *(f"--pid-file={folder}/dns.pid", f"--txt-record=who.test,{name}", "--cache-size=0"),
            ),
            "echo": (sys.executable, "-c", _ECHO, name, f"{folder}/echo.log"),
        }[kind]

    def start(self, name, kind):
        self.processes[name, kind] = self.world.start(
            name, *self.command(name, kind), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )

    def stop(self, name, kind):
        process = self.processes.pop((name, kind))
        process.send_signal(signal.SIGTERM)
        process.wait(20)


class Tally:
    """Answers that were right, by family, those that were another's, and questions without an answer."""

    def __init__(self):
        self.right = {4: 0, 6: 0}
        self.silent = self.late = 0
        self.astray = []
        self.lock = threading.Lock()

    def add(self, kind, address, answered, expected):
        with self.lock:
            if answered is None:
                self.silent += 1
            elif answered in expected:
                self.right[family_of(address)] += 1
            else:
                self.astray.append((kind, address, answered))

    def has(self, wanted):
        """Tell whether so many answers were right, and a tenth of them in each family at least."""
        return sum(self.right.values()) >= wanted and min(self.right.values()) >= wanted // 10


def family_of(address):
    return 6 if ":" in address else 4


def expected_of(address):
    if address in FIXED:
        return {FIXED[address]}
    return {"blue", "green"} if address == MOVING else {"red"}


def ask_http(world, tally, stop):
    """Keep wrk and curl at it, one connection for each request."""
    for address in itertools.cycle([BLUE4, GREEN4, RED6, BLUE4B, GREEN6, RED4, BLUE6]):
        if stop.is_set():
            return
        url = f"http://[{address}]/" if ":" in address else f"http://{address}/"
        made = world.among_clients(
            "wrk", "-t1", "-c32", f"-d{world.slice}s", "-s", str(HERE / "rule_load.lua"), url, "--", FIXED[address]
        )
        for line in made.stdout.splitlines():
            if line.startswith("ANSWERS"):
                right, wrong = map(int, line.split()[1:3])
                with tally.lock:
                    tally.right[family_of(address)] += right
                    tally.astray += [("http", address)] * wrong
        for other in (MOVING, COMING):
            got = world.among_clients("curl", "-s", "-m", "2", f"http://{other}/").stdout.strip()
            tally.add("curl", other, got or None, expected_of(other))


def ask_dns(world, tally, stop):
    for address in itertools.cycle(FIXED):
        if stop.is_set():
            return
        made = world.among_clients("dig", "+short", "+tries=1", "+time=1", f"@{address}", "who.test", "TXT")
        answer = made.stdout.strip().strip('"')
        silent = made.returncode or ";;" in answer or not answer
        tally.add("dns", address, None if silent else answer, expected_of(address))


def ask_echo(world, tally, stop):
    """One socket asks all addresses in turns, and an answer must come from the address asked."""
    four, six = world.socket(socket.SOCK_DGRAM), world.socket(socket.SOCK_DGRAM, "::")
    with four, six:
        for number, address in enumerate(itertools.cycle([*FIXED, MOVING])):
            if stop.is_set():
                return
            client = six if ":" in address else four
            client.settimeout(0.2)
            try:
                client.sendto(str(number).encode(), (address, ECHO))
                while True:
                    answer, source = client.recvfrom(200)
                    which, name = answer.decode().split()
                    if which == str(number):
                        break
            except OSError:  # no answer in time, or the port was closed for a moment
                tally.add("echo", address, None, ())
                continue
            if address == MOVING and FIXED.get(source[0]) == name:
                tally.late += 1  # the address went to the other VNAS before the answer, which may not leave from it now
                continue
            said = name if source[0] == address else f"{name} from {source[0]}"
            tally.add("echo", address, said, expected_of(address))


def disturb(world, farm, stop, done):
    """Restart servers, reload tables, add and remove an address, kill an "up" half-way."""
    rest = {name: addresses for name, (_, addresses) in VNASES.items()}
    services = [
        (name, *service)
        for name in VNASES
        for service in (("tcp", 80, "ANY"), ("udp", ECHO, "ANY"), ("udp", 53, "ANY"))
    ]
    chance = random.Random(1)
    owners = itertools.cycle(["green", "blue"])
    coming = False
    while not stop.is_set():
        name, kind = chance.choice(list(farm.processes))
        farm.stop(name, kind)
        farm.start(name, kind)
        owner = next(owners)
        changed = {
            name: (
                VNASES[name][0],
                [*rest[name], *([MOVING] if name == owner else []), *([COMING] if coming and name == "red" else [])],
            )
            for name in VNASES
        }
        world.up(tables(changed, services), command="reload")
        action = "del" if coming else "add"
        where = (COMING,) if coming else (f"{COMING}/24", "dev", "srv")
        assert world.vnasfast("addr", action, *where, "--vnas", "red").returncode == 0
        coming = not coming
        world.kill_up(chance.random() * 0.4)
        coming = COMING in world.status()["red"]["addresses"]
        done.append((name, kind))


@pytest.mark.parametrize(
    ("wanted", "most_seconds"),
    [(1_000, 120), pytest.param(1_000_000, 6_000, marks=pytest.mark.long)],
)
def test_no_answer_goes_astray(wanted, most_seconds):
    # The servers run as users who may not look into pytest's folders.
    with tempfile.TemporaryDirectory(prefix="vnasfast-") as folder, World(Path(folder)) as world:
        world.folder.chmod(0o755)
        world.slice = 2 if wanted < 100_000 else 10  # seconds of wrk at one address
        services = [
            (name, *service)
            for name in VNASES
            for service in (("tcp", 80, "ANY"), ("udp", ECHO, "ANY"), ("udp", 53, "ANY"))
        ]
        world.up(tables(services=services))
        farm = Farm(world)
        for name in VNASES:
            for kind in ("nginx", "dns", "echo"):
                farm.start(name, kind)
        wait_for(world)
        capture = start_capture(world)
        tallies = {ask: Tally() for ask in (ask_http, ask_dns, ask_echo)}
        stop, changes, problems = threading.Event(), [], []

        def guarded(function, *arguments):
            try:
                function(*arguments)
            except BaseException as error:
                problems.append(error)
                raise

        threads = [threading.Thread(target=guarded, args=(ask, world, tally, stop)) for ask, tally in tallies.items()]
        threads.append(threading.Thread(target=guarded, args=(disturb, world, farm, stop, changes)))
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + most_seconds
        while time.monotonic() < deadline and not problems and (not tallies[ask_http].has(wanted) or len(changes) < 4):
            time.sleep(0.2)
        stop.set()
        for thread in threads:
            thread.join()
        time.sleep(0.5)
        capture.terminate()
        capture.wait()
        for ask, tally in tallies.items():
            right = f"{tally.right[4]:,} right over IPv4, {tally.right[6]:,} over IPv6"
            print(f"{ask.__name__}: {right}, {len(tally.astray)} astray, {tally.silent:,} without an answer")
        print(f"{tallies[ask_echo].late} answers came after the address had moved, from another of their VNAS")
        print(f"{len(changes)} rounds of a restart, a reload, an address added or removed, and an 'up' that was killed")
        assert not problems
        assert [tally.astray for tally in tallies.values()] == [[], [], []]
        assert tallies[ask_http].has(wanted)
        assert all(tally.has(20) for tally in tallies.values())
        assert len(changes) >= 3
        compare_with_capture(world)


def wait_for(world):
    """Wait until all servers answer."""
    for address, name in FIXED.items():
        host = f"[{address}]" if ":" in address else address
        got = world.among_clients(
            "curl", "-s", "--retry", "50", "--retry-connrefused", "--retry-delay", "0", "-m", "5", f"http://{host}/"
        )
        assert got.stdout.strip() == name, got
        for _ in range(50):
            made = world.among_clients("dig", "+short", "+tries=1", "+time=1", f"@{address}", "who.test", "TXT")
            if name in made.stdout:
                break
        else:
            pytest.fail(f"the DNS server at {address} does not answer: {made.stdout}")


def start_capture(world):
    """Capture the first packets of all questions: enough for the comparison, and bounded."""
    command = ["tcpdump", "-ni", "srv", "-U", "-s", "96", "-c", "100000", "-w", str(world.folder / "load.pcap")]
    questions = f"dst port {ECHO} or (dst port 80 and tcp[tcpflags] & (tcp-syn|tcp-ack) == tcp-syn)"
    capture = subprocess.Popen(
        ["nsenter", f"--net=/run/netns/{world.servers}", *command, questions], stderr=subprocess.PIPE, text=True
    )
    world.running.append(capture)
    while "listening on" not in (line := capture.stderr.readline()):
        assert line, "tcpdump ended"
    return capture


def compare_with_capture(world):
    """The replay of the capture names the VNAS whose server has the question in its log."""
    deliveries = world.folder / "deliveries.csv"
    made = world.vnasfast(
        "replay",
        world.folder / "load.pcap",
        "--tables",
        world.folder / "tables.toml",
        "--deliveries",
        deliveries,
        "--quiet",
    )
    assert made.returncode == 0, made.stderr
    receivers = {}
    with open(deliveries, newline="") as file:
        for row in csv.DictReader(file):
            if row["destination"] in FIXED and row["vnas"]:
                key = (row["destination"], int(row["destination_port"]), row["source"], int(row["source_port"]))
                receivers.setdefault(key, set()).add(int(row["vnas"]))
    receivers = {key: frozenset(found) for key, found in receivers.items()}
    compared = 0
    for name, (number, addresses) in VNASES.items():
        for line in (world.folder / name / "access.log").read_text().splitlines():
            local, remote, port = line.split()
            found = receivers.get((local, 80, remote, int(port)))
            if found:
                assert found == {number}
                compared += 1
        asked = {tuple(line.split()) for line in (world.folder / name / "echo.log").read_text().splitlines()}
        for remote, port in asked:
            found = [receivers.get((address, ECHO, remote, int(port))) for address in addresses]
            assert set(found) <= {None, frozenset({number})}
    assert compared > 200
    print(f"{compared:,} connections of the servers' logs: the replay names the same receiver")
