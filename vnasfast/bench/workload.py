"""Machines, keys, frames and captures that the built-in cases work on, the same in every run.

A machine of n sockets has n / 20 VNASs. Each has one process, an IPv4 and an IPv6 address, and sockets on the same 20
ports. On a plain machine these are all TCP on ANY, untagged. On a mixed one VNASs take turns in VLANs, and ports in
protocols; every third port is bound to the IPv4 address, every fifth shared by two sockets. On a sparse one each VNAS
has 20 of 5,000 ports, on a shared one four sockets share each port. Keys pick address and port at random.
"""

import struct
from dataclasses import dataclass
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4
from vnasfast.machine import ServerMachine
from vnasfast.tables.probes import spare_answers

SEED = 20
SERVICES = 20
SPARSE_PORTS = 5_000
SHARERS = 4
TCP, UDP = 6, 17
FRAME_BYTES = 60
REMOTE = "198.51.100.7"

Keys = NDArray[Any]


@dataclass(frozen=True)
class Workload:
    """A machine, and what keys for it are made of."""

    machine: ServerMachine
    pids: list[int]
    addresses: dict[int, NDArray[np.uint8]]  # by family: (VNASs, 16)
    vlans: NDArray[np.uint16]  # by VNAS
    services: NDArray[np.uint16]  # (ports, 2): protocol and port; each VNAS has the next 20 of them

    def keys(self, n: int, family: int, *, specific: bool = True) -> Keys:
        """Make keys that reach sockets; with `specific` false only of ports that wait on ANY."""
        rng = np.random.default_rng(SEED + family)
        vnas = rng.integers(0, len(self.pids), n)
        service = rng.integers(0, SERVICES, n)
        if not specific:
            service = service // 3 * 3 % SERVICES
        keys = np.zeros(n, FLOW_KEY)
        keys["destination"] = self.addresses[family][vnas]
        keys["source"] = self.addresses[family][vnas]
        # Remote addresses differ from ours in the byte after the prefix: 10.x → 172.x, fd00:1: → fd00:2:.
        keys["source"][:, 12 if family == 4 else 3] = 172 if family == 4 else 2
        keys["vlan"] = self.vlans[vnas]
        row = (vnas * SERVICES + service) % len(self.services)
        keys["protocol"] = self.services[row, 0]
        keys["destination_port"] = self.services[row, 1]
        keys["source_port"] = rng.integers(1024, 65536, n)
        return keys


def workload(sockets: int, kind: str = "plain") -> Workload:
    """Make a machine: plain, mixed, sparse or shared."""
    rng = np.random.default_rng(SEED)
    mixed, sparse = kind == "mixed", kind == "sparse"
    n = max(1, sockets // (SERVICES * SHARERS if kind == "shared" else SERVICES))
    ipv4 = np.zeros((n, 16), np.uint8)
    ipv4[:, 10:12] = 0xFF
    ipv4[:, 12] = 10
    ipv4[:, 13:] = rng.choice(1 << 24, n, replace=False).astype(">u4").view(np.uint8).reshape(n, 4)[:, 1:]
    ipv6 = np.zeros((n, 16), np.uint8)
    ipv6[:, 0], ipv6[:, 3] = 0xFD, 1
    ipv6[:, 8:] = rng.integers(0, 256, (n, 8), np.uint8)
    services = np.zeros((SPARSE_PORTS if sparse else SERVICES, 2), np.uint16)
    services[:, 0] = np.where(np.arange(len(services)) % 2, UDP, TCP) if mixed else TCP
    services[:, 1] = rng.permutation(65535)[: len(services)] + 1
    vlans = (np.arange(n) % 3 * 100 if mixed else np.zeros(n)).astype(np.uint16)
    machine = ServerMachine(seed=SEED)
    if sparse:
        spare_answers(machine.tables, 0)  # or ports of a small machine have arrays
    pids = [machine.vnas_start(1, vnas + 1) for vnas in range(n)]
    for row, pid in enumerate(pids):
        own = IPv6Address(ipv4[row].tobytes()).ipv4_mapped or "ANY"
        for address in (own, IPv6Address(ipv6[row].tobytes())):
            machine.validate(pid, address, "eth0", vlan=int(vlans[row]))
        first = row * SERVICES % len(services)
        for number, (protocol, port) in enumerate(services[first : first + SERVICES].tolist()):
            recipient = own if mixed and number % 3 == 1 else "ANY"
            sharers = SHARERS if kind == "shared" else 2 if mixed and number % 5 == 0 else 1
            for _ in range(sharers):
                machine.bind(pid, protocol, port, recipient, sharing=sharers > 1)
    machine.set_route("default", "eth0")
    return Workload(machine, pids, {4: ipv4, 6: ipv6}, vlans, services)


def narrow(keys: Keys) -> Keys:
    """Make of IPv4 keys the same in 16 bytes."""
    made = np.zeros(len(keys), FLOW_KEY_IPV4)
    for field in ("destination", "source"):
        made[field] = keys[field][:, 12:]
    for field in ("destination_port", "source_port", "vlan", "protocol", "status"):
        made[field] = keys[field]
    return made


def strangers(keys: Keys, family: int) -> Keys:
    """Make of every second key one for an address that no VNAS has, of the others one for a port that none has."""
    keys = keys.copy()
    keys["destination"][::2, 12 if family == 4 else 3] = 11
    keys["destination_port"][1::2] ^= 0x5A5A
    return keys


def frames(keys: Keys) -> tuple[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint32]]:
    """Make untagged Ethernet frames of TCP packets, all of one family: the buffer, their offsets and lengths."""
    rows = _frame_rows(keys)
    n, length = rows.shape
    return rows.reshape(-1), np.arange(n, dtype=np.uint64) * np.uint64(length), np.full(n, length, np.uint32)


