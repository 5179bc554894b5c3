"""The tables of an instance in the kernel: what is there, and up, reload, down."""

import contextlib
import errno
import fcntl
import json
import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vnasfast.errors import InvalidValue, RuleError
from vnasfast.host.rule import interfaces, requirements
from vnasfast.host.rule.layout import (
    LOOPBACK6,
    SLOT,
    Counts,
    Endpoint,
    IPAddress,
    Owner,
    VnasRow,
    address_of,
    loopback6,
)
from vnasfast.host.rule.places import OBJECT, Places, is_plain, netns_cookie

try:
    from vnasfast.host.rule import loader
except ImportError as error:  # built without libbpf, or libbpf is not installed here
    _problem: str | None = str(error)
else:
    _problem = None

DISPATCH = "vnas_dispatch"
INGRESS, INGRESS_ETHERNET = "vnas_enter", "vnas_enter_eth"
ITERATORS = ("vnas_enter_udp", "vnas_enter_tcp")
LOOPBACK_DEVICE = 1

_SK_LOOKUP, _TCX_INGRESS = 36, 46
#: A link at an interface's ingress, which ends with the last that holds it; before there are only filters of clsact.
WITH_TCX = (6, 6)
#: Program → BPF_CGROUP_…, in the order in which they are attached: nobody binds by a hook before sockets are members.
CGROUP_PROGRAMS = {
    "vnas_create": 2,
    "vnas_listen": 3,
    "vnas_leave": 1,
    "vnas_getsockname4": 31,
    "vnas_getsockname6": 32,
    "vnas_getpeername4": 29,
    "vnas_getpeername6": 30,
    "vnas_recvmsg4": 19,
    "vnas_recvmsg6": 20,
    "vnas_connect4": 10,
    "vnas_connect6": 11,
    "vnas_sendmsg4": 14,
    "vnas_sendmsg6": 15,
    "vnas_bind4": 8,
    "vnas_bind6": 9,
}


