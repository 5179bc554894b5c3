"""Tables learned from captures: who served in them, written as VNASs, addresses and ANY sockets.

One pass over the frames gathers evidence (:mod:`vnasfast.replay.evidence`); the rules below make tables of it.
Endpoint means (VLAN ID, address, protocol, port), flow an unordered pair of endpoints, group a multicast or
broadcast address, also one that only the frame's link header shows to be so.

**Services.** An endpoint is a service

- TCP: when it accepted a handshake, that is, sent SYN and ACK without FIN or RST.
- SCTP, DCCP: the same, by an INIT ACK chunk or a Response packet.
- UDP, UDP-Lite: when it is the server side of a flow and answered in it; or was called and no ICMP error
  (unreachable, time exceeded) came back for it. The server side is the side that others come to:

  1. The *called side* of a flow is its first packet's destination. The sender is the called side, for its packet
     is an answer, when the destination asked the sender's port at a group before, or anyone asked it so from the
     destination's port (DHCP, SSDP); and when the packet goes from a port below 512, where no system places its
     callers, to one of 1024 or more (the question came before the capture).
     If the destination has called a port below 1024 of the sender's address last (TFTP), or asked a group at another
     port than its own, both ports of the flow being 1024 or more, then the sender is the called side if the flow
     has packets both ways, and the flow counts for nobody otherwise.
  2. An endpoint's score is the number of flows in which it was called less those in which it called. The server
     side of a flow is the one of greater score by the other flows; at a tie, a port below 1024 against a higher one;
     at a tie again, the called side. It is always the called side when that one's port is below 512 or equal to the
     other's, or when the other never was called.
  3. What is sent to a group makes no service, but the answer to it does.

Groups, 0.0.0.0, ``::`` and port 0 are never services.

**Machines.** Two addresses of one VLAN are one machine when the same MAC claimed both: as the sender of an ARP
request or reply, or in neighbour discovery (the target of an advertisement, the source of a solicitation or of a
router's message, with hop limit 255). A MAC that claims more than 32 addresses on a VLAN is a proxy and joins
nothing; neither does an address that several MACs claim (it moved, or two machines quarrel). Without such evidence,
and on other links than Ethernet, each address is a machine of its own. One address on two VLANs is two machines.
All loopback addresses are one machine.

**Tables.** Each machine that serves becomes a VNAS: 1, 2, 3 … in the order of the frames that first show a service
of theirs, named by its first IPv4 address, else its first IPv6 address (a link-local one only if there is no other),
with one process. Its addresses are validated in the order in which they were seen, on the interface that the capture
names, else ``eth0``, followed by ``.100`` for VLAN 100; loopback on ``lo``. Each (protocol, port) that it served on
any of its addresses is one ANY socket (``::``, which receives IPv6 and IPv4), also when it was seen on one family only:
unmodified servers wait on ANY, and only the machine's own addresses lead to it. The default route leads to the
interface of the first address.

**Loopback traffic** carries no source process. A service's answers are told by their source endpoint and end as
NO_PORT, since the caller's port is no service; calls from such a port have no owner and end as UNKNOWN_SOURCE, as
the dispatch rules have it.

**Limits.** Memory is bounded: 1,048,576 UDP flows and as many endpoints, 262,144 endpoints that accepted a handshake,
65,536 claims. What came after was left out, and a note says so. A connection whose handshake is not in the capture
shows no service. In a capture that begins within a lone UDP flow of two high ports, the first packet may be an
answer, and the caller's port be taken as the service. Requests and answers on different VLANs are not put together.
"""

import os
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from vnasfast.capture import Capture, open_capture
from vnasfast.errors import CaptureError, InvalidValue, MissingExtra
from vnasfast.machine import ServerMachine
from vnasfast.parse.text import address_of, address_text, protocol_name
from vnasfast.replay.evidence import Evidence

#: A MAC address that claims more IP addresses is a proxy.
PROXY_ABOVE = 32

#: (VLAN ID, address of 16 bytes)
Place: TypeAlias = tuple[int, bytes]
Progress: TypeAlias = Callable[[Capture, int], object]


@dataclass
class Learned:
    """What captures teach.

    Attributes
    ----------
    machine : ServerMachine
        The tables; nothing is counted in them yet.
    notes : list of str
        What was learned and what was doubtful, a sentence each.
    errors : list of CaptureError, OSError or MissingExtra
        Captures that are damaged or can't be read. What came before the damage is learned.
    frames : int
        Frames that were read.
    interrupted : bool
        Ctrl-C ended it early.
    """

    machine: ServerMachine
    notes: list[str]
    errors: list[Exception] = field(default_factory=list)
    frames: int = 0
    interrupted: bool = False

    @property
    def error(self) -> Exception | None:
        """The first of the errors."""
        return self.errors[0] if self.errors else None


