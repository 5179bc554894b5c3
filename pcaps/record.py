#!/usr/bin/env python3
"""Record three identical server machines at work, with the truth of who answered each request.

Four network namespaces (a client and the machines alpha, beta, gamma) hang on a bridge in a fifth. On each
machine the same unmodified nginx waits on the ANY address of TCP port 80 and the same unmodified dnsmasq on
the ANY address of port 53, UDP and TCP: all three read one and the same configuration file. curl and dig ask
them, tcpdump listens at the client's interface, where each frame passes once, ARP and neighbour discovery
included. No packet leaves the namespaces that this script made, and nothing stays behind, also after a
failure or Ctrl-C. Linux, root, under 30 seconds.

Three files are written:

``three-servers.pcap``
    the frames: Ethernet, microseconds.
``three-servers.toml``
    the tables of one machine that has the three machines' addresses, processes and sockets. Sockets are those
    that ``ss`` shows on each machine; VNAS 1 is alpha, 2 beta, 3 gamma.
``three-servers-truth.csv``
    one row per request that a server answered:

    =============  ==================================================================================
    server         the machine whose own log holds the token (the truth; it knows nothing of the frames)
    vnas           that machine's VNAS ID in the tables
    service        nginx or dnsmasq
    protocol       tcp or udp
    client         the client's address, from the server's log
    client_port    the client's port, from the server's log
    address        the server's address: nginx's from its log, dnsmasq's from the question's command line
    port           the server's port: nginx's from its log, dnsmasq's the one it listens on
    token          unique in the capture: in the URL (``?token=...``) or the first label of the name asked for
    =============  ==================================================================================

    The frames of a request are those from (client, client_port) to (address, port) by protocol; the one that
    carries the token is the request itself. One UDP client port asks all three machines in turn, so that only
    the server's address tells them apart.

A run fails, and leaves the old files alone, if a request is missing in the logs, is logged twice or by a
machine that does not have the address asked, or if a response names another machine.
"""

import argparse
import csv
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import astuple, dataclass, fields
from functools import partial
from pathlib import Path
from types import FrameType

from lab import PACKAGES, Lab, Machine, RecordError, find_program, laboratory, wait_until

TIME_LIMIT_S = 30
CLIENT_IPV4, CLIENT_IPV6 = "10.1.0.1", "fd00:1::1"
SHARED_UDP_PORT = 40053
NOBODY = ("10.1.0.99", "[fd00:1::99]")
UNSERVED_PORT = {"tcp": 81, "udp": 9}

NGINX_CONFIG = """\
daemon off;
user root;
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 64; }
http {
    log_format truth '$remote_addr $remote_port $server_addr $server_port $request_uri';
    access_log access.log truth;
    default_type text/plain;
    client_body_temp_path tmp;
    proxy_temp_path tmp;
    fastcgi_temp_path tmp;
    uwsgi_temp_path tmp;
    scgi_temp_path tmp;
    server {
        listen 80;
        listen [::]:80;
        root html;
    }
}
"""
NGINX_LOG = re.compile(r"(\S+) (\d+) (\S+) (\d+) \S+\?token=(\w+)")

DNSMASQ_CONFIG = """\
keep-in-foreground
user=root
pid-file=
port=53
no-resolv
no-hosts
cache-size=0
address=/test/192.0.2.53
address=/test/2001:db8::53
log-queries=extra
log-facility=-
"""
DNSMASQ_LOG = re.compile(r"dnsmasq\S*: \d+ (\S+)/(\d+) query\[\w+\] (\w+)\.test from \S+")

CLIENT = Machine("client", 0, (CLIENT_IPV4, CLIENT_IPV6))
SERVERS = (
    Machine("alpha", 1, ("10.1.0.11", "10.1.0.12", "fd00:1::11")),
    Machine("beta", 2, ("10.1.0.21", "fd00:1::21")),
    Machine("gamma", 3, ("10.1.0.31", "fd00:1::31")),
)
SERVICES = ("nginx", "dnsmasq")


@dataclass(frozen=True)
class Request:
    """What the driver asked, and of whom."""

    service: str
    protocol: str
    address: str
    token: str


