"""What is in the kernel now, as data, on screen, and for Prometheus."""

from collections.abc import Iterator
from typing import Any

from vnasfast.console import table
from vnasfast.host.rule.engine import Rule
from vnasfast.host.rule.layout import Counts
from vnasfast.host.rule.members import processes_of

#: Field of Counts → name of the metric, and what it counts.
_METRICS = {
    "tcp": ("vnasfast_connections_total", "TCP connections delivered to a socket of the VNAS."),
    "udp": ("vnasfast_datagrams_total", "Datagrams delivered to an unconnected UDP socket of the VNAS."),
    "no_socket": ("vnasfast_no_socket_total", "Connections and datagrams that none of the VNAS's sockets waited for."),
    "refused": ("vnasfast_refused_total", "Binds, connections and datagrams refused for an address not the VNAS's."),
}


def status(rule: Rule) -> dict[str, Any]:
    """Say which VNASs there are, their addresses, sockets, processes and counters."""
    rule.require_up()
    addresses = rule.addresses()
    sockets: dict[int, list[dict[str, Any]]] = {}
    for endpoint in rule.endpoints():
        row = {
            "protocol": endpoint.protocol,
            "port": endpoint.port,
            "family": endpoint.family,
            "address": "ANY" if endpoint.address is None else str(endpoint.address),
        }
        sockets.setdefault(endpoint.slot, []).append(row)
    processes = processes_of(rule)
    return {
        "instance": rule.places.instance,
        "vnases": [
            {
                "id": vnas,
                "name": rule.name_of(vnas),
                "addresses": [str(address) for address, owner in addresses.items() if owner.slot == slot],
                "sockets": sockets.get(slot, []),
                "processes": processes.get(vnas, []),
                "counters": rule.counts(slot)._asdict(),
            }
            for vnas, (slot, _) in rule.vnases().items()
        ],
    }


def on_screen(found: dict[str, Any], before: dict[int, Counts] | None = None, seconds: float = 1.0) -> str:
    """Write the status as a table; with earlier counters their rates."""
    unit = "" if before is None else "/s"
    headers = (
        "VNAS",
        "addresses",
        "processes",
        "sockets",
        *(name + unit for name in ("tcp", "udp", "no socket", "refused")),
    )
    rows = []
    for vnas in found["vnases"]:
        now = Counts(**vnas["counters"])
        shown = [f"{count:,}" for count in now]
        if before is not None:
            was = before.get(vnas["id"], now)
            shown = [f"{(count - earlier) / seconds:,.0f}" for count, earlier in zip(now, was, strict=True)]
        label = vnas["name"] if vnas["name"] == str(vnas["id"]) else f"{vnas['id']} {vnas['name']}"
        addresses = _some(vnas["addresses"], 2)
        ports = list(dict.fromkeys(f"{row['protocol']} {row['port']}" for row in vnas["sockets"]))
        rows.append((label, addresses, str(len(vnas["processes"])), _some(ports, 4), *shown))
    return table(rows, "llrlrrrr", headers) if rows else "no VNASs"


def _some(names: list[str], most: int) -> str:
    shown = ", ".join(names[:most]) or "-"
    return shown if len(names) <= most else f"{shown}, … ({len(names)})"


def metrics(found: dict[str, Any]) -> str:
    """Write the status as Prometheus reads it."""
    return "\n".join(_metrics(found)) + "\n"


def _metrics(found: dict[str, Any]) -> Iterator[str]:
    labels = {
        vnas["id"]: f'instance="{found["instance"]}",vnas="{vnas["id"]}",name="{_escaped(vnas["name"])}"'
        for vnas in found["vnases"]
    }
    for field, (metric, help_text) in _METRICS.items():
        yield f"# HELP {metric} {help_text}"
        yield f"# TYPE {metric} counter"
        for vnas in found["vnases"]:
            yield f"{metric}{{{labels[vnas['id']]}}} {vnas['counters'][field]}"
    for field in ("addresses", "sockets", "processes"):
        yield f"# HELP vnasfast_{field} How many the VNAS has now."
        yield f"# TYPE vnasfast_{field} gauge"
        for vnas in found["vnases"]:
            yield f"vnasfast_{field}{{{labels[vnas['id']]}}} {len(vnas[field])}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
