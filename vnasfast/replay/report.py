"""What a replay found, as plain data.

The names of the fields are the keys of ``--json``; they stay. Times are nanoseconds since the epoch, bytes are those
on the wire, shares are of all packets of the replay.

Named tuples: as dataclasses, these classes took as long to be made as 100,000 frames to be replayed.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from vnasfast.machine import ServerMachine
from vnasfast.outcome import Outcome
from vnasfast.parse.text import address_text, protocol_name
from vnasfast.replay.captured import CaptureReport
from vnasfast.replay.misses import Miss, MissTable
from vnasfast.tables.listing import address_rows, n_sockets, process_rows, route_rows, socket_rows
from vnasfast.tables.resources import Usage

_NONE = Usage()


class TablesReport(NamedTuple):
    """The tables used; ``origin`` is ``given``, ``beside``, ``learned`` or ``host``, ``path`` None without a file."""

    origin: str
    path: str | None
    saved: str | None
    vnases: int
    processes: int
    addresses: int
    sockets: int
    routes: int
    notes: list[str]


class Owner(NamedTuple):
    """Whose a socket is, where the tables are those of a running machine; ``vnas`` and ``name`` are of its group."""

    vnas: int
    name: str
    process: str


class ServiceReport(NamedTuple):
    """What a service of a VNAS received: all its sockets of one protocol and port together.

    ``process`` is of a running machine, and then each process has its own services; else it is empty.
    """

    vnas: int
    name: str
    protocol: str
    port: int
    sockets: list[int]
    packets: int
    bytes: int
    share: float
    process: str


class OffenderReport(NamedTuple):
    """What packets of one outcome were for.

    ``ports`` counts the destination ports summed up here; ``port`` is the one where there is one. ``link_type`` and
    ``ethertype`` only where the frames show no address.
    """

    vlan: int
    protocol: str
    address: str
    port: int | None
    ports: int
    link_type: int | None
    ethertype: int | None
    packets: int
    bytes: int
    share: float


class OutcomeReport(NamedTuple):
    """Packets of one outcome; ``uncounted`` of them found no room in the table of offenders.

    ``leaving`` of them come from an address that the tables hold: what the VNASs themselves sent to others. They
    are no offenders.
    """

    outcome: str
    packets: int
    bytes: int
    share: float
    leaving_packets: int
    leaving_bytes: int
    offenders: list[OffenderReport]
    more_offenders: int
    uncounted: int


class SpeedReport(NamedTuple):
    """How fast it went: wall-clock seconds of the whole loop, and each stage's nanoseconds a packet on all threads."""

    seconds: float
    packets_per_second: float
    reading_ns: float
    parsing_ns: float
    dispatching_ns: float
    writing_ns: float


class Report(NamedTuple):
    """All of it; ``interrupted``: ended early by Ctrl-C; ``limited``: ended early by the limit."""

    captures: list[CaptureReport]
    packets: int
    bytes: int
    first_ns: int | None
    last_ns: int | None
    tables: TablesReport
    services: list[ServiceReport]
    delivered_packets: int
    delivered_bytes: int
    delivered_share: float
    outcomes: list[OutcomeReport]
    speed: SpeedReport
    interrupted: bool
    limited: bool

    @property
    def damaged(self) -> bool:
        """Whether a capture could not be read to its end."""
        return any(capture.damage for capture in self.captures)

    def as_dict(self) -> dict[str, Any]:
        """Give plain dicts, lists, numbers and texts, as ``--json`` prints them."""
        return dict(zip(self._fields, map(_plain, self), strict=True))


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, tuple):
        return dict(zip(value._fields, map(_plain, value), strict=True))  # type: ignore[attr-defined]
    return value


def share_of(part: int, whole: int) -> float:
    """Give a part as a number from 0 to 1; 0 of nothing."""
    return part / whole if whole else 0.0


