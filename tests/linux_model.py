"""The reference model of the policy `linux`: lists that are scanned from the front, after the kernel's functions.

Names in quotation marks are the kernel's, so that whoever doubts can read on there. No index, no cache: where the
engine and this file differ, one of them has a bug; where this file and the kernel differ, this file has.
"""

from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address

from vnasfast.errors import AddressInUse

Address = IPv4Address | IPv6Address
ANY4, ANY6 = IPv4Address("0.0.0.0"), IPv6Address("::")


@dataclass(eq=False)
class Group:
    """A "sock_reuseport"."""

    members: list["Socket"] = field(default_factory=list)
    has_conns: bool = False


@dataclass(eq=False)
class Socket:
    socket: int
    protocol: str
    vnas: int
    port: int
    address: Address  # IPv4 for a mapped one
    inet6: bool  # AF_INET6
    v6only: bool
    sharing: bool
    reuseaddr: bool
    device: str | None
    uid: int
    peer: tuple[Address, int] | None = None
    group: Group | None = None

    def any(self):
        return self.address in (ANY4, ANY6)

    def receives(self, address):
        """Whether a packet to an address may be its; for binding, not for dispatch."""
        if address.version == 4:
            return not (self.address.version == 6 and self.v6only) and (self.any() or self.address == address)
        return self.address.version == 6 and (self.any() or self.address == address)


@dataclass
class Packet:
    protocol: str
    vnas: int
    local: Address
    local_port: int
    remote: Address
    remote_port: int
    device: str | None


