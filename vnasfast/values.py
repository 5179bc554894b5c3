"""What people write for addresses, ports and protocols, checked, and as the tables keep it."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_network

from vnasfast.errors import InvalidValue
from vnasfast.parse.text import PORT_PROTOCOLS, address_bytes, address_of, protocol_name, protocol_number

#: The largest PID, VNAS ID and socket ID.
MOST = 2**31 - 1

_MAPPED = bytes(10) + b"\xff\xff"

PROTOCOLS = {protocol_name(number): number for number in PORT_PROTOCOLS}


def packed_address(address: object) -> bytes:
    """Return 16 bytes of an address, IPv4 mapped; "ANY" is ``::``."""
    if isinstance(address, str) and address.upper() == "ANY":
        return bytes(16)
    if not isinstance(address, str | IPv4Address | IPv6Address) or not address:
        raise InvalidValue(f"{address!r} is no address: write it like 192.0.2.1 or 2001:db8::1")
    # Several times faster than through address_bytes, which also reads text.
    if isinstance(address, IPv4Address):
        return _MAPPED + address.packed
    if isinstance(address, IPv6Address) and address.scope_id is None:
        return address.packed
    return address_bytes(address)


def unpacked_address(packed: bytes) -> IPv4Address | IPv6Address:
    """Return the address of 16 bytes."""
    return address_of(packed) or IPv6Address(0)


def packed_network(network: object) -> tuple[bytes | None, int]:
    """Return the masked 16 bytes and the prefix length of a network, IPv4 mapped; (None, 0) for "default"."""
    if network is None or network == "default":
        return None, 0
    try:
        parsed = network if isinstance(network, IPv4Network | IPv6Network) else ip_network(str(network))
    except ValueError as error:
        raise InvalidValue(f"{network!r} is no network ({error}): write it like 192.0.2.0/24, or default") from None
    packed = packed_address(parsed.network_address)
    return packed, parsed.prefixlen + (96 if parsed.version == 4 else 0)


def unpacked_network(packed: bytes | None, length: int) -> IPv4Network | IPv6Network | None:
    """Return the network of 16 bytes and a prefix length; None for the default."""
    if packed is None:
        return None
    address = unpacked_address(packed)
    if isinstance(address, IPv4Address) and length >= 96:
        return IPv4Network((address, length - 96))
    return IPv6Network((packed, length))


def transport_number(protocol: object) -> int:
    """Return the IP protocol number of a transport protocol, given by name or number."""
    if type(protocol) is str and protocol in PROTOCOLS:     # most are
        return PROTOCOLS[protocol]
    try:
        number = protocol_number(protocol if isinstance(protocol, str) else checked(protocol, "protocol", 0, 255))
    except InvalidValue:
        number = -1
    if number not in PORT_PROTOCOLS:
        raise InvalidValue(f"{protocol!r} is no transport protocol: it must be one of {', '.join(PROTOCOLS)}")
    return number


def checked(value: object, what: str, low: int, high: int) -> int:
    """Return an integer within bounds."""
    if type(value) is int and low <= value <= high:     # most are
        return value
    index = getattr(value, "__index__", None)
    if index is None or isinstance(value, bool) or not low <= index() <= high:
        raise InvalidValue(f"{value!r} is no {what}: it must be an integer from {low} to {high}")
    return int(index())


def checked_pid(pid: object) -> int:
    """Return a PID."""
    return checked(pid, "PID", 1, MOST)
