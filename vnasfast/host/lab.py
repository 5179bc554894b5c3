"""A network namespace of one's own, with devices and addresses to try things on."""

import ctypes
import errno
import fcntl
import os
import socket
import struct
from ipaddress import ip_interface

from vnasfast.errors import NamespaceError

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000

#: The device pair that `furnish` makes.
DEVICES = ("va", "vb")

_SIOCSIFFLAGS = 0x8914
_IFF_UP = 1
_RTM_NEWLINK, _RTM_NEWADDR, _RTM_NEWROUTE = 16, 20, 24
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x200, 0x400
_IFLA_IFNAME, _IFLA_LINKINFO, _IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 3, 18, 1, 2, 1
_IFA_ADDRESS, _IFA_LOCAL, _IFA_F_NODAD = 1, 2, 2
_RTA_OIF, _RTA_PRIORITY = 4, 6
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_RT_SCOPE_HOST = 254


def _unshare(flags: int) -> int:
    """Return the errno, or 0."""
    libc = ctypes.CDLL(None, use_errno=True)
    return ctypes.get_errno() if libc.unshare(flags) != 0 else 0


def enter_namespace() -> bool:
    """Move this thread to a new network namespace, which ends with it and its sockets.

    Returns
    -------
    bool
        Whether it took a user namespace: then this process has all privileges in the new namespace, and one user there.

    Raises
    ------
    NamespaceError
        Neither is allowed.
    """
    failed = _unshare(CLONE_NEWNET)
    if failed == 0:
        return False
    if failed != errno.EPERM:
        raise NamespaceError(failed, f"no new network namespace: {os.strerror(failed)}")
    uid, gid = os.geteuid(), os.getegid()
    failed = _unshare(CLONE_NEWUSER | CLONE_NEWNET)
    if failed != 0:
        raise NamespaceError(
            failed,
            f"no new network namespace ({os.strerror(failed)}): that takes root (CAP_SYS_ADMIN), or user namespaces,"
            " which this system forbids (see /proc/sys/user/max_user_namespaces) or a process of several threads can't"
            " enter",
        )
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return True


def _attribute(kind: int, content: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def _text(kind: int, text: str) -> bytes:
    return _attribute(kind, text.encode() + b"\0")


def _request(kind: int, body: bytes, what: str) -> None:
    """Ask rtnetlink for a change, and wait until it is made."""
    flags = _NLM_F_REQUEST | _NLM_F_ACK | _NLM_F_EXCL | _NLM_F_CREATE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(body), kind, flags, 1, 0) + body)
        answer = netlink.recv(4096)
    failed = -struct.unpack_from("=i", answer, 16)[0]
    if failed != 0:
        raise NamespaceError(failed, f"can't {what}: {os.strerror(failed)}")


def make_pair(name: str, peer: str) -> None:
    """Make two devices that are each other's far end."""
    link = struct.pack("=BxHiII", 0, 0, 0, 0, 0)
    data = _attribute(_VETH_INFO_PEER, link + _text(_IFLA_IFNAME, peer))
    info = _text(_IFLA_INFO_KIND, "veth") + _attribute(_IFLA_INFO_DATA, data)
    body = link + _text(_IFLA_IFNAME, name) + _attribute(_IFLA_LINKINFO, info)
    _request(_RTM_NEWLINK, body, f"make a veth device {name}")


def set_up(device: str) -> None:
    """Bring a device up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        fcntl.ioctl(sock, _SIOCSIFFLAGS, struct.pack("16sh14x", device.encode(), _IFF_UP))


def add_address(device: str, interface: str) -> None:
    """Give a device an address, such as ``192.0.2.1/24``."""
    parsed = ip_interface(interface)
    family = socket.AF_INET if parsed.version == 4 else socket.AF_INET6
    flags = _IFA_F_NODAD if parsed.version == 6 else 0
    scope = _RT_SCOPE_HOST if parsed.ip.is_loopback else 0
    body = struct.pack("=BBBBi", family, parsed.network.prefixlen, flags, scope, socket.if_nametoindex(device))
    packed = parsed.ip.packed
    body += _attribute(_IFA_LOCAL, packed) + _attribute(_IFA_ADDRESS, packed)
    _request(_RTM_NEWADDR, body, f"give {device} the address {interface}")


def add_default_route(device: str, version: int, metric: int) -> None:
    """Route all that is not routed elsewhere to a device."""
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    body = struct.pack("=BBBBBBBBI", family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, 0, _RTN_UNICAST, 0)
    body += _attribute(_RTA_OIF, struct.pack("=i", socket.if_nametoindex(device)))
    body += _attribute(_RTA_PRIORITY, struct.pack("=I", metric))
    _request(_RTM_NEWROUTE, body, f"route to {device}")


def furnish(addresses: dict[str, tuple[str, ...]]) -> None:
    """Make the devices of a namespace that has only a loopback device, and give each its addresses.

    Parameters
    ----------
    addresses : dict of str to tuple of str
        Device (``lo`` or one of `DEVICES`) → its addresses, such as ``192.0.2.1/24``.

    Raises
    ------
    NamespaceError
    """
    make_pair(*DEVICES)
    for metric, device in enumerate(("lo", *DEVICES), 1):
        set_up(device)
        for interface in addresses.get(device, ()):
            add_address(device, interface)
        for version in (4, 6):
            add_default_route(device, version, 100 * metric if device != "lo" else 1000)
