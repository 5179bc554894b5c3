"""The maps' rows as bytes and back: what bpf/vnas.bpf.h declares."""

import socket
import struct
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

IPAddress = IPv4Address | IPv6Address

FAMILY4, FAMILY6 = 1, 2
MOST_SLOTS = 0x7FFF
NO_ADDRESS = bytes(16)
#: ::1 of the VNAS in slot s is fd76:6e61:7366:6173:7400::s: these bytes ("vnasfast" in a private range), then s.
LOOPBACK6 = bytes.fromhex("fd76 6e61 7366 6173 7400 0000")

_MAPPED = bytes(10) + b"\xff\xff"
_LOOPBACK4 = 0x7F800000
_OWNER = struct.Struct("=IIII")
_VNAS = struct.Struct("=II16s16s16s16s")
_ENDPOINT = struct.Struct("=IHBB16s")
_COUNTS = struct.Struct("=4Q")
SLOT = struct.Struct("=I")
CGROUP = struct.Struct("=Q")


def address_key(address: IPAddress) -> bytes:
    """Write an address as the maps have it: IPv4 mapped."""
    return _MAPPED + address.packed if address.version == 4 else address.packed


def address_of(key: bytes) -> IPAddress | None:
    """Read an address; None: all zero."""
    if key == NO_ADDRESS:
        return None
    return ip_address(key[12:]) if key.startswith(_MAPPED) else ip_address(key)


def loopback4(slot: int) -> IPv4Address:
    """Make what ANY becomes in a VNAS without IPv4 addresses."""
    return IPv4Address(_LOOPBACK4 | slot << 8)


def loopback6(slot: int) -> IPv6Address:
    """Make the VNAS's own ::1."""
    return IPv6Address(LOOPBACK6 + slot.to_bytes(4, "big"))


class Owner(NamedTuple):
    """Whose an address is."""

    slot: int
    interface: int
    order: int
    added: int

    def pack(self) -> bytes:
        """Write the row."""
        return _OWNER.pack(*self)

    @classmethod
    def unpack(cls, row: bytes) -> "Owner":
        """Read the row."""
        return cls(*_OWNER.unpack(row))


class VnasRow(NamedTuple):
    """What the programs know of a VNAS; addresses as keys."""

    id: int
    several: int
    any4: bytes
    any6: bytes
    source4: bytes
    source6: bytes

    def pack(self) -> bytes:
        """Write the row."""
        return _VNAS.pack(*self)

    @classmethod
    def unpack(cls, row: bytes) -> "VnasRow":
        """Read the row."""
        return cls(*_VNAS.unpack(row))


class Endpoint(NamedTuple):
    """Where a socket waits; address None: ANY."""

    slot: int
    port: int
    protocol: str
    family: int
    address: IPAddress | None

    @classmethod
    def unpack(cls, row: bytes) -> "Endpoint":
        """Read the row."""
        slot, port, protocol, family, address = _ENDPOINT.unpack(row)
        name = {socket.IPPROTO_TCP: "tcp", socket.IPPROTO_UDP: "udp"}.get(protocol, str(protocol))
        return cls(slot, port, name, 4 if family == FAMILY4 else 6, address_of(address))


class Counts(NamedTuple):
    """What came to a VNAS."""

    tcp: int = 0
    udp: int = 0
    no_socket: int = 0
    refused: int = 0

    @classmethod
    def unpack(cls, row: bytes) -> "Counts":
        """Read the row, a part for each processor."""
        return cls(*map(sum, zip(*_COUNTS.iter_unpack(row), strict=True)))
