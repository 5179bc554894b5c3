"""Random sets of sockets, made both in the kernel and in the tables of a machine."""

import errno
import os
import random
import socket
import struct
from dataclasses import dataclass, field
from typing import NamedTuple

from vnasfast.errors import AddressInUse
from vnasfast.machine import ServerMachine

#: Device → its addresses in the namespace.
ADDRESSES: dict[str, tuple[str, ...]] = {
    "lo": ("127.0.0.2/8", "203.0.113.5/32", "2001:db8:5::5/128"),
    "va": ("192.0.2.1/24", "192.0.2.2/24", "2001:db8:1::1/64", "2001:db8:1::2/64"),
    "vb": ("198.51.100.1/24", "2001:db8:2::1/64"),
}
DEVICES = ("lo", "va", "vb")
#: What packets are sent to: the addresses above, and two that nobody has.
LOCAL = {
    4: ("127.0.0.1", "127.0.0.2", "203.0.113.5", "192.0.2.1", "192.0.2.2", "198.51.100.1", "192.0.2.77"),
    6: ("::1", "2001:db8:5::5", "2001:db8:1::1", "2001:db8:1::2", "2001:db8:2::1", "2001:db8:1::77"),
}
REMOTE = {
    4: ("192.0.2.200", "198.51.100.200", "192.0.2.2", "127.0.0.1"),
    6: ("2001:db8:1::200", "2001:db8:2::200", "2001:db8:1::2", "::1"),
}
ANY = ("0.0.0.0", "::")  # noqa: S104 - nothing is bound by it
PORTS = (7001, 7002)
REMOTE_PORTS = (9001, 9002, 9003)

_SO_COOKIE = 57
_TCP_REPAIR = 19
_UIDS = (0, 1001)


class Bind(NamedTuple):
    """A socket comes, and is called by a number."""

    number: int
    protocol: str
    family: int
    address: str
    port: int
    device: str | None = None
    sharing: bool = False
    reuseaddr: bool = False
    v6only: bool = False
    uid: int = 0
    peer: tuple[str, int] | None = None


class Connect(NamedTuple):
    """A UDP socket connects."""

    number: int
    peer: tuple[str, int]


class Close(NamedTuple):
    """A socket goes."""

    number: int


Operation = Bind | Connect | Close


def random_operations(choose: random.Random, several_uids: bool) -> list[Operation]:
    """Choose the operations that make a set of sockets."""
    operations: list[Operation] = []
    living: dict[int, Bind] = {}
    # Few ports, addresses and devices, so that sockets meet; a set has a mood, so that they meet often.
    sharing, reuseaddr, device = (choose.choice((0.0, 0.3, 0.9)) for _ in range(3))
    families = choose.choice(((4,), (6,), (4, 6)))
    protocols = choose.choice((("tcp",), ("udp",), ("tcp", "udp")))
    for number in range(choose.randint(2, 16)):
        drawn = choose.random()
        if living and drawn < 0.1:
            operations.append(Close(choose.choice(list(living))))
            del living[operations[-1].number]
        elif living and drawn < 0.25:
            bound = living[choose.choice(list(living))]
            if bound.protocol == "udp" and bound.peer is None:
                version = choose.choice((4, 6)) if bound.address == "::" else _version(bound.address)
                peer = _random_peer(choose, version)
                operations.append(Connect(bound.number, peer))
                living[bound.number] = bound._replace(peer=peer)
        else:
            family = choose.choice(families)
            version = 4 if family == 4 or choose.random() < 0.2 else 6
            address = _random_address(choose, version)
            connected = address not in ANY and choose.random() < 0.25
            bound = Bind(
                number,
                protocol=choose.choice(protocols),
                family=family,
                address=f"::ffff:{address}" if family == 6 and version == 4 else address,
                port=choose.choice(PORTS) if choose.random() < 0.3 else PORTS[0],
                device=choose.choice(DEVICES) if choose.random() < device else None,
                sharing=choose.random() < sharing,
                reuseaddr=choose.random() < reuseaddr,
                v6only=family == 6 and version == 6 and choose.random() < 0.3,
                uid=choose.choice(_UIDS) if several_uids and choose.random() < 0.3 else 0,
                peer=_random_peer(choose, version) if connected else None,
            )
            living[number] = bound
            operations.append(bound)
    return operations


def _version(address: str) -> int:
    return 4 if "." in address else 6


def _random_address(choose: random.Random, version: int) -> str:
    if choose.random() < 0.45:
        return ANY[version == 6]
    return choose.choice(LOCAL[version][:-1])


