"""Frames for the tests of learned tables, built with dpkt, and captures of them."""

import io
import struct
from ipaddress import ip_address

import dpkt

BROADCAST = b"\xff" * 6
PROTOCOLS = {"tcp": 6, "udp": 17, "dccp": 33, "sctp": 132, "udplite": 136}


def mac(number):
    return bytes([2, 0, 0, 0, 0, number])


def ethernet(payload, ethertype=0x0800, number=1, to=b"\2\0\0\0\0\2", vlan=0):
    tag = struct.pack(">HH", 0x8100, vlan) if vlan else b""
    return to + mac(number) + tag + struct.pack(">H", ethertype) + bytes(payload)


def packet(source, destination, protocol, payload, hop_limit=64):
    """Give an IP packet around bytes."""
    source, destination = ip_address(source), ip_address(destination)
    if source.version == 4:
        return bytes(dpkt.ip.IP(src=source.packed, dst=destination.packed, p=protocol, data=bytes(payload)))
    return bytes(dpkt.ip6.IP6(src=source.packed, dst=destination.packed, nxt=protocol, plen=len(bytes(payload)),
                              hlim=hop_limit, data=bytes(payload), extension_hdrs={}, all_extension_headers=[]))


def ip(source, destination, protocol, payload, hop_limit=64, **link):
    data = packet(source, destination, protocol, payload, hop_limit)
    return ethernet(data, 0x86DD if data[0] >> 4 == 6 else 0x0800, **link)


def udp(source, source_port, destination, port, protocol="udp", **link):
    body = dpkt.udp.UDP(sport=source_port, dport=port, data=b"hello", ulen=13)
    return ip(source, destination, PROTOCOLS[protocol], body, **link)


def tcp(source, source_port, destination, port, flags, **link):
    return ip(source, destination, 6, dpkt.tcp.TCP(sport=source_port, dport=port, flags=flags), **link)


def accepted(address, port, caller="10.0.0.99", **link):
    """Give the SYN+ACK of a server."""
    return tcp(address, port, caller, 40000, dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, **link)


def unreachable(source, refused, kind=3, code=3):
    """Give an ICMP error that quotes an Ethernet frame's IPv4 packet."""
    return ip(source, "10.0.0.99", 1, struct.pack(">BBHI", kind, code, 0, 0) + refused[14:42])


def arp(number, address, operation=2, vlan=0):
    body = dpkt.arp.ARP(op=operation, sha=mac(number), spa=ip_address(address).packed, tha=bytes(6), tpa=bytes(4))
    return ethernet(body, 0x0806, number=number, to=BROADCAST, vlan=vlan)


def neighbour(number, address, kind, option, hop_limit=255, source=None):
    """Give a message of neighbour discovery that says `address` has the MAC of this number."""
    head = {133: 8, 134: 16, 135: 24, 136: 24}[kind]
    body = struct.pack(">BBHI", kind, 0, 0, 0) + (ip_address(address).packed if head == 24 else b"")
    body = body.ljust(head, b"\0") + bytes([option, 1]) + mac(number)
    return ip(source or address, "ff02::1", 58, body, hop_limit, number=number)


def capture(frames, link_type=1):
    """Give the bytes of a pcap file."""
    file = io.BytesIO()
    writer = dpkt.pcap.Writer(file, linktype=link_type)
    for number, frame in enumerate(frames):
        writer.writepkt(frame, 1_700_000_000 + number)
    return file.getvalue()
