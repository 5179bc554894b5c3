"""The corners of the packets: fragments, headers before the ports, no ports, damage."""

import struct

import dpkt  # type: ignore[import-untyped]
from corner_frames import (
    ARP,
    DESTINATION_OPTIONS,
    DOT1Q,
    HOP_BY_HOP,
    IPV4,
    IPV6,
    LLDP,
    NO_NEXT_HEADER,
    ROUTING,
    SCTP,
    TCP,
    UDP,
    ethernet,
    extended,
    icmp6_echo,
    ipv4,
    ipv4_fragments,
    ipv6,
    ipv6_fragments,
    packet,
    segment,
)
from corner_truth import (
    ALPHA,
    ALPHA6,
    ALPHA_TOO,
    BETA6,
    BOTH,
    CLIENT,
    CLIENT6,
    VLAN100,
    VLAN200,
    VLAN_0,
    Corners,
    whole,
)


def fragments(c: Corners) -> None:
    """Take the ports from the first fragment, which the later ones follow."""
    first, middle, last = ipv4_fragments(UDP, CLIENT, 52000, ALPHA, 53, identification=1)
    c.delivered(ethernet(IPV4, first), 102, "A first fragment carries the ports.")
    c.delivered(ethernet(IPV4, middle), 102, "A later fragment follows its first.")
    c.delivered(ethernet(IPV4, last), 102, "The last fragment follows its first.")
    first, middle, last = ipv4_fragments(UDP, CLIENT, 52000, ALPHA, 53, identification=2)
    c.missed(ethernet(IPV4, last), "LATER_FRAGMENT", "Its first fragment was not seen yet.")
    c.delivered(ethernet(IPV4, first), 102, "A first fragment carries the ports.")
    c.delivered(ethernet(IPV4, middle), 102, "Now the first fragment was seen.")
    c.missed(
        ethernet(IPV4, ipv4_fragments(UDP, CLIENT, 52000, ALPHA, 53, identification=3)[1]),
        "LATER_FRAGMENT",
        "No fragment with this identification was seen before.",
    )
    c.missed(
        ethernet(IPV4, ipv4_fragments(UDP, "10.2.0.98", 52000, ALPHA, 53, identification=2)[1]),
        "LATER_FRAGMENT",
        "The first fragment seen with this identification came from another source.",
    )
    c.missed(
        ethernet(IPV4, ipv4_fragments(UDP, CLIENT, 52000, ALPHA_TOO, 53, identification=2)[1]),
        "LATER_FRAGMENT",
        "The first fragment seen with this identification went to another destination.",
    )
    c.missed(
        ethernet(IPV4, ipv4_fragments(TCP, CLIENT, 52000, ALPHA, 80, identification=2)[1]),
        "LATER_FRAGMENT",
        "The first fragment seen with this identification was UDP, this is TCP.",
    )
    for port, pid in ((80, 101), (443, 103)):
        for fragment in ipv4_fragments(TCP, CLIENT, 52001, ALPHA, port, identification=4):
            c.delivered(
                ethernet(IPV4, fragment),
                pid,
                f"Of two packets with one identification it belongs to the newest, to port {port}.",
            )
    for fragment in ipv4_fragments(UDP, CLIENT, 52002, ALPHA, 9, identification=5)[:2]:
        c.missed(
            ethernet(IPV4, fragment),
            "NO_PORT",
            "Nobody has a socket of udp 9, and a later fragment shares its first one's fate.",
        )
    to_alpha = ipv4_fragments(UDP, CLIENT, 52003, BOTH, 53, identification=6)
    to_beta = ipv4_fragments(UDP, CLIENT, 52003, BOTH, 9, identification=6)
    c.delivered(ethernet(IPV4, to_alpha[0], VLAN100), 102, f"On VLAN 100 {BOTH} is VNAS 1's.")
    c.missed(
        ethernet(IPV4, to_beta[0], VLAN200),
        "NO_PORT",
        f"On VLAN 200 {BOTH} is VNAS 2's, and nobody has a socket of udp 9.",
    )
    c.delivered(
        ethernet(IPV4, to_alpha[1], VLAN100),
        102,
        "The first fragment of the same identification on the other VLAN is not its own.",
    )
    c.missed(ethernet(IPV4, to_beta[1], VLAN200), "NO_PORT", "It follows the first fragment on its own VLAN.")
    c.missed(
        ethernet(IPV4, to_alpha[2], ((DOT1Q, 300),)),
        "LATER_FRAGMENT",
        "On VLAN 300 no first fragment was seen.",
    )
    for n, fragment in enumerate(ipv6_fragments(CLIENT6, 52004, BETA6, 53, 0xABCD0001)):
        c.delivered(
            ethernet(IPV6, fragment),
            202,
            "A later IPv6 fragment follows its first." if n else "A first IPv6 fragment carries the ports.",
        )
    first, middle, last = ipv6_fragments(CLIENT6, 52004, BETA6, 53, 0xABCD0002, before=(HOP_BY_HOP,))
    c.missed(
        ethernet(IPV6, last),
        "LATER_FRAGMENT",
        "Its first fragment was not seen yet; only the upper half of the identification is known.",
    )
    c.delivered(ethernet(IPV6, first), 202, "A first fragment behind a hop-by-hop header.")
    c.delivered(ethernet(IPV6, middle), 202, "Now the first fragment was seen.")
    for fragment in ipv6_fragments(
        CLIENT6, 52005, ALPHA6, 53, 0xABCD0003, size=32, after=(DESTINATION_OPTIONS,)
    ):
        c.delivered(
            ethernet(IPV6, fragment),
            102,
            "Destination options lie between the fragment header and UDP; only the first fragment has them.",
        )
    c.delivered(
        ethernet(IPV6, ipv6_fragments(CLIENT6, 52006, ALPHA6, 53, 0xABCD0004, size=1024)[0]),
        102,
        "One fragment with offset 0 and no more to come is a whole packet.",
    )


