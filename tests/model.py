"""The reference model: the definition of "right" in plain Python.

It says what the design's section 3 says, sentence by sentence, with lists that are scanned from the front.
No index, no cache, no cleverness: where the engine and this file differ, one of them has a bug.
"""

import struct
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from vnasfast.errors import (
    AddressInUse,
    AddressNotAvailable,
    InvalidValue,
    NoSuchProcess,
    NoSuchSocket,
    ProcessExists,
)
from vnasfast.outcome import Outcome

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132, "udplite": 136}
ANY4 = IPv4Address("0.0.0.0")  # receives IPv4
ANY6 = IPv6Address("::")  # receives IPv6, and IPv4 unless v6only; the word "ANY"
WHOLE, FIRST_FRAGMENT, FOLLOWS_FIRST = 0, 1, 2
REMEMBERED, REMEMBERED_NS = 16_384, 30 * 10**9


@dataclass
class Usage:
    """The tables' "resources used" column."""

    packets: int = 0
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None

    def add(self, wire_length: int, time_ns: int) -> None:
        self.packets += 1
        self.bytes += wire_length
        if time_ns:  # 0: not known
            self.first_ns = min(self.first_ns or time_ns, time_ns)
            self.last_ns = max(self.last_ns or time_ns, time_ns)


@dataclass
class Process:
    pid: int
    vnas: int
    parent: int
    usage: Usage = field(default_factory=Usage)


@dataclass
class Entry:
    """A row of the ANY-address table."""

    address: Address
    vnas: int
    interface: str
    vlan: int


@dataclass
class Socket:
    socket: int
    protocol: int
    port: int
    address: Address  # the recipient address
    pid: int
    vnas: int
    v6only: bool
    sharing: bool
    usage: Usage = field(default_factory=Usage)

    def receives(self, address: Address) -> bool:
        """Match: ANY of a fitting family, or the address itself."""
        if self.address == ANY4:
            return address.version == 4
        if self.address == ANY6:
            return address.version == 6 or not self.v6only
        return self.address == address


@dataclass
class Route:
    network: Network | None  # None: the default
    interface: str


@dataclass(frozen=True)
class Key:
    """A parsed packet."""

    destination: Address
    source: Address
    destination_port: int
    source_port: int
    vlan: int = 0
    protocol: int = 6
    status: int = WHOLE
    source_pid: int = 0
    fragment_id: int = 0


def to_address(text: str | Address) -> Address:
    """Read an address; an IPv4-mapped IPv6 address is the IPv4 address, everywhere."""
    try:
        address = ANY6 if text == "ANY" else ip_address(text)
    except ValueError as error:
        raise InvalidValue(str(error)) from None
    if isinstance(address, IPv6Address):
        require(address.scope_id is None, "zone")
        return address.ipv4_mapped or address
    return address


def to_network(text: str | Network) -> Network | None:
    if text == "default":
        return None
    try:
        network = ip_network(text)
    except ValueError as error:
        raise InvalidValue(str(error)) from None
    if network.version == 6 and network.prefixlen >= 96 and network[0].ipv4_mapped:
        return IPv4Network((network[0].ipv4_mapped, network.prefixlen - 96))
    return network


def require(condition: bool, what: str) -> None:
    if not condition:
        raise InvalidValue(what)


