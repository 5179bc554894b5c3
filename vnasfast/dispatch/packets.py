"""Packet objects of other libraries, as bytes with the link type that they begin with."""

from vnasfast.errors import InvalidValue

#: Class name of an outermost layer → LINKTYPE number. Nothing is imported: the object says what it is.
_DPKT = {"Ethernet": 1, "IP": 101, "IP6": 101, "SLL": 113, "SLL2": 276, "Loopback": 0}
_SCAPY = {"Ether": 1, "IP": 101, "IPv6": 101, "CookedLinux": 113, "CookedLinuxV2": 276, "Loopback": 0}
_LAYERS = {"dpkt": _DPKT, "scapy": _SCAPY}


def packet_bytes(packet: object, link_type: int | None) -> tuple[bytes, int]:
    """Return a dpkt or scapy packet's bytes, and its link type.

    Parameters
    ----------
    packet : object
        A dpkt or scapy packet.
    link_type : int or None
        The LINKTYPE number where the caller knows better than the packet's class.

    Returns
    -------
    bytes, int

    Raises
    ------
    InvalidValue
        It is no packet, or its outermost layer is no link layer that is known.
    """
    kind = type(packet)
    layers = _LAYERS.get(kind.__module__.partition(".")[0])
    if layers is None:
        raise InvalidValue(f"a frame must be bytes-like, or a dpkt or scapy packet, and not {kind.__qualname__}")
    if link_type is None:
        link_type = layers.get(kind.__name__)
    if link_type is None:
        raise InvalidValue(f"{kind.__module__}.{kind.__qualname__} is no outermost layer that is known: give link_type")
    return bytes(packet), link_type  # type: ignore[call-overload]