class _Seen(NamedTuple):
    """Where and when an address was met first."""

    first_frame: int
    interface: int


class _Service(NamedTuple):
    first_frame: int
    interface: int
    place: Place
    protocol: int
    port: int
    answered: bool


@dataclass
class _Server:
    """A machine that serves."""

    addresses: dict[Place, _Seen]
    services: list[_Service]


def learn(
    captures: Sequence[str | os.PathLike[str] | Any],
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    interruptible: bool = False,
) -> Learned:
    """Learn tables from captures, by the rules at the head of this module.

    Parameters
    ----------
    captures : sequence of path-like, file object or bytes
        As `vnasfast.capture.open_capture` takes them, read one after the other.
    limit : int, optional
        The most frames of all captures together.
    progress : callable, optional
        Called after each block of frames with the capture and the number of frames so far.
    interruptible : bool, optional
        Whether Ctrl-C ends the learning and what was learned until then is returned, instead of KeyboardInterrupt.

    Returns
    -------
    Learned
        Captures that can't be read, or not further, are no exception here: see its ``errors``.

    Raises
    ------
    InvalidValue
        The limit is negative.
    """
    if limit is not None and limit < 0:
        raise InvalidValue(f"limit is {limit}; it must be 0 or more")
    evidence = Evidence()
    errors: list[Exception] = []
    interfaces: dict[int, str] = {}
    frames = 0
    interrupted = False
    for path in captures:
        if interrupted:
            break
        try:
            with open_capture(path) as capture:
                number = evidence.begin()
                try:
                    while limit is None or frames < limit:
                        n = evidence.read(capture, None if limit is None else limit - frames)
                        if n == 0:
                            break
                        frames += n
                        if progress is not None:
                            progress(capture, frames)
                finally:
                    for row, interface in enumerate(capture.interfaces):
                        if interface.name:
                            interfaces[number << 16 | row] = interface.name
        except (CaptureError, OSError, MissingExtra) as error:
            errors.append(error)
        except KeyboardInterrupt:
            if not interruptible:
                raise
            interrupted = True
    notes: list[str] = []
    servers = _servers(evidence, notes)
    machine = _tables(servers, interfaces, notes)
    notes.extend(_doubts(evidence.counts(), servers))
    return Learned(machine, notes, errors, frames, interrupted)


def _servers(evidence: Evidence, notes: list[str]) -> list[_Server]:
    """Group services by machine, in the order of their first evidence."""
    machines = _Machines(evidence.claims(), notes)
    servers: dict[Place, _Server] = {}
    for first_frame, interface, vlan, address, protocol, port, answered, refused in sorted(evidence.services()):
        if refused and not answered:
            continue
        # A loopback address is the same on every VLAN.
        place = (0 if _is_loopback(address) else vlan, address)
        root = machines.root(place)
        if root not in servers:
            servers[root] = _Server(machines.addresses(root), [])
        seen = _Seen(first_frame, interface)
        known = servers[root].addresses
        known[place] = min(known.get(place, seen), seen)
        servers[root].services.append(_Service(first_frame, interface, place, protocol, port, answered))
    return list(servers.values())


class _Machines:
    """Which addresses are one machine."""

    def __init__(self, claims: list[tuple[int, int, int, bytes, bytes]], notes: list[str]) -> None:
        by_mac: dict[tuple[int, bytes], list[Place]] = defaultdict(list)
        seen: dict[Place, _Seen] = {}
        for first_frame, interface, vlan, address, mac in claims:
            by_mac[vlan, mac].append((vlan, address))
            seen.setdefault((vlan, address), _Seen(first_frame, interface))
        for vlan, mac in [key for key, places in by_mac.items() if len(places) > PROXY_ABOVE]:
            notes.append(
                f"{mac.hex(':')}{_on(vlan)} claims {len(by_mac.pop((vlan, mac)))} addresses:"
                " a proxy or router, so they are not taken as one machine."
            )
        claimants = Counter(place for places in by_mac.values() for place in places)
        contested = [place for place, n in claimants.items() if n > 1]
        if contested:
            notes.append(
                f"{_list([_text(place) for place in contested])} {'is' if len(contested) == 1 else 'are'} claimed by"
                " several MAC addresses each, and taken as a machine of its own."
            )
        self._root: dict[Place, Place] = {}
        self._addresses: dict[Place, dict[Place, _Seen]] = {}
        for places in by_mac.values():
            own = [place for place in places if claimants[place] == 1]
            for place in own:
                self._root[place] = own[0]
                self._addresses.setdefault(own[0], {})[place] = seen[place]

    def root(self, place: Place) -> Place:
        """Name the machine of an address by one of its addresses."""
        if _is_loopback(place[1]):
            return (0, _LOOPBACK)
        return self._root.get(place, place)

    def addresses(self, root: Place) -> dict[Place, _Seen]:
        return dict(self._addresses.get(root, {}))


