"""Hypothesis strategies for frames: mostly sensible, sometimes not."""

from hypothesis import strategies as st

ETHERTYPES = {4: 0x0800, 6: 0x86DD}
PORT_PROTOCOLS = [6, 17, 33, 132, 136]


def be(value: int, n: int) -> bytes:
    return value.to_bytes(n, "big")


octets = st.binary
protocols = st.sampled_from([*PORT_PROTOCOLS, *PORT_PROTOCOLS, 1, 2, 47, 50, 58, 59])


@st.composite
def payloads(draw, protocol):
    sizes = {6: 20, 17: 8, 33: 16, 132: 12, 136: 8}
    return draw(octets(min_size=sizes.get(protocol, 0), max_size=40))


@st.composite
def ipv4_packets(draw):
    protocol = draw(protocols)
    options = draw(
        octets(max_size=0) | st.integers(0, 10).flatmap(lambda n: octets(min_size=4 * n, max_size=4 * n))
    )
    payload = draw(payloads(protocol) | octets(max_size=8))
    header_bytes = 20 + len(options)
    fragment = draw(st.sampled_from([0, 0, 0x4000, 0x2000, 0x2001, 0x0001, 0x1FFF, 0x8000]))
    words = (
        draw(st.just(header_bytes // 4) | st.integers(0, 15))
        if draw(st.integers(0, 9)) == 0
        else header_bytes // 4
    )
    total = header_bytes + len(payload)
    if draw(st.integers(0, 5)) == 0:
        total = draw(st.sampled_from([0, 19, 20, total - 1, total + 1, 65535]) | st.integers(0, 80))
    version = 4 if draw(st.integers(0, 19)) else draw(st.integers(0, 15))
    return (
        bytes([version << 4 | words, 0])
        + be(total, 2)
        + draw(octets(min_size=2, max_size=2))
        + be(fragment, 2)
        + bytes([64, protocol])
        + draw(octets(min_size=10, max_size=10))
        + options
        + payload
    )


@st.composite
def ipv6_packets(draw):
    kinds = draw(st.lists(st.sampled_from([0, 43, 44, 51, 60, 135, 139, 140]), max_size=4))
    protocol = draw(protocols)
    following = [*kinds, protocol]
    body = b""
    for kind, after in zip(kinds, following[1:], strict=True):
        if kind == 44:
            fragment = draw(st.sampled_from([0, 1, 8, 9, 0xFFF8, 6]))
            body += bytes([after, 0]) + be(fragment, 2) + draw(octets(min_size=4, max_size=4))
        elif kind == 51:
            n = draw(st.integers(0, 6))
            body += bytes([after, n]) + draw(octets(min_size=4 * n + 6, max_size=4 * n + 6))
        else:
            n = draw(st.integers(0, 2))
            body += bytes([after, n]) + draw(octets(min_size=8 * n + 6, max_size=8 * n + 6))
    body += draw(payloads(protocol) | octets(max_size=8))
    size = len(body)
    if draw(st.integers(0, 5)) == 0:
        size = draw(st.sampled_from([0, 3, 4, size + 1, 65535]) | st.integers(0, 80))
    version = 6 if draw(st.integers(0, 19)) else draw(st.integers(0, 15))
    return (
        bytes([version << 4, 0, 0, 0])
        + be(size, 2)
        + bytes([following[0], 64])
        + draw(octets(min_size=32, max_size=32))
        + body
    )


@st.composite
def ip_packets(draw):
    version = draw(st.sampled_from([4, 6]))
    return version, draw(ipv4_packets() if version == 4 else ipv6_packets())


@st.composite
def ethertype_payloads(draw):
    """(Ethertype or length, bytes): a stack of tags and the like, then IP."""
    version, inner = draw(ip_packets())
    ethertype = ETHERTYPES[version] if draw(st.integers(0, 15)) else draw(st.integers(0, 0xFFFF))
    match draw(st.sampled_from(["none", "none", "none", "pppoe", "mpls", "snap", "llc"])):
        case "pppoe":
            inner = b"\x11\0\0\1" + be(len(inner) + 2, 2) + be({4: 0x21, 6: 0x57}[version], 2) + inner
            ethertype = 0x8864
        case "mpls":
            n = draw(st.integers(1, 3))
            labels = [
                draw(octets(min_size=2, max_size=2)) + bytes([0xF0 | (i == n - 1), 9]) for i in range(n)
            ]
            inner = b"".join(labels) + inner
            ethertype = draw(st.sampled_from([0x8847, 0x8848]))
        case "snap":
            inner = (
                b"\xaa\xaa\3\0\0" + draw(st.sampled_from([b"\0", b"\xf8", b"\1"])) + be(ethertype, 2) + inner
            )
            ethertype = len(inner)
        case "llc":
            inner = draw(st.sampled_from([b"\6\6\3", b"\x42\x42\3", b"\xaa\xaa\7"])) + inner
            ethertype = len(inner)
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 3]))):
        identifier = draw(st.sampled_from([0, 1, 100, 0x0FFF, 0xE064, 0x2000]))
        inner = be(identifier, 2) + be(ethertype, 2) + inner
        ethertype = draw(st.sampled_from([0x8100, 0x8100, 0x88A8, 0x9100, 0x9200, 0x9300]))
    return ethertype, inner


@st.composite
def frames(draw):
    """(Link type, bytes)."""
    link_type = draw(st.sampled_from([1, 1, 1, 0, 12, 14, 101, 108, 113, 228, 229, 276, 105]))
    padding = draw(st.just(b"") | octets(max_size=30))
    if link_type in (1, 105):
        ethertype, inner = draw(ethertype_payloads())
        frame = draw(octets(min_size=12, max_size=12)) + be(ethertype, 2) + inner
    elif link_type in (113, 276):
        ethertype, inner = draw(ethertype_payloads())
        ethertype = 4 if ethertype < 0x600 and draw(st.integers(0, 3)) else ethertype
        head = draw(octets(min_size=18, max_size=18))
        frame = head[:14] + be(ethertype, 2) + inner if link_type == 113 else be(ethertype, 2) + head + inner
    elif link_type in (0, 108):
        version, inner = draw(ip_packets())
        family = 2 if version == 4 else draw(st.sampled_from([10, 23, 24, 28, 30, 7]))
        frame = family.to_bytes(4, draw(st.sampled_from(["big", "little"]))) + inner
    else:
        frame = draw(ip_packets())[1]
    return link_type, frame + padding
