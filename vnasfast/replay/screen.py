"""The report on screen."""

from datetime import UTC, datetime

from vnasfast.console import table
from vnasfast.replay.captured import CaptureReport
from vnasfast.replay.report import (
    OffenderReport,
    OutcomeReport,
    Report,
    ServiceReport,
    SpeedReport,
    TablesReport,
)

#: Services listed at most; the rest is one line.
MOST_SERVICES = 60
#: Services without a packet listed at most, of each VNAS.
MOST_IDLE = 5

_ORIGINS = {
    "given": "given",
    "beside": "beside the capture",
    "learned": "learned from the capture",
    "host": "this machine",
}

_REASONS = {
    "NO_VNAS": "no VNAS has the destination address",
    "NO_PORT": "no socket waits on the destination port",
    "NO_SOCKET": "the VNAS has no socket on the destination port",
    "UNKNOWN_SOURCE": "loopback, and its source process can't be told",
    "NOT_IP": "no IP packet",
    "NO_TRANSPORT": "no protocol with ports",
    "LATER_FRAGMENT": "the first fragment was not seen",
    "TRUNCATED": "captured too short to tell",
    "MALFORMED": "headers contradict themselves",
}

_ETHERTYPES = {
    0x0800: "IPv4",
    0x0806: "ARP",
    0x0842: "Wake-on-LAN",
    0x8035: "RARP",
    0x809B: "AppleTalk",
    0x8100: "802.1Q tag",
    0x8137: "IPX",
    0x86DD: "IPv6",
    0x8808: "Ethernet flow control",
    0x8809: "slow protocols (LACP)",
    0x8847: "MPLS",
    0x8863: "PPPoE discovery",
    0x8864: "PPPoE",
    0x888E: "EAPOL (802.1X)",
    0x88A8: "802.1ad tag",
    0x88CC: "LLDP",
    0x88F7: "PTP",
    0x8902: "CFM",
    0x9000: "loopback test",
}


def count(number: int) -> str:
    """Write a number with thousands separated."""
    return f"{number:,}"


def percent(share: float) -> str:
    """Write a share; what is there but rounds to nothing is marked so."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    return f"{100 * share:.1f} %"


def plural(number: int, noun: str) -> str:
    """Write a number and its noun."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun}{'es' if noun.endswith('s') else 's'}"


def time_text(time_ns: int) -> str:
    """Write a time as UTC, to the microsecond."""
    seconds, fraction = divmod(time_ns, 10**9)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return f"{seconds}.{fraction:09d} s since 1970"
    return f"{moment:%Y-%m-%d %H:%M:%S}.{fraction // 1000:06d} UTC"


def span_text(first_ns: int | None, last_ns: int | None) -> str:
    """Write a span of time: its beginning and its length."""
    if first_ns is None or last_ns is None:
        return "no times"
    return f"{time_text(first_ns)} + {(last_ns - first_ns) / 1e9:,.3f} s"


def screen(report: Report) -> str:
    """Write a report as text.

    Parameters
    ----------
    report : Report

    Returns
    -------
    str
        Without a line break at its end.
    """
    parts = [_head(report), _services(report)]
    if report.outcomes:
        parts.append(_outcomes(report))
    parts.append(_speed(report.speed))
    return "\n\n".join(part for part in parts if part)


# ---- head ------------------------------------------------------------------------------------------------------------


def _head(report: Report) -> str:
    rows: list[tuple[str, str]] = []
    for capture in report.captures:
        rows += _capture_rows(capture, report)
    if len(report.captures) > 1:
        total = f"{plural(report.packets, 'packet')}, {plural(report.bytes, 'byte')}"
        rows.append(("together", f"{total} · {span_text(report.first_ns, report.last_ns)}"))
    rows += _table_rows(report.tables)
    if report.interrupted:
        rows.append(("note", "interrupted: this is what was read until then"))
    elif report.limited:
        rows.append(("note", "ended at the limit"))
    return table(rows, "ll")


def _capture_rows(capture: CaptureReport, report: Report) -> list[tuple[str, str]]:
    links = ", ".join(f"{link.name} ({link.link_type})" for link in capture.link_types)
    size = f"{plural(capture.packets, 'packet')}, {plural(capture.bytes, 'byte')}"
    if capture.captured_bytes != capture.bytes:
        size += f" ({count(capture.captured_bytes)} captured)"
    rows = [
        ("capture", capture.name),
        ("", f"{capture.format} · {links or 'no interface'}"),
        ("", f"{size} · {span_text(capture.first_ns, capture.last_ns)}"),
    ]
    if len(report.captures) > 1:
        last_frame = capture.first_frame + capture.packets - 1
        frames = f"frames {count(capture.first_frame)} to {count(last_frame)}" if capture.packets else "no frame"
        rows.append(("", f"{frames} · {count(capture.delivered)} delivered"))
    rows += [
        ("", f"link type {link.link_type} ({link.name}) is not read: {plural(link.packets, 'frame')}")
        for link in capture.link_types
        if not link.read
    ]
    if capture.damage is not None:
        where = "" if capture.damage.offset is None else f" at byte {count(capture.damage.offset)}"
        rows.append(("", f"damaged{where}: this is what lies before"))
    return rows


