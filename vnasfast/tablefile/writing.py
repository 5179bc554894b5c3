"""From a machine to a table file."""

import functools
import os
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from vnasfast.errors import InvalidValue, TableFileError
from vnasfast.files import replacing
from vnasfast.tablefile.keys import TABLES
from vnasfast.tables.linux_sockets import linux_rows
from vnasfast.values import checked, unpacked_address

if TYPE_CHECKING:
    from vnasfast.tables.linux_sockets import _LinuxRow
    from vnasfast.tables.rows import AddressRow, ProcessRow, SocketRow
    from vnasfast.views import TableViews

Row = dict[str, Any]


def to_toml(machine: "TableViews", embodiment: int) -> str:
    """Write the tables as the text of a table file.

    Raises
    ------
    InvalidValue
        Another embodiment than 1 and 2, or ``machine.names`` holds what a file can't.
    """
    embodiment = checked(embodiment, "embodiment", 1, 2)
    if machine.policy == "registration":
        return _text(machine, embodiment, {})
    known = linux_rows(machine.tables)
    text = _text(machine, embodiment, {socket: _linux_keys(row) for socket, row in known.items()})
    from vnasfast.machine import ServerMachine  # noqa: PLC0415 (it imports this module)

    # Most tables are what registering their sockets in order makes. Operations may have left behind more than that.
    try:
        again = linux_rows(ServerMachine.from_toml(text).tables)
    except TableFileError:  # one would be refused that was let in beside others, which are closed
        again = {}
    histories = _histories(known, [row.socket for row in machine.sockets])
    if list(histories.values()) != list(_histories(again, sorted(again)).values()):
        more = {socket: _linux_keys(row) | _history_keys(histories[socket]) for socket, row in known.items()}
        text = _text(machine, embodiment, more)
    return text


def _histories(rows: "dict[int, _LinuxRow]", order: list[int]) -> dict[int, Row]:
    """Map each socket to what its place in the kernel's lists is, in order of registration."""
    groups: dict[int, int] = {}
    connected = sorted(row[9] for row in rows.values() if row[9])
    histories: dict[int, Row] = {}
    for socket in order:
        _, group, member, knows_connections, place = rows[socket][9:]
        histories[socket] = {
            "place": max(place, 0),
            "connected": 1 + connected.index(rows[socket][9]) if rows[socket][9] else 0,
            "group": groups.setdefault(group, len(groups)) if group >= 0 else None,
            "member": member if group >= 0 else 0,
            "knows_connections": knows_connections,
        }
    return histories


def _linux_keys(row: "_LinuxRow") -> Row:
    """Return the keys of the policy `linux`, without those that have their default."""
    _, _, _, device, mapped, uid, reuseaddr, peer, peer_port, *_ = row
    values: Row = {"device": device, "mapped": mapped, "uid": uid, "reuseaddr": reuseaddr}
    if peer is not None:
        address = unpacked_address(peer)
        values["peer"] = f"{address}:{peer_port}" if address.version == 4 else f"[{address}]:{peer_port}"
    return {key: value for key, value in values.items() if value}


def _history_keys(history: Row) -> Row:
    return {key: value for key, value in history.items() if value or (key == "group" and value is not None)}


def _text(machine: "TableViews", embodiment: int, more: dict[int, Row]) -> str:
    """Write the tables; `more` has what sockets have beside."""
    head = "" if machine.policy == "registration" else f'policy = "{machine.policy}"\n'
    blocks = [f"# vnasfast tables\nembodiment = {embodiment}\n{head}"]
    for table, row in _rows(machine, embodiment, more):
        values = "".join(f"{key} = {_literal(value)}\n" for key, value in row.items())
        blocks.append(f"[[{table}]]\n{values}")
    return "\n".join(blocks)


