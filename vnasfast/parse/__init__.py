"""Stage 2: frames to flow keys. Knows link types, VLANs, IP and ports; no files and no tables.

Cython code takes ``parse_frame`` from ``frame.pxd`` and ``fragments_follow`` from ``fragments.pxd``::

    frame bytes ── link.pxd ── ip.pxd ──> FlowKey ── fragments.pxd ──> FlowKey with ports
    many frames ── plain.pxd ──> FlowKeyIpv4 and FlowKey of those that are plain, which are most
"""

from typing import TYPE_CHECKING

from vnasfast.parse.fragments import FragmentTable
from vnasfast.parse.frames import link_is_known, parse_frame, parse_frames, parse_plain
from vnasfast.parse.text import (
    PORT_PROTOCOLS,
    address_bytes,
    address_of,
    address_text,
    protocol_name,
    protocol_number,
)

if TYPE_CHECKING:
    from vnasfast.parse.keys import flow_keys

__all__ = [
    "PORT_PROTOCOLS",
    "FragmentTable",
    "address_bytes",
    "address_of",
    "address_text",
    "flow_keys",
    "link_is_known",
    "parse_frame",
    "parse_frames",
    "parse_plain",
    "protocol_name",
    "protocol_number",
]


def __getattr__(name: str) -> object:
    if name != "flow_keys":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    # With numpy, whose import takes longer than all else: the replayer and single packets need neither.
    from vnasfast.parse.keys import flow_keys  # noqa: PLC0415

    return flow_keys
