"""The corners of the tables: which socket, which VLAN, whose loopback."""

from corner_frames import DCCP, DOT1AD, DOT1Q, IPV4, SCTP, TCP, UDP, UDPLITE, ethernet, ipv4_fragments
from corner_truth import (
    ALPHA,
    ALPHA6,
    ALPHA_TOO,
    BASE,
    BETA,
    BETA6,
    BOTH,
    BOTH6,
    CLIENT,
    CLIENT6,
    GAMMA,
    GAMMA6,
    VLAN100,
    VLAN200,
    VLAN_0,
    Corners,
    local,
    whole,
)


def matching(c: Corners) -> None:
    """Find the socket by VNAS, address, family, protocol and order of registration."""
    for address, pid in (
        (ALPHA, 101),
        (ALPHA_TOO, 101),
        (ALPHA6, 101),
        (BETA, 201),
        (BETA6, 201),
        (GAMMA6, 301),
    ):
        c.delivered(
            whole(TCP, CLIENT6 if ":" in address else CLIENT, 50000, address, 80),
            pid,
            f"{address} says which VNAS, and its ANY socket of tcp 80 receives.",
        )
    c.missed(
        whole(TCP, CLIENT, 50000, GAMMA, 80),
        "NO_SOCKET",
        "VNAS 3's socket of tcp 80 is IPv6-only and the packet is IPv4.",
    )
    c.delivered(whole(TCP, CLIENT, 50000, GAMMA, 8080), 301, "0.0.0.0 receives IPv4.")
    c.missed(whole(TCP, CLIENT6, 50000, GAMMA6, 8080), "NO_SOCKET", "0.0.0.0 receives no IPv6.")
    c.delivered(whole(TCP, CLIENT, 50000, BASE, 22), 1, "VNAS 0 is a VNAS as any other.")
    c.missed(
        whole(TCP, CLIENT, 50000, ALPHA, 22),
        "NO_SOCKET",
        "Only VNAS 0 has a socket of tcp 22, and the address is VNAS 1's.",
    )
    c.missed(whole(TCP, CLIENT, 50000, BASE, 80), "NO_SOCKET", "VNAS 0 has no socket of tcp 80.")
    c.delivered(
        whole(TCP, CLIENT, 50001, ALPHA, 443),
        103,
        "The specific socket was registered before the ANY socket, and both match.",
    )
    c.delivered(
        whole(TCP, CLIENT, 50001, ALPHA_TOO, 443),
        101,
        "The specific socket is for another address, so the ANY socket receives.",
    )
    c.delivered(
        whole(TCP, CLIENT6, 50001, ALPHA6, 443),
        101,
        "The specific socket is for an IPv4 address, so the ANY socket receives.",
    )
    c.delivered(
        whole(TCP, CLIENT, 50002, ALPHA, 444),
        101,
        "The ANY socket was registered before the specific socket, and both match.",
    )
    c.missed(
        whole(UDP, CLIENT, 50003, BETA, 5000),
        "NO_SOCKET",
        "The one socket of udp 5000 has this address, but its VNAS is 1 and the address is VNAS 2's.",
    )
    c.delivered(
        whole(UDP, CLIENT, 50003, BETA, 5001),
        202,
        "VNAS 1's specific socket does not match in VNAS 2, so VNAS 2's ANY socket receives.",
    )
    for port in (50004, 50005, 50006, 50007):
        why = "Two sockets of VNAS 1 share udp 514: a flow hash chooses."
        c.delivered(whole(UDP, CLIENT, port, ALPHA, 514), (104, 105), why)
    why = "The flow of four frames before: of the two sockets the same one receives."
    c.delivered(whole(UDP, CLIENT, 50004, ALPHA, 514), (104, 105), why)
    c.missed(whole(UDP, CLIENT, 50004, BETA, 514), "NO_SOCKET", "Both sharing sockets are VNAS 1's.")
    c.delivered(whole(SCTP, CLIENT, 50008, ALPHA, 3868), 101, "SCTP has ports where TCP has them.")
    c.delivered(whole(SCTP, CLIENT6, 50008, BETA6, 3868), 201, "SCTP over IPv6.")
    c.missed(whole(SCTP, CLIENT, 50008, ALPHA, 80), "NO_PORT", "Port 80 is served over TCP, not over SCTP.")
    c.delivered(whole(DCCP, CLIENT, 50009, ALPHA, 5004), 102, "DCCP has ports where UDP has them.")
    c.delivered(whole(DCCP, CLIENT6, 50009, BETA6, 5004), 202, "DCCP over IPv6.")
    c.delivered(
        whole(UDPLITE, CLIENT, 50010, ALPHA, 53),
        102,
        "UDP-Lite has a port table of its own, with VNAS 1's socket.",
    )
    c.missed(
        whole(UDPLITE, CLIENT, 50010, BETA, 53),
        "NO_SOCKET",
        "VNAS 2 has a socket of udp 53 but none of udplite 53.",
    )
    c.delivered(whole(UDPLITE, CLIENT6, 50010, ALPHA6, 53), 102, "UDP-Lite over IPv6.")
    c.missed(whole(TCP, CLIENT, 50011, ALPHA, 81), "NO_PORT", "Nobody has a socket of tcp 81.")
    c.missed(whole(UDP, CLIENT, 50011, ALPHA, 80), "NO_PORT", "Port 80 is served over TCP, not over UDP.")
    c.missed(whole(UDP, CLIENT, 50011, ALPHA, 0), "NO_PORT", "Port 0 is a port that nobody serves.")
    c.missed(whole(TCP, CLIENT, 50012, "10.2.0.77", 80), "NO_VNAS", "The address is in no table.")
    c.missed(
        whole(TCP, CLIENT, 50012, "10.2.0.77", 81), "NO_VNAS", "The address is looked up before the port."
    )
    c.missed(whole(TCP, CLIENT6, 50012, "fd00:2::77", 80), "NO_VNAS", "The address is in no table.")
    c.missed(whole(UDP, CLIENT, 53, "224.0.0.251", 53), "NO_VNAS", "A multicast address belongs to no VNAS.")
    c.missed(
        whole(UDP, CLIENT, 53, "255.255.255.255", 53), "NO_VNAS", "The broadcast address belongs to no VNAS."
    )


