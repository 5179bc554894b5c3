"""Which of several identical servers on one operating system does each packet belong to?

Data flows one way::

    capture/     files → frames          pcap, pcapng, compressed, standard input
       ↓
    parse/       frames → flow keys      link types, VLAN, IPv4, IPv6, ports, fragments
       ↓
    dispatch/    flow keys → sockets     or an outcome that says why not
       ↑
    tables/      processes, ANY addresses, ports and sockets, routes

:class:`ServerMachine` holds the tables and dispatches by them, one packet or many at once; a :class:`Snapshot` of it
is frozen, can be pickled, and can be mapped from a file by many processes. Cython code may
``cimport vnasfast.dispatch.steps`` and below. ``python -m vnasfast.replay capture.pcap`` joins all stages.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING

try:
    from vnasfast.machine import ServerMachine
except ModuleNotFoundError as error:
    if error.name is None or not error.name.startswith("vnasfast."):
        raise
    raise ImportError(
        f"vnasfast is imported from {__path__[0]}, where {error.name} is not compiled. In a checkout run"
        " 'python -m pip install -e .' there; to use an installed vnasfast, start Python in another folder."
    ) from error

from vnasfast.dispatch.delivery import Delivery
from vnasfast.errors import (
    AddressInUse,
    AddressNotAvailable,
    CaptureError,
    FrozenError,
    InvalidValue,
    MissingExtra,
    NoSuchProcess,
    NoSuchSocket,
    ProcessExists,
    SnapshotError,
    TableFileError,
    VnasError,
)
from vnasfast.outcome import Outcome
from vnasfast.parse import parse_frames
from vnasfast.tables.resources import Usage

if TYPE_CHECKING:
    from vnasfast.dispatch.explanation import Explanation, Step
    from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4
    from vnasfast.parse.keys import flow_keys, ipv4_keys
    from vnasfast.snapshot import Snapshot
    from vnasfast.tables.rows import AddressRow, LinuxRow, ProcessRow, RouteRow, SocketRow

# What few need is imported when it is first asked for; numpy, which arrays come with, takes longer than all else.
_PLACES = {
    "FLOW_KEY": "dtypes",
    "FLOW_KEY_IPV4": "dtypes",
    "AddressRow": "tables.rows",
    "Explanation": "dispatch.explanation",
    "LinuxRow": "tables.rows",
    "ProcessRow": "tables.rows",
    "RouteRow": "tables.rows",
    "Snapshot": "snapshot",
    "SocketRow": "tables.rows",
    "Step": "dispatch.explanation",
    "flow_keys": "parse.keys",
    "ipv4_keys": "parse.keys",
}

__all__ = [
    "FLOW_KEY",
    "FLOW_KEY_IPV4",
    "AddressInUse",
    "AddressNotAvailable",
    "AddressRow",
    "CaptureError",
    "Delivery",
    "Explanation",
    "FrozenError",
    "InvalidValue",
    "LinuxRow",
    "MissingExtra",
    "NoSuchProcess",
    "NoSuchSocket",
    "Outcome",
    "ProcessExists",
    "ProcessRow",
    "RouteRow",
    "ServerMachine",
    "Snapshot",
    "SnapshotError",
    "SocketRow",
    "Step",
    "TableFileError",
    "Usage",
    "VnasError",
    "flow_keys",
    "get_include",
    "ipv4_keys",
    "parse_frames",
]


def get_include() -> str:
    """Give the folder to compile with (``include_dirs``) where Cython or C code uses vnasfast.

    Returns
    -------
    str
    """
    return os.path.dirname(__path__[0])


def __getattr__(name: str) -> object:
    if name in _PLACES:
        return getattr(import_module(f"vnasfast.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