def save(machine: "TableViews", path: str | os.PathLike[str], embodiment: int) -> None:
    """Write the tables to a file, in place of what it held, at once or not at all.

    As `vnasfast.files.replacing` does.

    Raises
    ------
    OSError, InvalidValue
    """
    try:
        content = to_toml(machine, embodiment).encode()
    except UnicodeEncodeError as error:
        problem = f"{error.object[error.start]!r} in a name can't be written as UTF-8: rename it"
        raise InvalidValue(problem) from None
    with replacing(path) as file:
        file.write(content)


@functools.lru_cache(10_000, typed=True)  # names and addresses come again and again
def _literal(value: str | int) -> str:
    import tomli_w  # noqa: PLC0415 (reading needs it not)

    return tomli_w.dumps({"x": value}).removeprefix("x = ").removesuffix("\n")


def _rows(machine: "TableViews", embodiment: int, more: dict[int, Row]) -> Iterator[tuple[str, Row]]:
    """Yield (table, row), as they stand in the file."""
    yield from (("vnas", row) for row in _name_rows(machine))
    yield from (("processes", _process_row(row)) for row in machine.processes if row.pid != 1)
    if embodiment == 1:
        yield from (("addresses", _address_row(row)) for row in machine.addresses)
    else:
        yield from _any_table_rows(machine)
    for row in machine.sockets:
        yield "sockets", _socket_row(machine, row, embodiment) | more.get(row.socket, {})
    for network, interface in machine.routes:
        yield "routes", {"network": "default" if network is None else str(network), "interface": interface}


def _name_rows(machine: "TableViews") -> Iterator[Row]:
    seen: dict[str, int] = {}
    keys = TABLES[1]["vnas"]
    for vnas, name in sorted(machine.names.items()):
        keys["id"].read(vnas)
        keys["name"].read(name)
        if name in seen:
            raise InvalidValue(f"VNAS {seen[name]} and VNAS {vnas} have the same name {name!r}: rename one")
        seen[name] = vnas
        yield {"id": vnas, "name": name}


def _process_row(row: "ProcessRow") -> Row:
    return {"pid": row.pid, "vnas": row.vnas} | ({"parent": row.parent} if row.parent != 1 else {})


def _address_row(row: "AddressRow") -> Row:
    values: Row = {"address": str(row.address), "vnas": row.vnas, "interface": row.interface}
    return values | ({"vlan": row.vlan} if row.vlan else {})


def _any_table_rows(machine: "TableViews") -> Iterator[tuple[str, Row]]:
    """Yield the ANY-address tables: by their first address, then those that only sockets name, by VNAS ID."""
    order = {(row.vlan, row.address): number for number, row in enumerate(machine.addresses, 1)}
    any_tables = machine.any_tables
    in_turns = [row for rows in any_tables.values() for row in rows] != machine.addresses
    for vnas in sorted({row.vnas for row in machine.sockets if row.address.is_unspecified}):
        any_tables.setdefault(vnas, [])
    for vnas, rows in any_tables.items():
        yield "any_tables", {"name": f"ANY{vnas}", "vnas": vnas}
        for row in rows:
            values = _address_row(row)
            del values["vnas"]
            if in_turns:
                values["order"] = order[row.vlan, row.address]
            yield "any_tables.addresses", values


def _socket_row(machine: "TableViews", row: "SocketRow", embodiment: int) -> Row:
    values: Row = {"protocol": row.protocol, "port": row.port}
    if embodiment == 2 and row.address.is_unspecified:
        values["address"] = f"ANY{row.vnas}"
        if row.address.version == 4 or row.v6only:
            values["family"] = row.address.version
        values["pid"] = row.pid
    else:
        values |= {"address": recipient_text(row.address), "pid": row.pid}
        if row.v6only:
            values["v6only"] = True
    if row.sharing:
        values["sharing"] = True
    if not row.address.is_unspecified and not machine.owns(row.vnas, row.address):
        values["freebind"] = True
    return values


def recipient_text(address: IPv4Address | IPv6Address) -> str:
    """Return a recipient address as embodiment 1 has it."""
    return "ANY" if address.version == 6 and address.is_unspecified else str(address)
