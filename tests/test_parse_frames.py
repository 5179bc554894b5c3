"""Known frames, one sentence each; the batch function's arguments; generated packets as dpkt reads them."""

import struct

import dpkt
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vnasfast.dtypes import FLOW_KEY, Outcome
from vnasfast.errors import InvalidValue
from vnasfast.parse import address_text, link_is_known, parse_frame, parse_frames

WHOLE, FIRST_FRAGMENT = 0, 1
NOT_IP, NO_TRANSPORT, LATER = Outcome.NOT_IP, Outcome.NO_TRANSPORT, Outcome.LATER_FRAGMENT
TRUNCATED, MALFORMED = Outcome.TRUNCATED, Outcome.MALFORMED
MACS = bytes(range(12))
PORTS = struct.pack(">HH", 40000, 80)
TCP = PORTS + bytes(16)
A4, B4 = bytes([192, 0, 2, 1]), bytes([198, 51, 100, 7])
A6, B6 = bytes.fromhex("20010db8" + "00" * 11 + "01"), bytes.fromhex("20010db8" + "00" * 11 + "02")


def ipv4(payload=TCP, protocol=6, *, fragment=0, options=b"", total=None, first=None):
    header_bytes = 20 + len(options)
    first = 0x40 | header_bytes // 4 if first is None else first
    total = header_bytes + len(payload) if total is None else total
    return (
        struct.pack(">BBHHHBBH", first, 0, total, 77, fragment, 64, protocol, 0) + A4 + B4 + options + payload
    )


def ipv6(payload=TCP, following=6, size=None, first=0x60):
    size = len(payload) if size is None else size
    return struct.pack(">BxxxHBB", first, size, following, 64) + A6 + B6 + payload


def ethernet(payload, ethertype=0x0800, tags=()):
    head = MACS
    for tag_type, identifier in tags:
        head += struct.pack(">HH", tag_type, identifier)
    return head + struct.pack(">H", ethertype) + payload


def fragment6(offset_and_more, following=6):
    return struct.pack(">BxHI", following, offset_and_more, 0xCAFE)