class Rule:
    """The tables of one instance in the kernel.

    Parameters
    ----------
    instance : str
        Each network namespace can have its own.
    """

    def __init__(self, instance: str = "default") -> None:
        if _problem is not None:
            requirements.needs(_problem)
        requirements.check()
        self.places = Places(instance)
        self._maps: dict[str, Any] = {}
        self._names: dict[str, str] = {}

    def map(self, name: str) -> Any:
        """Open a pinned map."""
        if name not in self._maps:
            self._maps[name] = loader.Map(self.places.maps / name)
        return self._maps[name]

    # What is there.

    def require_up(self) -> None:
        """Refuse if there is nothing to work on."""
        if not self.places.exists():
            problem = f"instance {self.places.instance!r} is not up here: vnasfast up tables.toml"
            raise RuleError(errno.ENOENT, problem)

    def require_here(self) -> None:
        """Refuse also what is up elsewhere: its interfaces, and the sockets it rules, are not those of this process."""
        self.require_up()
        if self._is_here():
            return
        name = self.places.instance
        if self._is_stranded():
            problem = f"the network namespace of instance {name!r} is gone: vnasfast down removes what is left of it"
        else:
            problem = (
                f"instance {name!r} is up in another network namespace: enter that by nsenter --net=/run/netns/NAME, or"
                " give this one an instance of its own by --instance"
            )
        raise RuleError(errno.EXDEV, problem)

    def _is_here(self) -> bool:
        return self.state()["netns"] in {None, netns_cookie()}

    def _is_stranded(self) -> bool:
        """Tell whether the network namespace is gone: the kernel then refuses to renew what was attached to it."""
        try:
            loader.relink(self.places.links / DISPATCH, self.places.programs / DISPATCH)
        except RuleError as error:
            return error.errno in {errno.ENOLINK, errno.ENOENT}  # ENOENT: an "up" was killed before that
        return False

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands from changing the same instance meanwhile."""
        self.places.run.mkdir(parents=True, exist_ok=True)
        with open(self.places.run / "lock", "w", encoding="ascii") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def state(self) -> dict[str, Any]:
        """Read what the maps do not hold: names, the cgroups of others, the ingresses that we made, the netns."""
        try:
            state: dict[str, Any] = json.loads(self.places.state.read_text())
        except (FileNotFoundError, ValueError):
            state = {}
        return {"names": {}, "cgroups": {}, "ingresses": [], "netns": None} | state

    def save_state(self, state: dict[str, Any]) -> None:
        """Write it, at once or not at all."""
        new = self.places.state.with_suffix(".new")
        new.write_text(json.dumps(state, indent=1, sort_keys=True))
        new.rename(self.places.state)
        self._names = dict(state["names"])

    def vnases(self) -> dict[int, tuple[int, VnasRow]]:
        """List the VNASs: ID → slot and row."""
        rows = ((SLOT.unpack(key)[0], VnasRow.unpack(row)) for key, row in self.map("vnases").items())
        return {row.id: (slot, row) for slot, row in sorted(rows)}

    def addresses(self) -> dict[IPAddress, Owner]:
        """List whose each address is, in order of registration."""
        rows = [(address_of(key), Owner.unpack(row)) for key, row in self.map("addresses").items()]
        return {address: owner for address, owner in sorted(rows, key=lambda row: row[1].order) if address is not None}

    def endpoints(self) -> list[Endpoint]:
        """List where sockets wait."""
        return sorted(
            map(Endpoint.unpack, self.map("sockets").keys()), key=lambda row: (row.slot, row.protocol, row.port)
        )

    def counts(self, slot: int) -> Counts:
        """Say what came to a VNAS."""
        row = self.map("counters").get(SLOT.pack(slot))
        return Counts() if row is None else Counts.unpack(row)

    def vnas_named(self, name: str) -> int:
        """Find a VNAS by its name or its ID."""
        vnases = self.vnases()
        for number, known in self.state()["names"].items():
            if known == name and int(number) in vnases:
                return int(number)
        if name.isdecimal() and int(name) in vnases:
            return int(name)
        known = ", ".join(self.name_of(vnas) for vnas in sorted(vnases))
        raise InvalidValue(f"no VNAS {name!r}; there are: {known or 'none'}")

    def name_of(self, vnas: int) -> str:
        """Say a VNAS's name, or its ID."""
        return self._own_name(vnas) or str(vnas)

    def _own_name(self, vnas: int) -> str:
        """Say a VNAS's name, or nothing; read once, as 1,000 VNASs would read the file of 1,000 names as often."""
        if str(vnas) not in self._names:
            self._names = self.state()["names"]
        return self._names.get(str(vnas), "")

    def cgroup_of(self, vnas: int) -> Path:
        """Say where a VNAS's own cgroup is."""
        name = self._own_name(vnas)
        return self.places.cgroup / (name if is_plain(name) else f"vnas-{vnas}")

    def enter_all(self) -> None:
        """Enter all sockets that wait in a VNAS now; those that come later enter by themselves."""
        for program in ITERATORS:
            loader.iterate(self.places.programs / program)

    # Programs.

    def load(self) -> None:
        """Load the programs, with the maps that are there or new ones."""
        places = self.places
        new = places.new
        new.mkdir(exist_ok=True)
        for pin in new.iterdir():  # of a process that was killed
            pin.unlink()
        try:
            loader.load(OBJECT, places.maps, new, netns_cookie=netns_cookie(), loopback6=LOOPBACK6 + bytes(4))
        except RuleError as error:
            if places.exists() and any(places.links.iterdir()):
                hint = "the tables in the kernel may be of another version: vnasfast down, up, and restart the servers"
                raise RuleError(error.errno or errno.EINVAL, f"{error}; {hint}", error.log) from None
            raise requirements.explain(error) from None
        for pin in new.iterdir():
            pin.rename(places.programs / pin.name)
        new.rmdir()

    def attach_all(self) -> None:
        """Attach each program, or put it in the place of an older one; the dispatch last, when all else is ready."""
        targets = [place for place in (self.places.cgroup, *map(Path, self.state()["cgroups"])) if place.is_dir()]
        numbers = {cgroup_id(place) for place in targets}
        for pin in self.places.links.iterdir():
            if "-" in pin.name and int(pin.name.rpartition("-")[2]) not in numbers:
                pin.unlink()  # its cgroup is gone
        for place in targets:
            self.attach_to_cgroup(place)
        self.attach_to_interfaces()
        with open("/proc/self/ns/net", "rb") as namespace:
            self._link(DISPATCH, namespace.fileno(), _SK_LOOKUP, self.places.links / DISPATCH)

    def attach_to_cgroup(self, place: Path) -> None:
        """Rule the sockets that are made in a cgroup."""
        number = cgroup_id(place)
        target = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for program, kind in CGROUP_PROGRAMS.items():
                self._link(program, target, kind, self.places.links / f"{program}-{number}")
        finally:
            os.close(target)

    def attach_to_interfaces(self) -> None:
        """Enter sockets on demand at each interface that has an address of a VNAS, and at loopback."""
        state = self.state()
        wanted = {LOOPBACK_DEVICE, *(owner.interface for owner in self.addresses().values())}
        for index in sorted(wanted & {index for index, _ in socket.if_nameindex()}):
            program = INGRESS_ETHERNET if interfaces.is_ethernet(index) else INGRESS
            if requirements.kernel() >= WITH_TCX:
                self._link(program, index, _TCX_INGRESS, self.places.links / f"{INGRESS}_{index}")
            elif loader.attach_ingress(self.places.programs / program, index):
                state["ingresses"].append(index)
        self.save_state(state)

    def _link(self, program: str, target: int, kind: int, pin: Path) -> None:
        if pin.exists():
            loader.relink(pin, self.places.programs / program)
        else:
            loader.link(self.places.programs / program, target, kind, pin)

    # Down.

    def down(self) -> list[str]:
        """Remove all traces.

        Returns
        -------
        list of str
            What had to be left, and why.
        """
        self.require_up()
        if not self._is_stranded():
            self.require_here()
        with self.locked():
            return self.clear()

    def clear(self) -> list[str]:
        """Remove what there is, also of an `up` that failed half-way."""
        left = []
        for pin in self.places.links.iterdir():
            pin.unlink()
        if self._is_here():
            self._clear_interfaces()
        if self.places.maps.joinpath("vnases").exists():
            for vnas in self.vnases():
                left += remove_cgroup(self.cgroup_of(vnas))
        self._maps.clear()
        self.places.remove()
        return left

    def _clear_interfaces(self) -> None:
        made = self.state()["ingresses"]
        for index, _ in socket.if_nameindex():
            if loader.detach_ingress(index) and index in made and not interfaces.has_filters(index):
                loader.remove_ingress(index)
        if self.places.maps.joinpath("addresses").exists():
            for address, owner in self.addresses().items():
                if owner.added:
                    interfaces.remove(address, owner.added, owner.interface)
            for slot, _ in self.vnases().values():
                interfaces.remove(loopback6(slot), 128, LOOPBACK_DEVICE)


def cgroup_id(path: Path) -> int:
    """Say the kernel's number of a cgroup: the inode of its folder."""
    return path.stat().st_ino


def remove_cgroup(place: Path) -> list[str]:
    """Remove a VNAS's cgroup, unless processes are in it."""
    try:
        for folder, _, _ in os.walk(place, topdown=False):
            os.rmdir(folder)
    except OSError as error:
        if error.errno == errno.EBUSY:
            pids = " ".join((place / "cgroup.procs").read_text().split())
            return [f"{place} stays, since processes are in it: {pids}"]
        if error.errno != errno.ENOENT:
            raise
    return []
