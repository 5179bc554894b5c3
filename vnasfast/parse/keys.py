"""Flow keys from values, for callers who have no frames."""

import ipaddress
from collections.abc import Iterable
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4
from vnasfast.errors import InvalidValue
from vnasfast.parse.text import address_bytes, protocol_number

_Address: TypeAlias = str | bytes | ipaddress.IPv4Address | ipaddress.IPv6Address
Addresses: TypeAlias = _Address | Iterable[_Address] | npt.NDArray[np.uint32] | npt.NDArray[np.uint8]
Numbers: TypeAlias = int | Iterable[int] | npt.NDArray[np.integer[Any]]
Protocols: TypeAlias = str | int | Iterable[str | int] | npt.NDArray[np.integer[Any]]


def address_array(values: Addresses, name: str) -> npt.NDArray[np.uint8]:
    """Return addresses as bytes, IPv4 mapped: shape (1, 16) for one, (n, 16) for many.

    Raises
    ------
    InvalidValue
        A value is no address.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iu":
        if values.dtype == np.uint8 and values.ndim in (1, 2) and values.shape[-1] == 16:
            return np.asarray(values, np.uint8).reshape(-1, 16)
        if values.dtype == np.uint32 and values.ndim <= 1:
            octets = np.zeros((values.size, 16), np.uint8)
            octets[:, 10:12] = 0xFF
            octets[:, 12:] = values.astype(">u4").reshape(-1, 1).view(np.uint8)
            return octets
        raise InvalidValue(
            f"{name} is an array of {values.dtype} of shape {values.shape}; "
            "numbers are IPv4 addresses as uint32 of shape (n,), or bytes as uint8 of shape (n, 16)"
        )
    if isinstance(values, (str, bytes, ipaddress.IPv4Address, ipaddress.IPv6Address)):
        values = [values]
    if not isinstance(values, Iterable):
        raise InvalidValue(f"{name} is {values!r}: an address is text, bytes or an ipaddress object")
    packed = b"".join(address_bytes(value) for value in values)
    return np.frombuffer(packed, np.uint8).reshape(-1, 16)


def number_array(values: Numbers, dtype: type[np.integer[Any]], name: str) -> npt.NDArray[np.integer[Any]]:
    """Return integers as a contiguous array of one dimension; one integer as an array of one.

    Raises
    ------
    InvalidValue
        They are no integers, or beyond the dtype.
    """
    if not isinstance(values, (int, np.ndarray, np.integer)):
        values = list(values)
    array = np.atleast_1d(np.asarray(values))
    limits = np.iinfo(dtype)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise InvalidValue(f"{name} must be an integer or a one-dimensional array of integers")
    wrong = (array < limits.min) | (array > limits.max)
    if wrong.any():
        raise InvalidValue(f"{name} {array[wrong][0]} is not between {limits.min} and {limits.max}")
    return np.ascontiguousarray(array, dtype)


def protocol_array(protocol: Protocols) -> npt.NDArray[np.integer[Any]]:
    """Return IP protocol numbers as an array of uint8; one as an array of one.

    Raises
    ------
    InvalidValue
        A name is unknown, or a number not between 0 and 255.
    """
    if isinstance(protocol, (str, int, np.integer)):
        protocols: Numbers = protocol_number(protocol if isinstance(protocol, str) else int(protocol))
    elif isinstance(protocol, np.ndarray) and protocol.dtype.kind in "iu":
        protocols = protocol
    else:
        protocols = [protocol_number(value) for value in protocol]
    return number_array(protocols, np.uint8, "protocol")


def flow_keys(
    *,
    destination: Addresses,
    destination_port: Numbers,
    protocol: Protocols,
    source: Addresses = "",
    source_port: Numbers = 0,
    vlan: Numbers = 0,
    source_pid: Numbers = 0,
) -> npt.NDArray[np.void]:
    """Make flow keys of unfragmented packets.

    Each argument is one value, for all keys, or an array or sequence with one value a key.

    Parameters
    ----------
    destination, source : str, bytes, IPv4Address, IPv6Address, a sequence of these, or ndarray
        As an array: IPv4 addresses as uint32 in host order, shape (n,), or bytes in network order as uint8,
        shape (n, 16), IPv4 as ``::ffff:a.b.c.d``. No source: all zero.
    destination_port, source_port : int or array_like of int
        0 to 65535.
    protocol : str, int, a sequence of these, or array_like of int
        A name such as ``tcp``, or a number from 0 to 255.
    vlan : int or array_like of int
        0 to 4095; 0: untagged.
    source_pid : int or array_like of int
        The process that sent a loopback packet; 0: not given.

    Returns
    -------
    ndarray of FLOW_KEY, shape (n,)
        n is the length of the arrays, and 1 without any.

    Raises
    ------
    InvalidValue
        A value is out of its range or no address, or arrays differ in length.
    """
    columns = {
        "destination": address_array(destination, "destination"),
        "source": address_array(source, "source"),
        "destination_port": number_array(destination_port, np.uint16, "destination_port"),
        "source_port": number_array(source_port, np.uint16, "source_port"),
        "vlan": number_array(vlan, np.uint16, "vlan"),
        "protocol": protocol_array(protocol),
        "source_pid": number_array(source_pid, np.int32, "source_pid"),
    }
    if (columns["vlan"] > 4095).any():
        raise InvalidValue(f"vlan {columns['vlan'].max()} is not between 0 and 4095")
    lengths = {len(column) for column in columns.values()} - {1}
    if len(lengths) > 1:
        named = ", ".join(f"{name} {len(column)}" for name, column in columns.items() if len(column) != 1)
        raise InvalidValue(f"the arguments differ in length: {named}")
    keys = np.zeros(lengths.pop() if lengths else 1, FLOW_KEY)
    for name, column in columns.items():
        keys[name] = column
    return keys


def ipv4_keys(keys: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    """Make the narrow keys of IPv4 packets: a third of the memory, which is most of what dispatching many costs.

    Parameters
    ----------
    keys : ndarray of FLOW_KEY, shape (n,)

    Returns
    -------
    ndarray of FLOW_KEY_IPV4, shape (n,)

    Raises
    ------
    InvalidValue
        A key is of IPv6, has a source process, or is of a fragment: none of that fits.
    """
    if not isinstance(keys, np.ndarray) or keys.dtype != FLOW_KEY or keys.ndim != 1:
        raise InvalidValue("keys must be a numpy array of FLOW_KEY with one dimension")
    words = keys["destination"], keys["source"]
    # No source is all zero, in both forms.
    mapped = [((w[:, :10] == 0).all(1) & (w[:, 10:12] == 0xFF).all(1)) for w in words]
    mapped[1] |= (words[1] == 0).all(1)
    fits = mapped[0] & mapped[1] & (keys["source_pid"] == 0) & (keys["status"] <= 0)
    if not fits.all():
        raise InvalidValue(
            f"keys[{int(np.argmin(fits))}] does not fit FLOW_KEY_IPV4: it is for IPv4 packets that are no fragments"
            " and have no source process"
        )
    narrow = np.zeros(len(keys), FLOW_KEY_IPV4)
    narrow["destination"] = keys["destination"][:, 12:]
    narrow["source"] = keys["source"][:, 12:]
    for name in FLOW_KEY_IPV4.names[2:]:  # type: ignore[index]
        narrow[name] = keys[name]
    return narrow
