"""From a table file's rows to a machine."""

import functools
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, NoReturn

from vnasfast import linux
from vnasfast.errors import AddressInUse, AddressNotAvailable, InvalidValue
from vnasfast.parse.text import protocol_name
from vnasfast.tablefile.document import Path, Row, TableFile, written
from vnasfast.tablefile.keys import ANY, ANY_IPV4, ANY_IPV6, MOST, POLICY
from vnasfast.tablefile.plain import Column
from vnasfast.tables.bulk import bind_many
from vnasfast.tables.linux_sockets import restore_linux
from vnasfast.values import packed_address, unpacked_address, unpacked_network

if TYPE_CHECKING:
    from vnasfast.machine import ServerMachine

History = tuple[int, int, int, int | None, int, bool]


def fill(machine: "ServerMachine", text: str, name: str) -> None:
    """Read the text of a table file into a fresh machine.

    After an error the machine holds a part of the file: discard it.

    Raises
    ------
    TableFileError
    """
    file = TableFile(text, name)
    machine._set_policy(file.policy)
    any_tables = _any_tables(file)
    vnas_of = _fill_processes(machine, file)
    _fill_addresses(machine, file, any_tables, vnas_of)
    _fill_sockets(machine, file, any_tables, vnas_of)
    _fill_routes(machine, file)
    _fill_names(machine, file)


def _fill_processes(machine: "ServerMachine", file: TableFile) -> dict[int, int]:
    """Start the processes, parents first; return PID → VNAS ID."""
    rows: dict[int, Row] = {}
    children: dict[int, list[int]] = {}
    for number, row in enumerate(file.rows("processes")):
        pid = row["pid"]
        if pid == 1:
            file.fail("processes", number, "pid", problem="process 1 always exists, in VNAS 0: leave it out")
        if pid in rows:
            first = list(rows).index(pid)
            file.fail("processes", number, "pid", problem=f"processes[{first}] has it already: give another")
        rows[pid] = row
        children.setdefault(row["parent"], []).append(pid)
    vnas_of = {1: 0}
    start = machine.tables.start  # all values are checked, as those of addresses and sockets
    waiting = [1]
    while waiting:
        parent = waiting.pop()
        for pid in children.get(parent, ()):
            vnas_of[pid] = rows[pid]["vnas"]
            start(parent, vnas_of[pid], pid)
            waiting.append(pid)
    if len(vnas_of) <= len(rows):
        _refuse_orphans(file, {pid: row["parent"] for pid, row in rows.items()}, vnas_of)
    return vnas_of


def _refuse_orphans(file: TableFile, parent_of: dict[int, int], started: Mapping[int, int]) -> NoReturn:
    """Say why some processes could not be started: an unknown parent, or parents in a circle."""
    pids = list(parent_of)
    for number, parent in enumerate(parent_of.values()):
        if parent != 1 and parent not in parent_of:
            problem = f"no process has PID {parent}: add it, or leave parent out"
            file.fail("processes", number, "parent", problem=problem)
    circle = [next(pid for pid in pids if pid not in started)]
    while parent_of[circle[-1]] not in circle:
        circle.append(parent_of[circle[-1]])
    circle = circle[circle.index(parent_of[circle[-1]]) :]
    chain = " → ".join(str(pid) for pid in [*circle, circle[0]])
    problem = f"its parents lead back to itself: {chain}"
    file.fail("processes", pids.index(circle[0]), "parent", problem=problem)


def _fill_addresses(
    machine: "ServerMachine", file: TableFile, any_tables: list[Row], vnas_of: Mapping[int, int]
) -> None:
    """Register the addresses, each by a process of its VNAS."""
    pid_in = {vnas: pid for pid, vnas in vnas_of.items()}
    free = (pid for pid in range(MOST, 1, -1) if pid not in vnas_of)
    started = []
    validate = machine.tables.validate
    addresses = _ordered_addresses(file, any_tables)
    for path, row in addresses:
        vnas = row["vnas"]
        if vnas not in pid_in:  # its processes have exited, but an address can only be asked for by a process
            pid_in[vnas] = machine.vnas_start(1, vnas, pid=next(free))
            started.append(pid_in[vnas])
        if not validate(pid_in[vnas], row["address"], row["interface"], row["vlan"]):
            vlan = f" on VLAN {row['vlan']}" if row["vlan"] else ""
            key = row["vlan"], row["address"]
            first = next(path for path, other in addresses if (other["vlan"], other["address"]) == key)
            problem = f"{written(first)} registers {unpacked_address(row['address'])}{vlan} already: remove one"
            file.fail(*path, "address", problem=problem)
    for pid in started:
        machine.exit(pid)


