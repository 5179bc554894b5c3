"""From a snapshot to the tables of vnasfast."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from vnasfast.host.groups import Socket, group_of
from vnasfast.host.links import MAIN_TABLE, HostAddress, HostRoute, Link
from vnasfast.host.processes import read_processes
from vnasfast.host.reading import Host
from vnasfast.host.rows import WAITING
from vnasfast.host.verify import rules_of
from vnasfast.linux import LinuxOptions
from vnasfast.machine import ServerMachine
from vnasfast.values import packed_address, unpacked_address

ANY = packed_address("ANY")
ANY_IPV4 = packed_address("0.0.0.0")  # noqa: S104 - the name of ANY, nothing is bound

#: PIDs above this are of no process (the kernel's PID_MAX_LIMIT): they stand for processes that are not known, and for
#: those that have sockets in another VNAS than their own.
MOST_PID = 1 << 22

#: Addresses are registered for each VLAN that they may come by, up to this many rows; else for their own only.
_MOST_ADDRESSES = 100_000


class HostTables(NamedTuple):
    """The tables of a running machine.

    Attributes
    ----------
    machine : ServerMachine
    vnases : dict of str to int
        Group → VNAS ID.
    places : dict of int to int
        Socket ID → its place in the snapshot's `sockets`.
    notes : list of str
        What the tables don't hold, and why.
    """

    machine: ServerMachine
    vnases: dict[str, int]
    places: dict[int, int]
    notes: list[str]

    def process_in(self, group: str) -> int:
        """Give the PID of a process in a group's VNAS, as the sender of loopback packets there; 0: it has none."""
        vnas = self.vnases[group]
        return next((row.pid for row in self.machine.processes if row.vnas == vnas), 0)


def tables_of(host: Host, group_by: str = "netns", *, seed: int | None = None) -> HostTables:
    """Make the tables of a snapshot; each group is a VNAS, and that of process 1 is VNAS 0.

    Parameters
    ----------
    host : Host
    group_by : str, optional
        "netns" makes tables that dispatch as this machine does. Groups of another way share the addresses of
        their network namespace, but in the tables an address is of one VNAS: one on which only one group has sockets is
        of that group, the others are left out for you to give away.
    seed : int, optional
        As of ServerMachine.
    """
    return _Filling(host, group_by, seed).fill()


def owners_of(host: Host, tables: HostTables, group_by: str = "netns") -> dict[int, tuple[int, str, str]]:
    """Tell whose each socket of the tables is.

    Returns
    -------
    dict
        Socket ID → the number and the name of its group, and the process that holds it, such as ``nginx 4711``; of
        several the first, and how many more.
    """
    groups = host.groups(group_by)
    numbers = _numbered(host, group_by, groups)
    found = {}
    for socket, place in tables.places.items():
        pid = int(host.sockets["pid"][place])
        process = host.processes.get(pid)
        more = len(host.pids(place)) - 1
        name = f"{process.name if process is not None else '?'} {pid}" if pid else ""
        found[socket] = (numbers[groups[place]], groups[place], name + (f" + {more}" if more > 0 else ""))
    return found


def _numbered(host: Host, way: str, groups: Sequence[str]) -> dict[str, int]:
    """Give each group a number: 0 to that of process 1, if it is known; to the others in order of appearance."""
    init = read_processes([1]).get(1)
    namespaces = host.namespaces
    names, first = groups, ""
    if way == "netns":
        names = [namespace.name for namespace in namespaces]
        known = {namespace.inode: namespace.name for namespace in namespaces}
        # Where process 1 hides its own, it is most likely that of the snapshot.
        first = known.get(init.netns, "") if init is not None and init.netns else names[0]
    elif init is not None:
        first = group_of(way)(Socket(init, namespaces[0], 0, ""))
    numbers = {first: 0}
    for name in names:
        numbers.setdefault(name, len(numbers))
    numbers.pop("", None)
    return numbers