def vlans(c: Corners) -> None:
    """Tell one address in two VNASs apart by the outermost VLAN ID that is not 0."""
    outer = {
        "100": VLAN100,
        "200": VLAN200,
        "100, with priority bits": ((DOT1Q, 0xE000 | 100),),
        "100, the outer tag": ((DOT1AD, 100), (DOT1Q, 200)),
        "200, the outer tag": ((DOT1AD, 200), (DOT1Q, 100)),
        "200, the outermost of three": ((DOT1AD, 200), (DOT1AD, 7), (DOT1Q, 100)),
        "100, as the tag before it has ID 0": ((DOT1Q, 0), (DOT1Q, 100)),
    }
    for vlan, tags in outer.items():
        alpha = vlan.startswith("100")
        c.delivered(
            whole(UDP, CLIENT, 51000, BOTH, 53, tags=tags),
            102 if alpha else 202,
            f"The VLAN is {vlan}: there {BOTH} is VNAS {1 if alpha else 2}'s.",
        )
    c.delivered(whole(UDP, CLIENT6, 51000, BOTH6, 53, tags=VLAN100), 202, f"On VLAN 100 {BOTH6} is VNAS 2's.")
    c.delivered(whole(UDP, CLIENT6, 51000, BOTH6, 53, tags=VLAN200), 102, f"On VLAN 200 {BOTH6} is VNAS 1's.")
    c.delivered(
        whole(UDP, CLIENT, 51000, ALPHA, 53, tags=VLAN_0),
        102,
        "A tag with ID 0 carries a priority only: the frame counts as untagged.",
    )
    c.missed(whole(UDP, CLIENT, 51000, BOTH, 53), "NO_VNAS", "Untagged, nobody has this address.")
    c.missed(
        whole(UDP, CLIENT, 51000, BOTH, 53, tags=((DOT1Q, 300),)),
        "NO_VNAS",
        "On VLAN 300 nobody has this address.",
    )
    c.missed(
        whole(UDP, CLIENT, 51000, ALPHA, 53, tags=VLAN100),
        "NO_VNAS",
        "VNAS 1 has this address untagged, not on VLAN 100.",
    )


