"""Learned tables: against the truth of a recording, and each rule of vnasfast.replay.learn in small captures."""

import csv
import signal
import struct
from collections import defaultdict
from pathlib import Path

import dpkt
import numpy as np
import pytest
from learn_frames import (
    BROADCAST,
    accepted,
    arp,
    capture,
    ip,
    neighbour,
    packet,
    tcp,
    udp,
    unreachable,
)

from vnasfast.capture import open_capture
from vnasfast.errors import CaptureError, InvalidValue
from vnasfast.parse import address_text, parse_frames, protocol_name
from vnasfast.replay.evidence import Evidence
from vnasfast.replay.learn import PROXY_ABOVE, learn

PCAPS = Path(__file__).parents[1] / "pcaps"
CALLER, SERVER, OTHER = "10.0.0.99", "10.0.0.1", "10.0.0.2"


def machines(learned):
    """Give [(addresses, services)] by VNAS, services such as udp/53."""
    learned.machine.check()
    found = []
    for vnas in sorted(learned.machine.names):
        addresses = {str(row.address) for row in learned.machine.addresses if row.vnas == vnas}
        services = {f"{row.protocol}/{row.port}" for row in learned.machine.sockets if row.vnas == vnas}
        found.append((addresses, services))
    return found


def learned_services(*frames):
    """Give {(address, service)} of captures in which each machine has one address."""
    return {
        (address, service)
        for addresses, services in machines(learn([capture(frames)]))
        for address in addresses
        for service in services
    }


def call(caller, port, address, service_port, answered=True, **keywords):
    frames = [udp(caller, port, address, service_port, **keywords)]
    return [*frames, udp(address, service_port, caller, port, **keywords)] if answered else frames


def cases(table):
    """Give the values and names of cases whose first column is a sentence."""
    return {"argvalues": [case[1:] for case in table], "ids": [case[0] for case in table]}