def _frame_rows(keys: Keys) -> NDArray[np.uint8]:
    n, ipv4 = len(keys), bool((keys["destination"][0, :10] == 0).all())
    transport = 34 if ipv4 else 54
    rows = np.zeros((n, max(FRAME_BYTES, transport + 20)), np.uint8)
    rows[:, 0], rows[:, 6] = 2, 2
    if ipv4:
        header = struct.pack("!HBBHHHBBH", 0x0800, 0x45, 0, rows.shape[1] - 14, 0, 0x4000, 64, TCP, 0)
        rows[:, 26:30] = keys["source"][:, 12:]
        rows[:, 30:34] = keys["destination"][:, 12:]
    else:
        header = struct.pack("!HIHBB", 0x86DD, 0x60000000, rows.shape[1] - 54, TCP, 64)
        rows[:, 22:38] = keys["source"]
        rows[:, 38:54] = keys["destination"]
    rows[:, 12 : 12 + len(header)] = np.frombuffer(header, np.uint8)
    ports = np.stack([keys["source_port"], keys["destination_port"]], axis=1)
    rows[:, transport : transport + 4] = ports.astype(">u2").view(np.uint8)
    rows[:, transport + 12 : transport + 14] = (0x50, 0x10)  # 20 bytes of header, ACK
    return rows


def write_pcap(path: Path, keys: Keys) -> None:
    """Write a pcap with a frame of each key, one a microsecond."""
    rows = _frame_rows(keys)
    times = np.arange(len(rows), dtype="<u4")
    heads = np.stack([1_700_000_000 + times // 1_000_000, times % 1_000_000], axis=1).astype("<u4")
    lengths = np.full((len(rows), 2), rows.shape[1], "<u4")
    records = np.hstack([heads.view(np.uint8), lengths.view(np.uint8), rows])
    path.write_bytes(struct.pack("<IHHIIII", 0xA1B2C3D4, 2, 4, 0, 0, 1 << 18, 1) + records.tobytes())


def write_pcapng(path: Path, keys: Keys) -> None:
    """Write the same as a pcapng: one section, one interface, enhanced packet blocks."""
    rows = _frame_rows(keys)
    padded = np.pad(rows, ((0, 0), (0, -rows.shape[1] % 4)))
    total = 32 + padded.shape[1]
    times = np.uint64(1_700_000_000_000_000) + np.arange(len(rows), dtype=np.uint64)
    fields = [6, total, 0, times >> np.uint64(32), times & np.uint64(0xFFFFFFFF), rows.shape[1], rows.shape[1]]
    heads = np.stack(np.broadcast_arrays(*fields), axis=1).astype("<u4")
    ends = np.full((len(rows), 1), total, "<u4")
    blocks = np.hstack([heads.view(np.uint8), padded, ends.view(np.uint8)])
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    interface = struct.pack("<IIHHII", 1, 20, 1, 0, 1 << 18, 20)
    path.write_bytes(section + interface + blocks.tobytes())