def _tables(servers: list[_Server], interfaces: dict[int, str], notes: list[str]) -> ServerMachine:
    machine = ServerMachine()
    used: list[str] = []
    n_addresses = n_services = 0
    silent: list[str] = []
    for vnas, server in enumerate(servers, 1):
        pid = machine.vnas_start(1, vnas)
        places = sorted(server.addresses, key=lambda place: (server.addresses[place], place))
        machine.names[vnas] = _name(places)
        for place in places:
            interface = _interface(place, interfaces.get(server.addresses[place].interface, ""))
            machine.validate(pid, address_text(place[1]), interface, vlan=place[0])
            used.append(interface)
        bound: dict[tuple[int, int], bool] = {}
        for service in server.services:
            key = (service.protocol, service.port)
            if key not in bound:
                machine.bind(pid, *key)
            bound[key] = bound.get(key, False) or service.answered
        silent += [f"{machine.names[vnas]} {_port(*key)}" for key, answered in bound.items() if not answered]
        n_addresses += len(places)
        n_services += len(bound)
    if used:
        machine.set_route("default", used[0])
    notes.insert(0, _summary(len(servers), n_services, n_addresses))
    if len(set(used)) > 1:
        notes.append(f"Interfaces are {_list(list(dict.fromkeys(used)))}; the default route leads to {used[0]}.")
    if silent:
        notes.append(
            f"{_count(len(silent), 'UDP service')} never answered, and no ICMP error refused"
            f" {'it' if len(silent) == 1 else 'them'}: {_list(silent)}."
        )
    if any(_is_loopback(place[1]) for server in servers for place in server.addresses):
        notes.append(
            "Loopback services are taken as one machine. Captures don't say which process sent a frame, so calls"
            " to them from ports that nobody serves are UNKNOWN_SOURCE."
        )
    return machine


def _doubts(counts: dict[str, int], servers: list[_Server]) -> list[str]:
    doubts = []
    if counts["connection_frames"] and not any(
        service.protocol not in _UDP for server in servers for service in server.services
    ):
        doubts.append(
            f"{_count(counts['connection_frames'], 'frame')} of TCP, SCTP or DCCP, but no accepted handshake:"
            " who serves them was decided before the capture began, or nobody does."
        )
    if counts["turned"]:
        doubts.append(
            f"{_count(counts['turned'], 'UDP flow')} of {counts['flows']:,} began with the side that others come to;"
            " that side is taken as the server."
        )
    for kind, what in (("flows", "UDP flow"), ("acceptances", "accepted handshake"), ("claims", "address claim")):
        left_out = counts[f"{kind}_left_out"]
        if left_out:
            doubts.append(f"The table of {what}s was full: frames that show {left_out:,} more were left out.")
    return doubts


# --- words ------------------------------------------------------------------------------------------------------------

_UDP = (17, 136)
_LOOPBACK = bytes(10) + b"\xff\xff\x7f\x00\x00\x01"


def _is_loopback(address: bytes) -> bool:
    found = address_of(address)
    return found is not None and found.is_loopback


def _interface(place: Place, captured_on: str) -> str:
    if _is_loopback(place[1]):
        return "lo"
    return (captured_on or "eth0") + (f".{place[0]}" if place[0] else "")


def _name(places: list[Place]) -> str:
    """Name a machine; its VLAN is part of the name, for the address may be another's on another VLAN."""
    return _text(min(places, key=lambda place: _remoteness(place[1])))


def _remoteness(address: bytes) -> int:
    """Order addresses by how well people know them: IPv4, IPv6, link-local."""
    found = address_of(address)
    if found is None or found.is_link_local:
        return 2
    return 0 if found.version == 4 else 1


def _text(place: Place) -> str:
    return address_text(place[1]) + _on(place[0])


def _on(vlan: int) -> str:
    return f" on VLAN {vlan}" if vlan else ""


def _list(words: list[str], most: int = 5) -> str:
    if len(words) > most:
        return f"{', '.join(words[:most])} and {len(words) - most:,} more"
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _port(protocol: int, port: int) -> str:
    return f"{protocol_name(protocol)} {port}"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'' if n == 1 else 's'}"


def _summary(n_machines: int, n_services: int, n_addresses: int) -> str:
    if n_machines == 0:
        return "Nobody serves in the capture: no accepted handshake, and no UDP endpoint that others come to."
    verb = "serves" if n_machines == 1 else "serve"
    addresses = f"{n_addresses:,} address{'' if n_addresses == 1 else 'es'}"
    return f"{_count(n_machines, 'machine')} {verb} {_count(n_services, 'service')} on {addresses}."