class Model:
    def __init__(self, seed: int = 0) -> None:
        self.seed = seed
        self.processes = [Process(1, 0, 0)]  # "Process 1 exists in VNAS 0."
        self.addresses: list[Entry] = []  # the ANY-address table, in order of registration
        self.sockets: list[Socket] = []  # in order of registration
        self.routes: list[Route] = []
        self.next_pid = 2
        self.outcomes = {outcome: Usage() for outcome in Outcome}
        self.usage_of_vnas = {0: Usage()}
        self.fragments: list[tuple[Key, int]] = []

    # Processes

    def process(self, pid: int) -> Process:
        for process in self.processes:
            if process.pid == pid:
                return process
        raise NoSuchProcess(str(pid))

    def fork(self, parent: int, pid: int | None = None) -> int:
        """Make a child in the parent's VNAS."""
        return self._child(parent, None, pid)

    def vnas_start(self, parent: int, vnas: int, pid: int | None = None) -> int:
        """Make a child in the named VNAS."""
        require(0 <= vnas < 2**31, "vnas")
        return self._child(parent, vnas, pid)

    def _child(self, parent: int, vnas: int | None, pid: int | None) -> int:
        require(pid is None or 1 <= pid < 2**31, "pid")
        parents_vnas = self.process(parent).vnas
        vnas = parents_vnas if vnas is None else vnas
        taken = {process.pid for process in self.processes}
        if pid in taken:
            raise ProcessExists(str(pid))
        if pid is None:
            while self.next_pid in taken:
                self.next_pid += 1
            pid = self.next_pid
            self.next_pid += 1
        self.processes.append(Process(pid, vnas, parent))
        self.usage_of_vnas.setdefault(vnas, Usage())
        return pid

    def exit(self, pid: int) -> None:
        """Remove the process and close its sockets; its children go to process 1 and keep their VNAS."""
        require(pid != 1, "process 1 stays")
        self.processes.remove(self.process(pid))
        self.sockets = [socket for socket in self.sockets if socket.pid != pid]
        for process in self.processes:
            if process.parent == pid:
                process.parent = 1
        living = {row.vnas for row in self.processes} | {row.vnas for row in self.addresses}
        self.usage_of_vnas = {vnas: usage for vnas, usage in self.usage_of_vnas.items() if vnas in living}

    # Interface validation

    def entry(self, vlan: int, address: Address) -> Entry | None:
        for entry in self.addresses:
            if (entry.vlan, entry.address) == (vlan, address):
                return entry
        return None

    def owner(self, vlan: int, address: Address) -> int | None:
        entry = self.entry(vlan, address)
        return entry.vnas if entry else None

    def validate(self, pid: int, address: str | Address, interface: str, vlan: int = 0) -> bool:
        address = to_address(address)
        require(address not in (ANY4, ANY6) and interface != "" and 0 <= vlan <= 4095, "validate")
        vnas = self.process(pid).vnas
        if self.entry(vlan, address) is not None:
            return False
        self.addresses.append(Entry(address, vnas, interface, vlan))
        return True

    def invalidate(self, pid: int, address: str | Address, vlan: int = 0) -> bool:
        address = to_address(address)
        require(address not in (ANY4, ANY6) and 0 <= vlan <= 4095, "invalidate")
        vnas = self.process(pid).vnas
        entry = self.entry(vlan, address)
        if entry is None or entry.vnas != vnas:
            return False
        self.addresses.remove(entry)
        return True

    # Binding

    def bind(
        self,
        pid: int,
        protocol: str | int,
        port: int,
        address: str | Address = "ANY",
        *,
        v6only: bool = False,
        sharing: bool = False,
        freebind: bool = False,
        socket: int,
    ) -> int:
        """Bind; ``socket`` is the socket ID that the engine gave, which the model does not prescribe."""
        address = to_address(address)
        number = PROTOCOLS.get(protocol, 0) if isinstance(protocol, str) else protocol
        require(number in PROTOCOLS.values() and 1 <= port <= 65535, "bind")
        require(address.version == 6 or not v6only, "v6only")
        v6only = v6only and address == ANY6  # a specific address has one family
        vnas = self.process(pid).vnas  # "A socket's VNAS is its process's."
        registered = any((entry.address, entry.vnas) == (address, vnas) for entry in self.addresses)
        if not (address in (ANY4, ANY6) or registered or address.is_loopback or freebind):
            raise AddressNotAvailable(str(address))
        for other in self.sockets:
            same = (other.protocol, other.port, other.address, other.vnas) == (number, port, address, vnas)
            if same and not (other.sharing and sharing):
                raise AddressInUse(str(address))
        self.sockets.append(Socket(socket, number, port, address, pid, vnas, v6only, sharing))
        return socket

    def close(self, socket: int) -> None:
        self.sockets.remove(self.find(socket))

    def find(self, socket: int) -> Socket:
        for row in self.sockets:
            if row.socket == socket:
                return row
        raise NoSuchSocket(str(socket))

    def port(self, protocol: int, port: int) -> list[Socket]:
        """Give a row of the port table: the sockets of the port in order of registration."""
        return [socket for socket in self.sockets if (socket.protocol, socket.port) == (protocol, port)]

    # Routes and source address setting

    def set_route(self, network: str | Network, interface: str) -> None:
        wanted = to_network(network)
        require(interface != "", "interface")
        for route in self.routes:
            if route.network == wanted:
                route.interface = interface
                return
        self.routes.append(Route(wanted, interface))

    def remove_route(self, network: str | Network) -> bool:
        before, wanted = len(self.routes), to_network(network)
        self.routes = [route for route in self.routes if route.network != wanted]
        return len(self.routes) < before

    def source_address(self, pid: int, destination: str | Address) -> Address:
        destination = to_address(destination)
        vnas = self.process(pid).vnas
        interface = self.routed_interface(destination)
        for entry in self.addresses:
            same_family = entry.address.version == destination.version
            if same_family and (entry.vnas, entry.interface) == (vnas, interface):
                return entry.address
        raise AddressNotAvailable(str(destination))

    def routed_interface(self, destination: Address) -> str | None:
        """Find the longest prefix of the destination's family, else the default."""
        best, interface = -2, None
        for route in self.routes:
            length = -1 if route.network is None else route.network.prefixlen
            if length > best and (route.network is None or destination in route.network):
                best, interface = length, route.interface
        return interface

    # Dispatch

    def dispatch(self, key: Key, wire_length: int = 0, time_ns: int = 0, count: bool = True) -> int:
        """Give the ID of the socket that the packet belongs to, or the outcome; count it."""
        outcome, _, socket = self.decide(key)
        if count:
            self.outcomes[outcome].add(wire_length, time_ns)
            if socket is not None:
                for usage in socket.usage, self.process(socket.pid).usage, self.usage_of_vnas[socket.vnas]:
                    usage.add(wire_length, time_ns)
        return int(outcome) if socket is None else socket.socket

    def decide(self, key: Key) -> tuple[Outcome, int | None, Socket | None]:
        """Give the outcome, the destination VNAS and the socket."""
        if key.status < 0:
            return Outcome(key.status), None, None
        if key.protocol not in PROTOCOLS.values():
            return Outcome.NO_TRANSPORT, None, None
        if key.destination.is_loopback:  # step 1
            vnas, otherwise = self.source_vnas(key), Outcome.UNKNOWN_SOURCE
        else:  # step 2
            vnas, otherwise = self.owner(key.vlan, key.destination), Outcome.NO_VNAS
        if vnas is None:
            return otherwise, None, None
        sockets = self.port(key.protocol, key.destination_port)  # step 3
        if not sockets:
            return Outcome.NO_PORT, vnas, None
        for socket in sockets:  # step 4
            if socket.vnas == vnas and socket.receives(key.destination):
                return Outcome.DELIVERED, vnas, self.choose(socket, sockets, key)
        return Outcome.NO_SOCKET, vnas, None

    def source_vnas(self, key: Key) -> int | None:
        """Find the VNAS of the source process of a packet to a loopback address."""
        if key.source_pid != 0:
            found = {process.vnas for process in self.processes if process.pid == key.source_pid}
        elif not key.source.is_loopback:
            return self.owner(key.vlan, key.source)
        else:
            owners = self.port(key.protocol, key.source_port)
            found = {socket.vnas for socket in owners if socket.receives(key.source)}
        return found.pop() if len(found) == 1 else None

    def choose(self, first: Socket, sockets: Iterable[Socket], key: Key) -> Socket:
        """Choose within a port-sharing group by flow hash: always the same socket for the same flow."""
        if not first.sharing:
            return first
        wanted = (first.address, first.vnas, first.v6only)
        group = [socket for socket in sockets if (socket.address, socket.vnas, socket.v6only) == wanted]
        return group[flow_hash(self.seed, key) * len(group) >> 32]

    # Fragments

    def follow(self, key: Key, time_ns: int) -> Key:
        """Give a later fragment the protocol and ports of its first, seen at most 30 s before or after."""
        datagrams = [datagram(first) for first, _ in self.fragments]
        if key.status == FIRST_FRAGMENT and datagram(key) in datagrams:
            self.fragments[datagrams.index(datagram(key))] = key, time_ns
        elif key.status == FIRST_FRAGMENT:
            self.fragments = [*self.fragments, (key, time_ns)][-REMEMBERED:]
        elif key.status == Outcome.LATER_FRAGMENT and datagram(key) in datagrams:
            first, first_ns = self.fragments[datagrams.index(datagram(key))]
            if not (time_ns and first_ns) or abs(time_ns - first_ns) <= REMEMBERED_NS:  # 0: not known
                return replace(first, status=FOLLOWS_FIRST, source_pid=key.source_pid)
        return key