def loopback(c: Corners) -> None:
    """Find whose loopback it is: from the source endpoint, when exactly one VNAS can own it."""
    four, six, served = "127.0.0.1", "::1", 80
    c.delivered(
        local(TCP, four, 40001, four, served),
        101,
        "Only VNAS 1 has a socket that can be the source, tcp 40001 on 127.0.0.1: its loopback.",
    )
    c.missed(
        local(TCP, four, served, four, 40001),
        "UNKNOWN_SOURCE",
        "The answer: VNAS 1 and VNAS 2 both have an ANY socket of tcp 80 that can be the source.",
    )
    c.missed(
        local(TCP, four, 40002, four, served),
        "UNKNOWN_SOURCE",
        "VNAS 1 and VNAS 2 both bound tcp 40002 on 127.0.0.1.",
    )
    c.delivered(
        local(TCP, four, 40003, four, served),
        201,
        "Only VNAS 2 has a socket of tcp 40003; ANY can be any loopback address.",
    )
    c.delivered(local(TCP, "127.0.0.5", 40003, "127.9.9.9", served), 201, "All of 127.0.0.0/8 is loopback.")
    c.delivered(local(TCP, six, 40003, six, served), 201, "An ANY socket of both families can be ::1 too.")
    c.delivered(
        local(TCP, "::ffff:127.0.0.1", 40003, "::ffff:127.0.0.1", served),
        201,
        "::ffff:127.0.0.0/104 is loopback.",
    )
    c.missed(
        local(TCP, "127.0.0.5", 40001, four, served),
        "UNKNOWN_SOURCE",
        "tcp 40001 is bound to 127.0.0.1, which is not the source.",
    )
    c.delivered(
        local(TCP, six, 40004, six, served),
        301,
        "Only VNAS 3 has a socket of tcp 40004, on ::1, and its IPv6-only socket of tcp 80 receives.",
    )
    c.missed(
        local(TCP, four, 40004, four, served),
        "UNKNOWN_SOURCE",
        "tcp 40004 is bound to ::1, which is not the source.",
    )
    c.delivered(
        local(TCP, four, 40005, four, served),
        201,
        "Of the two ANY sockets of tcp 40005 VNAS 3's is IPv6-only, so VNAS 2 is left.",
    )
    c.missed(
        local(TCP, six, 40005, six, served),
        "UNKNOWN_SOURCE",
        "By IPv6 both ANY sockets of tcp 40005 can be the source.",
    )
    c.delivered(
        local(TCP, four, 40006, four, served), 101, "Two sockets can be the source, but both are VNAS 1's."
    )
    c.missed(local(TCP, four, 49999, four, served), "UNKNOWN_SOURCE", "No socket can be the source.")
    c.missed(
        local(UDP, four, 40001, four, 53), "UNKNOWN_SOURCE", "Port 40001 is bound over TCP, and this is UDP."
    )
    c.delivered(local(UDP, four, 40010, four, 53), 102, "Only VNAS 1 has a socket of udp 40010.")
    c.delivered(local(UDPLITE, four, 53, four, 53), 102, "Only VNAS 1 has a socket of udplite 53.")
    c.missed(
        local(UDP, four, 53, four, 53),
        "UNKNOWN_SOURCE",
        "VNAS 1 and VNAS 2 both have an ANY socket of udp 53.",
    )
    c.delivered(
        local(TCP, four, 40003, four, 8081),
        201,
        "VNAS 1's socket on 127.0.0.1 comes first, but the source is VNAS 2's.",
    )
    c.delivered(local(TCP, four, 40001, four, 8081), 101, "The same port, this time from VNAS 1.")
    c.missed(
        local(TCP, four, 40001, four, 8080),
        "NO_SOCKET",
        "The source is VNAS 1's, and only VNAS 3 has a socket of tcp 8080.",
    )
    c.missed(
        local(TCP, four, 40001, four, 81),
        "NO_PORT",
        "The source is VNAS 1's, and nobody has a socket of tcp 81.",
    )
    c.delivered(
        local(TCP, BETA, 49999, four, served),
        201,
        "The source is no loopback address: the ANY-address table says VNAS 2.",
    )
    c.delivered(
        local(TCP, BASE, 49999, four, 22), 1, "The ANY-address table says VNAS 0, which is an answer."
    )
    c.missed(
        local(TCP, "10.2.0.77", 40001, four, served),
        "UNKNOWN_SOURCE",
        "The source is in no table, whoever has a socket of its port.",
    )
    c.delivered(
        whole(TCP, BOTH, 49999, four, served, tags=VLAN200),
        201,
        f"On VLAN 200 the source {BOTH} is VNAS 2's.",
    )
    c.missed(
        whole(TCP, BOTH, 49999, four, served), "UNKNOWN_SOURCE", f"Untagged, nobody has the source {BOTH}."
    )
    c.delivered(
        local(TCP, ALPHA, 49999, BETA, served),
        201,
        "Seen on the loopback interface, but not a loopback address: the destination's VNAS receives.",
    )
    for fragment in ipv4_fragments(UDP, four, 40010, four, 53, identification=90):
        c.delivered(
            ethernet(IPV4, fragment, loopback=True),
            102,
            "A fragment has the ports of its first fragment, the source port too: VNAS 1 has udp 40010.",
        )


def add(c: Corners) -> None:
    """Add all corners of this file."""
    matching(c)
    vlans(c)
    loopback(c)