@dataclass(frozen=True)
class Truth:
    """A row of the truth; the fields are the columns."""

    server: str
    vnas: int
    service: str
    protocol: str
    client: str
    client_port: int
    address: str
    port: int
    token: str


def start_servers(lab: Lab) -> None:
    """Start the same two servers on each machine and wait until they listen."""
    nginx_config, dnsmasq_config = lab.folder / "nginx.conf", lab.folder / "dnsmasq.conf"
    nginx_config.write_text(NGINX_CONFIG)
    dnsmasq_config.write_text(DNSMASQ_CONFIG)
    for machine in SERVERS:
        prefix = lab.folder / machine.name
        (prefix / "html").mkdir()
        (prefix / "html" / "name").write_text(machine.name + "\n")
        (prefix / "html" / "page").write_text((machine.name + "\n") * 700)
        own = ("-p", f"{prefix}/", "-e", f"{prefix}/error.log")
        servers = {
            "nginx": lab.start(machine.name, "nginx.log", "nginx", *own, "-c", str(nginx_config)),
            "dnsmasq": lab.start(machine.name, "dnsmasq.log", "dnsmasq", "-C", str(dnsmasq_config)),
        }
        wait_until(partial(all_listen, lab, machine, servers), f"nginx and dnsmasq on {machine.name}")


def all_listen(lab: Lab, machine: Machine, servers: dict[str, subprocess.Popen[str]]) -> bool:
    """Tell whether both servers of a machine listen, by IPv4 and IPv6; one that ended will never."""
    for service, process in servers.items():
        if process.poll() is not None:
            log = (lab.folder / machine.name / f"{service}.log").read_text().strip()
            raise RecordError(f"{service} ended on {machine.name}: {log or 'it said nothing'}")
    return len(listening_sockets(lab, machine)) == 6


def listening_sockets(lab: Lab, machine: Machine) -> list[tuple[str, str, int, str, bool]]:
    """Read the sockets that wait on the ANY address: (service, protocol, port, address, v6only)."""
    sockets = set()
    for line in lab.run(machine.name, "ss", "-Hltunpe").splitlines():
        columns = line.split()
        address, _, port = columns[4].rpartition(":")
        owner = re.search(r'users:\(\("(\w+)"', line)
        if owner and owner[1] in SERVICES and address in ("0.0.0.0", "[::]", "*"):  # noqa: S104  a name, no bind
            recipient = "0.0.0.0" if address == "0.0.0.0" else "::"  # noqa: S104
            sockets.add((owner[1], columns[0], int(port), recipient, "v6only:1" in line))
    return sorted(sockets, key=lambda socket: (SERVICES.index(socket[0]), *socket[1:]))


def start_tcpdump(lab: Lab) -> subprocess.Popen[str]:
    """Capture at the client's interface and wait until the capture has begun."""
    capture = lab.folder / "client" / "capture.pcap"
    # 2,048 bytes hold every frame whole; with its default length tcpdump's buffer has room for a few only.
    # -Z root: as a user of its own tcpdump could not write into the folder.
    options = ("-n", "-s", "2048", "--immediate-mode", "--time-stamp-precision=micro", "-Z", "root")
    process = lab.start("client", "tcpdump.log", "tcpdump", "-i", "eth0", *options, "-w", str(capture))
    log = lab.folder / "client" / "tcpdump.log"
    wait_until(lambda: "listening on" in log.read_text(), "tcpdump")
    return process


def stop_tcpdump(lab: Lab, process: subprocess.Popen[str]) -> Path:
    """End the capture and see that the kernel lost nothing."""
    time.sleep(0.3)  # the last FINs
    process.send_signal(signal.SIGINT)
    process.wait(timeout=5)
    report = (lab.folder / "client" / "tcpdump.log").read_text()
    if "\n0 packets dropped by kernel" not in report:
        raise RecordError(f"tcpdump lost packets: {report}")
    return lab.folder / "client" / "capture.pcap"


