"""Test hosts in network namespaces on one bridge, and programs in them: what record.py needs of Linux."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

PACKAGES = {
    "ip": "iproute2",
    "ss": "iproute2",
    "nginx": "nginx",
    "dnsmasq": "dnsmasq-base",
    "tcpdump": "tcpdump",
    "curl": "curl",
    "dig": "bind9-dnsutils",
}

# veth leaves checksums to hardware that does not exist, and the capture would show wrong ones. ethtool is not
# on every machine, its ioctl is.
TX_CHECKSUMS_ON_CPU = """
import array, fcntl, socket, struct
SIOCETHTOOL, ETHTOOL_STXCSUM = 0x8946, 0x17
value = array.array("I", [ETHTOOL_STXCSUM, 0])
with socket.socket() as s:
    fcntl.ioctl(s, SIOCETHTOOL, struct.pack("16sP", b"eth0", value.buffer_info()[0]))
"""


@dataclass(frozen=True)
class Machine:
    """A test host. One that serves has a VNAS of its own in the tables, the client has 0."""

    name: str
    vnas: int
    addresses: tuple[str, ...]

    @property
    def mac(self) -> str:
        """A locally administered address, so that a run differs little from the one before."""
        return f"02:00:00:00:00:{self.vnas:02x}"


class RecordError(Exception):
    """The recording can't be made, or can't be trusted."""


class Lab:
    """The namespaces and the processes in them, for the length of a ``with``."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        self.folder = folder
        self._stack = stack

    def namespace(self, name: str) -> str:
        """Name the network namespace of a machine; two recordings at once do not meet."""
        return f"vnasfast-{os.getpid()}-{name}"

    def add_namespace(self, name: str) -> None:
        """Make a network namespace that goes away with the lab."""
        # Registered before it is made, since Ctrl-C may come between the two.
        self._stack.callback(run, "ip", "netns", "delete", self.namespace(name), check=False)
        run("ip", "netns", "add", self.namespace(name))

    def ip(self, name: str, *arguments: str) -> None:
        """Run ip(8) on a machine."""
        run("ip", "-n", self.namespace(name), *arguments)

    def run(self, name: str, *command: str, check: bool = True) -> str:
        """Run a command on a machine and return what it printed."""
        return run(*self._inside(name, command), check=check)

    def start(self, name: str, log: str, *command: str) -> subprocess.Popen[str]:
        """Start a command on a machine; it ends with the lab. Its errors go to the machine's ``log``."""
        with (self.folder / name / log).open("w") as errors:
            process = subprocess.Popen(  # noqa: S603  our own commands
                self._inside(name, command),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        self._stack.callback(stop, process)
        return process

    def _inside(self, name: str, command: Sequence[str]) -> list[str]:
        return [program("ip"), "netns", "exec", self.namespace(name), program(command[0]), *command[1:]]


def find_program(name: str) -> str | None:
    """Find a program; sbin is not on everyone's path."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")


def program(name: str) -> str:
    """Find a program that has to be there."""
    found = find_program(name)
    if found is None:
        raise RecordError(f"{name} is missing")
    return found


def run(*command: str, check: bool = True) -> str:
    """Run a command to its end and return what it printed; a failure shows its own words."""
    done = subprocess.run(  # noqa: S603  our own commands
        [program(command[0]), *command[1:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )
    if check and done.returncode != 0:
        raise RecordError(f"{' '.join(command)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def stop(process: subprocess.Popen[str]) -> None:
    """End a process and those it started."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=2)
    if process.stdout is not None:
        process.stdout.close()


def wait_until(ready: Callable[[], bool], what: str) -> None:
    """Ask again every 20 ms, up to 5 s."""
    deadline = time.monotonic() + 5
    while not ready():
        if time.monotonic() > deadline:
            raise RecordError(f"waited 5 s in vain for {what}")
        time.sleep(0.02)


@contextmanager
def laboratory(machines: Sequence[Machine]) -> Iterator[Lab]:
    """Join the machines in a network of their own; on leaving, whatever happened, everything goes away."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="vnasfast-record-"))
        lab = Lab(Path(folder), stack)
        try:
            lay_cables(lab, machines)
            yield lab
        finally:
            # A second Ctrl-C, or the time limit, must not stop the cleaning up.
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
                signal.signal(number, signal.SIG_IGN)


def lay_cables(lab: Lab, machines: Sequence[Machine]) -> None:
    """Make the bridge, the machines, their interfaces and addresses."""
    lab.add_namespace("switch")
    lab.ip("switch", "link", "add", "bridge", "type", "bridge", "stp_state", "0", "mcast_snooping", "0")
    lab.ip("switch", "link", "set", "bridge", "addrgenmode", "none")
    lab.ip("switch", "link", "set", "bridge", "up")
    for machine in machines:
        name = machine.name
        (lab.folder / name).mkdir()
        lab.add_namespace(name)
        peer = ("peer", "name", name, "netns", lab.namespace("switch"))
        lab.ip(name, "link", "add", "eth0", "address", machine.mac, "type", "veth", *peer)
        lab.ip("switch", "link", "set", name, "master", "bridge", "addrgenmode", "none")
        lab.ip("switch", "link", "set", name, "up")
        lab.run(name, sys.executable, "-c", TX_CHECKSUMS_ON_CPU)
        # No link-local addresses: only those of the tables. Set before the interface is up, or it makes one.
        lab.ip(name, "link", "set", "eth0", "addrgenmode", "none")
        lab.ip(name, "link", "set", "eth0", "up")
        for address in machine.addresses:
            # Without duplicate address detection an IPv6 address serves at once, not after a second.
            length = ("/64", "nodad") if ":" in address else ("/24",)
            lab.ip(name, "address", "add", address + length[0], "dev", "eth0", *length[1:])