def _ordered_addresses(file: TableFile, any_tables: list[Row]) -> list[tuple[Path, Row]]:
    """List the addresses' paths and rows in order of registration."""
    if file.embodiment == 1:
        return [(("addresses", number), row) for number, row in enumerate(file.rows("addresses"))]
    rows: list[tuple[Path, Row]] = []
    for number, table in enumerate(any_tables):
        path: Path = ("any_tables", number, "addresses")
        found = table["addresses"]
        for place, row in enumerate(file.rows(*path, found=found)):
            rows.append(((*path, place), row | {"vnas": table["vnas"]}))
    if all(row["order"] is None for _, row in rows):
        return rows
    paths: dict[int, Path] = {}
    for path, row in rows:
        order = row["order"]
        if order is None:
            file.fail(*path, "order", problem="missing: all addresses of the file have one, or none has")
        if order in paths:
            file.fail(*path, "order", problem=f"{written(paths[order])} has it already: give another")
        paths[order] = path
    return sorted(rows, key=lambda entry: entry[1]["order"])


def _any_tables(file: TableFile) -> list[Row]:
    """List the ANY-address tables of the second embodiment, one per VNAS."""
    if file.embodiment == 1:
        return []
    tables: list[Row] = []
    names: dict[str, int] = {}
    vnases: dict[int, int] = {}
    for number, row in enumerate(file.rows("any_tables")):
        name, vnas = row["name"], row["vnas"]
        if name in names:
            problem = f"any_tables[{names[name]}] is {name!r} already: give another"
            file.fail("any_tables", number, "name", problem=problem)
        if vnas in vnases:
            problem = f"any_tables[{vnases[vnas]}] is the table of VNAS {vnas} already: each VNAS has one"
            file.fail("any_tables", number, "vnas", problem=problem)
        names[name] = vnases[vnas] = number
        tables.append(row)
    return tables


def _fill_sockets(
    machine: "ServerMachine", file: TableFile, any_tables: list[Row], vnas_of: Mapping[int, int]
) -> None:
    columns = file.columns("sockets") if file.embodiment == 1 and file.policy == POLICY.default else None
    if columns is not None and _bind_columns(machine, columns, vnas_of):
        return
    vnas_of_table = {table["name"]: table["vnas"] for table in any_tables}
    rows: list[Row] = []
    histories: list[History] = []
    bind = machine.tables.bind
    found: Iterable[Row] = file.rows("sockets")
    anyway = False
    if file.policy != POLICY.default:
        found = list(found)
        # Then a machine wrote the file, and its sockets were let in, whatever is left of those before them.
        anyway = any(row["group"] is not None or row["place"] or row["connected"] for row in found)
    for number, row in enumerate(found):
        pid = row["pid"]
        if pid not in vnas_of:
            file.fail("sockets", number, "pid", problem=f"no process has PID {pid}: add it to the processes")
        row["vnas"] = vnas_of[pid]
        if file.embodiment == 2:
            row["address"], row["v6only"] = _recipient(file, number, row, vnas_of_table)
        if row["v6only"] and row["address"].startswith(ANY_IPV4[:12]):
            problem = "an IPv4 address can't receive IPv6 only: leave it out"
            file.fail("sockets", number, "v6only", problem=problem)
        rows.append(row)
        try:    # all values are checked, so the tables themselves take them: half the time of machine.bind
            if file.policy != POLICY.default:
                histories.append(_bind_as_linux(machine, file, number, row, anyway))
                continue
            bind(pid, row["protocol"], row["port"], row["address"], row["v6only"], row["sharing"], row["freebind"])
        except AddressInUse as error:
            problem = _in_use(rows) if file.policy == POLICY.default else str(error.strerror)
            file.fail("sockets", number, problem=problem)
        except AddressNotAvailable:
            problem = f"{_address_text(row['address'])} does not belong to VNAS {row['vnas']} of process {pid}"
            problem += ": register it there, or give freebind = true"
            file.fail("sockets", number, "address", problem=problem)
    if any(history[1:] != (0, 0, None, 0, False) for history in histories):
        _restore(machine, file, histories)


def _bind_as_linux(machine: "ServerMachine", file: TableFile, number: int, row: Row, anyway: bool) -> History:
    """Register a socket under the policy `linux`; return what `restore_linux` takes."""
    try:
        socket = linux.bind(
            machine.tables,
            row["pid"],
            row["protocol"],
            row["port"],
            row["address"],
            row["v6only"],
            row["sharing"],
            row["freebind"],
            anyway=anyway,
            **{key: row[key] for key in ("device", "mapped", "uid", "reuseaddr", "peer")},
        )
    except InvalidValue as error:
        file.fail("sockets", number, problem=str(error))
    return socket, row["place"], row["connected"], row["group"], row["member"], row["knows_connections"]


