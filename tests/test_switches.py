"""Changes come at the worst moments: while an error is made, and while garbage is collected in the middle of a listing.

CPython lets another thread go on wherever Python code runs, and 3.11 runs some wherever it makes an object that holds
others, because it collects garbage there. Both are forced here.
"""

import gc
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from itertools import count, product
from typing import Any

import pytest

from vnasfast import ServerMachine

SECONDS = 100

#: Threads that are refused what they ask for, time and again, in the way that the line below says.
REFUSED = """
import sys, threading
from contextlib import suppress
from vnasfast import ServerMachine, VnasError

sys.setswitchinterval(1e-6)
machine = ServerMachine(seed=1, policy={policy!r})
pids = [machine.vnas_start(1, 10 + number) for number in range(4)]
for pid in pids:
    machine.bind(pid, "udp", 53)

def work(pid):
    for _ in range(1500):
        with suppress(VnasError):
            {line}
            raise SystemExit("nothing was refused")
        machine.close(machine.bind(pid, "udp", 54))

threads = [threading.Thread(target=work, args=(pid,)) for pid in pids]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
machine.check()
assert len(machine.sockets) == 4
"""


@pytest.mark.parametrize(
    ("policy", "line"),
    [
        ("registration", 'machine.bind(pid, "udp", 53)'),
        ("registration", 'machine.bind(pid, "udp", 55, "192.0.2.1")'),
        ("registration", 'machine.bind_many([pid] * 2, "udp", 55)'),
        ("registration", 'machine.bind_many([pid, 9999], "udp", 55)'),
        ("registration", "machine.close_many([999])"),
        ("linux", 'machine.bind(pid, "udp", 53)'),
        ("linux", 'machine.bind(pid, "udp", 55, "192.0.2.1")'),
        ("linux", 'machine.bind(9999, "udp", 55, device="eth0")'),
    ],
)
def test_refusals_keep_no_thread_waiting(policy: str, line: str) -> None:
    """An error is made by Python code, in which other threads may come to the lock that its maker held."""
    program = REFUSED.format(policy=policy, line=line)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=SECONDS)


class Changing:
    """A machine that changes when garbage is collected: addresses, interfaces, sockets and VNASs come and go.

    The interface of an address, and the port of a socket, follow from the VNAS, so that each row says if it is right.
    """

    def __init__(self) -> None:
        self.machine = ServerMachine(seed=1)
        self.numbers = count(2)
        self.there: list[tuple[int, int]] = []  # VNAS ID, PID
        for _ in range(40):
            self.add()
        self.n_changes = self.wait = 0

    def add(self) -> None:
        machine, vnas = self.machine, next(self.numbers)
        pid = machine.vnas_start(1, vnas)
        machine.validate(pid, self.address(vnas), f"eth{vnas}")
        machine.bind(pid, "udp", self.port(vnas))
        machine.set_route(f"{self.address(vnas)}/32", f"eth{vnas}")
        self.there.append((vnas, pid))

    def remove(self) -> None:
        machine = self.machine
        vnas, pid = self.there.pop(len(self.there) // 2)
        machine.remove_route(f"{self.address(vnas)}/32")
        machine.invalidate(pid, self.address(vnas))
        machine.exit(pid)

    @staticmethod
    def address(vnas: int) -> IPv4Address:
        return IPv4Address(0x0A000000 + vnas)

    @staticmethod
    def port(vnas: int) -> int:
        return 1 + vnas % 60_000

    def change(self, phase: str, _info: dict[str, int]) -> None:
        self.wait -= phase == "stop"
        if phase == "stop" and self.wait == 0:
            self.n_changes += 1
            # By many at once: more rows than anything that a look made room for has room for.
            while len(self.there) < 80 * (1 + self.n_changes % 2):
                self.add()
            while len(self.there) > 80 * (1 + self.n_changes % 2):
                self.remove()

    @contextmanager
    def at_collection(self, number: int, n_before: int) -> Iterator[None]:
        """Change at a collection, of which there is one with every other object: so many objects are made before."""
        before = gc.get_threshold()
        self.wait = number
        held: list[list[int]] = [
            [] for _ in range(300)
        ]  # or lists are made of those thrown away, and nothing is collected
        gc.callbacks.append(self.change)
        gc.set_threshold(1, 10_000, 10_000)
        held.extend([] for _ in range(n_before))
        try:
            yield
        finally:
            gc.set_threshold(*before)
            gc.callbacks.remove(self.change)
            held.clear()


def hold(machine: Any) -> None:
    """Hold that what each row says belongs together."""
    addresses = machine.addresses
    assert [(int(row.address) - 0x0A000000, row.interface) for row in addresses] == [
        (row.vnas, f"eth{row.vnas}") for row in addresses
    ]
    assert all(row.port == Changing.port(row.vnas) for row in machine.sockets)
    routes = machine.routes
    assert [row.interface for row in routes] == [
        f"eth{int(row.network.network_address) - 0x0A000000}" for row in routes
    ]


@pytest.mark.parametrize(
    "look",
    [
        hold,
        lambda machine: machine.check(),
        lambda machine: hold(machine.freeze()),
        lambda machine: machine.freeze().check(),
        lambda machine: hold(ServerMachine.from_toml(machine.to_toml())),
    ],
    ids=["listings", "check", "listings of a snapshot", "check of a snapshot", "table file"],
)
def test_a_look_is_of_one_moment(look: Callable[[Any], None]) -> None:
    changing = Changing()
    for number, n_before in product(range(1, 60), range(2)):
        with changing.at_collection(number, n_before):
            look(changing.machine)
            hold(changing.machine)
    assert changing.n_changes > 0 or sys.version_info >= (3, 12)
    changing.machine.check()
    hold(changing.machine)