def datagram(key: Key) -> tuple[Address, Address, int, int, int]:
    """Give what a later fragment has in common with its first; in IPv6 it need not show the protocol."""
    protocol = key.protocol if key.source.version == 4 else 0
    return key.source, key.destination, key.vlan, key.fragment_id, protocol


# The flow hash. All arithmetic is modulo 2**64.

WORD = 2**64 - 1
HALF = 2**32 - 1


def splitmix64(x: int) -> int:
    z = (x + 0x9E3779B97F4A7C15) & WORD
    z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & WORD
    z = ((z ^ z >> 27) * 0x94D049BB133111EB) & WORD
    return z ^ z >> 31


def packed16(address: Address) -> bytes:
    return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed


def flow_hash(seed: int, key: Key) -> int:
    """Give 32 bits: sums of products of words, each under a word of the seed; then two rounds."""
    seeds: list[int] = []
    for _ in range(6):
        seed = splitmix64(seed)
        seeds += [seed & HALF, seed >> 32]
    packed = packed16(key.destination) + packed16(key.source)
    packed += struct.pack("<HHI", key.destination_port, key.source_port, key.protocol)
    words = [(word + under) & HALF for word, under in zip(struct.unpack("<10I", packed), seeds, strict=False)]
    total = sum(one * other for one, other in zip(words[::2], words[1::2], strict=True)) & WORD
    last, middle = seeds[10] | 1, seeds[11] | 1

    mixed = (total + (total >> 32) * last) & HALF
    mixed = (mixed ^ mixed >> 16) * middle & HALF
    return (mixed ^ mixed >> 15) * last & HALF
