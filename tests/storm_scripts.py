"""What the writer does in a storm: scripts made to catch a reader between two looks at the tables.

Each script is a generator of bursts: it does some operations and yields, and the others have their turn. What a script
frees (rows, VNAS numbers, socket IDs), the next to ask takes, whoever it is. Scripts keep to PIDs, VNAS IDs and
addresses of their own, but wait on common ports.
"""

import random
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from itertools import count, product

from model import ANY4, ANY6, Address, Key
from storm_log import Writer

TCP, UDP = 6, 17
COMMON = 80  # a port on which sockets of every script wait
REMOTE = IPv4Address("198.51.100.9")
REMOTE6 = IPv6Address("2001:db8::9")
SPAN = 50_000_000  # PIDs, and VNAS IDs, of a script
LOOPBACKS: tuple[Address, ...] = (IPv4Address("127.0.0.1"), IPv4Address("127.9.9.9"), IPv6Address("::1"))


class Script:
    """One of the writer's habits; `number` gives it values of its own."""

    def __init__(self, writer: Writer, number: int) -> None:
        self.writer = writer
        self.number = number
        self.random = random.Random(number)
        self.pids = count(SPAN * (number + 1))
        self.vnases = count(SPAN * (number + 1))
        self.port = 1000 + 20 * number  # and the 19 after it
        self.keys: list[Key] = []

    def address(self, host: int, version: int = 4) -> Address:
        if version == 4:
            return IPv4Address(0x0A000000 | self.number << 16 | host)
        return IPv6Address(0xFD00 << 112 | self.number << 64 | host)

    def watch(self, destination: Address, port: int, **fields: int) -> None:
        source = REMOTE if destination.version == 4 else REMOTE6
        source_port = fields.pop("source_port", 40_000)
        self.keys.append(Key(destination, source, port, source_port, **fields))

    def new_process(self, vnas: int | None = None) -> int:
        pid = next(self.pids)
        self.writer.start(pid, next(self.vnases) if vnas is None else vnas)
        return pid

    def bursts(self) -> Iterator[None]:
        raise NotImplementedError


class Mover(Script):
    """An address moves to another VNAS, and the old VNAS ends.

    Whoever reads the address before and the port after must not answer NO_SOCKET: the old VNAS had its socket for as
    long as it had the address. A third VNAS takes the old one's number, row and socket ID at once: its socket was never
    right.
    """

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.moving = self.address(1, 6 if number % 2 else 4)
        self.vlan = (0, 7, 4095)[number % 3]
        for vlan, port, protocol in product((self.vlan, 9), (COMMON, self.port), (TCP, UDP)):
            self.watch(self.moving, port, vlan=vlan, protocol=protocol)

    def server(self) -> int:
        pid = self.new_process()
        for port in (COMMON, self.port):
            self.writer.bind(pid, TCP, port, ANY6)
        return pid

    def bursts(self) -> Iterator[None]:
        owner = self.server()
        self.writer.validate(owner, self.moving, self.vlan)
        while True:
            yield
            heir = self.server()
            self.writer.invalidate(owner, self.moving, self.vlan)
            if self.random.random() < 0.5:
                self.writer.exit(owner)
                squatter = self.server()  # in the rows of the one that just ended
                self.writer.validate(heir, self.moving, self.vlan)
                self.writer.exit(squatter)
            else:
                self.writer.validate(heir, self.moving, self.vlan)
                self.writer.exit(owner)
            owner = heir


class Recycler(Script):
    """Addresses of two VNASs, whose sockets stay, take the same address row in turn."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.hosts = [self.address(host, version) for host in range(1, 9) for version in (4, 6)]
        for address in self.hosts:
            self.watch(address, COMMON)
            self.watch(address, self.port, protocol=UDP)

    def bursts(self) -> Iterator[None]:
        pids = self.new_process(), self.new_process()
        for pid in pids:
            self.writer.bind(pid, TCP, COMMON, ANY6)
            self.writer.bind(pid, UDP, self.port, ANY4)
            self.writer.bind(pid, UDP, self.port, ANY6, v6only=True)
        while True:
            for place, address in enumerate(self.hosts):
                self.writer.validate(pids[place % 2], address)
                self.writer.invalidate(pids[1 - place % 2], address)  # not its own: nothing changes
                if self.random.random() < 0.8:
                    self.writer.invalidate(pids[place % 2], address)
                yield
            for place, address in enumerate(self.hosts):
                self.writer.invalidate(pids[place % 2], address)
            yield


class Switcher(Script):
    """Sockets on ANY of each kind and on specific addresses come and go on one port: the first registered is right."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.own = [self.address(host, version) for host in (1, 2) for version in (4, 6)]
        for address in self.own:
            self.watch(address, COMMON, protocol=UDP)
            self.watch(address, self.port)

    def bursts(self) -> Iterator[None]:
        vnas = next(self.vnases)
        pids = [self.new_process(vnas) for _ in range(2)]
        for address in self.own:
            self.writer.validate(pids[0], address)
        open_sockets: dict[tuple[int, int, Address], int] = {}
        choices = list(product(((UDP, COMMON), (TCP, self.port)), (ANY4, ANY6, *self.own)))
        while True:
            for (protocol, port), address in self.random.sample(choices, 3):
                place = protocol, port, address
                if place in open_sockets:
                    self.writer.close(open_sockets.pop(place))
                else:
                    v6only = address == ANY6 and self.random.random() < 0.3
                    pid = self.random.choice(pids)
                    open_sockets[place] = self.writer.bind(pid, protocol, port, address, v6only=v6only)
            yield