def _restore(machine: "ServerMachine", file: TableFile, histories: list[History]) -> None:
    try:
        restore_linux(machine.tables, histories)
    except InvalidValue as error:
        problem, socket = error.args
        number = next(number for number, history in enumerate(histories) if history[0] == socket)
        file.fail("sockets", number, "group", problem=problem)


def _bind_columns(
    machine: "ServerMachine", columns: Mapping[str, Column], vnas_of: Mapping[int, int]
) -> bool:
    """Register all sockets at once; False, and none is registered, where one may have a mistake.

    Nearly all files have sockets of one kind only; those of several go row by row.
    """
    kinds = [set(columns[key].values) for key in ("v6only", "sharing", "freebind")]
    if any(len(kind) != 1 for kind in kinds) or not set(columns["pid"].values) <= vnas_of.keys():
        return False
    v6only, sharing, freebind = (kind.pop() for kind in kinds)
    if v6only:
        return False
    pids = columns["pid"].packed(4).cast("i")
    refused = bind_many(
        machine.tables,
        pids,
        columns["protocol"].packed(1),
        columns["port"].packed(2).cast("H"),
        columns["address"].packed(16).cast("B", (len(pids), 16)),
        v6only,
        sharing,
        freebind,
        memoryview(bytearray(pids.nbytes)).cast("i"),
    )
    return refused is None


@functools.lru_cache(10_000)
def _address_text(packed: bytes) -> str:
    from vnasfast.tablefile.writing import recipient_text  # noqa: PLC0415 (only for messages)

    return recipient_text(unpacked_address(packed))


def _recipient(
    file: TableFile, number: int, row: Row, vnas_of_table: Mapping[str, int]
) -> tuple[bytes, bool]:
    """Return the recipient address that a socket of the second embodiment has in the first, and v6only."""
    name, family = row["address"], row["family"]
    if name in vnas_of_table:
        if vnas_of_table[name] != row["vnas"]:
            problem = (
                f"process {row['pid']} is in VNAS {row['vnas']}, and {name} is of VNAS {vnas_of_table[name]}"
            )
            file.fail("sockets", number, "address", problem=problem)
        return (ANY_IPV4 if family == 4 else ANY_IPV6), family == 6
    try:
        packed = packed_address(name)
    except InvalidValue:
        import difflib  # noqa: PLC0415 (only for messages)

        likely = difflib.get_close_matches(name, vnas_of_table, 1)
        hint = f"did you mean {likely[0]}?" if likely else "give the name of one, or an address"
        problem = f"{name!r} is neither one of the any_tables nor an address: {hint}"
        file.fail("sockets", number, "address", problem=problem)
    if packed in ANY:
        problem = f"in embodiment 2 a socket names its ANY-address table, and not {name}"
        file.fail("sockets", number, "address", problem=problem)
    if family is not None:
        file.fail("sockets", number, "family", problem=f"{name} has one family: leave this out")
    return packed, False


def _in_use(rows: list[Row]) -> str:
    """Say with which socket the last one collides."""
    last = rows[-1]
    same = ("protocol", "port", "address", "vnas")
    first = next(number for number, row in enumerate(rows) if all(row[key] == last[key] for key in same))
    place = f"{protocol_name(last['protocol'])} port {last['port']} of {_address_text(last['address'])}"
    taken = f"sockets[{first}] has {place} in VNAS {last['vnas']} already"
    return f"{taken}: remove one, or give sharing = true to both"


def _fill_routes(machine: "ServerMachine", file: TableFile) -> None:
    first: dict[tuple[bytes | None, int], int] = {}
    for number, row in enumerate(file.rows("routes")):
        network = row["network"]
        if network in first:
            problem = f"routes[{first[network]}] routes this network already: remove one"
            file.fail("routes", number, "network", problem=problem)
        first[network] = number
        machine.set_route(unpacked_network(*network), row["interface"])


def _fill_names(machine: "ServerMachine", file: TableFile) -> None:
    first: dict[str, int] = {}
    for number, row in enumerate(file.rows("vnas")):
        if row["id"] in machine.names:
            place = list(machine.names).index(row["id"])
            file.fail("vnas", number, "id", problem=f"vnas[{place}] names this VNAS already: remove one")
        if row["name"] in first:
            problem = f"vnas[{first[row['name']]}] is {row['name']!r} already: give another"
            file.fail("vnas", number, "name", problem=problem)
        first[row["name"]] = number
        machine.names[row["id"]] = row["name"]
