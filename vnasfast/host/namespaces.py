"""The network namespaces of a running machine."""

import contextlib
import errno
import os
from collections.abc import Iterator
from typing import NamedTuple

from vnasfast.errors import HostError, InvalidValue
from vnasfast.host.mounts import mounts

#: Where ``ip netns`` keeps those that have a name.
_NAMED = "/run/netns"


class Netns(NamedTuple):
    """A network namespace.

    Attributes
    ----------
    inode : int
        What tells it from others.
    name : str
        As ``ip netns`` calls it, else a process in it, such as ``pid 4711``, or its inode.
    path : str
        A file by which it can be opened.
    """

    inode: int
    name: str
    path: str


def this_netns() -> Netns:
    """Give the network namespace of this thread."""
    return _netns("/proc/thread-self/ns/net", _name_of(_inode("/proc/thread-self/ns/net")) or "this")


def find_netns(wanted: str | int) -> Netns:
    """Find a network namespace by its name, or by the PID of a process in it.

    Raises
    ------
    HostError
        There is none, or it is not for us to see.
    InvalidValue
        Neither a name nor a PID.
    """
    text = str(wanted)
    if not text or "/" in text:
        raise InvalidValue(f"{wanted!r} is no network namespace: give the name that 'ip netns' lists, or a PID")
    path, what = os.path.join(_NAMED, text), f"network namespace {text}"
    if text.isdigit() and not os.path.exists(path):
        path, what = f"/proc/{text}/ns/net", f"the network namespace of process {text}"
    try:
        return _netns(path, f"pid {text}" if path.startswith("/proc") else text)
    except FileNotFoundError as error:
        raise HostError(
            error.errno, f"there is no {what} ({path}): 'ip netns' lists those with a name, 'lsns -t net' all"
        ) from None
    except OSError as error:
        raise HostError(error.errno, f"{what} can't be opened ({path}: {error.strerror}): run as root") from None


def all_netns() -> tuple[list[Netns], int]:
    """Find all network namespaces that have a process, a name or another mount; that of this thread first.

    Returns
    -------
    namespaces : list of Netns
    refused : int
        Processes whose namespace is not for us to see.
    """
    found = {(here := this_netns()).inode: here}
    refused = 0
    for path, name in _mounted():
        with contextlib.suppress(OSError):
            inode = _inode(path)
            taken = name in {other.name for other in found.values()}
            found.setdefault(inode, Netns(inode, path if taken else name, path))
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        path = f"/proc/{entry.name}/ns/net"
        try:
            inode = _inode(path)
        except PermissionError:
            refused += 1
        except OSError:  # it has ended
            continue
        else:
            if inode not in found:
                found[inode] = Netns(inode, f"pid {entry.name}", path)
    return list(found.values()), refused


@contextlib.contextmanager
def opened(namespace: Netns) -> Iterator[int]:
    """Open a network namespace; gives the file descriptor.

    Raises
    ------
    HostError
        It is gone, another has taken its place, or it is not for us to open.
    """
    try:
        fd = os.open(namespace.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HostError(
            error.errno, f"network namespace {namespace.name} can't be opened ({namespace.path}: {error.strerror})"
        ) from None
    try:
        if os.fstat(fd).st_ino != namespace.inode:
            raise HostError(errno.ENOENT, f"network namespace {namespace.name} ended while it was read")
        yield fd
    finally:
        os.close(fd)


def _inode(path: str) -> int:
    return os.stat(path).st_ino


def _netns(path: str, name: str) -> Netns:
    return Netns(_inode(path), name, path)


def _name_of(inode: int) -> str | None:
    for path, name in _mounted():
        with contextlib.suppress(OSError):
            if _inode(path) == inode:
                return name
    return None


def _mounted() -> Iterator[tuple[str, str]]:
    """Yield path and name of the network namespaces that are kept by a mount."""
    for mount in mounts():
        if mount.kind == "nsfs" and mount.root.startswith("net:["):
            folder, name = os.path.split(mount.path)
            yield mount.path, name if folder.endswith("netns") else mount.path