class Sharers(Script):
    """Members join and leave port-sharing groups, one by one and all of a process at once."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.own = [self.address(1, 4), self.address(1, 6)]
        for address, source_port in product(self.own, range(40)):
            self.watch(address, self.port, source_port=source_port)
        for address, source_port in product(self.own, range(10)):
            self.watch(address, COMMON, source_port=source_port)

    def bursts(self) -> Iterator[None]:
        vnas = next(self.vnases)
        landlord = self.new_process(vnas)
        for address in self.own:
            self.writer.validate(landlord, address)
        members: dict[int, list[int]] = {self.new_process(vnas): [] for _ in range(3)}
        recipients = [ANY4, ANY6, ANY6, *self.own]
        while True:
            yield
            pid = self.random.choice(list(members))
            if self.random.random() < 0.1:
                self.writer.exit(pid)
                del members[pid]
                members[self.new_process(vnas)] = []
            elif len(members[pid]) > 4 or (members[pid] and self.random.random() < 0.4):
                self.writer.close(members[pid].pop(self.random.randrange(len(members[pid]))))
            else:
                recipient = self.random.choice(recipients)
                v6only = recipient == ANY6 and self.random.random() < 0.3
                port = COMMON if self.random.random() < 0.2 else self.port
                members[pid].append(self.writer.bind(pid, TCP, port, recipient, v6only=v6only, sharing=True))


class Loopback(Script):
    """Loopback packets: their source's process, address and endpoint change hands."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.waiting, self.sending = self.port, [self.port + 1, self.port + 2]
        self.local = [self.address(1, 4), self.address(1, 6)]
        self.sender = next(self.pids)
        for destination, source in product(LOOPBACKS, (*LOOPBACKS, *self.local)):
            for source_port in self.sending:
                self.keys.append(Key(destination, source, self.waiting, source_port))
            self.keys.append(Key(destination, source, self.waiting, 9, source_pid=self.sender))

    def bursts(self) -> Iterator[None]:
        vnases = [next(self.vnases) for _ in range(3)]
        servers = [self.new_process(vnas) for vnas in vnases]
        for pid in servers:
            self.writer.bind(pid, TCP, self.waiting, ANY6)
        self.writer.bind(servers[0], TCP, self.waiting, LOOPBACKS[0])
        open_sockets: dict[tuple[int, int, Address], int] = {}
        owner: dict[Address, int] = {}
        choices = list(product(servers, self.sending, (ANY4, ANY6, *LOOPBACKS)))
        lives = False
        while True:
            yield
            kind = self.random.random()
            if kind < 0.3:
                if lives:
                    self.writer.exit(self.sender)
                self.writer.start(self.sender, self.random.choice(vnases))
                lives = True
            elif kind < 0.5:
                address = self.random.choice(self.local)
                if address in owner:
                    self.writer.invalidate(owner.pop(address), address)
                else:
                    owner[address] = self.random.choice(servers)
                    self.writer.validate(owner[address], address)
            else:
                # Few are open at once, so that a source often has one owner.
                place = self.random.choice(list(open_sockets) if len(open_sockets) > 4 else choices)
                if place in open_sockets:
                    self.writer.close(open_sockets.pop(place))
                else:
                    pid, port, address = place
                    open_sockets[place] = self.writer.bind(pid, TCP, port, address)


class Flicker(Script):
    """Ports with one socket: each ends as the next begins, in its rows and for another VNAS."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.own = [self.address(host, version) for host in (1, 2) for version in (4, 6)]
        self.ports = range(self.port, self.port + 8)
        for address, port in product(self.own, self.ports):
            self.watch(address, port, protocol=UDP)

    def bursts(self) -> Iterator[None]:
        pids = [self.new_process(), self.new_process()]
        for place, address in enumerate(self.own):
            self.writer.validate(pids[place // 2], address)
        while True:
            for port in self.ports:
                self.writer.close(self.writer.bind(self.random.choice(pids), UDP, port, ANY6))
            yield
            kept = [self.writer.bind(self.random.choice(pids), UDP, port, ANY4) for port in self.ports]
            yield
            for socket in self.random.sample(kept, len(kept)):
                self.writer.close(socket)


class Swell(Script):
    """Ports swing between one VNAS and many: their answers move from lines to arrays and back, and the ports close."""

    VNASES = 40

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.ports = (self.port, self.port + 1)
        self.hosts = [self.address(host + 1, (4, 4, 6)[host % 3]) for host in range(self.VNASES)]
        for address, port in product(self.hosts, self.ports):
            self.watch(address, port)
            self.watch(address, port, protocol=UDP)

    def bursts(self) -> Iterator[None]:
        pids = [self.new_process() for _ in self.hosts]
        for pid, address in zip(pids, self.hosts, strict=True):
            self.writer.validate(pid, address)
        while True:
            protocol, port = self.random.choice((TCP, UDP)), self.random.choice(self.ports)
            one_family = self.random.random() < 0.3
            sockets = []
            for pid in self.random.sample(pids, self.random.choice([2, 8, 20, self.VNASES])):
                recipient = ANY4 if one_family and self.random.random() < 0.2 else ANY6
                sockets.append(self.writer.bind(pid, protocol, port, recipient))
                if self.random.random() < 0.3:
                    yield
            for socket in self.random.sample(sockets, len(sockets)):
                self.writer.close(socket)
                if self.random.random() < 0.3:
                    yield


class Swapper(Script):
    """A socket closes, and another process of the VNAS binds in its place: the same socket ID, another PID."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        self.watch(self.address(1), self.port)
        self.watch(self.address(1, 6), self.port)

    def bursts(self) -> Iterator[None]:
        vnas = next(self.vnases)
        pids = [self.new_process(vnas), self.new_process(vnas)]
        for version in (4, 6):
            self.writer.validate(pids[0], self.address(1, version))
        while True:
            for pid in pids:
                socket = self.writer.bind(pid, TCP, self.port, ANY6)
                yield
                self.writer.close(socket)


