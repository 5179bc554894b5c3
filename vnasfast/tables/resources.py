"""The resources used, which rows of all tables count; apart from the rows, which a replay does without."""

from typing import NamedTuple


class Usage(NamedTuple):
    """The resources used: what was dispatched to a row."""

    packets: int = 0
    bytes: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
