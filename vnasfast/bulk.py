"""Many sockets at once: what people hand in, checked and made arrays for the tables."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vnasfast.columns import column
from vnasfast.errors import InvalidValue
from vnasfast.parse.keys import Addresses, Numbers, Protocols, address_array, number_array, protocol_array
from vnasfast.tables import bulk
from vnasfast.tables.tables import Tables
from vnasfast.values import transport_number

_MAPPED = bytes(10) + b"\xff\xff"


def bind_many(
    tables: Tables,
    pids: ArrayLike,
    protocol: Protocols,
    port: Numbers,
    address: Addresses,
    *,
    v6only: bool,
    sharing: bool,
    freebind: bool,
) -> NDArray[np.int32]:
    """Register many sockets: see `ServerMachine.bind_many`."""
    processes = column(pids, np.int32, "pids")
    protocols = np.ascontiguousarray(protocol_array(protocol), np.uint8)
    ports = np.ascontiguousarray(number_array(port, np.uint16, "port"), np.uint16)
    if isinstance(address, str) and address.upper() == "ANY":
        address = "::"
    addresses = np.ascontiguousarray(address_array(address, "address"))
    for name, n in (("protocol", len(protocols)), ("port", len(ports)), ("address", len(addresses))):
        if n not in (1, len(processes)):
            raise InvalidValue(f"{name} has {n} values: it must have one, or {len(processes)} as pids")
    for number in np.unique(protocols).tolist():
        transport_number(number)
    if (ports == 0).any():
        raise InvalidValue(f"port[{int(np.argmin(ports))}] is 0: it must be an integer from 1 to 65535")
    if v6only and (addresses[:, :12] == np.frombuffer(_MAPPED, np.uint8)).all(1).any():
        raise InvalidValue("v6only makes no sense for IPv4 addresses")
    sockets = np.empty(len(processes), np.int32)
    refused = bulk.bind_many(tables, processes, protocols, ports, addresses, v6only, sharing, freebind, sockets)
    if refused is not None:
        place, error = refused
        raise type(error)(f"socket {place} of {len(sockets)}: {getattr(error, 'strerror', error)}") from None
    return sockets


def close_many(tables: Tables, sockets: ArrayLike) -> None:
    """Close many sockets: see `ServerMachine.close_many`."""
    bulk.close_many(tables, column(sockets, np.int32, "sockets"))
