"""Whether the tables of a machine and its kernel name the same receivers."""

from ipaddress import IPv4Address, IPv6Address
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vnasfast.host.oracle import Oracle
from vnasfast.host.reading import Host
from vnasfast.host.tables import HostTables
from vnasfast.parse.text import address_of

#: The place of no socket.
NOBODY = -1
#: The place of a socket that the snapshot has not: it is younger.
STRANGER = -2

#: What sockets of one port-sharing group have in common, beside their address.
_SHARED = ("netns", "protocol", "family", "state", "local_port", "device", "uid", "v6only")


def device_of(host: Host, address: IPv4Address | IPv6Address) -> int:
    """Find the link by which packets to an address come into the first network namespace: that which has it; 0: none.

    It matters for sockets that are bound to a device.
    """
    if address.is_loopback:
        return next((link.device for link in host.links[0] if link.loopback), 0)
    return next((row.device for row in host.addresses[0] if row.address == address), 0)


def receivers(host: Host, tables: HostTables, keys: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Ask both who gets packets that come into the first network namespace of a snapshot.

    Parameters
    ----------
    host : Host
    tables : HostTables
        Of that snapshot.
    keys : ndarray of FLOW_KEY
        TCP and UDP.

    Returns
    -------
    ours, kernel : ndarray of int64
        Places in `host.sockets`, or NOBODY or STRANGER. Of a port-sharing group the first member's, because the kernel
        chooses by a hash with a secret.

    Raises
    ------
    OracleError
        The kernel can't be asked.
    """
    addresses, which = np.unique(keys["destination"], axis=0, return_inverse=True)
    devices = np.array([_device_of(host, address) for address in addresses], np.uint32)[which.reshape(-1)]
    with Oracle(host.namespaces[0].path) as oracle:
        cookies = oracle.ask_batch(keys, interfaces=devices)["cookie"]
    first = _first_members(host)
    # One place more than there are, at the end, for none: -1 is the last.
    place_of = np.full(max(tables.places, default=-1) + 2, NOBODY, np.int64)
    for socket, place in tables.places.items():
        place_of[socket] = first[place]
    ours = place_of[np.maximum(tables.machine.dispatch_batch(keys), -1)]
    order = np.argsort(host.sockets["cookie"])
    known = np.append(host.sockets["cookie"][order], np.uint64(2**64 - 1))
    at = np.searchsorted(known, cookies)
    found = np.where(known[at] == cookies, np.append(first[order], STRANGER)[at], STRANGER)
    return ours, np.where(cookies == 0, NOBODY, found)


def _device_of(host: Host, octets: NDArray[Any]) -> int:
    address = address_of(octets)
    return 0 if address is None else device_of(host, address)


def _first_members(host: Host) -> NDArray[Any]:
    """Give for each socket the first of its port-sharing group; itself, if it shares nothing."""
    first = np.arange(len(host.sockets))
    shares = np.flatnonzero(host.sockets["reuseport"] == 1)
    rows = host.sockets[shares]
    columns = [rows[name].tolist() for name in _SHARED]
    groups: dict[tuple[object, ...], int] = {}
    for place, local, *others in zip(shares.tolist(), rows["local"], *columns, strict=True):
        first[place] = groups.setdefault((local.tobytes(), *others), place)
    return first
