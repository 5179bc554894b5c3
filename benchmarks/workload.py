"""Machines and the packets for them, which the benchmarks and the comparison share: the same in every run.

A plain machine of n sockets has n / 20 VNASs. Each has one process, two interface addresses and an ANY socket on each
of the same 20 ports, which are spread over all port numbers. Addresses are spread over 10.0.0.0/8 and fd00:1::/64. A
`Shape` says what else a machine can be; several shapes make one machine together.
"""

from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast import FLOW_KEY, Outcome, ServerMachine, dtypes

SEED = 20
TCP, UDP = 6, 17
SERVICES = 20  # ports of each VNAS of a plain machine
BURST = 16
_MOST_VNAS = 2**31 - 1

#: The 16-byte keys of IPv4 packets, where this version of the package has them.
NARROW: np.dtype[Any] | None = getattr(dtypes, "FLOW_KEY_IPV4", None)

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """What a machine looks like; families, protocols and VLANs are given out in turns."""

    sockets: int
    families: tuple[int, ...] = (4,)  # among the addresses of a VNAS
    protocols: tuple[int, ...] = (TCP,)  # among the ports
    vlans: tuple[int, ...] = (0,)  # among the VNASs
    addresses: int = 2  # of each VNAS
    ports: int = SERVICES  # of each VNAS
    all_ports: int = SERVICES  # of all VNASs together
    sharing: int = 1  # sockets that share each port of a VNAS
    specific: bool = False  # each second port has, before its ANY socket, one on the VNAS's first address
    scattered: bool = False  # VNAS IDs are sparse and shuffled


@dataclass(frozen=True)
class Plan:
    """All that is registered in one machine. A service is a port of a VNAS, with its sockets."""

    vnas_ids: NDArray[np.int32]
    address_vnas: NDArray[np.int32]  # index into vnas_ids, by address; those of a VNAS lie together
    addresses: Bytes  # (n, 16)
    vlans: NDArray[np.uint16]  # by address
    nobody: Bytes  # (n, 16): addresses that no VNAS has, of the same families
    service_vnas: NDArray[np.int32]  # index into vnas_ids
    protocols: Bytes  # by service
    ports: NDArray[np.uint16]  # by service
    sharing: NDArray[np.int32]  # ANY sockets by service
    specific: NDArray[np.bool_]  # by service
    unused_ports: NDArray[np.uint16]  # no service has them

    @property
    def n_sockets(self) -> int:
        """Count the sockets."""
        return int(self.sharing.sum() + self.specific.sum())

    @property
    def any_sockets(self) -> NDArray[np.int32]:
        """The first ANY socket of each service; socket IDs are given in order of registration."""
        each = self.sharing + self.specific
        return (np.cumsum(each) - each + self.specific).astype(np.int32)


@dataclass(frozen=True)
class Traffic:
    """Parsed packets, and the sockets or the outcome that each must be answered with: from `first` to `last`."""

    keys: NDArray[Any]
    first: NDArray[np.int32]
    last: NDArray[np.int32]

    def wrong(self, answers: NDArray[np.int32]) -> int:
        """Count the answers that are wrong."""
        return int(((answers < self.first) | (answers > self.last)).sum())


@dataclass(frozen=True)
class Workload:
    """A machine and its plan."""

    machine: ServerMachine
    plan: Plan

    def traffic(self, n: int, **options: Any) -> Traffic:
        """Make n packets; options are those of `traffic_of`."""
        return traffic_of(self.plan, n, **options)


