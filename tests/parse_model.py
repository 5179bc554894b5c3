"""The parser again: slow, plain Python, written from the rules and not from the Cython."""

from dataclasses import dataclass

NOT_IP, NO_TRANSPORT, LATER_FRAGMENT, TRUNCATED, MALFORMED = -5, -6, -7, -8, -9
WHOLE, FIRST_FRAGMENT = 0, 1
TAGS = {0x8100, 0x88A8, 0x9100, 0x9200, 0x9300}
PORT_PROTOCOLS = {6, 17, 33, 132, 136}
EXTENSIONS = {0, 43, 44, 51, 60, 135, 139, 140}
RAW = {12, 14, 101}
LINK_TYPES = {0, 1, 108, 113, 228, 229, 276} | RAW


class EndError(Exception):
    """Reading ends here with an outcome."""


@dataclass
class Key:
    """A flow key's fields; `following` is what parse_frame returns."""

    destination: bytes = bytes(16)
    source: bytes = bytes(16)
    destination_port: int = 0
    source_port: int = 0
    vlan: int = 0
    protocol: int = 0
    status: int = 0
    fragment_id: int = 0
    following: int = 0


class Reader:
    """A frame, read from front to back; `end` is where the IP payload ends, where that is known."""

    def __init__(self, frame: bytes, wire_length: int) -> None:
        self.frame = frame
        self.whole = wire_length <= len(frame)
        self.wire = max(wire_length, len(frame))
        self.at = 0
        self.end: int | None = None

    def peek(self, n: int) -> bytes:
        if self.end is not None and self.at + n > self.end:
            raise EndError(MALFORMED)
        if self.at + n > len(self.frame):
            raise EndError(MALFORMED if self.whole else TRUNCATED)
        return self.frame[self.at : self.at + n]

    def take(self, n: int) -> bytes:
        octets = self.peek(n)
        self.at += n
        return octets

    def shown(self, start: int, n: int) -> bytes | None:
        """Bytes of the header at `at` that may be cut off."""
        octets = self.frame[self.at + start : self.at + start + n]
        return octets if len(octets) == n else None


def version_of(first: bytes) -> int:
    version = first[0] >> 4
    if version not in (4, 6):
        raise EndError(NOT_IP)
    return version


def read_llc(reader: Reader) -> int:
    head = reader.peek(3)
    if head == b"\x06\x06\x03":
        reader.take(3)
        return 0x0800
    if head != b"\xaa\xaa\x03":
        raise EndError(NOT_IP)
    snap = reader.take(8)
    if snap[3:6] not in (b"\0\0\0", b"\0\0\xf8"):
        raise EndError(NOT_IP)
    return int.from_bytes(snap[6:], "big")


def read_ethertype(reader: Reader, key: Key, ethertype: int) -> int:
    """Pass what lies before the IP header; return its version."""
    while ethertype in TAGS:
        tag = reader.take(4)
        key.vlan = key.vlan or int.from_bytes(tag[:2], "big") & 0xFFF
        ethertype = int.from_bytes(tag[2:], "big")
        if ethertype < 0x600:
            ethertype = read_llc(reader)
    if ethertype == 0x8864:
        protocol = int.from_bytes(reader.take(8)[6:], "big")
        ethertype = {0x21: 0x0800, 0x57: 0x86DD}.get(protocol, 0)
    if ethertype in (0x8847, 0x8848):
        while True:
            label = reader.peek(5)
            reader.take(4)
            if label[2] & 1:
                return version_of(reader.peek(1))
    if ethertype not in (0x0800, 0x86DD):
        raise EndError(NOT_IP)
    return 4 if ethertype == 0x0800 else 6


