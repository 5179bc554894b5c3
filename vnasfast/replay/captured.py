"""What a replay found of each capture; apart from the report, which a replay that prints none does without.

As `vnasfast.replay.report` says, these are plain data.
"""

from typing import NamedTuple


class LinkReport(NamedTuple):
    """Frames of one link type; ``read`` tells whether the parser knows it."""

    link_type: int
    name: str
    packets: int
    read: bool


class DamageReport(NamedTuple):
    """Why a capture could not be read to its end; ``offset`` in bytes, None where the operating system failed."""

    offset: int | None
    message: str


class CaptureReport(NamedTuple):
    """One capture; ``first_frame`` is the number of its first frame in the deliveries, where all captures count on."""

    name: str
    format: str
    link_types: list[LinkReport]
    packets: int
    bytes: int
    captured_bytes: int
    first_ns: int | None
    last_ns: int | None
    delivered: int
    first_frame: int
    damage: DamageReport | None
