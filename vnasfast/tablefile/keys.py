"""The tables and keys of table files: how each value is checked and read."""

from collections.abc import Callable
from typing import NamedTuple

from vnasfast.errors import InvalidValue
from vnasfast.linux import POLICIES, packed_peer
from vnasfast.values import checked, packed_address, packed_network, transport_number

MOST = 2**31 - 1  # PIDs and VNAS IDs
ANY_IPV4 = packed_address("0.0.0.0")  # noqa: S104 - the name of ANY, nothing is bound
ANY_IPV6 = packed_address("ANY")
ANY = (ANY_IPV4, ANY_IPV6)


class Key(NamedTuple):
    """How a key's value is checked and read (InvalidValue); without a default it must be there."""

    read: Callable[[object], object]
    default: object = ...


def integer(what: str, low: int, high: int) -> Callable[[object], int]:
    """Make a reader of integers within bounds."""
    return lambda value: checked(value, what, low, high)


def _text(what: str, example: str) -> Callable[[object], str]:
    def read(value: object) -> str:
        if not isinstance(value, str) or not value:
            raise InvalidValue(f"{value!r} is no {what}: it must be a text such as {example}")
        return value

    return read


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidValue(f"{value!r} is no truth value: it must be true or false")
    return value


def _specific(value: object) -> bytes:
    packed = packed_address(value)
    if packed in ANY:
        raise InvalidValue("ANY can't be on an interface: give the address itself")
    return packed


def _table_name(value: object) -> str:
    name = _text("table name", "ANY1")(value)
    try:
        packed_address(name)
    except InvalidValue:
        return name
    raise InvalidValue(f"{name!r} is an address: name the table otherwise, such as ANY1")


def _family(value: object) -> int:
    if isinstance(value, bool) or value not in (4, 6):
        raise InvalidValue(f"{value!r} is no family: it must be 4 or 6, or left out for both")
    return checked(value, "family", 4, 6)


def _policy(value: object) -> str:
    if value not in POLICIES:
        raise InvalidValue(f"{value!r} is no policy: it must be one of {', '.join(POLICIES)}")
    return str(value)


def _peer(value: object) -> tuple[str, int]:
    address, colon, port = value.rpartition(":") if isinstance(value, str) else ("", "", "")
    if not colon or not (port.isascii() and port.isdigit()) or (":" in address and not address.startswith("[")):
        raise InvalidValue(f"{value!r} is no peer: write it like 192.0.2.1:4000 or [2001:db8::1]:4000")
    packed_peer((address.strip("[]"), int(port)))
    return address.strip("[]"), int(port)


#: The key above all tables that names the policy.
POLICY = Key(_policy, "registration")

_VNAS_ID = Key(integer("VNAS ID", 0, MOST))
_PID = Key(integer("PID", 1, MOST))
_INTERFACE = Key(_text("interface name", "eth0"))
_OFF = Key(_flag, False)
_ADDRESS = {
    "address": Key(_specific),
    "interface": _INTERFACE,
    "vlan": Key(integer("VLAN ID", 0, 4095), 0),
}
#: Of sockets, under the policy `linux` only; the last five where operations left behind what the rows don't say.
LINUX = {
    "device": Key(_text("device", "eth0"), None),
    "mapped": _OFF,
    "uid": Key(integer("UID", 0, 2**32 - 1), 0),
    "reuseaddr": _OFF,
    "peer": Key(_peer, None),
    "place": Key(integer("place", 0, MOST), 0),
    "connected": Key(integer("order of connecting", 0, MOST), 0),
    "group": Key(integer("group", 0, MOST), None),
    "member": Key(integer("place in the group", 0, MOST), 0),
    "knows_connections": _OFF,
}
_SOCKET = {
    "protocol": Key(transport_number),
    "port": Key(integer("port", 1, 65535)),
    "pid": _PID,
    "sharing": _OFF,
    "freebind": _OFF,
}
_COMMON = {
    "vnas": {"id": _VNAS_ID, "name": Key(_text("name", "alpha"))},
    "processes": {"pid": _PID, "vnas": _VNAS_ID, "parent": _PID._replace(default=1)},
    "routes": {"network": Key(packed_network), "interface": _INTERFACE},
}
#: Embodiment → table → key. A name with a dot: a table in each row of another.
TABLES: dict[int, dict[str, dict[str, Key]]] = {
    1: _COMMON
    | {
        "addresses": _ADDRESS | {"vnas": _VNAS_ID},
        "sockets": _SOCKET | {"address": Key(packed_address), "v6only": _OFF},
    },
    2: _COMMON
    | {
        "any_tables": {
            "name": Key(_table_name),
            "vnas": _VNAS_ID,
            "addresses": Key(lambda value: value, ()),  # read as a table of its own
        },
        "any_tables.addresses": _ADDRESS | {"order": Key(integer("order", 1, MOST), None)},
        "sockets": _SOCKET | {"address": Key(_text("address", "ANY1")), "family": Key(_family, None)},
    },
}
