"""A snapshot of a running machine: what its kernel says now, as arrays and rows."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast.errors import HostError, InvalidValue
from vnasfast.host.diag import dump_sockets
from vnasfast.host.groups import Socket, group_of
from vnasfast.host.holders import find_holders
from vnasfast.host.links import HostAddress, HostRoute, Link, Network, read_network
from vnasfast.host.namespaces import Netns, all_netns, find_netns, opened, this_netns
from vnasfast.host.netlink import open_netlink
from vnasfast.host.options import ask_options
from vnasfast.host.processes import Process, cgroup_paths, read_processes
from vnasfast.host.rows import HOLDER, SOCKET, State
from vnasfast.parse.text import protocol_name

#: The protocols asked for: TCP, UDP, SCTP, DCCP, UDP-Lite.
PROTOCOLS = (6, 17, 132, 33, 136)
#: Sockets asked at most for what netlink hides: 3 µs each, so 0.2 s.
MOST_ASKED = 50_000

_SOCK_DIAG = 4


@dataclass(frozen=True)
class Host:
    """A running machine as it was when it was read.

    Attributes
    ----------
    namespaces : list of Netns
        The network namespaces read; places in the lists below.
    links, addresses, routes : list of list
        Of each network namespace: its Link, HostAddress and HostRoute rows.
    sockets : ndarray of SOCKET
        Those of a namespace and protocol together; of the same address and port in the order of the kernel's lookup.
    holders : ndarray of HOLDER
        Which process has which of the sockets, and at which file descriptor; by inode.
    processes : dict of int to Process
        The processes that hold them, by PID.
    unseen : list of str
        What could not be read, why, and what to do.
    """

    namespaces: list[Netns]
    links: list[list[Link]]
    addresses: list[list[HostAddress]]
    routes: list[list[HostRoute]]
    sockets: NDArray[Any]
    holders: NDArray[Any]
    processes: dict[int, Process]
    unseen: list[str] = field(default_factory=list)

    def pids(self, socket: int) -> list[int]:
        """List the processes that hold a socket; process 1 last.

        Parameters
        ----------
        socket : int
            Its place in `sockets`.
        """
        return self.pids_by_inode.get(int(self.sockets["inode"][socket]), [])

    @cached_property
    def pids_by_inode(self) -> dict[int, list[int]]:
        """Inode → the processes that hold that socket, process 1 last."""
        found: dict[int, list[int]] = {}
        for inode, pid, _fd in self.holders.tolist():
            pids = found.setdefault(inode, [])
            if pid not in pids:
                pids.append(pid)
        return found

    def groups(self, way: str) -> list[str]:
        """Name the group of each socket.

        Parameters
        ----------
        way : str
            "netns", "cgroup", "user", "executable" or "container": of the process that holds a socket; where none is
            known, of the socket itself.

        Raises
        ------
        InvalidValue
            There is no such way.
        """
        name = group_of(way)
        columns = (self.sockets[column].tolist() for column in ("pid", "netns", "uid", "cgroup"))
        known: dict[tuple[int, int, int, int], str] = {}
        found = []
        for key in zip(*columns, strict=True):
            if key not in known:
                pid, netns, uid, cgroup = key
                path = self.cgroups.get(cgroup, "")
                known[key] = name(Socket(self.processes.get(pid), self.namespaces[netns], uid, path))
            found.append(known[key])
        return found

    @cached_property
    def cgroups(self) -> dict[int, str]:
        """The path of each cgroup v2 that can be seen, by its ID."""
        return cgroup_paths()


def snapshot(
    netns: str | int | None = None,
    *,
    every_netns: bool = False,
    options: bool = True,
    most_asked: int = MOST_ASKED,
) -> Host:
    """Read the running machine.

    Parameters
    ----------
    netns : str or int, optional
        A network namespace, by the name that ``ip netns`` lists or the PID of a process in it; default this thread's.
    every_netns : bool, optional
        All network namespaces that have a process, a name or another mount.
    options : bool, optional
        Whether sockets are asked for what netlink hides: SO_REUSEPORT, SO_REUSEADDR, SO_INCOMING_CPU.
    most_asked : int, optional
        How many sockets are asked at most.

    Returns
    -------
    Host
        What could not be read is in its `unseen`; as root that is little.

    Raises
    ------
    HostError
        A namespace can't be found or entered, or there is no netlink.
    InvalidValue
        Both a namespace and all of them are asked for.
    """
    if netns is not None and every_netns:
        raise InvalidValue("netns and every_netns exclude each other: one network namespace, or all of them")
    unseen: list[str] = []
    namespaces = [this_netns() if netns is None else find_netns(netns)]
    if every_netns:
        namespaces, refused = all_netns()
        if refused:
            unseen.append(f"the network namespaces of {_count(refused, 'process')} are hidden{_from_whom()}")
    read, networks, dumps = _read_namespaces(namespaces, unseen, may_fail=every_netns)
    sockets = np.concatenate(dumps) if dumps else np.empty(0, SOCKET)
    try:
        holders, _n, refused = find_holders()
    except OSError as error:
        unseen.append(f"no process is known: {error.filename or '/proc'} can't be read ({error.strerror}): mount it")
        holders, refused = np.empty(0, HOLDER), 0
    holders = _join(sockets, holders)
    _say_who_is_unknown(sockets, refused, unseen)
    if options:
        _ask(sockets, most_asked, unseen)
    return Host(
        read,
        [network.links for network in networks],
        [network.addresses for network in networks],
        [network.routes for network in networks],
        sockets,
        holders,
        read_processes(np.unique(holders["pid"]).tolist()),
        unseen,
    )


# ---- namespaces ------------------------------------------------------------------------------------------------------


def _read_namespaces(
    namespaces: Sequence[Netns], unseen: list[str], *, may_fail: bool
) -> tuple[list[Netns], list[Network], list[NDArray[Any]]]:
    read: list[Netns] = []
    networks: list[Network] = []
    dumps: list[NDArray[Any]] = []
    absent: set[int] = set()
    here = this_netns().inode
    for namespace in namespaces:
        try:
            with opened(namespace) as fd:
                place = -1 if namespace.inode == here else fd
                network = read_network(place)
                rows, missing = _dump(place, len(read))
        except OSError as error:
            if not may_fail or namespace.inode == here:
                raise _entering(namespace, error) from None
            unseen.append(str(_entering(namespace, error)))
            continue
        absent.update(missing)
        read.append(namespace)
        networks.append(network)
        dumps.append(rows)
    if absent:
        names = ", ".join(protocol_name(number) for number in PROTOCOLS if number in absent)
        unseen.append(f"this kernel lists no sockets of {names}")
    return read, networks, dumps


def _entering(namespace: Netns, error: OSError) -> HostError:
    if isinstance(error, HostError):
        return error
    reason = f"{namespace.path}: {error.strerror}"
    if isinstance(error, PermissionError):
        return HostError(error.errno, f"network namespace {namespace.name} can't be entered ({reason}): run as root")
    return HostError(error.errno, f"the sockets of network namespace {namespace.name} can't be listed ({reason})")


def _dump(fd: int, place: int) -> tuple[NDArray[Any], list[int]]:
    netlink = open_netlink(_SOCK_DIAG, fd)
    try:
        return dump_sockets(netlink, PROTOCOLS, place)
    finally:
        os.close(netlink)


# ---- processes -------------------------------------------------------------------------------------------------------


def _join(sockets: NDArray[Any], holders: NDArray[Any]) -> NDArray[Any]:
    """Write the first holder of each socket into its row; keep the holders of these sockets only."""
    inodes = np.unique(sockets["inode"])
    inodes = inodes[inodes != 0]
    if not len(inodes) or not len(holders):
        return holders[:0]
    place = np.searchsorted(inodes, holders["inode"])
    place[place == len(inodes)] = 0
    holders = holders[inodes[place] == holders["inode"]]
    if len(holders):
        first = np.searchsorted(holders["inode"], sockets["inode"])
        first[first == len(holders)] = 0
        held = holders["inode"][first] == sockets["inode"]
        for column in ("pid", "fd"):
            sockets[column][held] = holders[column][first[held]]
    return holders


def _say_who_is_unknown(sockets: NDArray[Any], refused: int, unseen: list[str]) -> None:
    unknown = int(((sockets["inode"] != 0) & (sockets["pid"] == 0)).sum())
    if not unknown:
        return
    if refused or os.geteuid() != 0:
        whose = _count(refused, "process") if refused else "other processes"     # as a mount option of /proc does
        unseen.append(f"{_have(unknown)} no known process: the files of {whose} are hidden{_from_whom()}")
    else:
        unseen.append(
            f"{_have(unknown)} no known process: the kernel's own, of another PID namespace, or closed meanwhile"
        )


def _ask(sockets: NDArray[Any], most: int, unseen: list[str]) -> None:
    """Ask sockets that wait, or are bound, for the options that netlink hides."""
    wanted = (sockets["state"] == State.LISTEN) | np.isin(sockets["protocol"], (17, 136))
    places = np.flatnonzero(wanted & (sockets["pid"] > 0) & (sockets["fd"] >= 0)).astype(np.int32)
    places = places[np.argsort(sockets["pid"][places], kind="stable")]
    _asked, refused, gone, unknown = ask_options(sockets.view(np.uint8), places[:most])
    what = "SO_REUSEPORT, SO_REUSEADDR and SO_INCOMING_CPU"
    reasons = []
    if unknown:
        reasons.append("this kernel can't be asked (pidfd_getfd is of Linux 5.6)")
    without = int(wanted.sum()) - len(places)
    for n, reason in (
        (refused, "of others' processes, or for want of file descriptors: run as root, raise 'ulimit -n'"),
        (without, "without a known process"),
        (max(0, len(places) - most), f"beyond the first {most:,}"),
        (gone, "closed meanwhile"),
    ):
        if n:
            reasons.append(f"{_count(n, 'socket')} {reason}")
    if reasons:
        unseen.append(f"{what} not asked: {'; '.join(reasons)}")


def _from_whom() -> str:
    if os.geteuid() == 0:
        return " even from this root: they belong to another user namespace, or a security module guards them"
    return " from this user: run as root"


def _count(n: int, noun: str) -> str:
    plural = noun + ("es" if noun.endswith("s") else "s")
    return f"{n:,} {noun if n == 1 else plural}"


def _have(n: int) -> str:
    return f"{_count(n, 'socket')} {'has' if n == 1 else 'have'}"
