"""What a replay found, as plain data.

The names of the fields are the keys of ``--json``; they stay. Times are nanoseconds since the epoch, bytes are those
on the wire, shares are of all packets of the replay.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from vnasfast.dtypes import Outcome
from vnasfast.machine import ServerMachine
from vnasfast.parse.text import address_text, protocol_name
from vnasfast.replay.misses import MissTable
from vnasfast.tables.rows import Usage

_NONE = Usage()


@dataclass(frozen=True, slots=True)
class LinkReport:
    """Frames of one link type; ``read`` tells whether the parser knows it."""

    link_type: int
    name: str
    packets: int
    read: bool


@dataclass(frozen=True, slots=True)
class DamageReport:
    """Why a capture could not be read to its end; ``offset`` in bytes, None where the operating system failed."""

    offset: int | None
    message: str


@dataclass(frozen=True, slots=True)
class CaptureReport:
    """One capture; ``first_frame`` is the number of its first frame in the deliveries, where all captures count on."""

    name: str
    format: str
    link_types: list[LinkReport]
    packets: int
    bytes: int
    captured_bytes: int
    first_ns: int | None
    last_ns: int | None
    delivered: int
    first_frame: int
    damage: DamageReport | None


@dataclass(frozen=True, slots=True)
class TablesReport:
    """The tables used; ``origin`` is ``given``, ``beside`` or ``learned``, ``path`` None where there is no file."""

    origin: str
    path: str | None
    saved: str | None
    vnases: int
    processes: int
    addresses: int
    sockets: int
    routes: int
    notes: list[str]


@dataclass(frozen=True, slots=True)
class ServiceReport:
    """What a service of a VNAS received: all its sockets of one protocol and port together."""

    vnas: int
    name: str
    protocol: str
    port: int
    sockets: list[int]
    packets: int
    bytes: int
    share: float


@dataclass(frozen=True, slots=True)
class OffenderReport:
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


@dataclass(frozen=True, slots=True)
class OutcomeReport:
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


@dataclass(frozen=True, slots=True)
class SpeedReport:
    """How fast it went: wall-clock seconds of the whole loop, and nanoseconds a packet of each stage."""

    seconds: float
    packets_per_second: float
    reading_ns: float
    parsing_ns: float
    dispatching_ns: float
    writing_ns: float


@dataclass(frozen=True, slots=True)
class Report:
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
        return asdict(self)


def share_of(part: int, whole: int) -> float:
    """Give a part as a number from 0 to 1; 0 of nothing."""
    return part / whole if whole else 0.0


def services_of(machine: ServerMachine, before: dict[int, Usage], packets: int) -> list[ServiceReport]:
    """Sum up the sockets of each VNAS and service, less what they had received `before`; by VNAS, the busiest first."""
    sums: dict[tuple[int, int, int], tuple[list[int], list[int]]] = {}
    for socket, protocol, port, _address, _pid, vnas, _v6only, _sharing, usage in machine.tables.socket_rows():
        ids, counts = sums.setdefault((vnas, protocol, port), ([], [0, 0]))
        old = before.get(socket, _NONE)
        ids.append(socket)
        counts[0] += usage.packets - old.packets
        counts[1] += usage.bytes - old.bytes
    services = [
        ServiceReport(
            vnas,
            machine.names.get(vnas, ""),
            protocol_name(protocol),
            port,
            ids,
            counts[0],
            counts[1],
            share_of(counts[0], packets),
        )
        for (vnas, protocol, port), (ids, counts) in sums.items()
    ]
    services.sort(key=lambda service: (service.vnas, -service.packets, service.protocol, service.port))
    return services


def outcomes_of(counts: dict[Outcome, Usage], misses: MissTable, packets: int, top: int) -> list[OutcomeReport]:
    """Make the outcomes that occurred, the most frequent first, each with its `top` offenders."""
    merged = misses.without_ports()
    rows = merged.rows()
    reports = []
    for outcome, usage in counts.items():
        if outcome == Outcome.DELIVERED or not usage.packets:
            continue
        mine = rows[rows["outcome"] == int(outcome)]
        leaving = mine[mine["leaving"] != 0]
        mine = mine[mine["leaving"] == 0]
        # Stable, so that offenders with as many packets stay in the order in which they came.
        order = np.argsort(-mine["packets"].astype(np.int64), kind="stable")
        reports.append(
            OutcomeReport(
                outcome.name,
                usage.packets,
                usage.bytes,
                share_of(usage.packets, packets),
                int(leaving["packets"].sum()),
                int(leaving["bytes"].sum()),
                [_offender(mine[index], packets) for index in order[:top]],
                max(0, len(mine) - top),
                misses.beyond(int(outcome))[0],
            )
        )
    reports.sort(key=lambda report: -report.packets)
    return reports


def _offender(row: np.void, packets: int) -> OffenderReport:
    shown = bool(row["destination"].any())
    n_ports = int(row["n_ports"])
    return OffenderReport(
        vlan=int(row["vlan"]),
        protocol=protocol_name(row["protocol"]) if shown else "",
        address=address_text(row["destination"]) if shown else "",
        port=int(row["port"]) if n_ports == 1 else None,
        ports=n_ports,
        link_type=None if shown else int(row["link_type"]),
        ethertype=None if shown else int(row["ethertype"]),
        packets=int(row["packets"]),
        bytes=int(row["bytes"]),
        share=share_of(int(row["packets"]), packets),
    )
