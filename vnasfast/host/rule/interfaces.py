"""Interfaces and their addresses, over rtnetlink: list, add, remove, follow."""

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

from vnasfast.errors import RuleError

IPAddress = IPv4Address | IPv6Address

_HEADER = struct.Struct("=IHHII")
_ADDRESS = struct.Struct("=BBBBI")
_ATTRIBUTE = struct.Struct("=HH")
_NEW, _DELETE, _GET = 20, 21, 22
_ERROR, _DONE = 2, 3
_REQUEST, _ACKNOWLEDGE, _DUMP, _EXCLUSIVE_CREATE = 1, 4, 0x300, 0x600
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_IFA_CACHEINFO, _FOR_EVER = 6, 0xFFFFFFFF
_NO_DUPLICATE_DETECTION = 2
_FILTERS = struct.Struct("=BxxxiIII")  # tcmsg
_NEW_FILTER, _GET_FILTERS = 44, 46
_CLSACT = (0xFFFFFFF2, 0xFFFFFFF3)
_INTERFACE = struct.Struct("=16sH22x")  # ifreq
_HARDWARE = 0x8927  # SIOCGIFHWADDR
_ETHERNET = {1, 772}  # ARPHRD_ETHER, ARPHRD_LOOPBACK
_GROUPS = 0x10 | 0x100  # RTMGRP_IPV4_IFADDR, RTMGRP_IPV6_IFADDR


class Held(NamedTuple):
    """An address that an interface has."""

    address: IPAddress
    interface: int


class Change(NamedTuple):
    """An address came, or went."""

    address: IPAddress
    interface: int
    came: bool


def index_of(interface: str) -> int:
    """Find an interface's number; ``eth0:1`` is an alias of ``eth0``."""
    name = interface.partition(":")[0]
    try:
        return socket.if_nametoindex(name)
    except OSError:
        names = ", ".join(name for _, name in socket.if_nameindex())
        raise RuleError(errno.ENODEV, f"no interface {name} here; there are {names}") from None


def is_ethernet(interface: int) -> bool:
    """Tell whether what arrives there begins with Ethernet's 14 bytes."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as channel:
        asked = _INTERFACE.pack(socket.if_indextoname(interface).encode(), 0)
        _, kind = _INTERFACE.unpack(fcntl.ioctl(channel, _HARDWARE, asked))
    return kind in _ETHERNET


def all_held() -> list[Held]:
    """List the addresses of all interfaces."""
    with _open() as channel:
        channel.send(_HEADER.pack(16 + 8, _GET, _REQUEST | _DUMP, 1, 0) + bytes(8))
        held: list[Held] = []
        while True:
            for kind, body in _messages(channel):
                if kind == _DONE:
                    return held
                if kind == _ERROR:
                    raise _refused(body, "can't list the addresses")
                change = _change(kind, body)
                if change is not None:
                    held.append(Held(change.address, change.interface))


def add(address: IPAddress, length: int, interface: int) -> bool:
    """Give an interface an address; False if it has it already.

    An IPv6 address is deprecated from the start, so that processes of no VNAS do not take it for a source of their own.
    """
    return _ask(address, length, interface, _NEW, _EXCLUSIVE_CREATE, {errno.EEXIST})


def remove(address: IPAddress, length: int, interface: int) -> bool:
    """Take an address from an interface; False if it does not have it, or is gone itself."""
    return _ask(address, length, interface, _DELETE, 0, {errno.EADDRNOTAVAIL, errno.ENODEV})


def has_filters(interface: int) -> bool:
    """Tell whether others have filters at the interface's ingress or egress (clsact)."""
    for parent in _CLSACT:
        with _open() as channel:
            body = _FILTERS.pack(0, interface, 0, parent, 0)
            channel.send(_HEADER.pack(16 + len(body), _GET_FILTERS, _REQUEST | _DUMP, 1, 0) + body)
            done = False
            while not done:
                for kind, _ in _messages(channel):
                    if kind == _NEW_FILTER:
                        return True
                    done = kind in {_DONE, _ERROR}
    return False


def follow() -> Iterator[Change]:
    """Wait for addresses that come and go."""
    with _open(_GROUPS) as channel:
        while True:
            for kind, body in _messages(channel):
                change = _change(kind, body)
                if change is not None:
                    yield change


def _open(groups: int = 0) -> socket.socket:
    channel = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE)
    channel.bind((0, groups))
    return channel


def _ask(address: IPAddress, length: int, interface: int, kind: int, flags: int, no_change: set[int]) -> bool:
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    body = _ADDRESS.pack(family, length, _NO_DUPLICATE_DETECTION if address.version == 6 else 0, 0, interface)
    for attribute in (_IFA_LOCAL, _IFA_ADDRESS):
        body += _ATTRIBUTE.pack(4 + len(address.packed), attribute) + address.packed
    if kind == _NEW and address.version == 6:
        body += _ATTRIBUTE.pack(20, _IFA_CACHEINFO) + struct.pack("=IIII", 0, _FOR_EVER, 0, 0)
    with _open() as channel:
        channel.send(_HEADER.pack(16 + len(body), kind, _REQUEST | _ACKNOWLEDGE | flags, 1, 0) + body)
        for answer, content in _messages(channel):
            if answer == _ERROR:
                error = -struct.unpack_from("=i", content)[0]
                if error in no_change:
                    return False
                if error:
                    doing = "add" if kind == _NEW else "remove"
                    raise _refused(content, f"can't {doing} {address}/{length}")
    return True


def _refused(body: bytes, doing: str) -> RuleError:
    code = -struct.unpack_from("=i", body)[0]
    return RuleError(code, f"{doing}: {os.strerror(code)}")


def _messages(channel: socket.socket) -> Iterator[tuple[int, bytes]]:
    data = channel.recv(1 << 16)
    while len(data) >= 16:
        length, kind, _, _, _ = _HEADER.unpack_from(data)
        yield kind, data[16:length]
        data = data[(length + 3) & ~3 :]


def _change(kind: int, body: bytes) -> Change | None:
    if kind not in {_NEW, _DELETE}:
        return None
    _, _, _, _, interface = _ADDRESS.unpack_from(body)
    found: dict[int, bytes] = {}
    rest = body[8:]
    while len(rest) >= 4:
        length, attribute = _ATTRIBUTE.unpack_from(rest)
        found[attribute] = rest[4:length]
        rest = rest[(length + 3) & ~3 :]
    packed = found.get(_IFA_LOCAL, found.get(_IFA_ADDRESS))
    return None if packed is None else Change(ip_address(packed), interface, kind == _NEW)