# --- the recording ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def truth():
    with open(PCAPS / "three-servers-truth.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def recording():
    return learn([PCAPS / "three-servers.pcap"])


def test_learned_machines_are_the_recorded_ones(recording, truth):
    """Three machines, each with all its addresses and exactly nginx and dnsmasq."""
    addresses = defaultdict(set)
    for row in truth:
        addresses[row["server"]].add(row["address"])
    services = {"tcp/80", "udp/53", "tcp/53"}
    assert {frozenset(own) for own, _ in machines(recording)} == {frozenset(own) for own in addresses.values()}
    assert [served for _, served in machines(recording)] == [services] * 3
    assert recording.notes[0] == "3 machines serve 9 services on 7 addresses."
    assert recording.errors == []


def test_learned_tables_deliver_each_request_to_the_server_that_answered_it(recording, truth):
    """VNASs and servers correspond one to one, and so do the services."""
    delivered = defaultdict(set)
    with open_capture(PCAPS / "three-servers.pcap") as frames:
        while frames.read():
            columns = (frames.data, frames.offsets, frames.lengths, 1)
            keys = parse_frames(*columns, wire_lengths=frames.wire_lengths)
            sockets = recording.machine.dispatch_frames(*columns, wire_lengths=frames.wire_lengths)
            for key, socket in zip(keys, sockets, strict=True):
                name = (
                    protocol_name(int(key["protocol"])),
                    address_text(key["source"].tobytes()),
                    str(key["source_port"]),
                    address_text(key["destination"].tobytes()),
                    str(key["destination_port"]),
                )
                delivered[name].add(int(socket))
    rows = {row.socket: row for row in recording.machine.sockets}
    pairs = set()
    for request in truth:
        name = tuple(request[column] for column in ("protocol", "client", "client_port", "address", "port"))
        (socket,) = delivered[name]
        assert socket >= 0, request
        assert (rows[socket].protocol, str(rows[socket].port)) == (request["protocol"], request["port"])
        pairs.add((request["server"], rows[socket].vnas))
    assert len(pairs) == len({server for server, _ in pairs}) == len({vnas for _, vnas in pairs}) == 3


# --- services ---------------------------------------------------------------------------------------------------------

SYN, ACK, RST, FIN = dpkt.tcp.TH_SYN, dpkt.tcp.TH_ACK, dpkt.tcp.TH_RST, dpkt.tcp.TH_FIN
TCP_CASES = [
    ("SYN and ACK accept a handshake", SYN | ACK, True),
    ("a call alone shows no service", SYN, False),
    ("data without its handshake shows no service", ACK, False),
    ("a refusal is no service", RST | ACK, False),
    ("SYN, ACK and RST together are nonsense", SYN | ACK | RST, False),
    ("SYN, ACK and FIN together are nonsense", SYN | ACK | FIN, False),
]


@pytest.mark.parametrize(("flags", "served"), **cases(TCP_CASES))
def test_tcp_services_accept_handshakes(flags, served):
    expected = {(SERVER, "tcp/80")} if served else set()
    assert learned_services(tcp(SERVER, 80, CALLER, 40000, flags)) == expected


PORTS = struct.pack(">HH", 80, 40000)
CONNECTION_CASES = [
    ("an INIT ACK accepts an SCTP association", 132, PORTS + bytes(8) + b"\x02\0\0\x14" + bytes(16), {"sctp/80"}),
    ("an INIT is a call", 132, PORTS + bytes(8) + b"\x01\0\0\x14" + bytes(16), set()),
    ("an SCTP frame cut before its first chunk shows nothing", 132, PORTS + bytes(8), set()),
    ("a Response accepts a DCCP connection", 33, PORTS + bytes(4) + bytes([1 << 1]) + bytes(11), {"dccp/80"}),
    ("a Request is a call", 33, PORTS + bytes(4) + bytes([0 << 1]) + bytes(11), set()),
]


@pytest.mark.parametrize(
    ("number", "segment", "expected"), **cases(CONNECTION_CASES)
)
def test_sctp_and_dccp_services_accept_too(number, segment, expected):
    assert learned_services(ip(SERVER, CALLER, number, segment)) == {(SERVER, name) for name in expected}


ASKED = udp(CALLER, 40000, "239.255.255.250", 1900)
UDP_CASES = [
    ("the side that is called and answers serves", call(CALLER, 40000, SERVER, 5300), {(SERVER, "udp/5300")}),
    ("UDP-Lite is as UDP", call(CALLER, 40000, SERVER, 53, protocol="udplite"), {(SERVER, "udplite/53")}),
    ("what is called, silent and not refused serves", call(CALLER, 40000, SERVER, 514, False), {(SERVER, "udp/514")}),
    (
        "what refuses by ICMP doesn't serve",
        [*call(CALLER, 40000, SERVER, 9, False), unreachable(SERVER, udp(CALLER, 40000, SERVER, 9))],
        set(),
    ),
    (
        "a refusal that comes first in the file counts too",
        [unreachable(SERVER, udp(CALLER, 40000, SERVER, 9)), *call(CALLER, 40000, SERVER, 9, False)],
        set(),
    ),
    (
        "a packet whose time ended on the way shows no service",
        [*call(CALLER, 40000, SERVER, 33434, False), unreachable(OTHER, udp(CALLER, 40000, SERVER, 33434), 11, 0)],
        set(),
    ),
    (
        "that a packet was too large refuses nothing",
        [*call(CALLER, 40000, SERVER, 514, False), unreachable(OTHER, udp(CALLER, 40000, SERVER, 514), 3, 4)],
        {(SERVER, "udp/514")},
    ),
    (
        "what once answered serves, although it refused once",
        [*call(CALLER, 40000, SERVER, 53), unreachable(SERVER, udp(CALLER, 40000, SERVER, 53))],
        {(SERVER, "udp/53")},
    ),
    (
        "one caller's port that asks three machines is no service",
        [frame for last in (1, 2, 3) for frame in call(CALLER, 40053, f"10.0.0.{last}", 5300)],
        {(f"10.0.0.{last}", "udp/5300") for last in (1, 2, 3)},
    ),
    (
        "a flow that begins with an answer is turned by the calls of others",
        [udp(SERVER, 5300, CALLER, 40000), *call(CALLER, 40001, SERVER, 5300), *call(CALLER, 40002, SERVER, 5300)],
        {(SERVER, "udp/5300")},
    ),
    ("answers alone, from a low port, show the service", [udp(SERVER, 53, CALLER, 40000)], {(SERVER, "udp/53")}),
    (
        "a low port from 512 may be a caller's, so the called port serves",
        call(CALLER, 800, SERVER, 2049),
        {(SERVER, "udp/2049")},
    ),
    (
        "a server that calls its own upstream remains one, and so does the upstream",
        [frame for n in range(3) for frame in call(CALLER, 40001 + n, SERVER, 123)] + call(SERVER, 123, OTHER, 123),
        {(SERVER, "udp/123"), (OTHER, "udp/123")},
    ),
    (
        "peers that call each other at the same port all serve (SIP)",
        [frame for n in range(3) for frame in call(CALLER, 40001 + n, SERVER, 5060)] + call(SERVER, 5060, OTHER, 5060),
        {(SERVER, "udp/5060"), (OTHER, "udp/5060")},
    ),
    (
        "a caller of a server that calls many is still a caller",
        [frame for last in range(10, 15) for frame in call(SERVER, 1230, f"10.0.0.{last}", 123)]
        + call(CALLER, 40000, SERVER, 1230),
        {(f"10.0.0.{last}", "udp/123") for last in range(10, 15)} | {(SERVER, "udp/1230")},
    ),
    (
        "transfer ports that a server opens are the server's (TFTP)",
        [udp(CALLER, 40000, SERVER, 69), *call(SERVER, 50000, CALLER, 40000)],
        {(SERVER, "udp/69"), (SERVER, "udp/50000")},
    ),
    ("multicast and broadcast are nobody's", [udp(SERVER, 5353, "224.0.0.251", 5353)], set()),
    ("IPv6 multicast too", [udp("fe80::1", 5353, "ff02::fb", 5353)], set()),
    ("255.255.255.255 too", [udp(SERVER, 7000, "255.255.255.255", 7001)], set()),
    ("a network's broadcast address is one by its MAC", [udp(SERVER, 138, "10.0.0.255", 138, to=BROADCAST)], set()),
    ("port 0 is no service", [udp(CALLER, 40000, SERVER, 0), udp(SERVER, 0, CALLER, 0)], set()),
    ("0.0.0.0 is nobody", [udp(CALLER, 40000, "0.0.0.0", 53), udp("::", 40000, "fe80::1", 53)], set()),
    (
        "an answer to a question to a group serves (SSDP)",
        [ASKED, udp(SERVER, 1900, CALLER, 40000)],
        {(SERVER, "udp/1900")},
    ),
    ("an answer from another port than was asked shows nothing", [ASKED, udp(SERVER, 50000, CALLER, 40000)], set()),
    (
        "a member of the group can be asked directly (mDNS)",
        [udp(SERVER, 5353, "224.0.0.251", 5353), *call(CALLER, 40000, SERVER, 5353)],
        {(SERVER, "udp/5353")},
    ),
    (
        "a DHCP server answers who has no address yet",
        [udp("0.0.0.0", 68, "255.255.255.255", 67), udp(SERVER, 67, CALLER, 68)],
        {(SERVER, "udp/67")},
    ),
    (
        "a DHCP server that answers by broadcast serves, and renewals change nothing",
        [
            udp("0.0.0.0", 68, "255.255.255.255", 67),
            udp(SERVER, 67, "255.255.255.255", 68),
            *call(CALLER, 68, SERVER, 67),
        ],
        {(SERVER, "udp/67")},
    ),
    (
        "DHCPv6 too",
        [udp("fe80::9", 546, "ff02::1:2", 547), udp("fe80::1", 547, "fe80::9", 546)],
        {("fe80::1", "udp/547")},
    ),
]


@pytest.mark.parametrize(("frames", "expected"), **cases(UDP_CASES))
def test_udp_services_are_the_side_others_come_to(frames, expected):
    assert learned_services(*frames) == expected


# --- machines ---------------------------------------------------------------------------------------------------------

A, B, A6, LOCAL = "10.0.0.1", "10.0.0.2", "fd00::1", "fe80::1"
MACHINE_CASES = [
    ("without evidence each address is a machine", [], [{A}, {A6}]),
    ("replies of ARP and advertisements of one MAC join", [arp(7, A), neighbour(7, A6, 136, 2)], [{A, A6}]),
    ("a request of ARP tells its sender too", [arp(7, A, operation=1), neighbour(7, A6, 136, 2)], [{A, A6}]),
    ("a solicitation tells its source", [arp(7, A), neighbour(7, A6, 135, 1)], [{A, A6}]),
    ("a router's solicitation tells its source", [neighbour(7, LOCAL, 133, 1), arp(7, A)], [{A, LOCAL}, {A6}]),
    ("a router's advertisement tells its source", [neighbour(7, A6, 134, 1), arp(7, A)], [{A, A6}]),
    ("addresses that serve nothing come along", [arp(7, A), arp(7, B)], [{A, B}, {A6}]),
    ("a message of neighbour discovery from afar is ignored", [arp(7, A), neighbour(7, A6, 136, 2, 64)], [{A}, {A6}]),
    ("two MACs are two machines", [arp(7, A), neighbour(8, A6, 136, 2)], [{A}, {A6}]),
    ("an address that two MACs claim joins neither", [arp(7, A), arp(8, A), neighbour(7, A6, 136, 2)], [{A}, {A6}]),
    (
        "a MAC that claims too many is a proxy",
        [arp(7, A), neighbour(7, A6, 136, 2), *(arp(7, f"10.0.1.{n}") for n in range(PROXY_ABOVE - 1))],
        [{A}, {A6}],
    ),
    ("claims on another VLAN join nothing here", [arp(7, A, vlan=5), neighbour(7, A6, 136, 2)], [{A}, {A6}]),
    ("a question whether 0.0.0.0 is free claims nothing", [arp(7, "0.0.0.0", 1), arp(7, A)], [{A}, {A6}]),
]


@pytest.mark.parametrize(("claims", "expected"), **cases(MACHINE_CASES))
def test_machines_are_addresses_of_one_mac(claims, expected):
    frames = [accepted(A, 80), accepted(A6, 443, caller="fd00::99"), *claims]
    assert [addresses for addresses, _ in machines(learn([capture(frames)]))] == expected


def test_a_proxy_and_a_contested_address_are_noted():
    claims = [arp(7, f"10.0.1.{n}") for n in range(PROXY_ABOVE + 1)] + [arp(8, A), arp(9, A)]
    notes = " ".join(learn([capture(claims)]).notes)
    assert "02:00:00:00:00:07 claims 33 addresses" in notes
    assert f"{A} is claimed by several MAC addresses" in notes


def test_one_address_on_two_vlans_is_two_machines():
    """Each on an interface of its own, and dispatch keeps them apart."""
    frames = [accepted(A, 80, vlan=100), accepted(A, 80, vlan=200)]
    learned = learn([capture(frames)])
    assert machines(learned) == [({A}, {"tcp/80"})] * 2
    assert [(row.interface, row.vlan) for row in learned.machine.addresses] == [("eth0.100", 100), ("eth0.200", 200)]
    assert learned.machine.names == {1: "10.0.0.1 on VLAN 100", 2: "10.0.0.1 on VLAN 200"}
    assert learned.machine.dispatch(tcp(CALLER, 40000, A, 80, SYN, vlan=200)).vnas == 2


def test_vnas_ids_follow_the_first_evidence():
    """A machine known from ARP first, but serving last, comes last; names prefer IPv4."""
    frames = [arp(7, A), accepted(B, 443), accepted("fd00::2", 80, caller="fd00::99"), accepted(A, 80)]
    assert list(learn([capture(frames)]).machine.names.values()) == [B, "fd00::2", A]
    frames = [neighbour(7, LOCAL, 136, 2), neighbour(7, A6, 136, 2), accepted(A6, 80, caller="fd00::99")]
    assert learn([capture(frames)]).machine.names == {1: A6}
    assert learn([capture([*frames, arp(7, A)])]).machine.names == {1: A}


def test_a_service_seen_on_one_family_is_an_any_socket_for_both():
    learned = learn([capture([accepted(A, 80), arp(7, A), neighbour(7, A6, 136, 2)])])
    (socket,) = learned.machine.sockets
    assert (str(socket.address), socket.v6only) == ("::", False)
    assert learned.machine.dispatch(tcp("fd00::99", 40000, A6, 80, SYN)).socket == socket.socket
    assert str(learned.machine.source_address(socket.pid, "192.0.2.1")) == A


def test_loopback_services_are_one_machine():
    """Answers are told by their source endpoint; a caller's port has no owner."""
    frames = [packet("127.0.0.1", "127.0.0.53", 17, dpkt.udp.UDP(sport=40000, dport=53)),
              packet("127.0.0.53", "127.0.0.1", 17, dpkt.udp.UDP(sport=53, dport=40000)),
              packet("::1", "::1", 6, dpkt.tcp.TCP(sport=80, dport=40001, flags=SYN | ACK))]
    learned = learn([capture(frames, link_type=101)])
    assert machines(learned) == [({"127.0.0.53", "::1"}, {"udp/53", "tcp/80"})]
    assert {row.interface for row in learned.machine.addresses} == {"lo"}
    outcomes = [learned.machine.dispatch(frame, 101) for frame in frames]
    assert [delivery.outcome.name for delivery in outcomes] == ["UNKNOWN_SOURCE", "NO_PORT", "NO_PORT"]
    assert [delivery.vnas for delivery in outcomes] == [None, 1, 1]
    assert any("UNKNOWN_SOURCE" in note for note in learned.notes)


# --- captures ---------------------------------------------------------------------------------------------------------


def test_interfaces_have_the_capture_s_names():
    """The name that pcapng gives, and the VLAN behind it."""
    section = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    name = struct.pack("<HH8sHH", 2, 5, b"bond0", 0, 0)
    interface = struct.pack("<IIHHI", 1, 20 + len(name), 1, 0, 0) + name + struct.pack("<I", 20 + len(name))
    frame = accepted(A, 80, vlan=100)
    size = 32 + (len(frame) + 3 & ~3)
    block = struct.pack("<IIIIIII", 6, size, 0, 0, 0, len(frame), len(frame))
    block += frame.ljust(size - 32, b"\0") + struct.pack("<I", size)
    learned = learn([section + interface + block])
    assert [row.interface for row in learned.machine.addresses] == ["bond0.100"]
    assert [(row.network, row.interface) for row in learned.machine.routes] == [(None, "bond0.100")]


def test_captures_are_learned_from_together():
    """An address and its machine may come from two files; frames count on, and a limit counts all files."""
    files = [capture([arp(7, A), accepted(A, 80)]), capture([arp(7, B), accepted(B, 22)])]
    assert machines(learn(files)) == [({A, B}, {"tcp/80", "tcp/22"})]
    assert learn(files).frames == 4
    assert machines(learn(files, limit=2)) == [({A}, {"tcp/80"})]
    assert learn(files, limit=0).frames == 0
    with pytest.raises(InvalidValue):
        learn(files, limit=-1)


def test_what_lies_before_damage_is_learned():
    """The error is handed on, and the next capture is read."""
    learned = learn([capture([accepted(A, 80), accepted(B, 80)])[:-5], b"no capture", capture([accepted(B, 22)])])
    assert machines(learned) == [({A}, {"tcp/80"}), ({B}, {"tcp/22"})]
    assert [type(error) for error in learned.errors] == [CaptureError, CaptureError]
    assert learned.error is learned.errors[0]
    assert isinstance(learn(["no/such/file.pcap"]).error, FileNotFoundError)


def test_nothing_learned_is_said():
    """Also that a connection was seen, but not its handshake."""
    learned = learn([capture([tcp(CALLER, 40000, A, 80, ACK)])])
    assert machines(learned) == []
    assert learned.notes[0].startswith("Nobody serves in the capture")
    assert learned.notes[1].startswith("1 frame of TCP, SCTP or DCCP, but no accepted handshake")


def test_progress_is_told_after_each_block():
    told = []
    learn([capture([accepted(A, 80)] * 5000)], progress=lambda capture, frames: told.append((capture.n_frames, frames)))
    assert told[-1] == (5000, 5000)
    assert len(told) > 1


def test_full_tables_leave_out_and_say_so():
    """What fits is kept; what is known already still counts."""
    frames = [udp(CALLER, 40000 + n, SERVER, 53) for n in range(50)] + [udp(SERVER, 53, CALLER, 40000)]
    evidence = Evidence(max_flows=10, max_acceptors=3, max_claims=2)
    frames += [accepted(A, 1000 + n) for n in range(5)] + [arp(7, f"10.0.1.{n}") for n in range(5)]
    with open_capture(capture(frames)) as opened:
        evidence.begin()
        while evidence.read(opened):
            pass
    counts = evidence.counts()
    assert (counts["flows"], counts["flows_left_out"]) == (9, 41)
    assert (counts["acceptances_left_out"], counts["claims_left_out"]) == (2, 3)
    assert [(port, answered) for *_, port, answered, _ in evidence.services()] == [
        (1000, True), (1001, True), (1002, True), (53, True)]
    assert len(evidence.claims()) == 2


def test_tables_grow_and_keep_all():
    """Each of 20,000 callers and 5,000 acceptors is found once, over many blocks."""
    frames = [udp(f"10.1.{n >> 8}.{n & 255}", 40000, SERVER, 53) for n in range(20000)] * 2
    frames += [accepted(f"10.2.{n >> 8}.{n & 255}", 80) for n in range(5000)] * 2
    learned = learn([capture(frames)])
    assert len(learned.machine.names) == 5001
    assert len(learned.machine.sockets) == 5001


@pytest.mark.parametrize("seed", range(20))
def test_damaged_frames_are_no_danger(seed):
    """Frames cut or overwritten at random are read without a crash, and the tables stay sound."""
    random = np.random.default_rng(seed)
    sound = [accepted(A, 80), arp(7, A), neighbour(7, A6, 136, 2), ASKED, unreachable(A, udp(CALLER, 40000, A, 9)),
             *call(CALLER, 40000, SERVER, 53)]
    frames = []
    for frame in sound * 50:
        damaged = bytearray(frame[: random.integers(1, len(frame) + 1)])
        for place in random.integers(0, len(damaged), 2):
            damaged[place] = random.integers(0, 256)
        frames.append(bytes(damaged))
    learned = learn([capture(frames)])
    learned.machine.check()
    assert learned.frames == len(frames)


def test_ctrl_c_ends_learning_at_the_next_block():
    told = []

    def interrupt(capture, frames):
        told.append(frames)
        signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        learn([capture([accepted(A, 80)] * 10000)], progress=interrupt)
    assert len(told) == 1
    learned = learn([capture([accepted(A, 80)] * 10000)], progress=interrupt, interruptible=True)
    assert learned.interrupted
    assert 0 < learned.frames < 10000
    assert [row.port for row in learned.machine.sockets] == [80]
