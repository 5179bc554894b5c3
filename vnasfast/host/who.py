"""One question: which process of this machine gets a packet from there to here?"""

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NamedTuple

from numpy.typing import NDArray

from vnasfast.dispatch.explanation import Explanation
from vnasfast.errors import InvalidValue
from vnasfast.host.agreement import device_of, receivers
from vnasfast.host.answers import Answer
from vnasfast.host.oracle import Oracle
from vnasfast.host.reading import Host, snapshot
from vnasfast.host.tables import HostTables, tables_of
from vnasfast.outcome import Outcome
from vnasfast.parse.keys import flow_keys

Endpoint = tuple[IPv4Address | IPv6Address, int]


class Receiver(NamedTuple):
    """A socket of this machine, as one who asks wants to know it; None where it is not known.

    Attributes
    ----------
    inode : int
    pid : int or None
    process : str or None
        The name of the process.
    uid : int
    """

    inode: int
    pid: int | None
    process: str | None
    uid: int


class Verdict(NamedTuple):
    """Who gets the packet.

    Attributes
    ----------
    receiver : Receiver or None
        By our tables; None: nobody.
    explanation : Explanation
        Why, step by step.
    kernel : Receiver or None
        By the kernel; None: nobody, or it was not asked.
    asked : bool
        Whether the kernel was asked.
    agree : bool or None
        Whether both name the same socket, or port-sharing group; None: the kernel was not asked, or about an address
        that is not this machine's, which its lookup doesn't look at.
    notes : list of str
        What to know of the answer.
    """

    receiver: Receiver | None
    explanation: Explanation
    kernel: Receiver | None
    asked: bool
    agree: bool | None
    notes: list[str]


def parse_endpoint(text: str) -> Endpoint:
    """Read an address and a port: ``192.0.2.1:80``, ``[2001:db8::1]:80``.

    Raises
    ------
    InvalidValue
    """
    address, separator, port = text.rpartition(":")
    bracketed = address.startswith("[") and address.endswith("]")
    try:
        found = ip_address(address[1:-1] if bracketed else address)
    except ValueError:
        found = None
    fits = found is not None and bracketed == (found.version == 6)
    number = int(port) if port.isascii() and port.isdigit() else 0
    if found is None or not fits or not separator or not 0 < number < 65536:
        raise InvalidValue(
            f"{text!r} is no address and port: write it like 192.0.2.1:80, or [2001:db8::1]:80; the port is 1 to 65535"
        )
    return found, number


def who(
    remote: Endpoint, local: Endpoint, protocol: str = "tcp", *, netns: str | int | None = None, kernel: bool = False
) -> Verdict:
    """Say which process of this machine gets a packet.

    Parameters
    ----------
    remote, local : pair of ipaddress object and int
        Where the packet comes from and goes to: address and port.
    protocol : str, optional
        tcp, udp, sctp, dccp or udplite.
    netns : str or int, optional
        The network namespace in which it arrives, by name or PID; default this thread's.
    kernel : bool, optional
        Also ask the kernel, which looks the receiver up without a packet; TCP and UDP only.

    Raises
    ------
    InvalidValue
        The addresses are not of one family, or the kernel can't be asked about this protocol.
    HostError
        The machine can't be read.
    OracleError
        The kernel can't be asked.
    """
    if remote[0].version != local[0].version:
        raise InvalidValue(f"{remote[0]} and {local[0]} are not of one family: a packet is IPv4 or IPv6")
    if kernel and protocol not in ("tcp", "udp"):
        raise InvalidValue(f"the kernel can be asked about tcp and udp only, not about {protocol}")
    host = snapshot(netns)
    tables = tables_of(host)
    key = flow_keys(
        destination=[str(local[0])],
        destination_port=local[1],
        source=[str(remote[0])],
        source_port=remote[1],
        protocol=protocol,
        source_pid=tables.process_in(host.namespaces[0].name),
    )
    explanation = tables.machine.explain_key(key[0])
    place = None if explanation.socket is None else tables.places[explanation.socket]
    notes = [*tables.notes, *host.unseen]
    receiver = None if place is None else _receiver(host, place)
    if not kernel:
        return Verdict(receiver, explanation, None, False, None, notes)
    with Oracle(host.namespaces[0].path) as oracle:
        answer = oracle.ask(protocol, *local, *remote, interface=device_of(host, local[0]))
    if explanation.outcome == Outcome.NO_VNAS:
        notes.append("routing lets no packet to this address reach the lookup that the kernel was asked for")
        agree = None
    else:
        agree = _compare(host, tables, key, place, answer, notes)
    return Verdict(receiver, explanation, None if answer is None else _named(host, answer), True, agree, notes)


def _compare(
    host: Host, tables: HostTables, key: NDArray[Any], place: int | None, answer: Answer | None, notes: list[str]
) -> bool:
    if place is not None and answer is not None and int(host.sockets["cookie"][place]) != answer.cookie:
        ours, kernel = receivers(host, tables, key)
        if ours[0] == kernel[0]:
            notes.append("both are of one port-sharing group: the kernel chooses a member by a hash with a secret")
            return True
        return False
    return (place is None) == (answer is None)


def _receiver(host: Host, place: int) -> Receiver:
    row = host.sockets[place]
    pid = int(row["pid"])
    process = host.processes.get(pid)
    return Receiver(int(row["inode"]), pid or None, None if process is None else process.name, int(row["uid"]))


def _named(host: Host, answer: Answer) -> Receiver:
    """Find the kernel's answer among the sockets of the snapshot; it may be younger than that."""
    (places,) = (host.sockets["cookie"] == answer.cookie).nonzero()
    if len(places):
        return _receiver(host, int(places[0]))
    return Receiver(answer.inode, None, None, answer.uid)