def headers(c: Corners) -> None:
    """Skip what lies between the addresses and the ports."""
    names = {
        HOP_BY_HOP: "hop-by-hop options",
        DESTINATION_OPTIONS: "destination options",
        ROUTING: "a routing header",
    }
    for chain in (
        (HOP_BY_HOP,),
        (DESTINATION_OPTIONS,),
        (ROUTING,),
        (HOP_BY_HOP, DESTINATION_OPTIONS, ROUTING, DESTINATION_OPTIONS),
    ):
        for protocol, port, pid in ((TCP, 80, 201), (UDP, 53, 202)):
            c.delivered(
                ethernet(*packet(protocol, CLIENT6, 53000, BETA6, port, headers=chain)),
                pid,
                f"The ports lie behind {', '.join(names[header] for header in chain)}.",
            )
    c.delivered(
        ethernet(*packet(SCTP, CLIENT6, 53000, ALPHA6, 3868, headers=(DESTINATION_OPTIONS,)), VLAN_0),
        101,
        "A priority tag, destination options and SCTP at once.",
    )
    router_alert = bytes((148, 4, 0, 0)) + bytes((1, 1, 1, 1)) * 9
    c.delivered(
        ethernet(
            IPV4, ipv4(TCP, CLIENT, ALPHA, segment(TCP, CLIENT, 53001, ALPHA, 80), options=router_alert)
        ),
        101,
        "The ports lie behind 40 bytes of IPv4 options.",
    )
    tiny = ipv4(UDP, CLIENT, ALPHA, segment(UDP, CLIENT, 53002, ALPHA, 53, data=b""))
    c.delivered(ethernet(IPV4, tiny).ljust(60, b"\0"), 102, "Ethernet pads an empty datagram to 60 bytes.")


def no_ports(c: Corners) -> None:
    """Meet frames without addresses or without ports."""
    arp = bytes(
        dpkt.arp.ARP(sha=bytes.fromhex("020000000000"), spa=bytes((10, 2, 0, 99)), tpa=bytes((10, 2, 0, 1)))
    )
    c.missed(ethernet(ARP, arp), "NOT_IP", "ARP.")
    c.missed(ethernet(ARP, arp, VLAN100), "NOT_IP", "ARP on a VLAN.")
    lldp = bytes.fromhex("0207 04 020000000009 0403 05 6530 0602 0078 0000".replace(" ", ""))
    c.missed(ethernet(LLDP, lldp), "NOT_IP", "LLDP.")
    spanning_tree = bytes.fromhex("424203") + bytes(35)
    c.missed(
        ethernet(len(spanning_tree), spanning_tree),
        "NOT_IP",
        "An 802.3 frame: the field holds a length, not an EtherType.",
    )
    echo = bytes(dpkt.icmp.ICMP(type=8, data=dpkt.icmp.ICMP.Echo(id=1, seq=1, data=b"ping")))
    c.missed(ethernet(IPV4, ipv4(1, CLIENT, ALPHA, echo)), "NO_TRANSPORT", "ICMP has no ports.")
    c.missed(
        ethernet(IPV4, ipv4(1, CLIENT, "10.2.0.77", echo)),
        "NO_TRANSPORT",
        "ICMP has no ports; no table is asked for the address.",
    )
    quoted = ipv4(UDP, ALPHA, CLIENT, segment(UDP, ALPHA, 53, CLIENT, 53))
    unreachable = struct.pack("!BBHI", 3, 3, 0, 0) + quoted[:28]
    unreachable = unreachable[:2] + struct.pack("!H", dpkt.in_cksum(unreachable)) + unreachable[4:]
    c.missed(
        ethernet(IPV4, ipv4(1, CLIENT, ALPHA, unreachable)),
        "NO_TRANSPORT",
        "The ports inside an ICMP error are those of another packet.",
    )
    c.missed(
        ethernet(IPV4, ipv4(41, CLIENT, ALPHA, packet(TCP, CLIENT6, 54000, ALPHA6, 80)[1])),
        "NO_TRANSPORT",
        "IPv6 in IPv4: the outermost addresses count, and protocol 41 has no ports.",
    )
    c.missed(
        ethernet(IPV6, ipv6(58, CLIENT6, ALPHA6, icmp6_echo(CLIENT6, ALPHA6))),
        "NO_TRANSPORT",
        "ICMPv6 has no ports.",
    )
    c.missed(
        ethernet(IPV6, ipv6(NO_NEXT_HEADER, CLIENT6, ALPHA6, b"")),
        "NO_TRANSPORT",
        "No next header: there is nothing behind the addresses.",
    )
    next_header, payload = extended((HOP_BY_HOP,), 58, icmp6_echo(CLIENT6, ALPHA6))
    c.missed(
        ethernet(IPV6, ipv6(next_header, CLIENT6, ALPHA6, payload)),
        "NO_TRANSPORT",
        "ICMPv6 behind hop-by-hop options.",
    )


