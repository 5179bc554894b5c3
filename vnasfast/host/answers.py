"""What the kernel answers when it is asked who would get a packet."""

from typing import NamedTuple

import numpy as np

#: One answer a query: 24 bytes. ``cookie`` is 0 for "nobody".
ANSWER = np.dtype(
    [
        ("cookie", np.uint64),
        ("inode", np.uint32),
        ("uid", np.uint32),
        ("interface", np.uint32),
        ("port", np.uint16),
        ("family", np.uint8),
        ("state", np.uint8),
    ]
)


class Answer(NamedTuple):
    """The socket that the kernel would give a packet to.

    Attributes
    ----------
    cookie : int
        The kernel's number of the socket, never given twice: what ``getsockopt(SO_COOKIE)`` says.
    inode : int
        As in ``/proc/PID/fd``; 0 for a connection that no process holds (not accepted yet, or in TIME_WAIT).
    uid : int
        The user who made it.
    interface : int
        The index of the device that it is bound to; 0: none.
    port : int
        Its local port.
    family : int
        2 for AF_INET, 10 for AF_INET6.
    state : int
        As in ``/proc/net/tcp``: 1 connected, 7 an unconnected UDP socket, 10 listening, others of a TCP connection.
    """

    cookie: int
    inode: int
    uid: int
    interface: int
    port: int
    family: int
    state: int
