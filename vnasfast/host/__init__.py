"""A live Linux machine: what its kernel says, beside what the tables say.

::

    from vnasfast.host import snapshot

    host = snapshot()
    host.sockets["local_port"]

::

    namespaces.py   which network namespaces there are
    netlink.pyx     netlink sockets in any of them
      |── diag.pyx       sock_diag → rows of sockets (rows.py)
      |── links.py       rtnetlink → links, addresses, routes
      `── oracle.pyx     sock_diag → who would get this packet (answers.py)
    holders.pyx     /proc → which process holds which socket ── processes.py, groups.py
    options.pyx     what netlink hides, asked of the sockets themselves
    reading.py      all of these together ── tables.py, report.py, cli.py
    verify.py       the policy linux against the kernel ── lab.py, socket_sets.py, verify_cli.py
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vnasfast.host.reading import Host, snapshot

__all__ = ["Host", "snapshot"]


def __getattr__(name: str) -> object:
    # The oracle needs none of it.
    if name in __all__:
        from importlib import import_module  # noqa: PLC0415

        return getattr(import_module("vnasfast.host.reading"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