def damaged(c: Corners) -> None:
    """Meet frames of which the capture, or the wire, kept too little."""
    frame = whole(UDP, CLIENT, 55000, ALPHA, 53)
    n = len(frame)
    c.delivered(frame[:50], 102, "Snapped in the payload: the ports are there.", n)
    c.delivered(frame[:38], 102, "Snapped right behind the ports: they are there.", n)
    c.missed(frame[:37], "TRUNCATED", "Snapped in the middle of the ports.", n)
    c.missed(frame[:34], "TRUNCATED", "Snapped behind the IPv4 header.", n)
    c.missed(frame[:20], "TRUNCATED", "Snapped in the IPv4 header.", n)
    c.missed(frame[:10], "TRUNCATED", "Snapped in the Ethernet header.", n)
    c.missed(b"", "TRUNCATED", "Nothing was captured of it.", n)
    tagged = whole(UDP, CLIENT, 55000, BOTH, 53, tags=VLAN100)
    c.missed(tagged[:15], "TRUNCATED", "Snapped in the VLAN tag.", len(tagged))
    extended6 = ethernet(*packet(TCP, CLIENT6, 55000, ALPHA6, 80, headers=(HOP_BY_HOP, ROUTING)))
    c.missed(extended6[:30], "TRUNCATED", "Snapped in the IPv6 header.", len(extended6))
    c.missed(extended6[:60], "TRUNCATED", "Snapped in the hop-by-hop options.", len(extended6))
    c.missed(extended6[:70], "TRUNCATED", "Snapped between two extension headers.", len(extended6))

    c.missed(frame[:10], "MALFORMED", "On the wire, too, it ended in the Ethernet header.")
    c.missed(ethernet(DOT1Q, b""), "MALFORMED", "On the wire, too, it ended before its VLAN tag.")
    c.missed(frame[:26], "MALFORMED", "On the wire, too, it ended in the IPv4 header.")
    inside = segment(UDP, CLIENT, 55000, ALPHA, 53)
    good = ipv4(UDP, CLIENT, ALPHA, inside)
    c.missed(ethernet(IPV4, b"\x65" + good[1:]), "MALFORMED", "The EtherType says IPv4, the version 6.")
    c.missed(ethernet(IPV6, good), "MALFORMED", "The EtherType says IPv6, the version 4.")
    c.missed(ethernet(IPV4, b"\x44" + good[1:]), "MALFORMED", "An IPv4 header of 16 bytes.")
    c.missed(
        ethernet(IPV4, good[:2] + b"\0\x0a" + good[4:]),
        "MALFORMED",
        "The packet says 10 bytes, its header 20.",
    )
    long_header = b"\x4f" + good[1:2] + b"\0\x28" + good[4:]
    c.missed(ethernet(IPV4, long_header), "MALFORMED", "The header says 60 bytes, its packet 40.")
    half_ports = ethernet(IPV4, ipv4(UDP, CLIENT, ALPHA, inside[:2])).ljust(60, b"\0")
    c.missed(
        half_ports,
        "MALFORMED",
        "The packet ends in the middle of the ports; what follows is Ethernet's padding.",
    )
    next_header, payload = extended((HOP_BY_HOP,), TCP, segment(TCP, CLIENT6, 55000, ALPHA6, 80))
    too_long = ethernet(IPV6, ipv6(next_header, CLIENT6, ALPHA6, payload[:1] + b"\x20" + payload[2:]))
    c.missed(too_long, "MALFORMED", "The hop-by-hop options say 264 bytes, more than the packet has.")
    half_ports6 = ethernet(IPV6, ipv6(UDP, CLIENT6, ALPHA6, inside[:2]))
    c.missed(half_ports6, "MALFORMED", "The IPv6 packet ends in the middle of the ports.")


def add(c: Corners) -> None:
    """Add all corners of this file."""
    fragments(c)
    headers(c)
    no_ports(c)
    damaged(c)