SNAP = b"\xaa\xaa\x03\0\0\0"
SLL2_TAIL = bytes(18)
# sentence, link type, frame, status, VLAN, shows addresses
FRAMES = [
    ("IPv4 and TCP", 1, ethernet(ipv4()), WHOLE, 0, True),
    ("IPv6 and TCP", 1, ethernet(ipv6(), 0x86DD), WHOLE, 0, True),
    ("one tag", 1, ethernet(ipv4(), tags=[(0x8100, 0x6064)]), WHOLE, 100, True),
    (
        "of two tags the outer one counts",
        1,
        ethernet(ipv4(), tags=[(0x88A8, 7), (0x8100, 9)]),
        WHOLE,
        7,
        True,
    ),
    ("a priority tag has no VLAN", 1, ethernet(ipv4(), tags=[(0x8100, 0xE000)]), WHOLE, 0, True),
    (
        "behind a priority tag the next one counts",
        1,
        ethernet(ipv4(), tags=[(0x8100, 0), (0x8100, 9)]),
        WHOLE,
        9,
        True,
    ),
    ("old outer tags", 1, ethernet(ipv4(), tags=[(0x9100, 5), (0x9200, 6), (0x9300, 7)]), WHOLE, 5, True),
    ("a hundred tags", 1, ethernet(ipv6(), 0x86DD, tags=[(0x8100, 3)] * 100), WHOLE, 3, True),
    ("LLC/SNAP", 1, ethernet(SNAP + b"\x08\x00" + ipv4(), 48), WHOLE, 0, True),
    ("a tag inside SNAP", 1, ethernet(SNAP + b"\x81\x00\0\x05\x08\x00" + ipv4(), 52), WHOLE, 5, True),
    ("SNAP behind a tag", 1, ethernet(SNAP + b"\x86\xdd" + ipv6(), 68, tags=[(0x8100, 4)]), WHOLE, 4, True),
    ("IP directly on LLC", 1, ethernet(b"\x06\x06\x03" + ipv4(), 43), WHOLE, 0, True),
    ("spanning tree", 1, ethernet(b"\x42\x42\x03" + bytes(35), 38), NOT_IP, 0, False),
    ("SNAP of a vendor", 1, ethernet(b"\xaa\xaa\x03\0\0\x0c\x08\x00" + ipv4(), 48), NOT_IP, 0, False),
    ("ARP", 1, ethernet(bytes(28), 0x0806), NOT_IP, 0, False),
    ("ARP in a VLAN", 1, ethernet(bytes(28), 0x0806, tags=[(0x8100, 12)]), NOT_IP, 12, False),
    ("PPPoE", 1, ethernet(b"\x11\0\0\1\0\x2a\0\x21" + ipv4(), 0x8864), WHOLE, 0, True),
    ("PPPoE control", 1, ethernet(b"\x11\0\0\1\0\x0a\xc0\x21" + bytes(8), 0x8864), NOT_IP, 0, False),
    ("two MPLS labels", 1, ethernet(b"\0\1\0\x40\0\2\1\x40" + ipv6(), 0x8847), WHOLE, 0, True),
    ("MPLS with a control word", 1, ethernet(b"\0\1\1\x40" + bytes(40), 0x8847), NOT_IP, 0, False),
    ("MPLS without a last label", 1, ethernet(b"\0\1\0\x40" * 3, 0x8847), MALFORMED, 0, False),
    ("no frame at all", 1, b"", MALFORMED, 0, False),
    ("less than an Ethernet header", 1, MACS + b"\x08", MALFORMED, 0, False),
    ("a tag that ends too early", 1, MACS + b"\x81\x00\0\1", MALFORMED, 0, False),
    ("raw IPv4", 101, ipv4(), WHOLE, 0, True),
    ("raw IPv6, BSD's number", 12, ipv6(), WHOLE, 0, True),
    ("raw IPv4, OpenBSD's number", 14, ipv4(), WHOLE, 0, True),
    ("raw bytes of neither version", 101, bytes(40), NOT_IP, 0, False),
    ("an empty raw frame", 101, b"", MALFORMED, 0, False),
    ("link type IPv4", 228, ipv4(), WHOLE, 0, True),
    ("link type IPv6", 229, ipv6(), WHOLE, 0, True),
    ("IPv6 where the link type says IPv4", 228, ipv6(), MALFORMED, 0, False),
    ("Linux cooked", 113, bytes(14) + b"\x08\x00" + ipv4(), WHOLE, 0, True),
    ("Linux cooked with a tag", 113, bytes(14) + b"\x81\x00\0\x21\x86\xdd" + ipv6(), WHOLE, 33, True),
    ("Linux cooked LLC", 113, bytes(14) + b"\0\x04" + SNAP + b"\x08\x00" + ipv4(), WHOLE, 0, True),
    ("Linux cooked, CAN", 113, bytes(14) + b"\0\x0c" + bytes(16), NOT_IP, 0, False),
    ("Linux cooked 2", 276, b"\x86\xdd" + SLL2_TAIL + ipv6(), WHOLE, 0, True),
    ("Linux cooked 2 with a tag", 276, b"\x81\x00" + SLL2_TAIL + b"\0\x22\x08\x00" + ipv4(), WHOLE, 34, True),
    ("less than a cooked header", 276, b"\x08\x00" + bytes(10), MALFORMED, 0, False),
    ("BSD loopback, little-endian", 0, b"\2\0\0\0" + ipv4(), WHOLE, 0, True),
    ("BSD loopback, big-endian", 0, b"\0\0\0\2" + ipv4(), WHOLE, 0, True),
    ("BSD loopback, AF_INET6 of Linux", 0, b"\x0a\0\0\0" + ipv6(), WHOLE, 0, True),
    ("BSD loopback, AF_INET6 of Windows", 0, b"\x17\0\0\0" + ipv6(), WHOLE, 0, True),
    ("BSD loopback, AF_INET6 of OpenBSD", 108, b"\0\0\0\x18" + ipv6(), WHOLE, 0, True),
    ("BSD loopback, AF_INET6 of FreeBSD", 0, b"\x1c\0\0\0" + ipv6(), WHOLE, 0, True),
    ("BSD loopback, AF_INET6 of macOS", 0, b"\x1e\0\0\0" + ipv6(), WHOLE, 0, True),
    ("BSD loopback, another family", 0, b"\x07\0\0\0" + bytes(40), NOT_IP, 0, False),
    ("an unknown link type", 105, ethernet(ipv4()), NOT_IP, 0, False),
    ("IPv4 options", 1, ethernet(ipv4(options=bytes(40))), WHOLE, 0, True),
    ("UDP", 1, ethernet(ipv4(PORTS + bytes(4), 17)), WHOLE, 0, True),
    ("DCCP", 1, ethernet(ipv4(PORTS + bytes(12), 33)), WHOLE, 0, True),
    ("SCTP", 1, ethernet(ipv6(PORTS + bytes(8), 132), 0x86DD), WHOLE, 0, True),
    ("UDP-Lite", 1, ethernet(ipv6(PORTS + bytes(4), 136), 0x86DD), WHOLE, 0, True),
    ("ICMP", 1, ethernet(ipv4(bytes(8), 1)), NO_TRANSPORT, 0, True),
    ("ESP", 1, ethernet(ipv4(bytes(8), 50)), NO_TRANSPORT, 0, True),
    ("nothing behind IPv6", 1, ethernet(ipv6(b"", 59), 0x86DD), NO_TRANSPORT, 0, True),
    ("protocol 70, which is 6 + 64", 1, ethernet(ipv4(protocol=70)), NO_TRANSPORT, 0, True),
    ("DF alone is no fragment", 1, ethernet(ipv4(fragment=0x4000)), WHOLE, 0, True),
    ("IPv4, first fragment", 1, ethernet(ipv4(fragment=0x2000)), FIRST_FRAGMENT, 0, True),
    ("IPv4, middle fragment", 1, ethernet(ipv4(fragment=0x2003)), LATER, 0, True),
    ("IPv4, last fragment", 1, ethernet(ipv4(fragment=0x0003)), LATER, 0, True),
    (
        "IPv4, first fragment without room for ports",
        1,
        ethernet(ipv4(b"abc", fragment=0x2000)),
        MALFORMED,
        0,
        True,
    ),
    ("IPv6, first fragment", 1, ethernet(ipv6(fragment6(1) + TCP, 44), 0x86DD), FIRST_FRAGMENT, 0, True),
    ("IPv6, later fragment", 1, ethernet(ipv6(fragment6(0x59) + TCP, 44), 0x86DD), LATER, 0, True),
    ("IPv6, atomic fragment", 1, ethernet(ipv6(fragment6(0) + TCP, 44), 0x86DD), WHOLE, 0, True),
    ("hop-by-hop options", 1, ethernet(ipv6(b"\x06" + bytes(7) + TCP, 0), 0x86DD), WHOLE, 0, True),
    (
        "AH behind destination options",
        1,
        ethernet(ipv6(b"\x33" + bytes(7) + b"\x06\x04" + bytes(22) + TCP, 60), 0x86DD),
        WHOLE,
        0,
        True,
    ),
    ("33 extension headers", 1, ethernet(ipv6(bytes(8) * 33 + TCP, 0), 0x86DD), MALFORMED, 0, True),
    (
        "an extension header longer than its packet",
        1,
        ethernet(ipv6(b"\x06\xff" + bytes(6) + TCP, 60), 0x86DD),
        MALFORMED,
        0,
        True,
    ),
    ("a jumbogram", 1, ethernet(ipv6(b"\x06" + bytes(7) + TCP, 0, size=0), 0x86DD), WHOLE, 0, True),
    ("IPv6 with an empty payload that is to be TCP", 1, ethernet(ipv6(size=0), 0x86DD), MALFORMED, 0, True),
    ("segmentation offload", 1, ethernet(ipv4(total=0)), WHOLE, 0, True),
    ("total length below the header's", 1, ethernet(ipv4(total=19)), MALFORMED, 0, True),
    ("ports in the padding", 1, ethernet(ipv4(total=22)), MALFORMED, 0, True),
    ("a longer total length than the frame, ports inside", 1, ethernet(ipv4(total=1500)), WHOLE, 0, True),
    ("a header of 16 bytes", 1, ethernet(ipv4(first=0x44)), MALFORMED, 0, True),
    ("a header longer than the frame", 1, ethernet(ipv4(b"", first=0x4F, total=60)), MALFORMED, 0, True),
    ("version 6 where the Ethertype says IPv4", 1, ethernet(ipv4(first=0x65)), MALFORMED, 0, False),
    ("version 4 where the Ethertype says IPv6", 1, ethernet(ipv6(first=0x40), 0x86DD), MALFORMED, 0, False),
    ("no byte of IP", 1, ethernet(b""), MALFORMED, 0, False),
    ("half an IPv6 header", 1, ethernet(ipv6()[:20], 0x86DD), MALFORMED, 0, False),
    ("padding behind the ports", 1, ethernet(ipv4(PORTS, 17) + bytes(20)), WHOLE, 0, True),
]