def traffic_of(
    plan: Plan, n: int, *, order: str = "uniform", scan: float = 0.0, flood: float = 0.0, seed: int = 1
) -> Traffic:
    """Make n packets for the machine of a plan.

    Parameters
    ----------
    plan : Plan
    n : int
    order : str
        "uniform": each service is as likely as any other, whatever came before: the hardest order for caches and
        branches. "zipf": the k-th of the services in random order is picked in proportion to 1 / k. "bursts":
        uniform flows of 16 packets.
    scan : float
        This share of the packets is for the right address and a port that no socket has.
    flood : float
        This share is for an address that nobody has.
    seed : int
        Other packets for each.
    """
    if order == "bursts":
        flows = traffic_of(plan, -(-n // BURST), scan=scan, flood=flood, seed=seed)
        return Traffic(*(np.repeat(column, BURST)[:n] for column in (flows.keys, flows.first, flows.last)))
    rng = np.random.default_rng((SEED, seed))
    service = _zipf(rng, n, len(plan.ports)) if order == "zipf" else rng.integers(0, len(plan.ports), n)
    starts = np.searchsorted(plan.address_vnas, np.arange(len(plan.vnas_ids) + 1))
    vnas = plan.service_vnas[service]
    turn = (rng.random(n) * (starts[vnas + 1] - starts[vnas])).astype(np.int64)
    address = starts[vnas] + turn
    first = plan.any_sockets[service]
    last = first + plan.sharing[service] - 1
    specific = plan.specific[service] & (turn == 0)
    first[specific] -= 1
    last[specific] = first[specific]
    keys = np.zeros(n, FLOW_KEY)
    keys["destination"] = plan.addresses[address]
    keys["vlan"] = plan.vlans[address]
    keys["protocol"] = plan.protocols[service]
    keys["destination_port"] = plan.ports[service]
    kind = rng.random(n)
    scanned, flooded = kind < scan, (kind >= scan) & (kind < scan + flood)
    keys["destination_port"][scanned] = rng.choice(plan.unused_ports, n)[scanned]
    keys["destination"][flooded] = plan.nobody[rng.integers(0, len(plan.nobody), n)][flooded]
    first[scanned] = last[scanned] = Outcome.NO_PORT
    first[flooded] = last[flooded] = Outcome.NO_VNAS
    _set_remote(keys, rng)
    return Traffic(keys, first, last)


def _zipf(rng: np.random.Generator, n: int, kinds: int) -> NDArray[np.int64]:
    sums = np.cumsum(1 / np.arange(1, kinds + 1))
    ranks = np.minimum(np.searchsorted(sums, rng.random(n) * sums[-1]), kinds - 1)
    chosen: NDArray[np.int64] = rng.permutation(kinds)[ranks]
    return chosen


def _set_remote(keys: NDArray[Any], rng: np.random.Generator) -> None:
    """Remote addresses differ from ours in the byte after the prefix: 10.x → 172.x, fd00:1: → fd00:2:."""
    ipv4 = is_ipv4(keys)
    keys["source"] = keys["destination"]
    keys["source"][ipv4, 12] = 172
    keys["source"][~ipv4, 3] = 2
    keys["source"][:, 14:] = rng.integers(0, 256, (len(keys), 2), np.uint8)
    keys["source_port"] = rng.integers(1024, 65536, len(keys))


def is_ipv4(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which keys are of IPv4 packets."""
    ipv4: NDArray[np.bool_] = (keys["destination"][:, :10] == 0).all(axis=1)
    return ipv4


def narrowed(keys: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Give keys of IPv4 packets in 16 bytes each."""
    narrow = np.zeros(len(keys), dtype)
    for name in ("destination", "source"):
        narrow[name] = keys[name][:, 12:]
    for name in ("destination_port", "source_port", "vlan", "protocol", "status"):
        narrow[name] = keys[name]
    return narrow


# ---- machines --------------------------------------------------------------------------------------------------------


@cache
def workload(*shapes: Shape) -> Workload:
    """Make the machine of a shape, or of several together, once in a run."""
    plan = planned(shapes)
    return Workload(registered(plan), plan)


def registered(plan: Plan) -> ServerMachine:
    """Make the machine of a plan. The only place that knows how a machine is filled."""
    machine = ServerMachine(seed=SEED)
    pids = np.array([machine.vnas_start(1, vnas) for vnas in plan.vnas_ids.tolist()], np.int32)
    owners = pids[plan.address_vnas]
    for row, pid, vlan in zip(plan.addresses, owners.tolist(), plan.vlans.tolist(), strict=True):
        machine.validate(pid, _address(row), "eth0", vlan=vlan)
    each = plan.specific + plan.sharing
    service = np.repeat(np.arange(len(each)), each)
    is_first = np.diff(service, prepend=-1) != 0
    is_specific = plan.specific[service] & is_first
    addresses = np.zeros((len(service), 16), np.uint8)  # ANY
    first_addresses = np.searchsorted(plan.address_vnas, plan.service_vnas[service[is_specific]])
    addresses[is_specific] = plan.addresses[first_addresses]
    for sharing in (False, True):
        part = (plan.sharing[service] > 1) == sharing
        rows = service[part]
        machine.bind_many(
            pids[plan.service_vnas[rows]], plan.protocols[rows], plan.ports[rows], addresses[part], sharing=sharing
        )
    return machine


def _address(row: Bytes) -> IPv4Address | IPv6Address:
    address = IPv6Address(row.tobytes())
    return address.ipv4_mapped or address


def planned(shapes: tuple[Shape, ...]) -> Plan:
    """Plan the machine of some shapes; with several, their services are registered in turns, those that share last."""
    rng = np.random.default_rng(SEED)
    all_ports = (rng.permutation(65535) + 1).astype(np.uint16)
    parts: list[dict[str, NDArray[Any]]] = []
    for shape in shapes:
        parts.append(_part(shape, all_ports, sum(len(part["vnas_ids"]) for part in parts), rng))
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    ipv4 = columns.pop("ipv4")
    addresses = np.zeros((2 * len(ipv4), 16), np.uint8)
    both = np.tile(ipv4, 2)
    addresses[both] = _ipv4_addresses(rng, int(both.sum()))
    addresses[~both] = _ipv6_addresses(rng, int((~both).sum()))
    if len(shapes) > 1:
        order = rng.permutation(len(columns["ports"]))
        order = order[np.argsort(columns["sharing"][order] > 1, kind="stable")]
        for name in ("service_vnas", "protocols", "ports", "sharing", "specific"):
            columns[name] = columns[name][order]
    return Plan(
        addresses=addresses[: len(ipv4)],
        nobody=addresses[len(ipv4) :],
        unused_ports=all_ports[max(shape.all_ports for shape in shapes) :],
        **columns,
    )


def _part(
    shape: Shape, all_ports: NDArray[np.uint16], first_vnas: int, rng: np.random.Generator
) -> dict[str, NDArray[Any]]:
    """Plan the VNASs of one shape; addresses come later, all at once, so that none comes twice."""
    ports = min(shape.ports, shape.sockets)
    sockets_of_vnas = ports * shape.sharing + (ports // 2 if shape.specific else 0)
    n_vnases = max(1, shape.sockets // sockets_of_vnas)
    n_services = n_vnases * ports
    turn = np.arange(n_vnases * shape.addresses) % shape.addresses
    port = np.arange(n_services) % shape.all_ports
    ids = np.arange(n_vnases)
    if shape.scattered:
        ids = rng.permutation(n_vnases) * ((_MOST_VNAS - first_vnas - 1) // n_vnases)
    vnases = np.arange(first_vnas, first_vnas + n_vnases, dtype=np.int32)
    return {
        "vnas_ids": (first_vnas + 1 + ids).astype(np.int32),
        "address_vnas": np.repeat(vnases, shape.addresses),
        "ipv4": np.array(shape.families)[turn % len(shape.families)] == 4,
        "vlans": np.repeat(np.resize(np.array(shape.vlans, np.uint16), n_vnases), shape.addresses),
        "service_vnas": np.repeat(vnases, ports),
        "protocols": np.array(shape.protocols, np.uint8)[port % len(shape.protocols)],
        "ports": all_ports[port],
        "sharing": np.full(n_services, shape.sharing, np.int32),
        "specific": np.arange(n_services) % 2 == 1 if shape.specific else np.zeros(n_services, np.bool_),
    }


def _ipv4_addresses(rng: np.random.Generator, n: int) -> Bytes:
    addresses = np.zeros((n, 16), np.uint8)
    addresses[:, 10:12] = 0xFF
    addresses[:, 12] = 10
    hosts = rng.choice(1 << 24, n, replace=False).astype(">u4")
    addresses[:, 13:] = hosts.view(np.uint8).reshape(n, 4)[:, 1:]
    return addresses


def _ipv6_addresses(rng: np.random.Generator, n: int) -> Bytes:
    addresses = np.zeros((n, 16), np.uint8)
    addresses[:, 0] = 0xFD
    addresses[:, 3] = 1
    addresses[:, 8:] = rng.integers(0, 256, (n, 8), np.uint8)
    return addresses
