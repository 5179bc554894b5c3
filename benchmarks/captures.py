"""Frames and captures made of keys: Ethernet, with or without a VLAN tag, IPv4 or IPv6, TCP or UDP."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from workload import SEED, TCP, UDP, Bytes, Workload, is_ipv4

#: Frame lengths without the checksum at the end, and how many of each among twelve: 358 bytes on average.
IMIX = {60: 7, 590: 4, 1514: 1}

# Frames made and written at once, and how many such chunks are different.
_CHUNK = 1 << 18
_DIFFERENT = 4

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
    keys: NDArray[Any], sizes: NDArray[np.integer[Any]] | int, lead: int, trail: int = 0
) -> tuple[Bytes, NDArray[np.uint64], NDArray[np.uint32]]:
    """Make frames with `lead` bytes left free before each, and `trail` after."""
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
    starts = np.cumsum(lengths.astype(np.uint64) + np.uint64(lead + trail))
    buffer = np.zeros(int(starts[-1]), np.uint8)
    starts -= lengths + np.uint64(trail)
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


def write_capture(path: Path, work: Workload, n: int, size: int | None = 60, *, pcapng: bool = False) -> int:
    """Write a capture of n frames of a size, or of IMIX, one a microsecond; return its bytes.

    All are delivered. A million are different ones; then these come again, later.
    """
    made: dict[tuple[int, int], tuple[Bytes, NDArray[np.uint64], NDArray[np.uint32]]] = {}
    with path.open("wb", buffering=0) as file:
        file.write(_PCAPNG_HEADER if pcapng else _PCAP_HEADER)
        for start in range(0, n, _CHUNK):
            kind = (start // _CHUNK % _DIFFERENT, min(_CHUNK, n - start))
            if kind not in made:
                keys = work.traffic(kind[1], seed=kind[0] + 1).keys
                room = {"lead": 28, "trail": 4} if pcapng else {"lead": 16}
                made[kind] = _packed(keys, _imix(kind[1]) if size is None else size, **room)
            (_set_block if pcapng else _set_record)(*made[kind], start)
            file.write(made[kind][0].data)
        return file.tell()


def _imix(n: int) -> NDArray[np.int64]:
    rng = np.random.default_rng(SEED + 2)
    return rng.choice(np.repeat(list(IMIX), list(IMIX.values())), n)


def _words(*values: Any) -> Bytes:
    """Give columns, or single numbers, as rows of little-endian words of 4 bytes."""
    return np.stack(np.broadcast_arrays(*values), axis=-1).astype("<u4").view(np.uint8)


# Little-endian, microseconds, Ethernet. Of pcapng: a section header block and an interface description block.
_PCAP_HEADER = _words(0xA1B2C3D4, 4 << 16 | 2, 0, 0, 1 << 18, 1).tobytes()
_PCAPNG_HEADER = _words(0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0xFFFFFFFF, 0xFFFFFFFF, 28, 1, 20, 1, 1 << 18, 20).tobytes()


def _set_record(buffer: Bytes, starts: NDArray[np.uint64], lengths: NDArray[np.uint32], first: int) -> None:
    """Write the record headers of a pcap before the frames."""
    microseconds = first + np.arange(len(starts))
    seconds = 1_700_000_000 + microseconds // 1_000_000
    _put(buffer, starts, lengths, _words(seconds, microseconds % 1_000_000, lengths, lengths))


def _set_block(buffer: Bytes, starts: NDArray[np.uint64], lengths: NDArray[np.uint32], first: int) -> None:
    """Write enhanced packet blocks around frames whose lengths need no padding."""
    if (lengths % 4).any():
        raise ValueError("frame lengths of pcapng must be multiples of 4")
    ticks = 1_700_000_000_000_000 + first + np.arange(len(starts))
    length = lengths + 32
    _put(buffer, starts, lengths, _words(6, length, 0, ticks >> 32, ticks & 0xFFFFFFFF, lengths, lengths))
    _put(buffer, starts + lengths + np.uint64(4), lengths, _words(length))


def _put(buffer: Bytes, ends: NDArray[np.uint64], lengths: NDArray[np.uint32], rows: Bytes) -> None:
    """Put a row of bytes before each of the places."""
    rows = rows.reshape(len(ends), -1)
    n_bytes = rows.shape[1]
    if (lengths == lengths[0]).all():
        begin = int(ends[0]) - n_bytes
        buffer.reshape(len(rows), -1)[:, begin : begin + n_bytes] = rows
    else:
        buffer[ends.astype(np.int64)[:, None] - n_bytes + np.arange(n_bytes)] = rows