@pytest.mark.parametrize(
    ("link_type", "frame", "status", "vlan", "shown"),
    [row[1:] for row in FRAMES],
    ids=[row[0] for row in FRAMES],
)
def test_known_frame(link_type, frame, status, vlan, shown):
    key = parse_frame(frame, link_type)[0]
    assert key["status"] == status
    assert key["vlan"] == vlan
    addresses = (address_text(key["source"]), address_text(key["destination"]))
    if shown:
        assert addresses in (("192.0.2.1", "198.51.100.7"), ("2001:db8::1", "2001:db8::2"))
    else:
        assert addresses == ("", "")
    ports = (40000, 80) if status >= 0 else (0, 0)
    assert (key["source_port"], key["destination_port"]) == ports
    assert key["source_pid"] == 0


@pytest.mark.parametrize(
    ("frame", "protocol", "fragment_id"),
    [
        (ethernet(ipv4(fragment=0x2000)), 6, 77),
        (ethernet(ipv4(fragment=0x0003, protocol=17)), 17, 77),
        (ethernet(ipv4(bytes(8), fragment=0x2000, protocol=1)), 1, 77),
        (ethernet(ipv4()), 6, 0),
        (ethernet(ipv6(fragment6(1, 17) + TCP, 44), 0x86DD), 17, 0xCAFE),
        (ethernet(ipv6(fragment6(0x60, 60) + TCP, 44), 0x86DD), 60, 0xCAFE),
        (ethernet(ipv6(fragment6(0) + TCP, 44), 0x86DD), 6, 0),
        (ethernet(bytes(40), 0x0806), 0, 0),
    ],
)
def test_protocol_and_fragment_id(frame, protocol, fragment_id):
    key = parse_frame(frame)[0]
    assert (key["protocol"], key["fragment_id"]) == (protocol, fragment_id)


