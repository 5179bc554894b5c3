"""Addresses and protocols of flow keys as people write them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vnasfast.errors import InvalidValue

if TYPE_CHECKING:
    import ipaddress

    import numpy as np

_PROTOCOL_NAMES = {
    0: "hopopt",
    1: "icmp",
    2: "igmp",
    4: "ipip",
    6: "tcp",
    17: "udp",
    33: "dccp",
    41: "ipv6",
    43: "ipv6-route",
    44: "ipv6-frag",
    46: "rsvp",
    47: "gre",
    50: "esp",
    51: "ah",
    58: "icmp6",
    59: "ipv6-nonxt",
    60: "ipv6-opts",
    88: "eigrp",
    89: "ospf",
    97: "etherip",
    103: "pim",
    108: "ipcomp",
    112: "vrrp",
    115: "l2tp",
    132: "sctp",
    135: "mobility",
    136: "udplite",
    137: "mpls",
    139: "hip",
    140: "shim6",
}
_PROTOCOL_NUMBERS = {name: number for number, name in _PROTOCOL_NAMES.items()}
_PROTOCOL_NUMBERS |= {"icmpv6": 58, "ipv6-icmp": 58, "udp-lite": 136, "frag": 44}

#: Numbers of the five protocols whose ports a flow key has.
PORT_PROTOCOLS = (6, 17, 33, 132, 136)


def protocol_name(number: int) -> str:
    """Name an IP protocol.

    Parameters
    ----------
    number : int
        0 to 255.

    Returns
    -------
    str
        In small letters, such as ``tcp``; the number itself where it has no name here.
    """
    return _PROTOCOL_NAMES.get(int(number), str(int(number)))


def protocol_number(protocol: str | int) -> int:
    """Give the number of an IP protocol.

    Parameters
    ----------
    protocol : str or int
        A name in letters of any size, or a number, also as text.

    Returns
    -------
    int
        0 to 255.

    Raises
    ------
    InvalidValue
        No protocol has this name or number.
    """
    number: int | None
    if isinstance(protocol, str):
        text = protocol.strip().lower()
        number = int(text) if text.isascii() and text.isdigit() else _PROTOCOL_NUMBERS.get(text)
    else:
        number = int(protocol)
    if number is None or not 0 <= number <= 255:
        raise InvalidValue(f"{protocol!r} is no IP protocol: a name such as 'tcp', or a number from 0 to 255")
    return number


def address_of(octets: bytes | np.ndarray) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Read an address field of a flow key.

    Parameters
    ----------
    octets : bytes-like or ndarray of uint8, shape (16,)
        ``key["source"]`` or ``key["destination"]``.

    Returns
    -------
    IPv4Address, IPv6Address or None
        IPv4 for ``::ffff:a.b.c.d``; None for all zero, which is how a key says that the frame shows none.

    Raises
    ------
    InvalidValue
        It is not 16 bytes long.
    """
    packed = bytes(octets)
    if len(packed) != 16:
        raise InvalidValue(f"an address field is 16 bytes long, not {len(packed)}")
    if not any(packed):
        return None
    import ipaddress  # noqa: PLC0415 (2 ms, and most replays need it not)

    address = ipaddress.IPv6Address(packed)
    return address.ipv4_mapped or address


def address_text(octets: bytes | np.ndarray) -> str:
    """Write an address field of a flow key as text.

    Parameters
    ----------
    octets : bytes-like or ndarray of uint8, shape (16,)
        ``key["source"]`` or ``key["destination"]``.

    Returns
    -------
    str
        IPv4 with dots, IPv6 in its shortest form; empty where the frame shows no address.

    Raises
    ------
    InvalidValue
        It is not 16 bytes long.
    """
    address = address_of(octets)
    return "" if address is None else str(address)


def address_bytes(address: str | bytes | ipaddress.IPv4Address | ipaddress.IPv6Address) -> bytes:
    """Give an address as the 16 bytes of a flow key.

    Parameters
    ----------
    address : str, IPv4Address, IPv6Address or bytes
        Bytes are 4 or 16, in network order. An empty text is the address that no frame shows, all zero.

    Returns
    -------
    bytes
        16, in network order; IPv4 as ``::ffff:a.b.c.d``.

    Raises
    ------
    InvalidValue
        It is no address, or an IPv6 address with a zone.
    """
    if isinstance(address, str) and not address:
        return bytes(16)
    import ipaddress  # noqa: PLC0415

    try:
        known = ipaddress.ip_address(address)
    except ValueError as error:
        raise InvalidValue(f"{address!r} is no IPv4 or IPv6 address") from error
    if isinstance(known, ipaddress.IPv4Address):
        return bytes(10) + b"\xff\xff" + known.packed
    if known.scope_id is not None:
        raise InvalidValue(f"{address!r} has a zone; packets carry none")
    return known.packed
