"""The tables' rows as people read them."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple

from vnasfast.tables.resources import Usage


class ProcessRow(NamedTuple):
    """A row of the process table; process 1 has parent 0."""

    pid: int
    vnas: int
    parent: int
    usage: Usage


class AddressRow(NamedTuple):
    """A row of the ANY-address table; VLAN 0: untagged."""

    address: IPv4Address | IPv6Address
    vnas: int
    interface: str
    vlan: int


class SocketRow(NamedTuple):
    """A row of the socket table; the address ``0.0.0.0`` or ``::`` is ANY."""

    socket: int
    protocol: str
    port: int
    address: IPv4Address | IPv6Address
    pid: int
    vnas: int
    v6only: bool
    sharing: bool
    usage: Usage


class LinuxRow(NamedTuple):
    """What a socket has under the policy `linux`, beside its row of the socket table.

    Attributes
    ----------
    device : str or None
        The device that it is bound to.
    mapped : bool
        A socket of IPv6 on an IPv4 address.
    uid : int
    reuseaddr : bool
    peer : pair of address and port, or None
        To which it is connected.
    group : int or None
        The port-sharing group that it is in.
    member : int
        Its place there, by which the kernel's hash counts.
    """

    device: str | None
    mapped: bool
    uid: int
    reuseaddr: bool
    peer: tuple[IPv4Address | IPv6Address, int] | None
    group: int | None
    member: int


class RouteRow(NamedTuple):
    """A row of the routing table; network None: the default."""

    network: IPv4Network | IPv6Network | None
    interface: str