def _table_rows(tables: TablesReport) -> list[tuple[str, str]]:
    origin = _ORIGINS[tables.origin]
    sizes = [
        plural(tables.vnases, "VNAS"),
        plural(tables.processes, "process"),
        plural(tables.addresses, "address"),
        plural(tables.sockets, "socket"),
        plural(tables.routes, "route"),
    ]
    rows = [
        ("tables", origin if tables.path is None else f"{tables.path} ({origin})"),
        ("", ", ".join(sizes)),
    ]
    rows += [("", note) for note in tables.notes]
    if tables.saved is not None:
        rows.append(("", f"saved to {tables.saved}"))
    return rows


# ---- services --------------------------------------------------------------------------------------------------------


def _services(report: Report) -> str:
    shown: list[ServiceReport] = []
    idle: dict[int, int] = {}
    hidden = hidden_packets = 0
    for service in report.services:
        if service.packets == 0:
            idle[service.vnas] = idle.get(service.vnas, 0) + 1
            if idle[service.vnas] > MOST_IDLE:
                continue
        shown.append(service)
    if len(shown) > MOST_SERVICES:
        kept = {id(service) for service in sorted(shown, key=lambda s: -s.packets)[:MOST_SERVICES]}
        hidden_packets = sum(service.packets for service in shown if id(service) not in kept)
        hidden = len(shown) - MOST_SERVICES
        shown = [service for service in shown if id(service) in kept]
    rows = []
    vnas = None
    for service in shown:
        label = f"{service.vnas} {service.name}".rstrip() if service.vnas != vnas else ""
        vnas = service.vnas
        rows.append(
            (
                label,
                f"{service.protocol} {service.port} {service.process}",
                count(service.packets),
                count(service.bytes),
                percent(service.share),
            )
        )
    if hidden:
        share = percent(hidden_packets / report.packets if report.packets else 0.0)
        rows.append((f"… {count(hidden)} more services", "", count(hidden_packets), "", share))
    rows.append(
        (
            "delivered",
            "",
            count(report.delivered_packets),
            count(report.delivered_bytes),
            percent(report.delivered_share),
        )
    )
    text = table(rows, "llrrr", ("VNAS", "service", "packets", "bytes", "share"))
    quiet = sum(max(0, n - MOST_IDLE) for n in idle.values())
    if quiet:
        text += f"\n({plural(quiet, 'more service')} without a packet)"
    return text


# ---- outcomes --------------------------------------------------------------------------------------------------------


def _outcomes(report: Report) -> str:
    rows = []
    for outcome in report.outcomes:
        rows.append(
            (
                outcome.outcome,
                _reason(outcome),
                "",
                count(outcome.packets),
                count(outcome.bytes),
                percent(outcome.share),
            )
        )
        if outcome.leaving_packets:
            share = percent(outcome.leaving_packets / report.packets)
            sizes = (count(outcome.leaving_packets), count(outcome.leaving_bytes), share)
            rows.append(("", "sent by the VNASs themselves", "", *sizes))
        rows += [_offender_row(offender, report) for offender in outcome.offenders]
        more = []
        if outcome.more_offenders:
            more.append(f"… and {count(outcome.more_offenders)} more")
        if outcome.uncounted:
            more.append(f"{plural(outcome.uncounted, 'packet')} beyond what was remembered")
        if more:
            rows.append(("", ", ".join(more), "", "", "", ""))
    return table(rows, "lllrrr", ("not delivered", "", "", "packets", "bytes", "share"))


def _reason(outcome: OutcomeReport) -> str:
    return _REASONS[outcome.outcome]


def _offender_row(offender: OffenderReport, report: Report) -> tuple[str, str, str, str, str, str]:
    what, service = _offender_text(offender, report)
    if offender.vlan:
        what += f", VLAN {offender.vlan}"
    return "", what, service, count(offender.packets), count(offender.bytes), percent(offender.share)


def _offender_text(offender: OffenderReport, report: Report) -> tuple[str, str]:
    """Say what packets were for: the address and the service, or what the frames show instead of an address."""
    if not offender.address:
        return _frame_text(offender, report), ""
    if offender.ports > 1:
        return offender.address, f"{offender.protocol} {count(offender.ports)} ports"
    return offender.address, offender.protocol if offender.port is None else f"{offender.protocol} {offender.port}"


def _frame_text(offender: OffenderReport, report: Report) -> str:
    links = [link for capture in report.captures for link in capture.link_types]
    link = next(link for link in links if link.link_type == offender.link_type)
    if not link.read:
        return f"link type {link.link_type} ({link.name}) is not read"
    if not offender.ethertype:
        return link.name
    if offender.ethertype < 0x600:
        return "802.3 with LLC"
    return _ETHERTYPES.get(offender.ethertype, f"Ethertype 0x{offender.ethertype:04x}")


# ---- speed -----------------------------------------------------------------------------------------------------------


def _speed(speed: SpeedReport) -> str:
    stages = [
        f"reading {speed.reading_ns:.1f}",
        f"parsing {speed.parsing_ns:.1f}",
        f"dispatching {speed.dispatching_ns:.1f}",
    ]
    total = speed.reading_ns + speed.parsing_ns + speed.dispatching_ns
    if speed.writing_ns:
        stages.append(f"deliveries {speed.writing_ns:.1f}")
        total += speed.writing_ns
    rate = f"{_rate(speed.packets_per_second)} packets/s"
    return f"speed    {rate} · {total:.1f} ns a packet: {', '.join(stages)}"


def _rate(per_second: float) -> str:
    if per_second >= 1e6:
        return f"{per_second / 1e6:,.1f} million"
    return f"{per_second:,.0f}"
