"""Two network namespaces joined by a veth: VNASs on one side, clients on the other; all of it is gone afterwards."""

import contextlib
import ctypes
import functools
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SERVER = HERE / "rule_server.py"
CLIENT4, CLIENT6 = "10.77.0.9", "fd77::9"
HOST4, HOST6 = "10.77.0.1", "fd77::1"  # of no VNAS
BLUE4, BLUE4B, GREEN4, RED4 = "10.77.0.11", "10.77.0.12", "10.77.0.21", "10.77.0.31"
BLUE6, BLUE6B, GREEN6, RED6 = "fd77::11", "fd77::12", "fd77::21", "fd77::31"
VNASES = {
    "blue": (1, [BLUE4, BLUE4B, BLUE6, BLUE6B]),
    "green": (2, [GREEN4, GREEN6]),
    "red": (3, [RED4, RED6]),
}
CLONE_NEWNET = 0x40000000
_numbers = iter(range(10_000))


@functools.cache
def why_not():
    """Say why the kernel can't be ruled here; empty: it can."""
    if os.geteuid() != 0:
        return "ruling a kernel needs root"
    if shutil.which("ip") is None or shutil.which("nsenter") is None:
        return "network namespaces need ip (iproute2) and nsenter (util-linux)"
    try:
        from vnasfast.host.rule.engine import Rule

        Rule("probe")
    except Exception as error:
        return f"the kernel can't be ruled here: {error}"
    name = f"vf{os.getpid()}p"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
    return made.stderr.strip()


#: Skips a test that rules a kernel where that can't be done, saying why.
NEEDS_KERNEL = pytest.mark.skipif(bool(why_not()), reason=why_not() or "-")


def tables(vnases=VNASES, services=(), more=""):
    """Write a table file: services are (vnas name, protocol, port, address)."""
    text = "embodiment = 1\n"
    for name, (number, addresses) in vnases.items():
        text += f'[[vnas]]\nid = {number}\nname = "{name}"\n[[processes]]\npid = {100 + number}\nvnas = {number}\n'
        for address in addresses:
            text += f'[[addresses]]\naddress = "{address}"\nvnas = {number}\ninterface = "srv"\n'
    for name, protocol, port, address in services:
        pid = 100 + vnases[name][0]
        text += f'[[sockets]]\nprotocol = "{protocol}"\nport = {port}\naddress = "{address}"\npid = {pid}\n'
    return text + more