class _Filling:
    """A machine under construction."""

    def __init__(self, host: Host, group_by: str, seed: int | None) -> None:
        self.host = host
        self.by_netns = group_by == "netns"
        self.groups = host.groups(group_by)
        self.machine = ServerMachine(seed=seed, policy=rules_of(os.uname().release).policy)
        self.vnases = _numbered(host, group_by, self.groups)
        self.machine.names.update({vnas: name for name, vnas in self.vnases.items()})
        self.home = {1: 0}  # PID → the VNAS in which the process itself is
        self.stand_ins: dict[tuple[int, int], int] = {}
        self.places: dict[int, int] = {}
        self.notes: list[str] = []

    def fill(self) -> HostTables:
        """Fill the machine, table by table."""
        sockets = self.host.sockets
        waiting = np.flatnonzero(np.isin(sockets["state"], WAITING)).tolist()
        connected = ~np.isin(sockets["state"], WAITING) & (sockets["remote_port"] > 0)
        every = sorted(waiting + np.flatnonzero(connected).tolist())
        self._add_processes(every)
        self._add_addresses(waiting)
        self._add_routes()
        self._add_sockets(every)
        return HostTables(self.machine, self.vnases, self.places, self.notes)

    def _vnas(self, place: int) -> int:
        return self.vnases[self.groups[place]]

    # ---- processes ---------------------------------------------------------------------------------------------------

    def _add_processes(self, places: Sequence[int]) -> None:
        """Add the processes that hold sockets, each in the VNAS of its first one, parents before children."""
        wanted: dict[int, int] = {}
        for place, pid in zip(places, self.host.sockets["pid"][places].tolist(), strict=True):
            if pid > 1:
                wanted.setdefault(pid, self._vnas(place))
        for pid in wanted:
            line = [pid]
            while (parent := self._parent(line[-1])) in wanted and parent not in self.home:
                line.append(parent)
            for one in reversed(line):
                if one not in self.home:
                    parent = self._parent(one)
                    self.machine.vnas_start(parent if parent in self.home else 1, wanted[one], pid=one)
                    self.home[one] = wanted[one]

    def _parent(self, pid: int) -> int:
        process = self.host.processes.get(pid)
        return process.parent if process is not None else 1

    def _process_in(self, pid: int, vnas: int) -> int:
        """Give the process if it is in this VNAS, else one that stands for it there."""
        if self.home.get(pid) == vnas:
            return pid
        if (pid, vnas) not in self.stand_ins:
            self.stand_ins[pid, vnas] = self.machine.vnas_start(1, vnas, pid=MOST_PID + 1 + len(self.stand_ins))
        return self.stand_ins[pid, vnas]

    # ---- addresses ---------------------------------------------------------------------------------------------------

    def _add_addresses(self, places: Sequence[int]) -> None:
        """Register each address that is up, for each VLAN by which this machine accepts packets to it."""
        owner = self._owner_by_netns if self.by_netns else self._owners(places)
        several: set[str] = set()
        shared: set[str] = set()
        others: list[tuple[int, HostAddress, str, int]] = []
        for netns, (links, addresses) in enumerate(zip(self.host.links, self.host.addresses, strict=True)):
            up = {link.device: link for link in links if link.up}
            vlans = {device: _vlan(link, up) for device, link in up.items()}
            comes_by = {vlan: up[device].name for device, vlan in reversed(vlans.items()) if vlan}
            if len(comes_by) * len(addresses) > _MOST_ADDRESSES:
                comes_by = {}
            for row in addresses:
                if row.device not in up or row.address.is_loopback:
                    continue
                vnas = owner(netns, packed_address(row.address))
                if vnas is None:
                    shared.add(str(row.address))
                    continue
                process, own, name = self._process_in(0 if vnas else 1, vnas), vlans[row.device], up[row.device].name
                if not self.machine.validate(process, row.address, name, vlan=own):
                    several.add(str(row.address))
                # Linux accepts a packet for any of its addresses on any of its links; and on a VLAN's own link, where a
                # capture may have been made, it has no tag.
                others += [(process, row, name, 0)] if own else []
                others += [(process, row, link, vlan) for vlan, link in comes_by.items() if vlan != own]
        # After those on their own links, because source address setting takes the first of an interface.
        for process, row, name, vlan in others:
            self.machine.validate(process, row.address, name, vlan=vlan)
        whole = [route.network for routes in self.host.routes for route in routes if _is_local_network(route)]
        if whole:
            names = _listed(map(str, whole))
            self.notes.append(f"networks that are local as a whole, which the tables don't hold: {names}")
        if several:
            self.notes.append(f"on several links or network namespaces, the first counts: {_listed(several)}")
        if shared:
            self.notes.append(f"of no VNAS, because several groups have sockets there: {_listed(shared)}")

    def _owner_by_netns(self, netns: int, _address: bytes) -> int | None:
        return self.vnases[self.host.namespaces[netns].name]

    def _owners(self, places: Sequence[int]) -> Callable[[int, bytes], int | None]:
        """Find the VNASs that wait on each address; the answer is the only one, or None."""
        waiting: dict[tuple[int, bytes], set[int]] = {}
        for place in places:
            row = self.host.sockets[place]
            address = row["local"].tobytes()
            key = (int(row["netns"]), ANY if address in (ANY, ANY_IPV4) else address)
            waiting.setdefault(key, set()).add(self._vnas(place))

        def owner(netns: int, address: bytes) -> int | None:
            found = waiting.get((netns, ANY), set()) | waiting.get((netns, address), set())
            return found.pop() if len(found) == 1 else None

        return owner

    # ---- routes ------------------------------------------------------------------------------------------------------

    def _add_routes(self) -> None:
        """Add the routes of the first network namespace; the tables have one routing table."""
        names = {link.device: link.name for link in self.host.links[0]}
        seen = set()
        for route in sorted(self.host.routes[0], key=lambda route: (route.network.version, route.metric)):
            network = None if route.network.prefixlen == 0 else route.network
            if route.table == MAIN_TABLE and route.kind == "unicast" and route.device in names and network not in seen:
                self.machine.set_route(network, names[route.device])
                seen.add(network)
        if len(self.host.namespaces) > 1:
            self.notes.append(f"routes are those of network namespace {self.host.namespaces[0].name} only")

    # ---- sockets -----------------------------------------------------------------------------------------------------

    def _add_sockets(self, places: Sequence[int]) -> None:
        """Register the sockets in the order in which they came to be, as far as the kernel's chains show it."""
        sockets = self.host.sockets
        names = [{link.device: link.name for link in links} for links in self.host.links]
        columns = [name for name in sockets.dtype.names or () if sockets[name].ndim == 1]
        rows = {place: dict(zip(columns, sockets[place][columns].item(), strict=True)) for place in places}
        for place in sorted(places, key=lambda place: _age(place, rows[place])):
            row = rows[place]
            address, peer = (unpacked_address(sockets[side][place].tobytes()) for side in ("local", "remote"))
            options: LinuxOptions = {"uid": row["uid"], "reuseaddr": row["reuseaddr"] == 1, "anyway": True}
            if row["device"]:
                options["device"] = names[row["netns"]].get(row["device"], str(row["device"]))
            if row["state"] not in WAITING:
                options["peer"] = (peer, row["remote_port"])
            if row["family"] == 6 and address.version == 4:
                options["mapped"] = True
            socket = self.machine.bind(
                self._process_in(row["pid"], self._vnas(place)),
                row["protocol"],
                row["local_port"],
                address,
                v6only=bool(row["v6only"]) and address.version == 6,
                sharing=row["reuseport"] == 1,
                freebind=True,
                **options,
            )
            self.places[socket] = place


def _age(place: int, row: Mapping[str, int]) -> tuple[bool, int]:
    """Give what sorts sockets by age: a chain begins with the newest, but IPv6 ones that share end it, newest last."""
    last = row["family"] == 6 and row["reuseport"] == 1
    return last, place if last else -place


def _vlan(link: Link, links: Mapping[int, Link]) -> int:
    """Give the outermost VLAN ID by which packets come to a link: that of the lowest VLAN link below it."""
    vlan, seen = link.vlan, {link.device}
    while (below := links.get(link.parent)) is not None and below.device not in seen:
        link = below
        seen.add(link.device)
        vlan = link.vlan or vlan
    return vlan


def _is_local_network(route: HostRoute) -> bool:
    """Tell whether a route makes more than one address this machine's, but for 127.0.0.0/8."""
    network = route.network
    return route.kind == "local" and network.num_addresses > 1 and not network.network_address.is_loopback


def _listed(addresses: Iterable[str]) -> str:
    shown = sorted(set(addresses))
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
