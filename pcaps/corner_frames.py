"""Build frames with dpkt, byte for byte the same each time: what make_corners.py needs below its cases.

A frame is Ethernet around an IP packet around a transport segment; each builder takes what lies inside as
bytes, so that a corner can also be built wrong on purpose. Checksums are right wherever a length allows it.
"""

import struct
from collections.abc import Sequence
from ipaddress import ip_address

import dpkt  # type: ignore[import-untyped]

CLIENT_MAC, SERVER_MAC = bytes.fromhex("020000000000"), bytes.fromhex("020000000009")
IPV4, ARP, IPV6, LLDP = 0x0800, 0x0806, 0x86DD, 0x88CC
DOT1Q, DOT1AD = 0x8100, 0x88A8
TCP, UDP, DCCP, SCTP, UDPLITE = 6, 17, 33, 132, 136
HOP_BY_HOP, ROUTING, FRAGMENT, NO_NEXT_HEADER, DESTINATION_OPTIONS = 0, 43, 44, 59, 60
DATA = b"one of several identical servers"

# (EtherType, tag) pairs, outermost first.
Tags = Sequence[tuple[int, int]]


def ethernet(ethertype: int, payload: bytes, tags: Tags = (), loopback: bool = False) -> bytes:
    """Put a packet into a frame, tags outermost first; on loopback Linux shows zero MACs."""
    macs = bytes(12) if loopback else SERVER_MAC + CLIENT_MAC
    return macs + b"".join(struct.pack("!HH", *tag) for tag in tags) + struct.pack("!H", ethertype) + payload


def segment(
    protocol: int, source: str, source_port: int, destination: str, port: int, *, data: bytes = DATA
) -> bytes:
    """Build a transport segment: a TCP SYN, an SCTP INIT, a DCCP request, a datagram."""
    ends = ip_address(source).packed + ip_address(destination).packed
    ports = struct.pack("!HH", source_port, port)
    if protocol == SCTP:
        init = struct.pack("!BBHIIHHI", 1, 0, 20, 0x0BADCAFE, 65536, 1, 1, 1)
        header = ports + bytes(4)
        return header + struct.pack("<I", crc32c(header + bytes(4) + init)) + init
    # The checksum's place, and the bytes it covers besides the pseudo header.
    if protocol == TCP:
        built = bytes(dpkt.tcp.TCP(sport=source_port, dport=port, seq=1, flags=dpkt.tcp.TH_SYN))
        at, covered = 16, built
    elif protocol == UDP:
        built = ports + struct.pack("!HH", 8 + len(data), 0) + data
        at, covered = 6, built
    elif protocol == DCCP:
        # A request: header of 5 words, 48-bit sequence number 1, service code 0.
        built = ports + struct.pack("!BBHBBHII", 5, 0, 0, 1, 0, 0, 1, 0) + data
        at, covered = 6, built
    elif protocol == UDPLITE:
        # The checksum covers the 8 bytes of the header only: what UDP-Lite is for.
        built = ports + struct.pack("!HH", 8, 0) + data
        at, covered = 6, built[:8]
    else:
        raise ValueError(f"no segment of protocol {protocol}")
    pseudo = ends + struct.pack("!IHBB", len(built), 0, 0, protocol)
    checksum = dpkt.in_cksum(pseudo + covered) or 0xFFFF
    return built[:at] + struct.pack("!H", checksum) + built[at + 2 :]


def crc32c(data: bytes) -> int:
    """Compute SCTP's checksum (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def ipv4(
    protocol: int,
    source: str,
    destination: str,
    payload: bytes,
    *,
    options: bytes = b"",
    identification: int = 1,
    offset: int = 0,
    more: bool = False,
) -> bytes:
    """Build an IPv4 packet; ``offset`` in bytes."""
    packet = dpkt.ip.IP(
        src=ip_address(source).packed,
        dst=ip_address(destination).packed,
        p=protocol,
        id=identification,
        hl=5 + len(options) // 4,
        mf=int(more),
        offset=offset // 8,
        opts=options,
        data=payload,
    )
    return bytes(packet)


def ipv6(next_header: int, source: str, destination: str, payload: bytes) -> bytes:
    """Build an IPv6 packet."""
    packet = dpkt.ip6.IP6(
        src=ip_address(source).packed,
        dst=ip_address(destination).packed,
        nxt=next_header,
        hlim=64,
        plen=len(payload),
        data=payload,
    )
    packet.extension_hdrs = {}
    return bytes(packet)


def icmp6_echo(source: str, destination: str) -> bytes:
    """Build an ICMPv6 echo request."""
    built = struct.pack("!BBHHH", 128, 0, 0, 1, 1) + DATA
    ends = ip_address(source).packed + ip_address(destination).packed
    checksum = dpkt.in_cksum(ends + struct.pack("!II", len(built), 58) + built)
    return built[:2] + struct.pack("!H", checksum) + built[4:]


def extended(headers: Sequence[int], last: int, payload: bytes) -> tuple[int, bytes]:
    """Put IPv6 extension headers before a payload; return the first next-header value and the bytes."""
    next_header = last
    for header in reversed(headers):
        if header == ROUTING:
            # Type 0 with one address and no segment left: the packet has arrived.
            body = struct.pack("!BBBBI", next_header, 2, 0, 0, 0) + ip_address("fd00:2::99").packed
        else:
            # 16 bytes, so that a parser that takes every header for 8 bytes is found out. PadN fills it.
            body = struct.pack("!BBBB", next_header, 1, 1, 12) + bytes(12)
        payload, next_header = body + payload, header
    return next_header, payload


def packet(
    protocol: int, source: str, source_port: int, destination: str, port: int, *, headers: Sequence[int] = ()
) -> tuple[int, bytes]:
    """Build a whole packet from end to end; return its EtherType and bytes."""
    inside = segment(protocol, source, source_port, destination, port)
    if ":" not in destination:
        return IPV4, ipv4(protocol, source, destination, inside)
    next_header, payload = extended(headers, protocol, inside)
    return IPV6, ipv6(next_header, source, destination, payload)


def ipv4_fragments(
    protocol: int, source: str, source_port: int, destination: str, port: int, *, identification: int
) -> list[bytes]:
    """Build a packet in fragments of 16 bytes."""
    inside = segment(protocol, source, source_port, destination, port)
    return [
        ipv4(
            protocol,
            source,
            destination,
            inside[offset : offset + 16],
            identification=identification,
            offset=offset,
            more=offset + 16 < len(inside),
        )
        for offset in range(0, len(inside), 16)
    ]


def ipv6_fragments(
    source: str,
    source_port: int,
    destination: str,
    port: int,
    identification: int,
    *,
    size: int = 16,
    before: Sequence[int] = (),
    after: Sequence[int] = (),
) -> list[bytes]:
    """Build a UDP packet in fragments, extension headers ``before`` and ``after`` the fragment header."""
    next_header, inside = extended(after, UDP, segment(UDP, source, source_port, destination, port))
    fragments = []
    for offset in range(0, len(inside), size):
        more = offset + size < len(inside)
        header = struct.pack("!BBHI", next_header, 0, offset | more, identification)
        first, payload = extended(before, FRAGMENT, header + inside[offset : offset + size])
        fragments.append(ipv6(first, source, destination, payload))
    return fragments