class Driver:
    """Asks the servers, each request with a token of its own, and remembers what it asked."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self.requests: list[Request] = []

    def drive(self) -> None:
        """Ask everything: HTTP of all machines at once, meanwhile DNS, then what nobody serves."""
        pages = [
            (machine, self._curl(address, page, n))
            for page, n in (("name", 4), ("page", 1), ("name", 2))
            for machine in SERVERS
            for address in machine.addresses
        ]
        addresses = [address for machine in SERVERS for address in machine.addresses]
        for address in addresses:
            self._dig_udp(address)
        for dig in [self._dig_tcp(address) for address in addresses]:
            finish(dig)
        for machine, curl in pages:
            named = set(finish(curl).split())
            if named != {machine.name}:
                raise RecordError(f"{machine.name} was asked, but {sorted(named)} answered")
        self._ask_nobody()

    def _curl(self, address: str, page: str, n: int) -> subprocess.Popen[str]:
        """Ask for a page ``n`` times over one connection."""
        host = f"[{address}]" if ":" in address else address
        tokens = [self._token("nginx", "tcp", address) for _ in range(n)]
        urls = [f"http://{host}/{page}?token={token}" for token in tokens]
        patience = ("--no-progress-meter", "--max-time", "5", "-g")
        return self._lab.start("client", "curl.log", "curl", *patience, *urls)

    def _dig_udp(self, address: str) -> None:
        """Ask two questions from the client port that all machines see, then two from ports of their own."""
        source = CLIENT_IPV6 if ":" in address else CLIENT_IPV4
        for bind in (f"{source}#{SHARED_UDP_PORT}", source):
            for kind in ("A", "AAAA"):
                finish(self._dig(address, "udp", "-b", bind, kind))

    def _dig_tcp(self, address: str) -> subprocess.Popen[str]:
        return self._dig(address, "tcp", "+tcp", "A")

    def _dig(self, address: str, protocol: str, *options: str) -> subprocess.Popen[str]:
        name = self._token("dnsmasq", protocol, address) + ".test"
        patience = ("+tries=1", "+time=4")
        return self._lab.start("client", "dig.log", "dig", f"@{address}", *patience, *options, name)

    def _token(self, service: str, protocol: str, address: str) -> str:
        token = f"{service[0]}{len(self.requests):03}"
        self.requests.append(Request(service, protocol, address, token))
        return token

    def _ask_nobody(self) -> None:
        """Ask for ports that nobody serves and addresses that nobody has; all of it fails, as it should."""
        curl = ("curl", "-g", "-s", "--connect-timeout", "1")
        dig = ("dig", "+tries=1", "+time=1", "-p", str(UNSERVED_PORT["udp"]), "nobody.test")
        for machine in SERVERS:
            for address in (machine.addresses[0], machine.addresses[-1]):
                host = f"[{address}]" if ":" in address else address
                self._lab.run("client", *curl, f"http://{host}:{UNSERVED_PORT['tcp']}/", check=False)
                self._lab.run("client", *dig, f"@{address}", check=False)
        for host in NOBODY:
            self._lab.run("client", *curl, f"http://{host}/", check=False)


def finish(process: subprocess.Popen[str]) -> str:
    """Wait for a client that must succeed, and return what it printed."""
    printed, _ = process.communicate(timeout=10)
    if process.returncode != 0:
        raise RecordError(f"{process.args!r}: exit code {process.returncode}")
    return printed


def read_truth(lab: Lab, requests: list[Request]) -> list[Truth]:
    """Read who served what from the servers' logs; each request must be there, once, where it was sent."""
    asked = {request.token: request for request in requests}
    logged: dict[str, Truth] = {}
    for machine in SERVERS:
        rows = []
        for line in (lab.folder / machine.name / "access.log").read_text().splitlines():
            if found := NGINX_LOG.match(line):
                client, client_port, address, port, token = found.groups()
                rows.append(("nginx", "tcp", client, int(client_port), address, int(port), token))
        for line in (lab.folder / machine.name / "dnsmasq.log").read_text().splitlines():
            if (found := DNSMASQ_LOG.match(line)) and found[3] in asked:
                request = asked[found[3]]
                rows.append(
                    ("dnsmasq", request.protocol, found[1], int(found[2]), request.address, 53, request.token)
                )
        for row in rows:
            truth = Truth(machine.name, machine.vnas, *row)
            request = asked[truth.token]
            if truth.token in logged:
                raise RecordError(f"{truth.token} was served twice: {logged[truth.token]} and {truth}")
            if truth.address not in machine.addresses or truth.address != request.address:
                raise RecordError(f"{request} was served by {truth}")
            logged[truth.token] = truth
    if missing := asked.keys() - logged.keys():
        raise RecordError(f"no server logged {sorted(missing)}")
    return [logged[request.token] for request in requests]


