"""Known answers for matching: the rules of dispatch, one sentence and one small table each.

The world of every table: VNAS 1 (process 11) has 10.0.0.1 and 2001:db8::1, VNAS 2 (process 12) has 10.0.0.2
and 2001:db8::2, VNAS 3 (process 13) has 10.0.0.1 on VLAN 7 and 10.0.0.3, VNAS 0 (process 1) has 10.0.0.100.

A binding is "label process address [protocol/port] [option…]", a packet
"[vlan/]destination [from=source] [sport=port] [pid=process] [protocol/port] -> label or outcome";
what is left out is tcp/80 and the source 198.51.100.9:40000. Sockets of one group have one label.
"""

from typing import Any

import pytest
from model import PROTOCOLS, Key, to_address
from pair import Pair

from vnasfast import Outcome

WORLD = [
    (11, 1, [("10.0.0.1", 0), ("2001:db8::1", 0)]),
    (12, 2, [("10.0.0.2", 0), ("2001:db8::2", 0)]),
    (13, 3, [("10.0.0.1", 7), ("10.0.0.3", 0)]),
]

MATCHING = {
    # Destination VNAS and ANY sockets
    "ANY sockets of different VNASs on one port coexist, and each gets the packets of its own VNAS": (
        "a 11 ANY; b 12 ANY; c 13 ANY; z 1 ANY",
        "10.0.0.1 -> a; 10.0.0.2 -> b; 10.0.0.3 -> c; 10.0.0.100 -> z; 2001:db8::1 -> a; 2001:db8::2 -> b",
    ),
    "The same address belongs to different VNASs on different VLANs": (
        "a 11 ANY; c 13 ANY",
        "10.0.0.1 -> a; 7/10.0.0.1 -> c; 8/10.0.0.1 -> NO_VNAS; 7/10.0.0.3 -> NO_VNAS",
    ),
    "An address that nobody registered has no VNAS, whatever is bound": (
        "a 11 ANY; b 11 10.0.0.77 freebind",
        "10.0.0.9 -> NO_VNAS; 10.0.0.77 -> NO_VNAS; 2001:db8::9 -> NO_VNAS; 0.0.0.0 -> NO_VNAS;:: -> NO_VNAS",
    ),
    "A port without sockets is NO_PORT, also when the other protocol has some": (
        "a 11 ANY tcp/80; b 12 ANY udp/53",
        "10.0.0.1 tcp/81 -> NO_PORT; 10.0.0.1 udp/80 -> NO_PORT; 10.0.0.2 tcp/53 -> NO_PORT",
    ),
    "A port whose sockets are all of other VNASs is NO_SOCKET": (
        "a 11 ANY",
        "10.0.0.2 -> NO_SOCKET; 2001:db8::2 -> NO_SOCKET; 7/10.0.0.1 -> NO_SOCKET",
    ),
    "NO_VNAS comes before NO_PORT": ("", "10.0.0.9 -> NO_VNAS; 10.0.0.1 -> NO_PORT"),
    "Destination port 0 has no socket": ("a 11 ANY", "10.0.0.1 tcp/0 -> NO_PORT"),
    "Each of the five protocols has ports of its own": (
        "t 11 ANY tcp/9; u 11 ANY udp/9; s 11 ANY sctp/9; d 11 ANY dccp/9; l 11 ANY udplite/9",
        "10.0.0.1 tcp/9 -> t; 10.0.0.1 udp/9 -> u; 10.0.0.1 sctp/9 -> s; 10.0.0.1 dccp/9 -> d;"
        "10.0.0.1 udplite/9 -> l; 10.0.0.1 1/9 -> NO_TRANSPORT; 10.0.0.9 58/9 -> NO_TRANSPORT",
    ),
    "The highest port and the lowest work": (
        "a 11 ANY tcp/65535; b 11 ANY tcp/1",
        "10.0.0.1 tcp/65535 -> a; 10.0.0.1 tcp/1 -> b; 10.0.0.1 tcp/2 -> NO_PORT",
    ),
    # Specific and ANY: order of registration
    "An ANY socket registered before a specific one wins": ("a 11 ANY; b 11 10.0.0.1", "10.0.0.1 -> a"),
    "A specific socket registered before an ANY one wins, for its address": (
        "a 11 10.0.0.1; b 11 ANY",
        "10.0.0.1 -> a; 2001:db8::1 -> b",
    ),
    "A specific socket gets nothing for another address of its VNAS": (
        "a 11 2001:db8::1",
        "10.0.0.1 -> NO_SOCKET; 2001:db8::1 -> a",
    ),
    "A specific socket of another VNAS is passed over, although its address is equal": (
        "a 12 10.0.0.1 freebind; b 11 ANY",
        "10.0.0.1 -> b",
    ),
    "A specific socket of another VNAS alone does not match": (
        "a 12 10.0.0.1 freebind",
        "10.0.0.1 -> NO_SOCKET",
    ),
    "A specific socket matches on every VLAN on which its VNAS has the address": (
        "a 11 10.0.0.1; c 13 10.0.0.1",
        "10.0.0.1 -> a; 7/10.0.0.1 -> c",
    ),
    "Registered between others, the first that matches wins, not the first of the VNAS": (
        "a 11 2001:db8::1; b 12 ANY; c 11 0.0.0.0; d 11 10.0.0.1; e 11 ANY",
        "10.0.0.1 -> c; 2001:db8::1 -> a; 10.0.0.2 -> b",
    ),
    # Families
    "0.0.0.0 receives IPv4 only": ("a 11 0.0.0.0", "10.0.0.1 -> a; 2001:db8::1 -> NO_SOCKET"),
    "ANY and :: are the same and receive IPv6 and IPv4": (
        "a 11 ANY; b 12 ::",
        "10.0.0.1 -> a; 2001:db8::1 -> a; 10.0.0.2 -> b; 2001:db8::2 -> b",
    ),
    "A v6-only ANY socket receives no IPv4": ("a 11 :: v6only", "10.0.0.1 -> NO_SOCKET; 2001:db8::1 -> a"),
    "0.0.0.0 before ::, the first gets IPv4": ("a 11 0.0.0.0; b 11 ::", "10.0.0.1 -> a; 2001:db8::1 -> b"),
    ":: before 0.0.0.0, the first gets both": ("a 11 ::; b 11 0.0.0.0", "10.0.0.1 -> a; 2001:db8::1 -> a"),
    "v6-only :: beside 0.0.0.0, each gets its family in either order": (
        "a 11 :: v6only; b 11 0.0.0.0; c 12 0.0.0.0; d 12 :: v6only",
        "10.0.0.1 -> b; 2001:db8::1 -> a; 10.0.0.2 -> c; 2001:db8::2 -> d",
    ),
    "v6only on a specific IPv6 address changes nothing": ("a 11 2001:db8::1 v6only", "2001:db8::1 -> a"),
    "An IPv4-mapped address is the IPv4 address, in bindings": (
        "a 11 ::ffff:10.0.0.1; b 12 ::ffff:0.0.0.0",
        "10.0.0.1 -> a; 10.0.0.2 -> b; 2001:db8::2 -> NO_SOCKET",
    ),
    "An IPv4-mapped address is the IPv4 address, in packets, and v6-only holds": (
        "a 11 10.0.0.1; b 12 :: v6only",
        "::ffff:10.0.0.1 -> a; ::ffff:10.0.0.2 -> NO_SOCKET",
    ),
    # Port sharing
    "A sharing socket alone is a group of one": ("a 11 ANY sharing", "10.0.0.1 -> a"),
    "Without sharing, a later socket on another recipient address gets only what is left": (
        "a 11 10.0.0.1 sharing; b 11 ANY sharing",
        "10.0.0.1 -> a; 2001:db8::1 -> b",
    ),
    "ANY with and without v6-only are two groups, although they are one recipient address": (
        "a 11 :: v6only sharing; b 11 :: sharing",
        "2001:db8::1 -> a; 10.0.0.1 -> b",
    ),
    "A group that was registered first wins over a specific socket, whatever other VNASs have": (
        "x 12 ANY sharing; x 12 ANY sharing; x 12 ANY sharing; g 11 ANY sharing; a 11 10.0.0.1; g 11 ANY sharing",
        "10.0.0.1 -> g; 2001:db8::1 -> g; 10.0.0.2 -> x",
    ),
    "A specific socket that was registered first wins over a group, whatever other VNASs have": (
        "x 12 ANY sharing; x 12 ANY sharing; x 12 ANY sharing; a 11 10.0.0.1; g 11 ANY sharing; g 11 ANY sharing",
        "10.0.0.1 -> a; 2001:db8::1 -> g; 10.0.0.2 -> x",
    ),
    "A group of specific sockets that was registered first wins over ANY": (
        "x 12 ANY sharing; x 12 ANY sharing; g 11 10.0.0.1 sharing; a 11 ANY; g 11 10.0.0.1 sharing",
        "10.0.0.1 -> g; 2001:db8::1 -> a; 10.0.0.2 -> x",
    ),
    # Loopback destinations
    "Loopback belongs to the VNAS of the given source process": (
        "a 11 ANY; b 12 ANY",
        "127.0.0.1 pid=11 -> a; 127.0.0.1 pid=12 -> b; ::1 pid=12 -> b; 127.9.9.9 pid=11 -> a;"
        "127.255.255.255 pid=11 -> a; 127.0.0.0 pid=11 -> a; ::ffff:127.0.0.1 pid=11 -> a",
    ),
    "A given source process that is none is UNKNOWN_SOURCE": (
        "a 11 ANY",
        "127.0.0.1 pid=99 -> UNKNOWN_SOURCE; ::1 pid=2147483647 -> UNKNOWN_SOURCE;"
        "127.0.0.1 pid=99 from=10.0.0.1 -> UNKNOWN_SOURCE",
    ),
    "A given source process decides against every other sign": (
        "a 11 ANY; b 12 ANY; c 12 ANY tcp/7",
        "127.0.0.1 pid=11 from=10.0.0.2 -> a; 127.0.0.1 pid=11 from=127.0.0.1 sport=7 -> a",
    ),
    "A given source process means nothing when the destination is not loopback": (
        "a 11 ANY; b 12 ANY",
        "10.0.0.1 pid=12 -> a; 10.0.0.1 pid=99 -> a; 10.0.0.9 pid=11 -> NO_VNAS",
    ),
    "A loopback packet from a registered address is of that address's VNAS, on its VLAN": (
        "a 11 ANY; b 12 ANY; c 13 ANY",
        "127.0.0.1 from=10.0.0.2 -> b; 127.0.0.1 from=10.0.0.1 -> a; 7/127.0.0.1 from=10.0.0.1 -> c;"
        "::1 from=2001:db8::1 -> a; 7/127.0.0.1 from=10.0.0.2 -> UNKNOWN_SOURCE; 127.0.0.1 -> UNKNOWN_SOURCE",
    ),
    "A loopback packet from loopback is of the one VNAS that owns its source port": (
        "a 11 ANY; b 12 ANY; p 12 127.0.0.1 tcp/4000; q 11 ANY tcp/5000",
        "127.0.0.1 from=127.0.0.1 sport=4000 -> b; 127.0.0.1 from=127.0.0.1 sport=5000 -> a;"
        "::1 from=::1 sport=5000 -> a; ::1 from=127.0.0.1 sport=5000 -> a",
    ),
    "A loopback source that two VNASs can own, or none, is UNKNOWN_SOURCE": (
        "a 11 ANY; b 12 ANY; p 11 ANY tcp/4000; q 12 ANY tcp/4000",
        "127.0.0.1 from=127.0.0.1 sport=4000 -> UNKNOWN_SOURCE;"
        "127.0.0.1 from=127.0.0.1 sport=4001 -> UNKNOWN_SOURCE; ::1 from=::1 sport=0 -> UNKNOWN_SOURCE",
    ),
    "Several owners in one VNAS are one VNAS": (
        "a 11 ANY; b 12 ANY; p 11 ANY tcp/4000; q 11 0.0.0.0 tcp/4000; r 11 127.0.0.1 tcp/4000",
        "127.0.0.1 from=127.0.0.1 sport=4000 -> a",
    ),
    "An owner must fit the source's family and address": (
        "a 11 ANY; b 12 ANY; p 11 0.0.0.0 tcp/4000; q 12 :: v6only tcp/4000; r 13 127.0.0.2 tcp/4000",
        "127.0.0.1 from=127.0.0.1 sport=4000 -> a; ::1 from=::1 sport=4000 -> b;"
        "127.0.0.1 from=127.0.0.2 sport=4000 -> UNKNOWN_SOURCE",
    ),
    "An owner must be of the packet's protocol": (
        "a 11 ANY; p 11 ANY udp/4000",
        "127.0.0.1 from=127.0.0.1 sport=4000 -> UNKNOWN_SOURCE",
    ),
    "The source process is looked for before the port": (
        "",
        "127.0.0.1 -> UNKNOWN_SOURCE; 127.0.0.1 pid=11 -> NO_PORT",
    ),
    "Each VNAS has its own loopback addresses": (
        "a 11 127.0.0.1; b 12 127.0.0.1; c 12 ::1",
        "127.0.0.1 pid=11 -> a; 127.0.0.1 pid=12 -> b; ::1 pid=12 -> c; 127.0.0.1 pid=13 -> NO_SOCKET;"
        "127.0.0.2 pid=11 -> NO_SOCKET; ::1 pid=11 -> NO_SOCKET",
    ),
    "A loopback destination ignores the VLAN": (
        "a 11 ANY; b 12 ANY",
        "7/127.0.0.1 pid=12 -> b; 9/::1 pid=11 -> a",
    ),
    "A v6-only ANY socket gets ::1 but not 127.0.0.1": (
        "a 11 :: v6only",
        "::1 pid=11 -> a; 127.0.0.1 pid=11 -> NO_SOCKET; ::ffff:127.0.0.1 pid=11 -> NO_SOCKET",
    ),
    "A loopback source means nothing for another destination": ("a 11 ANY", "10.0.0.1 from=127.0.0.1 -> a"),
}


