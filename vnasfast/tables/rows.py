"""The tables' rows as people read them."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple


class Usage(NamedTuple):
    """The resources used: what was dispatched to a row."""

    packets: int = 0
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None


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


class RouteRow(NamedTuple):
    """A row of the routing table; network None: the default."""

    network: IPv4Network | IPv6Network | None
    interface: str
