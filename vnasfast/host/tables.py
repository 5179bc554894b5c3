"""From a snapshot to the tables of vnasfast."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from vnasfast.errors import AddressInUse
from vnasfast.host.groups import Socket, group_of
from vnasfast.host.processes import Process, read_processes
from vnasfast.host.rows import WAITING
from vnasfast.host.snapshot import Host
from vnasfast.machine import ServerMachine
from vnasfast.values import unpacked_address

#: PIDs above this are of no process (the kernel's PID_MAX_LIMIT): they stand for sockets whose process is not known, or for
#: a process's sockets in another VNAS than its own.
MOST_PID = 1 << 22

#: Addresses are registered for each VLAN that they may come by, up to this many rows; else for their own only.
_MOST_ADDRESSES = 100_000
_MAIN_TABLE = 254


class HostTables(NamedTuple):
    """The tables of a running machine.

    Attributes
    ----------
    machine : ServerMachine
    places : dict of int to int
        Socket ID → its place in the snapshot's `sockets`.
    notes : list of str
        What the tables don't hold, and why.
    """

    machine: ServerMachine
    places: dict[int, int]
    notes: list[str]


def tables_of(host: Host, group_by: str = "netns", *, seed: int | None = None) -> HostTables:
    """Make the tables of a snapshot; each group is a VNAS, and that of process 1 is VNAS 0.

    Parameters
    ----------
    host : Host
    group_by : str, optional
        "netns" makes tables that dispatch as this machine does. Of the other ways, the groups of one network namespace share
        its addresses, but an address is of one VNAS: an address on which only one group has sockets is of that
        group, and the others are left out for you to give away.
    seed : int, optional
        As of ServerMachine.
    """
    return _Filling(host, group_by, seed).fill()
