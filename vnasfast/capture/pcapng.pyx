"""pcapng: the blocks read once an interface, and what to say of a damaged file."""

import struct

from vnasfast.capture.interfaces import Interface

_OPTION_NAME = 2
_OPTION_RESOLUTION = 9
_OPTION_OFFSET = 14


def _options(block: bytes, order: str, at: int, end: int):
    """Give the (code, value) of each option; ValueError where one does not fit."""
    while end - at >= 4:
        code, length = struct.unpack_from(order + "HH", block, at)
        at += 4
        if code == 0:
            return
        if length > end - at:
            raise ValueError(f"an option (code {code}) of {length} bytes where {end - at} are left")
        yield code, block[at:at + length]
        at += length + (-length & 3)


cdef object pcapng_interface(const PcapngState* state, bytes block):
    """Read an interface description block; ValueError says what is wrong with it."""
    order = ">" if state.swapped else "<"
    if len(block) < PCAPNG_INTERFACE_BYTES:
        raise ValueError(f"a length of {len(block)}, less than the {PCAPNG_INTERFACE_BYTES} of its kind")
    link_type, _, snaplen = struct.unpack_from(order + "HHI", block, 8)
    interface = Interface(link_type=link_type, snaplen=snaplen)
    for code, value in _options(block, order, 16, len(block) - 4):
        if code == _OPTION_NAME:
            interface = interface._replace(name=value.rstrip(b"\0").decode("utf-8", "replace"))
        elif code == _OPTION_RESOLUTION:
            if len(value) != 1:
                raise ValueError(f"a time resolution of {len(value)} bytes instead of 1")
            interface = interface._replace(exponent=value[0] & 0x7F, binary=value[0] > 0x7F)
        elif code == _OPTION_OFFSET:
            if len(value) != 8:
                raise ValueError(f"a time offset of {len(value)} bytes instead of 8")
            interface = interface._replace(offset_seconds=struct.unpack(order + "q", value)[0])
    return interface


cdef str pcapng_problem(const PcapngState* state):
    """Say what the walk met, after WALK_DAMAGED."""
    found, allowed = state.found, state.allowed
    if state.problem == PCAPNG_LENGTH_SMALL:
        return f"the block has a length of {found}, less than the {allowed} of its kind"
    if state.problem == PCAPNG_LENGTH_UNALIGNED:
        return f"the block has a length of {found:,}, no multiple of 4"
    if state.problem == PCAPNG_LENGTH_LARGE:
        return f"the block has a length of {found:,}, more than the {allowed:,} of any sound block"
    if state.problem == PCAPNG_LENGTHS_DIFFER:
        return f"the block's length is {allowed:,} at its beginning, but {found:,} at its end"
    if state.problem == PCAPNG_CAPTURED_LARGE:
        return f"the packet has {found:,} captured bytes, but its block has room for {allowed:,}"
    if state.problem == PCAPNG_NO_INTERFACE:
        return f"the packet is of interface {found}, but its section has described {allowed} so far"
    if state.problem == PCAPNG_BYTE_ORDER:
        return f"the section header has the byte-order magic {found:08x} instead of {allowed:08x}"
    return f"the section has the version {found} of pcapng; this program knows version {allowed}"


cdef str pcapng_description(const PcapngState* state):
    """Give a piece of a sentence for a person, of the section that the walk is in."""
    return f"pcapng, {'big' if state.swapped else 'little'}-endian"