class World:
    """The namespaces, and the instance in the one of the servers."""

    def __init__(self, folder):
        number = f"{os.getpid()}x{next(_numbers)}"
        self.servers, self.clients = f"vfs{number}", f"vfc{number}"
        self.instance = f"test{number}"
        self.folder = folder
        self.running = []

    def __enter__(self):
        try:
            for name in (self.servers, self.clients):
                _ip("netns", "add", name)
                _ip("-n", name, "link", "set", "lo", "up")
            _ip("-n", self.servers, "link", "add", "srv", "type", "veth", "peer", "name", "cli", "netns", self.clients)
            for name, device, four, six in (
                (self.servers, "srv", HOST4, HOST6),
                (self.clients, "cli", CLIENT4, CLIENT6),
            ):
                _ip("-n", name, "link", "set", device, "up")
                _ip("-n", name, "addr", "add", f"{four}/24", "dev", device)
                _ip("-n", name, "addr", "add", f"{six}/64", "dev", device, "nodad")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        for process in self.running:
            process.terminate()  # so that nginx ends its workers too
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        with contextlib.suppress(Exception):
            for kill in self.cgroup.rglob("cgroup.kill"):
                kill.write_text("1")
            for _ in range(100):
                if not any(procs.read_text() for procs in self.cgroup.rglob("cgroup.procs")):
                    break
                time.sleep(0.02)
        self.vnasfast("down")
        for name in (self.servers, self.clients):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)

    @property
    def cgroup(self):
        from vnasfast.host.rule.places import Places

        return Places(self.instance).cgroup

    # commands

    def among_servers(self, *command, **options):
        """Run a command beside the servers, in no VNAS."""
        return _run(self.servers, command, **options)

    def among_clients(self, *command, **options):
        """Run a command where the clients are."""
        return _run(self.clients, command, **options)

    @property
    def environment(self):
        return os.environ | {"VNASFAST_INSTANCE": self.instance, "PYTHONPATH": str(HERE.parent)}

    def vnasfast(self, *arguments, **options):
        """Run vnasfast where the servers are."""
        command = (sys.executable, "-m", "vnasfast", *map(str, arguments))
        return self.among_servers(*command, env=self.environment, **options)

    def start_vnasfast(self, *arguments, **options):
        """Start vnasfast where the servers are; it stays until it is ended."""
        command = ("nsenter", f"--net=/run/netns/{self.servers}", sys.executable, "-m", "vnasfast")
        process = subprocess.Popen([*command, *map(str, arguments)], env=self.environment, **options)
        self.running.append(process)
        return process

    def up(self, text=None, command="up"):
        """Bring a table file into the kernel."""
        path = self.folder / "tables.toml"
        path.write_text(tables() if text is None else text)
        made = self.vnasfast(command, path)
        assert made.returncode == 0, made.stderr
        return made.stdout

    def kill_up(self, seconds, *options):
        """Start up with the tables that are there, and kill it after so many seconds."""
        killed = self.start_vnasfast(
            *("up", self.folder / "tables.toml", *options), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds)
        killed.kill()
        killed.wait()

    def status(self):
        found = json.loads(self.vnasfast("status", "--json").stdout)
        return {vnas["name"]: vnas for vnas in found["vnases"]}

    def inside(self, vnas, code, *arguments, uid=0):
        """Run Python code in a VNAS; what it prints is JSON."""
        made = self.vnasfast(
            "run", "--vnas", vnas, "--", sys.executable, "-c", _PREFIX.format(uid=uid) + code, *arguments
        )
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)

    def serve(self, vnas, *services, uid=0, name=None):
        """Start a server in a VNAS (None: in none) that answers with its name, its address, and who asked."""
        command = [sys.executable, str(SERVER), name or vnas, str(uid), *services]
        if vnas is not None:
            command = [sys.executable, "-m", "vnasfast", "run", "--vnas", vnas, "--", *command]
        process = subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{self.servers}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self.running.append(process)
        assert process.stdout.readline() == "ready\n"
        return process

    def start(self, vnas, *command, **options):
        """Start any command in a VNAS."""
        process = subprocess.Popen(
            [
                *(
                    "nsenter",
                    f"--net=/run/netns/{self.servers}",
                    sys.executable,
                    "-m",
                    "vnasfast",
                    "run",
                    "--vnas",
                    vnas,
                ),
                *("--", *command),
            ],
            stdin=subprocess.DEVNULL,
            env=self.environment,
            **options,
        )
        self.running.append(process)
        return process

    # questions

    def socket(self, kind, address="", *, where=None):
        """Make a socket where the clients are."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        made = []

        def make():
            libc = ctypes.CDLL(None, use_errno=True)
            with open(f"/run/netns/{where or self.clients}", "rb") as namespace:
                assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0
            made.append(socket.socket(family, kind))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join()
        made[0].settimeout(3)
        return made[0]

    def ask_tcp(self, address, port, **options):
        """Connect and read who answers: [name, its local address, the remote address it sees]."""
        with self.socket(socket.SOCK_STREAM, address, **options) as client:
            client.connect((address, port))
            return client.makefile().readline().split()

    def ask_udp(self, address, port, client=None, **options):
        """Send a datagram and read who answers, and from which address."""
        with contextlib.ExitStack() as stack:
            client = client or stack.enter_context(self.socket(socket.SOCK_DGRAM, address, **options))
            client.sendto(b"who?", (address, port))
            answer, source = client.recvfrom(200)
            return [*answer.decode().split(), source[0]]


_PREFIX = """
import json, os, socket, sys
os.setgid({uid}); os.setuid({uid})
"""


def _run(namespace, command, **options):
    options = {"capture_output": True, "text": True, "check": False, "timeout": 60} | options
    return subprocess.run(["nsenter", f"--net=/run/netns/{namespace}", *command], **options)  # noqa: PLW1510


def _ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
