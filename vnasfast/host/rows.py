"""What a snapshot's arrays hold."""

from enum import IntEnum

import numpy as np

#: A socket of the kernel: see ``rows.pxd``, whose struct it is.
SOCKET = np.dtype(
    [
        ("inode", np.uint64),
        ("cookie", np.uint64),
        ("cgroup", np.uint64),
        ("local", np.uint8, (16,)),
        ("remote", np.uint8, (16,)),
        ("uid", np.uint32),
        ("device", np.int32),
        ("incoming_cpu", np.int32),
        ("pid", np.int32),
        ("fd", np.int32),
        ("local_port", np.uint16),
        ("remote_port", np.uint16),
        ("netns", np.uint16),
        ("protocol", np.uint8),
        ("family", np.uint8),
        ("state", np.uint8),
        ("v6only", np.uint8),
        ("freebind", np.uint8),
        ("transparent", np.uint8),
        ("reuseport", np.int8),
        ("reuseaddr", np.int8),
    ],
    align=True,
)

#: A file descriptor that is a socket, of a process.
HOLDER = np.dtype([("inode", np.uint64), ("pid", np.int32), ("fd", np.int32)], align=True)


class State(IntEnum):
    """The states of sockets, as the kernel numbers them for all protocols."""

    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT1 = 4
    FIN_WAIT2 = 5
    TIME_WAIT = 6
    CLOSE = 7
    CLOSE_WAIT = 8
    LAST_ACK = 9
    LISTEN = 10
    CLOSING = 11


#: What waits for packets from anywhere: a listening TCP, SCTP or DCCP socket, a UDP socket that is not connected.
WAITING = (State.LISTEN, State.CLOSE)