@pytest.mark.parametrize(
    ("n", "source", "destination", "protocol", "status"),
    [
        (13, "", "", 0, TRUNCATED),
        (14, "", "", 0, TRUNCATED),
        (23, "", "", 0, TRUNCATED),
        (24, "", "", 6, TRUNCATED),
        (29, "", "", 6, TRUNCATED),
        (30, "192.0.2.1", "", 6, TRUNCATED),
        (33, "192.0.2.1", "", 6, TRUNCATED),
        (34, "192.0.2.1", "198.51.100.7", 6, TRUNCATED),
        (37, "192.0.2.1", "198.51.100.7", 6, TRUNCATED),
        (38, "192.0.2.1", "198.51.100.7", 6, WHOLE),
    ],
)
def test_a_cut_frame_shows_what_was_captured(n, source, destination, protocol, status):
    frame = ethernet(ipv4())
    key = parse_frame(frame[:n], wire_length=len(frame))[0]
    assert address_text(key["source"]) == source
    assert address_text(key["destination"]) == destination
    assert key["protocol"] == protocol
    assert key["status"] == status


def test_a_port_outside_the_ip_payload_is_malformed_even_when_cut():
    frame = ethernet(ipv4(total=22))
    assert parse_frame(frame[:36], wire_length=len(frame))["status"][0] == MALFORMED