def _random_peer(choose: random.Random, version: int) -> tuple[str, int]:
    return choose.choice(REMOTE[version]), choose.choice(REMOTE_PORTS)


@dataclass
class Pair:
    """A set of sockets in the kernel, and the machine that should know them as it does.

    Attributes
    ----------
    machine : ServerMachine
    open : dict of int to (int, int)
        Number → socket ID of the machine, cookie of the kernel.
    sockets : dict of int to socket
        Number → the kernel's.
    refusals : list of str
        Where only one of the two refused a UDP socket.
    """

    machine: ServerMachine
    open: dict[int, tuple[int, int]] = field(default_factory=dict)
    sockets: dict[int, socket.socket] = field(default_factory=dict)
    refusals: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for vlan, device in enumerate(DEVICES, 1):
            for address in (*LOCAL[4], *LOCAL[6]):
                if not address.startswith(("127.", "::1")):
                    self.machine.validate(1, address, device, vlan=vlan)

    def __enter__(self) -> "Pair":
        return self

    def __exit__(self, *exception: object) -> None:
        for sock in self.sockets.values():
            sock.close()

    def run(self, operations: list[Operation]) -> None:
        """Do what the operations say, on both sides."""
        for operation in operations:
            if isinstance(operation, Bind):
                self._bind(operation.number, operation)
            elif operation.number not in self.open:
                continue  # it was refused
            elif isinstance(operation, Connect):
                self._connect(*operation)
            else:
                self.sockets.pop(operation.number).close()
                self.machine.close(self.open.pop(operation.number)[0])

    def _bind(self, number: int, wanted: Bind) -> None:
        sock = kernel_socket(wanted)
        refused = False
        try:
            sock.bind((wanted.address, wanted.port))
            if wanted.peer is not None:
                sock.connect(destination_of(wanted.family, wanted.peer))
            elif wanted.protocol == "tcp":
                sock.listen()
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                sock.close()  # there is no route to the peer from there
                return
            refused = True
        if wanted.protocol == "tcp" and refused:
            sock.close()
            return
        try:
            # The kernel decides on a TCP socket by what it remembers of those before it: no rule can say the same.
            made = self._made(wanted, anyway=wanted.protocol == "tcp")
        except AddressInUse:
            if not refused:
                self.refusals.append(f"only the policy refuses {wanted}")
            sock.close()
            return
        if refused:
            self.refusals.append(f"only the kernel refuses {wanted}")
            self.machine.close(made)
            sock.close()
            return
        self.sockets[number] = sock
        self.open[number] = made, cookie_of(sock)

    def _made(self, wanted: Bind, anyway: bool) -> int:
        return self.machine.bind(
            1,
            wanted.protocol,
            wanted.port,
            wanted.address,
            v6only=wanted.v6only,
            sharing=wanted.sharing,
            freebind=True,
            device=wanted.device,
            mapped=wanted.family == 6 and "." in wanted.address,
            uid=wanted.uid,
            reuseaddr=wanted.reuseaddr,
            peer=wanted.peer,
            anyway=anyway,
        )

    def _connect(self, number: int, peer: tuple[str, int]) -> None:
        sock = self.sockets[number]
        family = 4 if sock.family == socket.AF_INET else 6
        try:
            sock.connect(destination_of(family, peer))
        except OSError:
            return  # no route from there, or of the other family
        self.machine.connect(self.open[number][0], peer, sock.getsockname()[0])


def destination_of(family: int, peer: tuple[str, int]) -> tuple[str, int]:
    """Return a peer as ``socket.connect`` takes it."""
    return (f"::ffff:{peer[0]}" if family == 6 and "." in peer[0] else peer[0]), peer[1]


def cookie_of(sock: socket.socket) -> int:
    """Return the kernel's number of a socket."""
    return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))[0])


def kernel_socket(wanted: Bind) -> socket.socket:
    """Make a socket with the options of a bind."""
    sock = socket.socket(
        socket.AF_INET if wanted.family == 4 else socket.AF_INET6,
        socket.SOCK_STREAM if wanted.protocol == "tcp" else socket.SOCK_DGRAM,
    )
    if wanted.protocol == "tcp" and wanted.peer is not None:
        sock.setsockopt(socket.IPPROTO_TCP, _TCP_REPAIR, 1)  # connected without a packet
    if wanted.family == 6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, wanted.v6only)
    if wanted.uid:
        os.fchown(sock.fileno(), wanted.uid, -1)
    if wanted.sharing:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if wanted.reuseaddr:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if wanted.device is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, wanted.device.encode())
    return sock
