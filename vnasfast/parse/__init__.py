"""Stage 2: frames to flow keys. Knows link types, VLANs, IP and ports; no files and no tables.

Cython code takes ``parse_frame`` from ``frame.pxd`` and ``fragments_follow`` from ``fragments.pxd``::

    frame bytes ── link.pxd ── ip.pxd ──> FlowKey ── fragments.pxd ──> FlowKey with ports
"""

from vnasfast.parse.fragments import FragmentTable
from vnasfast.parse.frames import link_is_known, parse_frame, parse_frames
from vnasfast.parse.keys import flow_keys
from vnasfast.parse.text import (
    PORT_PROTOCOLS,
    address_bytes,
    address_of,
    address_text,
    protocol_name,
    protocol_number,
)

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
    "protocol_name",
    "protocol_number",
]
