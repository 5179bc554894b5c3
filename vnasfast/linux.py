"""The policy `linux`, as people speak of it: what its sockets have, checked, and as the tables keep it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, TypedDict

from vnasfast.errors import InvalidValue
from vnasfast.tables.linux_sockets import KERNELS, bind_linux, connect_linux, rule_as_linux
from vnasfast.tables.linux_sockets import set_secrets as set_checked_secrets
from vnasfast.tables.tables import Tables
from vnasfast.values import checked, packed_address

#: The policies there are. ``linux`` is the last of them.
POLICIES = ("registration", *KERNELS)

_MAPPED = bytes(10) + b"\xff\xff"
_SECRETS = ("tcp", "udp", "tcp6", "udp6")
_MOST_UINT32 = 2**32 - 1


if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address


class LinuxOptions(TypedDict, total=False):
    """What a socket may have under the policy `linux` only: see `ServerMachine.bind`."""

    device: str | None
    peer: "tuple[str | IPv4Address | IPv6Address, int] | None"
    mapped: bool
    uid: int
    reuseaddr: bool
    anyway: bool


def set_policy(tables: Tables, policy: object) -> None:
    """Have fresh tables follow a policy."""
    if policy not in POLICIES:
        raise InvalidValue(f"{policy!r} is no policy: it must be one of {', '.join(POLICIES)}")
    if policy != "registration":
        rule_as_linux(tables, str(policy))


def set_secrets(tables: Tables, secrets: Mapping[str, int | tuple[int, int]]) -> None:
    """Say what seeds the kernel's hashes: see `ServerMachine.set_kernel_secrets`."""
    for name, value in secrets.items():
        if name not in _SECRETS:
            raise InvalidValue(f"{name!r} is none of the kernel's secrets: it must be one of {', '.join(_SECRETS)}")
        words = value if isinstance(value, tuple) else (value,)
        if len(words) != (2 if name.endswith("6") else 1):
            raise InvalidValue(f"the secret {name} is {value!r}: a number for IPv4, a pair of numbers for IPv6")
        for word in words:
            checked(word, f"secret {name}", 0, _MOST_UINT32)
    set_checked_secrets(tables, secrets)


def packed_peer(peer: object) -> tuple[bytes, int]:
    """Return the 16 bytes and the port of a peer's (address, port)."""
    if not isinstance(peer, tuple | list) or len(peer) != 2:
        raise InvalidValue(f"{peer!r} is no peer: it must be a pair of an address and a port")
    packed = packed_address(peer[0])
    if packed in (bytes(16), _MAPPED + bytes(4)):
        raise InvalidValue("a peer is not on ANY: give its address")
    return packed, checked(peer[1], "port", 1, 65535)


def bind(
    tables: Tables,
    pid: int,
    protocol: int,
    port: int,
    address: bytes,
    v6only: bool,
    sharing: bool,
    freebind: bool,
    *,
    device: object = None,
    peer: object = None,
    mapped: bool = False,
    uid: object = 0,
    reuseaddr: bool = False,
    anyway: bool = False,
) -> int:
    """Register a socket under the policy `linux`; pid, protocol, port and v6only have been checked."""
    if device is not None and (not isinstance(device, str) or not device):
        raise InvalidValue(f"{device!r} is no device: it must be a text such as eth0")
    if mapped and not address.startswith(_MAPPED):
        raise InvalidValue("mapped is for a socket of IPv6 on an IPv4 address")
    known = None if peer is None else packed_peer(peer)
    if known is not None:
        if address in (bytes(16), _MAPPED + bytes(4)):
            raise InvalidValue("a connected socket is not on ANY: give the address that the kernel chose for it")
        if known[0].startswith(_MAPPED) != address.startswith(_MAPPED):
            raise InvalidValue("a peer's address is of the family of the socket's own")
    return bind_linux(
        tables,
        pid,
        protocol,
        port,
        address,
        v6only,
        sharing,
        freebind,
        device=device,
        mapped=bool(mapped),
        uid=checked(uid, "UID", 0, _MOST_UINT32),
        reuseaddr=bool(reuseaddr),
        peer=known,
        anyway=anyway,
    )


def connect(tables: Tables, socket: int, peer: object, address: object) -> None:
    """Connect a UDP socket under the policy `linux`."""
    known, port = packed_peer(peer)
    own = None if address is None else packed_address(address)
    if own is not None and own in (bytes(16), _MAPPED + bytes(4)):
        raise InvalidValue("a connected socket is not on ANY: give the address that the kernel chose for it")
    connect_linux(tables, socket, own, known, port)


def refuse_options(options: Mapping[str, object]) -> None:
    """Refuse what only the policy `linux` knows."""
    raise InvalidValue(f"{', '.join(options)}: only the policy linux knows that; make ServerMachine(policy='linux')")

