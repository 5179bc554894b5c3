"""What a table file asks of the kernel."""

import errno
import os
from collections.abc import Mapping
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from vnasfast.errors import RuleError
from vnasfast.host.rule.layout import MOST_SLOTS, IPAddress

if TYPE_CHECKING:
    from vnasfast.machine import ServerMachine


class Wanted(NamedTuple):
    """VNASs and whose each address is.

    Attributes
    ----------
    names : mapping of int to str
        VNAS ID → name, empty if it has none.
    addresses : mapping
        Address → VNAS ID and interface, in order of registration.
    """

    names: Mapping[int, str]
    addresses: Mapping[IPAddress, tuple[int, str]]


def require_ordinary(address: IPAddress) -> None:
    """Refuse an address that can't belong to one VNAS.

    Raises
    ------
    RuleError
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if mapped is not None:
        why = f"it is IPv4: write {mapped}"
    elif address.is_unspecified:
        why = "it is ANY, and each VNAS has its own"
    elif address.is_loopback:
        why = "it is loopback, and each VNAS has its own"
    elif address.is_multicast:
        why = "it is a multicast group, which any may join"
    else:
        return
    raise RuleError(errno.EADDRNOTAVAIL, f"{address} can't be a VNAS's: {why}")


def read(path: str | os.PathLike[str]) -> tuple["ServerMachine", Wanted]:
    """Read a table file.

    VNAS 0 is the group of the processes that are in no other, so its addresses stay as they are.

    Raises
    ------
    TableFileError, RuleError, OSError
    """
    from vnasfast.machine import ServerMachine  # noqa: PLC0415 (the tables are slow to import, and "run" needs none)

    machine = ServerMachine.load(path)
    return machine, wanted_of(machine)


def wanted_of(machine: "ServerMachine") -> Wanted:
    """Take from a machine what the kernel needs to know."""
    vnases = {row.vnas for row in machine.processes} | {row.vnas for row in machine.addresses} | set(machine.names)
    vnases.discard(0)
    if len(vnases) >= MOST_SLOTS:
        raise RuleError(errno.E2BIG, f"{len(vnases)} VNASs; the kernel's tables hold {MOST_SLOTS - 1}")
    addresses: dict[IPAddress, tuple[int, str]] = {}
    vlans: dict[IPAddress, int] = {}
    for row in machine.addresses:
        if row.address in addresses and addresses[row.address][0] != row.vnas:
            problem = (
                f"{row.address} belongs to VNAS {addresses[row.address][0]} on VLAN {vlans[row.address]} and to VNAS"
                f" {row.vnas} on VLAN {row.vlan}: one network namespace has each address once; use two namespaces"
            )
            raise RuleError(errno.EADDRINUSE, problem)
        if row.vnas:
            require_ordinary(row.address)
            addresses.setdefault(row.address, (row.vnas, row.interface))
            vlans.setdefault(row.address, row.vlan)
    return Wanted({vnas: machine.names.get(vnas, "") for vnas in sorted(vnases)}, addresses)