def read_link(reader: Reader, key: Key, link_type: int) -> int:
    if link_type not in LINK_TYPES:
        raise EndError(NOT_IP)
    if link_type in RAW:
        return version_of(reader.peek(1))
    if link_type in (228, 229):
        return 4 if link_type == 228 else 6
    if link_type in (0, 108):
        family = reader.take(4)
        families = {int.from_bytes(family, "big"), int.from_bytes(family, "little")}
        if 2 in families:
            return 4
        if families & {10, 23, 24, 28, 30}:
            return 6
        raise EndError(NOT_IP)
    if link_type == 1:
        ethertype = int.from_bytes(reader.take(14)[12:], "big")
        llc = ethertype < 0x600
    elif link_type == 113:
        ethertype = int.from_bytes(reader.take(16)[14:], "big")
        llc = ethertype == 4
    else:
        ethertype = int.from_bytes(reader.take(20)[:2], "big")
        llc = ethertype == 4
    return read_ethertype(reader, key, read_llc(reader) if llc else ethertype)


def read_ipv4(reader: Reader, key: Key) -> int:
    start = reader.at
    first = reader.shown(0, 1)
    if first and first[0] >> 4 != 4:
        raise EndError(MALFORMED)
    key.protocol = (reader.shown(9, 1) or b"\0")[0]
    for name, place in (("source", 12), ("destination", 16)):
        if octets := reader.shown(place, 4):
            setattr(key, name, bytes(10) + b"\xff\xff" + octets)
    header = reader.peek(20)
    header_bytes = (header[0] & 15) * 4
    total = int.from_bytes(header[2:4], "big") or reader.wire - start
    if header_bytes < 20 or total < header_bytes:
        raise EndError(MALFORMED)
    reader.take(header_bytes)
    reader.end = start + total
    fragment = int.from_bytes(header[6:8], "big") & 0x3FFF
    if fragment:
        key.fragment_id = int.from_bytes(header[4:6], "big")
    if fragment & 0x1FFF:
        return LATER_FRAGMENT
    return FIRST_FRAGMENT if fragment else WHOLE


def read_ipv6(reader: Reader, key: Key) -> int:
    first = reader.shown(0, 1)
    if first and first[0] >> 4 != 6:
        raise EndError(MALFORMED)
    key.protocol = (reader.shown(6, 1) or b"\0")[0]
    for name, place in (("source", 8), ("destination", 24)):
        if octets := reader.shown(place, 16):
            setattr(key, name, octets)
    header = reader.take(40)
    payload = int.from_bytes(header[4:6], "big")
    reader.end = reader.wire if payload == 0 and key.protocol == 0 else reader.at + payload
    status = WHOLE
    n_extensions = 0
    while key.protocol in EXTENSIONS:
        n_extensions += 1
        if n_extensions > 32:
            raise EndError(MALFORMED)
        extension = reader.peek(8)
        if key.protocol == 44:
            reader.take(8)
            fragment = int.from_bytes(extension[2:4], "big")
            if fragment & 0xFFF9:
                key.fragment_id = int.from_bytes(extension[4:], "big")
                status = FIRST_FRAGMENT
            if fragment & 0xFFF8:
                key.protocol = extension[0]
                return LATER_FRAGMENT
        elif key.protocol == 51:
            reader.take((extension[1] + 2) * 4)
        else:
            reader.take((extension[1] + 1) * 8)
        key.protocol = extension[0]
    return status


def parse(frame: bytes, link_type: int, wire_length: int) -> Key:
    key = Key()
    reader = Reader(frame, wire_length)
    try:
        version = read_link(reader, key, link_type)
        status = read_ipv4(reader, key) if version == 4 else read_ipv6(reader, key)
        if reader.at < min(len(frame), reader.end or 0):
            key.following = reader.at
        if status == LATER_FRAGMENT:
            raise EndError(LATER_FRAGMENT)
        if key.protocol not in PORT_PROTOCOLS:
            raise EndError(NO_TRANSPORT)
        ports = reader.take(4)
    except EndError as end:
        key.status = end.args[0]
    else:
        key.status = status
        key.source_port = int.from_bytes(ports[:2], "big")
        key.destination_port = int.from_bytes(ports[2:], "big")
    return key