# --- generated packets, as dpkt builds and reads them


def transport_of(protocol, sport, dport):
    match protocol:
        case 6:
            return dpkt.tcp.TCP(sport=sport, dport=dport)
        case 17:
            return dpkt.udp.UDP(sport=sport, dport=dport, ulen=8)
    return struct.pack(">HH", sport, dport) + bytes(12)


ports = st.integers(0, 65535)


@given(
    version=st.sampled_from([4, 6]),
    protocol=st.sampled_from([6, 17, 33, 132, 136]),
    sport=ports,
    dport=ports,
    source=st.binary(min_size=16, max_size=16),
    destination=st.binary(min_size=16, max_size=16),
    options=st.integers(0, 10),
    tags=st.lists(st.integers(0, 4095), max_size=2),
    padding=st.integers(0, 20),
)
@settings(max_examples=500, deadline=None)
def test_reads_what_dpkt_built(
    *, version, protocol, sport, dport, source, destination, options, tags, padding
):
    data = transport_of(protocol, sport, dport)
    if version == 4:
        no_ops = b"\x01" * 4 * options
        packet = dpkt.ip.IP(
            hl=5 + options, src=source[:4], dst=destination[:4], p=protocol, data=data, opts=no_ops
        )
        packet.len = len(packet)
        ethertype = dpkt.ethernet.ETH_TYPE_IP
    else:
        packet = dpkt.ip6.IP6(src=source, dst=destination, nxt=protocol, data=data, plen=len(bytes(data)))
        ethertype = dpkt.ethernet.ETH_TYPE_IP6
    frame = ethernet(bytes(packet), ethertype, [(0x8100, identifier) for identifier in tags]) + bytes(padding)
    key = parse_frame(frame)[0]
    read = dpkt.ethernet.Ethernet(frame).data
    assert isinstance(read, dpkt.ip.IP if version == 4 else dpkt.ip6.IP6)
    mapped = bytes(10) + b"\xff\xff"
    assert key["source"].tobytes() == (mapped + read.src if version == 4 else read.src)
    assert key["destination"].tobytes() == (mapped + read.dst if version == 4 else read.dst)
    assert key["protocol"] == read.p == protocol
    assert struct.pack(">HH", key["source_port"], key["destination_port"]) == bytes(read.data)[:4]
    assert (key["source_port"], key["destination_port"], key["status"]) == (sport, dport, WHOLE)
    assert key["vlan"] == next(filter(None, tags), 0)


@given(offset=st.integers(0, 0x1FFF), more=st.booleans(), identifier=st.integers(0, 0xFFFF))
def test_fragments_that_dpkt_built(offset, more, identifier):
    packet = dpkt.ip.IP(src=A4, dst=B4, p=17, id=identifier, data=PORTS + bytes(4))
    packet.len = len(packet)
    packet.offset = offset
    packet.mf = int(more)
    read = dpkt.ip.IP(bytes(packet))
    key = parse_frame(bytes(packet), 101)[0]
    is_fragment = bool(read.mf or read.offset)
    assert is_fragment == (more or offset > 0)
    assert key["status"] == (LATER if offset else FIRST_FRAGMENT if more else WHOLE)
    assert key["fragment_id"] == (identifier if is_fragment else 0)


# --- arguments of the batch function


