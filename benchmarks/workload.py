"""Machines, keys, frames and captures that the benchmarks and the comparison share, the same in every run.

A machine of n sockets has n / 20 VNASs. Each has one process, two interface addresses and an ANY socket on each of the
same 20 ports, which are spread over all port numbers. Addresses are spread over 10.0.0.0/8 and fd00:1::/64. Keys pick
address and port uniformly at random, each independent of the one before: the hardest order for caches and branches.
"""

from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast import FLOW_KEY, Outcome, ServerMachine

SEED = 20
SERVICES = 20
ADDRESSES = 2
TCP, UDP = 6, 17

#: Frame lengths without the checksum at the end, and how many of each among twelve: 358 bytes on average.
IMIX = {60: 7, 590: 4, 1514: 1}

# Frames made and written at once.
_CHUNK = 1 << 18
_RECORD_HEADER = 16

Bytes = NDArray[np.uint8]


@dataclass(frozen=True)
class Shape:
    """What a machine looks like; families, protocols and VLANs are given out in turns."""

    sockets: int
    families: tuple[int, ...] = (4,)  # among the two addresses of a VNAS
    protocols: tuple[int, ...] = (TCP,)  # among the ports
    vlans: tuple[int, ...] = (0,)  # among the VNASs


@dataclass(frozen=True)
class Workload:
    """A machine, and the arrays from which its keys are made."""

    machine: ServerMachine
    addresses: Bytes  # (2n, 16): those of the machine, then as many that it does not have
    vlans: NDArray[np.uint16]  # by address
    services: NDArray[np.uint16]  # (40, 2), protocol and port: those that every VNAS has, then as many that none has
    sockets: NDArray[np.int32]  # socket ID by VNAS and service

    def keys(self, n: int, *, hits: float = 1.0) -> tuple[NDArray[Any], NDArray[np.int32]]:
        """Make keys, and what dispatching must answer; half of the misses have no VNAS, the others no port."""
        rng = np.random.default_rng(SEED + 1)
        n_addresses = len(self.addresses) // 2
        address = rng.integers(0, n_addresses, n)
        service = rng.integers(0, SERVICES, n)
        expected = self.sockets[address // ADDRESSES, service]
        miss = rng.random(n)
        no_vnas = miss < (1 - hits) / 2
        no_port = (miss < 1 - hits) & ~no_vnas
        address[no_vnas] += n_addresses
        service[no_port] += SERVICES
        expected[no_vnas] = Outcome.NO_VNAS
        expected[no_port] = Outcome.NO_PORT
        keys = np.zeros(n, FLOW_KEY)
        keys["destination"] = self.addresses[address]
        keys["vlan"] = self.vlans[address]
        keys["protocol"] = self.services[service, 0]
        keys["destination_port"] = self.services[service, 1]
        keys["source"] = self.addresses[address]
        # Remote addresses differ from ours in the byte after the prefix: 10.x → 172.x, fd00:1: → fd00:2:.
        ipv4 = is_ipv4(keys)
        keys["source"][ipv4, 12] = 172
        keys["source"][~ipv4, 3] = 2
        keys["source"][:, 14:] = rng.integers(0, 256, (n, 2), np.uint8)
        keys["source_port"] = rng.integers(1024, 65536, n)
        return keys, expected


@cache
def workload(shape: Shape) -> Workload:
    """Make the machine of a shape, once in a run."""
    rng = np.random.default_rng(SEED)
    n_vnases = max(1, shape.sockets // SERVICES)
    n_addresses = ADDRESSES * n_vnases
    turn = np.tile(np.arange(n_addresses) % ADDRESSES, 2)
    addresses = np.zeros((2 * n_addresses, 16), np.uint8)
    ipv4 = np.array(shape.families)[turn % len(shape.families)] == 4
    addresses[ipv4] = _ipv4_addresses(rng, int(ipv4.sum()))
    addresses[~ipv4] = _ipv6_addresses(rng, int((~ipv4).sum()))
    vlans = np.array(shape.vlans, np.uint16)[np.tile(np.arange(n_addresses) // ADDRESSES, 2) % len(shape.vlans)]
    services = np.zeros((2 * SERVICES, 2), np.uint16)
    services[:, 0] = np.array(shape.protocols)[np.arange(2 * SERVICES) % len(shape.protocols)]
    services[:, 1] = rng.permutation(65535)[: 2 * SERVICES] + 1
    machine, sockets = _machine(n_vnases, addresses[:n_addresses], vlans, services[:SERVICES])
    return Workload(machine, addresses, vlans, services, sockets)


def _machine(
    n_vnases: int, addresses: Bytes, vlans: NDArray[np.uint16], services: NDArray[np.uint16]
) -> tuple[ServerMachine, NDArray[np.int32]]:
    machine = ServerMachine(seed=SEED)
    sockets = np.zeros((n_vnases, SERVICES), np.int32)
    for vnas in range(n_vnases):
        pid = machine.vnas_start(1, vnas + 1)
        for row in range(ADDRESSES * vnas, ADDRESSES * (vnas + 1)):
            address = IPv6Address(addresses[row].tobytes())
            machine.validate(pid, address.ipv4_mapped or address, "eth0", vlan=int(vlans[row]))
        sockets[vnas] = [machine.bind(pid, protocol, port) for protocol, port in services.tolist()]
    return machine, sockets


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


def is_ipv4(keys: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell which keys are of IPv4 packets."""
    return (keys["destination"][:, :10] == 0).all(axis=1)


# ---- frames ----------------------------------------------------------------------------------------------------------


def frames(
    keys: NDArray[Any], sizes: NDArray[np.integer[Any]] | int = 60
) -> tuple[Bytes, NDArray[np.uint64], NDArray[np.uint32]]:
    """Make Ethernet frames of keys, one behind the other: the buffer, their offsets and lengths.

    A frame that can't hold its headers is as long as they are. Checksums of TCP and UDP are 0, as hardware leaves them
    to itself in captures of outgoing packets.
    """
    buffer, starts, lengths = _packed(keys, sizes, lead=0)
    return buffer, starts, lengths


def _packed(
    keys: NDArray[Any], sizes: NDArray[np.integer[Any]] | int, lead: int
) -> tuple[Bytes, NDArray[np.uint64], NDArray[np.uint32]]:
    """Make frames with `lead` bytes left free before each."""
    kinds = [
        (mask, *_headers(keys[mask], ipv4, tagged, protocol))
        for ipv4 in (True, False)
        for tagged in (False, True)
        for protocol in (TCP, UDP)
        if (mask := (is_ipv4(keys) == ipv4) & ((keys["vlan"] != 0) == tagged) & (keys["protocol"] == protocol)).any()
    ]
    lengths = np.broadcast_to(sizes, len(keys)).astype(np.uint32)
    for mask, headers, _ip in kinds:
        lengths[mask] = np.maximum(lengths[mask], headers.shape[1])
    starts = np.cumsum(lengths.astype(np.uint64) + np.uint64(lead))
    buffer = np.zeros(int(starts[-1]), np.uint8)
    starts -= lengths
    for mask, headers, ip in kinds:
        _set_lengths(headers, ip, lengths[mask])
        if len(kinds) == 1 and (lengths == lengths[0]).all():
            buffer.reshape(len(keys), -1)[:, lead : lead + headers.shape[1]] = headers
        else:
            buffer[starts[mask].astype(np.int64)[:, None] + np.arange(headers.shape[1])] = headers
    return buffer, starts, lengths


def _headers(keys: NDArray[Any], ipv4: bool, tagged: bool, protocol: int) -> tuple[Bytes, int]:
    """Make the headers of keys of one kind, without lengths; and where that of IP begins."""
    ip = 18 if tagged else 14
    transport = ip + (20 if ipv4 else 40)
    rows = np.zeros((len(keys), transport + (20 if protocol == TCP else 8)), np.uint8)
    rows[:, :12] = np.frombuffer(bytes.fromhex("020000000001 020000000002"), np.uint8)
    if tagged:
        rows[:, 12:14] = (0x81, 0x00)
        rows[:, 14:16] = _big_endian(keys["vlan"])
    rows[:, ip - 2 : ip] = (0x08, 0x00) if ipv4 else (0x86, 0xDD)
    if ipv4:
        rows[:, ip] = 0x45
        rows[:, ip + 6] = 0x40  # may not be fragmented
        rows[:, ip + 8] = 64
        rows[:, ip + 9] = protocol
        rows[:, ip + 12 : ip + 16] = keys["source"][:, 12:]
        rows[:, ip + 16 : ip + 20] = keys["destination"][:, 12:]
    else:
        rows[:, ip] = 0x60
        rows[:, ip + 6] = protocol
        rows[:, ip + 7] = 64
        rows[:, ip + 8 : ip + 24] = keys["source"]
        rows[:, ip + 24 : ip + 40] = keys["destination"]
    rows[:, transport : transport + 2] = _big_endian(keys["source_port"])
    rows[:, transport + 2 : transport + 4] = _big_endian(keys["destination_port"])
    if protocol == TCP:
        rows[:, transport + 12] = 0x50
        rows[:, transport + 13] = 0x10  # ACK
    return rows, ip


def _set_lengths(rows: Bytes, ip: int, lengths: NDArray[np.uint32]) -> None:
    """Fill in the lengths of IP and UDP, and the checksum of IPv4."""
    if rows[0, ip] == 0x45:
        rows[:, ip + 2 : ip + 4] = _big_endian(lengths - ip)
        words = rows[:, ip : ip + 20].reshape(len(rows), 10, 2).astype(np.uint32)
        total = (words[:, :, 0] << 8 | words[:, :, 1]).sum(axis=1)
        total = (total & 0xFFFF) + (total >> 16)
        total = (total & 0xFFFF) + (total >> 16)
        rows[:, ip + 10 : ip + 12] = _big_endian(~total & 0xFFFF)
        protocol, transport = rows[0, ip + 9], ip + 20
    else:
        rows[:, ip + 4 : ip + 6] = _big_endian(lengths - ip - 40)
        protocol, transport = rows[0, ip + 6], ip + 40
    if protocol == UDP:
        rows[:, transport + 4 : transport + 6] = _big_endian(lengths - transport)


def _big_endian(values: NDArray[np.integer[Any]]) -> Bytes:
    return values.astype(">u2").view(np.uint8).reshape(len(values), 2)


# ---- captures --------------------------------------------------------------------------------------------------------


def imix(n: int) -> NDArray[np.int64]:
    """Give frame lengths in the proportions of IMIX, in random order."""
    rng = np.random.default_rng(SEED + 2)
    return rng.choice(np.repeat(list(IMIX), list(IMIX.values())), n)


def write_capture(path: Path, work: Workload, n: int, sizes: NDArray[np.integer[Any]] | int = 60) -> int:
    """Write a pcap of n frames that all are delivered, one a microsecond; return its bytes."""
    header = np.array([0xA1B2C3D4, 4 << 16 | 2, 0, 0, 1 << 18, 1], "<u4")
    keys, _expected = work.keys(n)
    lengths = np.broadcast_to(sizes, n)
    with path.open("wb", buffering=0) as file:
        file.write(header.tobytes())
        for start in range(0, n, _CHUNK):
            chunk = slice(start, min(n, start + _CHUNK))
            file.write(_records(keys[chunk], lengths[chunk], start).data)
        return file.tell()


def _records(keys: NDArray[Any], sizes: NDArray[np.integer[Any]], first: int) -> Bytes:
    buffer, starts, lengths = _packed(keys, sizes, lead=_RECORD_HEADER)
    microseconds = first + np.arange(len(keys))
    headers = np.stack([1_700_000_000 + microseconds // 1_000_000, microseconds % 1_000_000, lengths, lengths], axis=1)
    rows = headers.astype("<u4").view(np.uint8)
    if (lengths == lengths[0]).all():
        buffer.reshape(len(keys), -1)[:, :_RECORD_HEADER] = rows
    else:
        buffer[starts.astype(np.int64)[:, None] - _RECORD_HEADER + np.arange(_RECORD_HEADER)] = rows
    return buffer