class LinuxModel:
    def __init__(self, *, old=False, secrets=None):
        self.old = old  # Linux 6.12 and before
        self.secrets = secrets or {}
        self.bound = []  # as in UDP's first hash
        self.waiting = []  # in chain order: a chain is what a pass does not skip
        self.connected = []  # the last to connect first: "ehash", and UDP's "hash4"

    def apart(self, sock):
        return sock.protocol == "tcp" or not self.old

    # ---- sockets

    def bind(self, sock):
        if self.in_use(sock):
            raise AddressInUse("in use")
        peer, sock.peer = sock.peer, None
        sock.v6only |= sock.address.version == 6 and not sock.any()
        if sock.sharing and not (sock.protocol == "tcp" and peer):
            self.join(sock)
        at_end = sock.sharing and sock.inet6  # "sk_add_node_rcu", "__inet_hash", "udp_lib_get_port"
        self.bound.insert(len(self.bound) if at_end else 0, sock)
        if not (peer and self.apart(sock)):
            self.waiting.insert(len(self.waiting) if at_end else 0, sock)
        if peer:
            self.connect(sock, peer, sock.address)

    def in_use(self, new):
        for old in self.bound:
            if (old.protocol, old.port, old.vnas) != (new.protocol, new.port, new.vnas):
                continue
            if new.protocol == "tcp" and (new.peer or old.peer):
                if (old.address, old.peer) == (new.address, new.peer) and old.device in (None, new.device):
                    return True
                continue
            if None not in (old.device, new.device) and old.device != new.device:
                continue
            both = [a for a in (old.address, new.address, ANY4, ANY6) if old.receives(a) and new.receives(a)]
            if old.address.version == 6 and not old.any() and not old.v6only and not new.inet6:  # "LOOPBACK4_IPV6"
                both = new.address in (ANY4, IPv4Address("127.0.0.6"))
            if not both or (new.protocol == "udp" and old.reuseaddr and new.reuseaddr):
                continue
            if not (old.sharing and new.sharing and old.uid == new.uid):
                return True
            if new.protocol == "udp":
                return False
        return False

    def join(self, new):
        """Do as "reuseport_add_sock" with the first socket alike."""

        def key(sock):
            return sock.protocol, sock.port, sock.vnas, sock.inet6, sock.v6only, sock.device, sock.uid, sock.address

        for old in self.bound:
            if old.sharing and key(old) == key(new) and not (old.protocol == "tcp" and old.peer):
                if old.group is None:
                    old.group = Group([old])
                break
        else:
            old = None
        new.group = old.group if old else Group()
        new.group.members.append(new)

    def leave(self, sock):
        """Do as "__reuseport_detach_sock": the last member fills the hole."""
        if sock.group:
            members = sock.group.members
            members[members.index(sock)] = members[-1]
            members.pop()
            sock.group = None

    def connect(self, sock, peer, address):
        moves = sock.any()
        if moves:  # "udp_lib_rehash"
            self.leave(sock)
        if sock in self.waiting and (moves or self.apart(sock)):
            self.waiting.remove(sock)
            if not self.apart(sock):
                self.waiting.insert(0, sock)
        sock.address, sock.peer = address, peer
        self.connected.insert(0, sock)
        if sock.group:
            sock.group.has_conns = True
            if self.apart(sock):  # "udp_lib_hash4"
                self.leave(sock)

    def close(self, sock):
        self.leave(sock)
        for where in (self.bound, self.waiting, self.connected):
            if sock in where:
                where.remove(sock)

    # ---- packets

    def dispatch(self, packet):
        """Give the socket, or None."""
        if packet.protocol == "tcp" or not self.old:
            for sock in self.connected:
                if self.here(sock, packet) and sock.address == packet.local and self.peer_matches(sock, packet):
                    return sock
        return self.pass_(packet, packet.local) or self.pass_(packet, None)

    def here(self, sock, packet):
        same = (sock.protocol, sock.port, sock.vnas) == (packet.protocol, packet.local_port, packet.vnas)
        return same and sock.device in (None, packet.device)

    def peer_matches(self, sock, packet):
        return sock.peer == (packet.remote, packet.remote_port)

    def score(self, sock, packet, address):
        """Do as "compute_score"; None: no match."""
        if not self.here(sock, packet) or (sock.peer and not self.peer_matches(sock, packet)):
            return None
        udp = packet.protocol == "udp"
        if packet.local.version == 4:
            if sock.v6only or not (sock.any() if address is None else sock.address == address):
                return None
            return 1 + (not sock.inet6) + (4 if udp else 1) * bool(sock.device) + 8 * bool(sock.peer)
        if sock.address != (address or ANY6):
            return None
        return (not udp) + bool(sock.device) + 2 * bool(sock.peer)

    def pass_(self, packet, address):
        """Do as "udp4_lib_lookup2" or "inet_lhash2_lookup"."""
        best, high = None, -1 if packet.protocol == "udp" and packet.local.version == 6 else 0
        for sock in self.waiting:
            score = self.score(sock, packet, address)
            if score is None or score <= high:
                continue
            best, high = sock, score
            if sock.group and not sock.peer:
                best = self.pick(sock.group, packet, address)
                if packet.protocol == "tcp" or not sock.group.has_conns:
                    return best
        return best

    def pick(self, group, packet, address):
        """Do as "reuseport_select_sock_by_hash". Without the secrets: the first that may be."""
        n = len(group.members)
        start = (self.hash(packet, address) * n >> 32) if self.secrets else 0
        turned = group.members[start:] + group.members[:start]
        return next(sock for sock in turned if not sock.peer)

    def hash(self, packet, address):
        name = packet.protocol + ("6" if packet.local.version == 6 else "")
        local = 0 if address is None else word(address, 3 if address.version == 6 else 0)
        if packet.local.version == 6:
            secret, inner = self.secrets[name]
            first = word(packet.remote, 0) ^ word(packet.remote, 1)
            remote = jhash(first, word(packet.remote, 2), word(packet.remote, 3), inner)
        else:
            secret, remote = self.secrets[name], word(packet.remote, 0)
        theirs = int.from_bytes(packet.remote_port.to_bytes(2, "big"), "little")
        if packet.protocol == "udp" or self.old:
            return jhash(local, remote, packet.local_port << 16 | theirs, secret)
        return (packet.local_port + jhash(local, remote, theirs, secret)) % 2**32


def word(address, number):
    return int.from_bytes(address.packed[4 * number : 4 * number + 4], "little")


def jhash(a, b, c, seed):
    """Do as "jhash_3words"."""

    def rotated(value, n):
        return (value << n | value >> 32 - n) % 2**32

    a, b, c = ((value + seed + 0xDEADBEEF + 12) % 2**32 for value in (a, b, c))
    words = {"a": a, "b": b, "c": c}
    for (changed, by), n in zip(("cb", "ac", "ba", "cb", "ac", "ba", "cb"), (14, 11, 25, 16, 4, 14, 24), strict=True):
        words[changed] = ((words[changed] ^ words[by]) - rotated(words[by], n)) % 2**32
    return words["c"]