def tables(lab: Lab) -> str:
    """Write the tables of one machine that does the work of the three."""
    parts = [
        "# vnasfast tables\n"
        "# Three machines as one: alpha, beta and gamma each run nginx on port 80 and dnsmasq on port 53.\n"
        "# Made by record.py from the addresses it set and the sockets that ss showed.\n"
        "embodiment = 1\n"
    ]
    for machine in SERVERS:
        parts.append(f'\n[[vnas]]\nid = {machine.vnas}\nname = "{machine.name}"\n')
    pids = {
        (machine, service): 100 * machine.vnas + n
        for machine in SERVERS
        for n, service in enumerate(SERVICES, 1)
    }
    for (machine, service), pid in pids.items():
        parts.append(f"\n[[processes]]  # {service} of {machine.name}\npid = {pid}\nvnas = {machine.vnas}\n")
    for machine in SERVERS:
        for address in machine.addresses:
            row = f'address = "{address}"\nvnas = {machine.vnas}\ninterface = "eth0"\n'
            parts.append("\n[[addresses]]\n" + row)
    for machine in SERVERS:
        for service, protocol, port, address, v6only in listening_sockets(lab, machine):
            parts.append(
                f'\n[[sockets]]\nprotocol = "{protocol}"\nport = {port}\naddress = "{address}"\n'
                f"pid = {pids[machine, service]}\n" + ("v6only = true\n" if v6only else "")
            )
    parts.append('\n[[routes]]\nnetwork = "default"\ninterface = "eth0"\n')
    return "".join(parts)


def record(output: Path) -> list[Truth]:
    """Make the recording and put its three files into the folder ``output``."""
    with laboratory((CLIENT, *SERVERS)) as lab:
        start_servers(lab)
        for machine in (CLIENT, *SERVERS):
            lab.ip(machine.name, "neighbour", "flush", "all")
        tcpdump = start_tcpdump(lab)
        driver = Driver(lab)
        driver.drive()
        capture = stop_tcpdump(lab, tcpdump).read_bytes()
        table_text = tables(lab)
        truth = read_truth(lab, driver.requests)
    (output / "three-servers.pcap").write_bytes(capture)
    (output / "three-servers.toml").write_text(table_text)
    with (output / "three-servers-truth.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(field.name for field in fields(Truth))
        writer.writerows(astuple(row) for row in truth)
    return truth


def give_up(number: int, _frame: FrameType | None) -> None:
    """Turn a signal into an exception, so that everything is cleaned up."""
    if number == signal.SIGALRM:
        raise RecordError(f"not done after {TIME_LIMIT_S} s")
    raise KeyboardInterrupt


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description="Record three identical server machines, with the truth.")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).parent,
        metavar="FOLDER",
        help="where the files go; default: beside this script",
    )
    output: Path = parser.parse_args().output
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, give_up)
    try:
        if sys.platform != "linux":
            raise RecordError("network namespaces need Linux")
        if os.geteuid() != 0:
            raise RecordError("network namespaces need root: sudo python3 pcaps/record.py")
        if missing := [name for name in PACKAGES if find_program(name) is None]:
            packages = " ".join(sorted({PACKAGES[name] for name in missing}))
            raise RecordError(f"missing: {', '.join(missing)}; apt-get install {packages}")
        if not output.is_dir():
            raise RecordError(f"{output} is no folder")
        signal.alarm(TIME_LIMIT_S)
        truth = record(output)
    except KeyboardInterrupt:
        print("record.py: interrupted; nothing was written", file=sys.stderr)
        return 130
    except (RecordError, OSError, subprocess.SubprocessError) as error:
        print(f"record.py: {error}", file=sys.stderr)
        return 1
    size = (output / "three-servers.pcap").stat().st_size
    print(f"{len(truth)} requests, each logged by one server; three-servers.pcap has {size} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