def batch(n=3):
    frame = ethernet(ipv4())
    return frame * n, np.arange(n, dtype=np.uint64) * len(frame), np.full(n, len(frame), np.uint32)


def test_batch_writes_to_out_and_returns_it():
    buffer, offsets, lengths = batch()
    out = np.ones(3, FLOW_KEY)
    assert parse_frames(buffer, offsets, lengths, 1, out=out) is out
    assert (out == parse_frame(buffer[: lengths[0]])[0]).all()


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview, lambda b: np.frombuffer(b, np.uint8)])
@pytest.mark.parametrize("integers", [list, tuple, np.asarray, lambda a: np.asarray(a, np.int64)[::1]])
def test_batch_takes_any_bytes_and_integers(kind, integers):
    buffer, offsets, lengths = batch()
    keys = parse_frames(kind(buffer), integers(offsets.tolist()), integers(lengths.tolist()), 1)
    assert (keys["destination_port"] == 80).all()


def test_batch_takes_arrays_that_are_read_only_or_strided():
    buffer, offsets, lengths = batch(4)
    offsets.flags.writeable = False
    assert (parse_frames(buffer, offsets[::2], lengths[::2], 1)["status"] == WHOLE).all()


def test_batch_of_no_frames():
    assert parse_frames(b"", [], [], 1).shape == (0,)
    assert parse_frames(b"", np.empty(0, np.uint64), np.empty(0, np.uint32), 1).dtype == FLOW_KEY


def test_wire_lengths_tell_cut_from_malformed():
    frame = ethernet(ipv4())[:20]
    keys = parse_frames(frame * 2, [0, 20], [20, 20], 1, wire_lengths=[54, 20])
    assert keys["status"].tolist() == [TRUNCATED, MALFORMED]


@pytest.mark.parametrize(
    ("offsets", "lengths", "message"),
    [
        ([0, 200], [54, 1], "frame 1: 1 bytes from offset 200"),
        ([0, 54], [54, 109], "frame 1: 109 bytes from offset 54"),
        ([2**64 - 1], [2], "frame 0: 2 bytes from offset 18446744073709551615"),
        ([163], [0], "frame 0: 0 bytes from offset 163"),
        ([-1], [4], r"offsets\[0\] is -1"),
        ([0], [2**32], r"lengths\[0\] is 4294967296"),
        ([0, 1], [1], "2 offsets, 1 lengths"),
        ([[0]], [1], "one dimension"),
        ([0.0], [1], "dtype float64"),
    ],
)
def test_batch_refuses_frames_outside_the_buffer(offsets, lengths, message):
    with pytest.raises(InvalidValue, match=message):
        parse_frames(batch()[0], offsets, lengths, 1)


def test_a_frame_may_end_where_the_buffer_ends():
    assert parse_frames(bytes(162), [162, 100], [0, 62], 1).shape == (2,)


@pytest.mark.parametrize(
    "out",
    [
        np.zeros(2, FLOW_KEY),
        np.zeros(3, np.uint8),
        np.zeros((3, 1), FLOW_KEY),
        np.zeros(6, FLOW_KEY)[::2],
        [1, 2, 3],
        np.frombuffer(bytes(3 * 48), FLOW_KEY),
    ],
)
def test_batch_refuses_another_out(out):
    with pytest.raises(InvalidValue, match="out must be"):
        parse_frames(*batch(), 1, out=out)


def test_batch_refuses_what_is_no_buffer_or_not_contiguous():
    with pytest.raises(TypeError):
        parse_frames("text", [0], [1], 1)
    with pytest.raises((BufferError, ValueError)):
        parse_frames(np.zeros(20, np.uint8)[::2], [0], [1], 1)


def test_link_type_must_be_a_32_bit_number():
    for link_type in (-1, 2**32):
        with pytest.raises(InvalidValue, match="link type"):
            parse_frames(b"", [], [], link_type)
        with pytest.raises(InvalidValue, match="link type"):
            link_is_known(link_type)