class Tide(Script):
    """Every table grows from nothing to `most` sockets, and shrinks to nothing again."""

    SERVICES = tuple((protocol, 20_000 + 7 * place) for place in range(5) for protocol in (TCP, UDP))

    def __init__(self, writer: Writer, number: int, most: int, watched: int = 1500) -> None:
        super().__init__(writer, number)
        self.most_servers = max(2, most // len(self.SERVICES))
        self.ids = self.random.sample(range(40 * SPAN, 2**31), self.most_servers)
        self.servers: list[int] = []
        self.sockets: dict[int, list[int]] = {}  # of servers that had them in one call
        # Made ahead: the writer's time is for operations.
        self.hosts = [
            (IPv4Address(0x0B000000 | server), IPv6Address(0xFD01 << 112 | server))
            for server in range(self.most_servers)
        ]
        first_ids = 3 * watched // len(self.SERVICES)
        for _ in range(watched):
            among = self.random.choice([20, first_ids, self.most_servers])
            server = self.random.randrange(min(among, self.most_servers))
            protocol, port = self.random.choice(self.SERVICES)
            self.watch(self.random.choice(self.hosts[server]), port, protocol=protocol, vlan=self.vlan(server))

    @staticmethod
    def vlan(server: int) -> int:
        return (0, 0, 5)[server % 3]

    def bursts(self) -> Iterator[None]:
        tops = [min(20, self.most_servers), self.most_servers, self.most_servers // 10 + 1]
        for turn in count():
            yield from self.grow(tops[turn % len(tops)], any_first=turn % 2 == 0)
            yield from self.shrink()

    def grow(self, top: int, any_first: bool) -> Iterator[None]:
        while len(self.servers) < top:
            server = len(self.servers)
            pid = self.new_process(self.ids[server])
            self.servers.append(pid)
            if any_first:
                self.serve(pid)
            for address in self.hosts[server]:
                self.writer.validate(pid, address, self.vlan(server))
            if not any_first:
                self.serve(pid)
            yield

    def serve(self, pid: int) -> None:
        if self.random.random() < 0.3:
            self.sockets[pid] = self.writer.bind_many(pid, self.SERVICES)
            return
        for protocol, port in self.SERVICES:
            self.writer.bind(pid, protocol, port, ANY6)

    def shrink(self) -> Iterator[None]:
        while self.servers:
            pid = self.servers.pop()
            server = len(self.servers)
            if pid in self.sockets:
                self.writer.close_many(self.sockets.pop(pid))
            if server % 2:
                self.writer.exit(pid)
                pid = self.new_process(self.ids[server])  # as only the VNAS may take the addresses down
            for address in self.hosts[server]:
                self.writer.invalidate(pid, address, self.vlan(server))
            self.writer.exit(pid)
            yield


class Steady(Script):
    """What never changes: always right, and counted without a gap."""

    def __init__(self, writer: Writer, number: int) -> None:
        super().__init__(writer, number)
        for host, version in product(range(1, 6), (4, 6)):
            self.watch(self.address(host, version), COMMON)
        self.sockets: list[int] = []

    def bursts(self) -> Iterator[None]:
        for host in range(1, 6):
            pid = self.new_process()
            for version in (4, 6):
                self.writer.validate(pid, self.address(host, version))
            self.sockets.append(self.writer.bind(pid, TCP, COMMON, ANY6))
        while True:
            yield


def all_scripts(writer: Writer, most: int) -> list[Script]:
    """Give every script, those with small tables several times."""
    kinds: list[type[Script]] = [Steady]
    kinds += [Mover] * 6 + [Recycler, Switcher, Sharers, Loopback, Flicker, Swell, Swapper] * 2
    scripts = [kind(writer, number) for number, kind in enumerate(kinds)]
    return [*scripts, Tide(writer, len(scripts), most)]