def tables_of(
    machine: ServerMachine, origin: str, path: str | None, saved: str | None, notes: list[str]
) -> TablesReport:
    """Count what the tables hold."""
    processes = process_rows(machine.tables)
    addresses = address_rows(machine.tables)
    return TablesReport(
        origin=origin,
        path=path,
        saved=saved,
        vnases=len({vnas for pid, vnas, *_ in processes if pid != 1} | {vnas for _, vnas, *_ in addresses}),
        processes=len(processes),
        addresses=len(addresses),
        sockets=n_sockets(machine.tables),
        routes=len(route_rows(machine.tables)),
        notes=notes,
    )


def speed_of(seconds: float, packets: int, stage_ns: Mapping[str, int]) -> SpeedReport:
    """Divide what the stages took by the packets."""
    each = {stage: share_of(ns, packets) for stage, ns in stage_ns.items()}
    return SpeedReport(
        seconds=seconds,
        packets_per_second=packets / seconds if seconds else 0.0,
        reading_ns=each["reading"],
        parsing_ns=each["parsing"],
        dispatching_ns=each["dispatching"],
        writing_ns=each["writing"],
    )


def services_of(
    machine: ServerMachine, before: dict[int, Usage], packets: int, owners: Mapping[int, Owner] | None = None
) -> list[ServiceReport]:
    """Sum up the sockets of each VNAS and service, less what they had received `before`; by VNAS, the busiest first."""
    sums: dict[tuple[Owner, int, int], tuple[list[int], list[int]]] = {}
    vnases: dict[int, Owner] = {}
    for socket, protocol, port, _address, _pid, vnas, _v6only, _sharing, usage in socket_rows(machine.tables):
        owner = owners[socket] if owners else vnases.get(vnas)
        if owner is None:
            owner = vnases[vnas] = Owner(vnas, machine.names.get(vnas, ""), "")
        ids, counts = sums.setdefault((owner, protocol, port), ([], [0, 0]))
        old = before.get(socket, _NONE)
        ids.append(socket)
        counts[0] += usage.packets - old.packets
        counts[1] += usage.bytes - old.bytes
    services = [
        ServiceReport(
            owner.vnas,
            owner.name,
            protocol_name(protocol),
            port,
            ids,
            counts[0],
            counts[1],
            share_of(counts[0], packets),
            owner.process,
        )
        for (owner, protocol, port), (ids, counts) in sums.items()
    ]
    services.sort(key=lambda service: (service.vnas, -service.packets, service.protocol, service.port))
    return services


def outcomes_of(counts: dict[Outcome, Usage], misses: MissTable, packets: int, top: int) -> list[OutcomeReport]:
    """Make the outcomes that occurred, the most frequent first, each with its `top` offenders."""
    merged = misses.without_ports()
    reports = []
    for outcome, usage in counts.items():
        if outcome == Outcome.DELIVERED or not usage.packets:
            continue
        offenders, n_offenders, leaving = merged.offenders(int(outcome), top)
        reports.append(
            OutcomeReport(
                outcome.name,
                usage.packets,
                usage.bytes,
                share_of(usage.packets, packets),
                *leaving,
                [_offender(miss, packets) for miss in offenders],
                max(0, n_offenders - top),
                misses.beyond(int(outcome))[0],
            )
        )
    reports.sort(key=lambda report: -report.packets)
    return reports


def _offender(miss: Miss, packets: int) -> OffenderReport:
    shown = any(miss.destination)
    return OffenderReport(
        vlan=miss.vlan,
        protocol=protocol_name(miss.protocol) if shown else "",
        address=address_text(miss.destination) if shown else "",
        port=miss.port if miss.n_ports == 1 else None,
        ports=miss.n_ports,
        link_type=None if shown else miss.link_type,
        ethertype=None if shown else miss.ethertype,
        packets=miss.packets,
        bytes=miss.bytes,
        share=share_of(miss.packets, packets),
    )
