"""Which sockets of a machine belong together."""

import functools
import pwd
from collections.abc import Callable, Mapping
from typing import NamedTuple

from vnasfast.errors import InvalidValue
from vnasfast.host.namespaces import Netns
from vnasfast.host.processes import Process
from vnasfast.host.ways import WAYS

#: The group of sockets of which the way says nothing, such as those without a process.
UNKNOWN = "(unknown)"


class Socket(NamedTuple):
    """What a group is chosen by."""

    process: Process | None
    netns: Netns
    uid: int
    cgroup: str
    """The path of the socket's own cgroup; empty if it is not known."""


def group_of(way: str) -> Callable[[Socket], str]:
    """Give the function that names the group of a socket.

    Raises
    ------
    InvalidValue
        There is no such way.
    """
    if way not in _WAYS:
        raise InvalidValue(f"{way!r} is no way to group sockets: it must be one of {', '.join(WAYS)}")
    return _WAYS[way]


def _netns(socket: Socket) -> str:
    return socket.netns.name


def _cgroup(socket: Socket) -> str:
    return (socket.process.cgroup if socket.process is not None else "") or socket.cgroup or UNKNOWN


def _user(socket: Socket) -> str:
    uid = socket.process.uid if socket.process is not None and socket.process.uid >= 0 else socket.uid
    return user_name(uid)


def _executable(socket: Socket) -> str:
    if socket.process is None:
        return UNKNOWN
    return socket.process.executable or f"[{socket.process.name}]"


def _container(socket: Socket) -> str:
    if socket.process is None:
        return UNKNOWN
    return socket.process.container or "(none)"


_WAYS: Mapping[str, Callable[[Socket], str]] = {
    "netns": _netns,
    "cgroup": _cgroup,
    "user": _user,
    "executable": _executable,
    "container": _container,
}


@functools.cache  # each time, the library reads files
def user_name(uid: int) -> str:
    """Name a user."""
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return f"uid {uid}"
