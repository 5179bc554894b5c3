"""A live Linux machine: what its kernel says, beside what the tables say.

::

    from vnasfast.host import snapshot, tables_of

    host = snapshot()
    host.sockets["local_port"]
    machine = tables_of(host).machine

::

    namespaces.py   which network namespaces there are
    netlink.pyx     netlink sockets in any of them
      |── diag.pyx       sock_diag → rows of sockets (rows.py)
      |── links.py       rtnetlink → links, addresses, routes
      `── oracle.pyx     sock_diag → who would get this packet (answers.py)
    holders.pyx     /proc → which process holds which socket ── processes.py, groups.py
    options.pyx     what netlink hides, asked of the sockets themselves
    reading.py      all of these together: a snapshot ── report.py, cli.py   as people see it
      |
    tables.py       a snapshot → a ServerMachine that dispatches as the kernel does
      |── agreement.py   does it?
      `── who.py         one question ── who_cli.py
    verify.py       the policy linux against the kernel ── lab.py, socket_sets.py, verify_cli.py
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnasfast.host.reading import Host, snapshot
    from vnasfast.host.tables import HostTables, tables_of

_PLACES = {"Host": "reading", "snapshot": "reading", "HostTables": "tables", "tables_of": "tables"}

__all__ = ["Host", "HostTables", "snapshot", "tables_of"]


def __getattr__(name: str) -> object:
    # Whoever needs one part of this package is not to wait for the others, nor for numpy.
    if name in _PLACES:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module(f"vnasfast.host.{_PLACES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
