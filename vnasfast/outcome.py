"""What became of a packet."""

from enum import IntEnum


class Outcome(IntEnum):
    """What became of a packet: delivered, or why not. Batches return the negative values as they are."""

    DELIVERED = 0
    NO_VNAS = -1
    NO_PORT = -2
    NO_SOCKET = -3
    UNKNOWN_SOURCE = -4
    NOT_IP = -5
    NO_TRANSPORT = -6
    LATER_FRAGMENT = -7
    TRUNCATED = -8
    MALFORMED = -9
