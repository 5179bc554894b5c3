"""pcap: the file's header, and what to say of a damaged file."""

import struct

from vnasfast.capture.interfaces import Interface
from vnasfast.capture.link_types import captured_limit, link_type_text
from vnasfast.errors import CaptureError

from libc.string cimport memset

# Magic number: (name, record header bytes, decimal digits of the time), as a file of the host's order has it.
_READ = {
    0xA1B2C3D4: ("pcap", PCAP_RECORD_BYTES, 6),
    0xA1B23C4D: ("pcap", PCAP_RECORD_BYTES, 9),
    0xA1B2CD34: ("modified pcap", PCAP_MODIFIED_RECORD_BYTES, 6),
}

# Real magic numbers of formats whose records differ and which hardly any file has.
_REFUSED = {
    0xA1B234CD: "a pcap variant reserved for F. Mesquita",
    0xA1B2C3CB: "a saved filter (cBPF), without packets",
    0xA12B3C4D: "Navtel's pcap variant",
    0xA1E2CB12: "netsniff-ng's extended pcap",
    0x1C0001AB: "Ixia's pcap variant with software timestamps",
    0x1C0001AC: "Ixia's pcap variant with hardware timestamps",
}

# libpcap masks the same bits off: the length of the frame check sequence and the flags about it.
_LINK_TYPE_MASK = 0x03FFFFFF


def is_pcap(head: bytes) -> bool:
    """Whether the first four bytes are a magic number of the pcap family, in either byte order."""
    return any(struct.unpack_from(order + "I", head)[0] in _READ | _REFUSED for order in "<>")


cdef object pcap_start(PcapState* state, bytes header, str name):
    """Set the state from a file's first bytes, at most PCAP_HEADER_BYTES; gives its Interface."""
    swapped = struct.unpack_from("<I", header)[0] not in _READ | _REFUSED
    order = ">" if swapped else "<"
    magic = struct.unpack_from(order + "I", header)[0]
    if magic in _REFUSED:
        raise CaptureError(
            name, 0, f"is {_REFUSED[magic]} (magic {magic:08x}), which is not read; capture or convert it to pcapng"
        )
    if len(header) < PCAP_HEADER_BYTES:
        raise CaptureError(
            name, len(header), f"the file ends inside its header of {PCAP_HEADER_BYTES} bytes; copy it again"
        )
    major, minor, _, _, snaplen, network = struct.unpack_from(order + "HHiIII", header, 4)
    if (major, minor) not in {(2, 0), (2, 1), (2, 2), (2, 3), (2, 4), (543, 0)}:
        raise CaptureError(
            name, 4, f"is pcap of version {major}.{minor}; only 2.0 to 2.4 and 543.0 are read: convert it to pcapng"
        )
    link_type = network & _LINK_TYPE_MASK
    _, record_bytes, digits = _READ[magic]
    memset(state, 0, sizeof(state[0]))
    state.swapped = swapped
    state.record_bytes = record_bytes
    state.units = 10**digits
    state.allowed = captured_limit(link_type)
    if major == 543 or minor < 3:
        state.length_order = PCAP_WIRE_FIRST
    elif minor == 3:
        state.length_order = PCAP_SMALLER_FIRST
    else:
        state.length_order = PCAP_CAPTURED_FIRST
    return Interface(link_type=link_type, snaplen=snaplen, exponent=digits)


cdef str pcap_problem(const PcapState* state, uint32_t link_type):
    """Say what the walk met, after WALK_DAMAGED."""
    return (
        f"the record has {state.found:,} captured bytes, more than the {state.allowed:,} "
        f"of any sound frame of link type {link_type_text(link_type)}"
    )


cdef str pcap_description(const PcapState* state):
    """Give a piece of a sentence for a person."""
    kind = "pcap" if state.record_bytes == PCAP_RECORD_BYTES else "modified pcap"
    ends = "big" if state.swapped else "little"
    unit = "microseconds" if state.units == 1_000_000 else "nanoseconds"
    old = "" if state.length_order == PCAP_CAPTURED_FIRST else ", lengths in the order of an old version"
    return f"{kind}, {ends}-endian, {unit}{old}"