def world(seed: int = 7) -> Pair:
    pair = Pair(seed)
    pair.do("validate", 1, "10.0.0.100", "eth0")
    for pid, vnas, addresses in WORLD:
        pair.do("vnas_start", 1, vnas, pid=pid)
        for address, vlan in addresses:
            assert pair.do("validate", pid, address, f"eth{vnas}", vlan=vlan)
    return pair


def protocol_and_port(word: str) -> tuple[Any, int]:
    protocol, _, port = word.partition("/")
    return (int(protocol) if protocol.isdigit() else protocol), int(port)


def bind(pair: Pair, text: str) -> dict[int, str]:
    """Bind what a table's text says; give the label of each socket ID."""
    labels = {}
    for line in filter(None, (line.strip() for line in text.split(";"))):
        label, pid, address, *words = line.split()
        protocol, port = protocol_and_port(next((word for word in words if "/" in word), "tcp/80"))
        options = dict.fromkeys((word for word in words if "/" not in word), True)
        labels[pair.do("bind", int(pid), protocol, port, address, **options)] = label
    return labels


def packet(text: str) -> Key:
    where, *words = text.split()
    vlan, _, destination = where.rpartition("/")
    fields = dict(word.split("=") for word in words if "=" in word)
    protocol, port = protocol_and_port(next((word for word in words if "/" in word), "tcp/80"))
    return Key(
        to_address(destination),
        to_address(fields.get("from", "198.51.100.9")),
        port,
        int(fields.get("sport", 40000)),
        vlan=int(vlan or 0),
        protocol=PROTOCOLS.get(protocol, protocol),
        source_pid=int(fields.get("pid", 0)),
    )


def answers(text: str) -> dict[str, str]:
    """Read "packet -> answer; …"."""
    lines = (line.split("->") for line in text.split(";"))
    return {sent.strip(): answer.strip() for sent, answer in lines}


@pytest.mark.parametrize("sentence", MATCHING)
def test_matching(sentence: str) -> None:
    bindings, packets = MATCHING[sentence]
    pair = world()
    labels = bind(pair, bindings)
    for sent, answer in answers(packets).items():
        found = pair.dispatch(packet(sent))
        assert (labels[found] if found >= 0 else Outcome(found).name) == answer, sent
    pair.compare()
