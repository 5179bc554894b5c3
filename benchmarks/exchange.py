"""What peers look up, written to files: the same tables and packets that vnasfast has. ``peers/work.h`` reads them."""

from pathlib import Path
from typing import Any

import numpy as np
from workload import Traffic, Workload, is_ipv4, narrowed

KEY = np.dtype(
    [
        ("destination", np.uint8, (4,)),
        ("source", np.uint8, (4,)),
        ("destination_port", "<u2"),
        ("source_port", "<u2"),
        ("vlan", "<u2"),
        ("protocol", np.uint8),
        ("status", np.int8),
    ]
)
ADDRESS = np.dtype([("address", np.uint8, (4,)), ("vnas", "<u4"), ("vlan", "<u2"), ("unused", "<u2")])
SOCKET = np.dtype([("vnas", "<u4"), ("socket", "<i4"), ("port", "<u2"), ("protocol", np.uint8), ("unused", np.uint8)])


def write_tables(folder: Path, work: Workload) -> None:
    """Write the tables of a machine that has IPv4 addresses and one ANY socket a service."""
    plan = work.plan
    addresses = np.zeros(len(plan.addresses), ADDRESS)
    addresses["address"] = plan.addresses[:, 12:]
    addresses["vnas"] = plan.vnas_ids[plan.address_vnas]
    addresses["vlan"] = plan.vlans
    sockets = np.zeros(len(plan.ports), SOCKET)
    sockets["vnas"] = plan.vnas_ids[plan.service_vnas]
    sockets["socket"] = plan.any_sockets
    sockets["port"] = plan.ports
    sockets["protocol"] = plan.protocols
    addresses.tofile(folder / "addresses")
    sockets.tofile(folder / "sockets")


def write_packets(folder: Path, traffic: Traffic) -> None:
    """Write IPv4 packets and what each must be answered with; of IPv6 packets, the addresses are left out."""
    keys = narrowed(traffic.keys, KEY)
    keys["destination"][~is_ipv4(traffic.keys)] = keys["source"][~is_ipv4(traffic.keys)] = 0
    keys.tofile(folder / "keys")
    traffic.first.astype("<i4").tofile(folder / "expected")


def read(folder: Path) -> dict[str, Any]:
    """Read what was written, as peers in Python do."""
    dtypes = {"addresses": ADDRESS, "sockets": SOCKET, "keys": KEY, "expected": np.dtype("<i4")}
    return {name: np.fromfile(folder / name, dtype) for name, dtype in dtypes.items()}
