"""A table file as checked rows, which know their lines."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from vnasfast.errors import TableFileError
from vnasfast.tablefile.keys import LINUX, POLICY, TABLES, Key, integer
from vnasfast.tablefile.plain import Column, PlainRows, read_plain, rows_of_dicts

Path = tuple[str | int, ...]  # ("sockets", 0, "port")
Row = dict[str, Any]



def read(path: str | os.PathLike[str]) -> tuple[str, str]:
    """Read a table file's text, and its name for messages.

    Raises
    ------
    TableFileError
        It is not UTF-8.
    OSError
    """
    name = os.fspath(path)
    with open(path, "rb") as file:
        content = file.read()
    try:
        return content.decode().removeprefix("\ufeff"), name
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        problem = (
            f"byte {error.start} (0x{content[error.start]:02x}) is not UTF-8, which a table file must be"
        )
        raise TableFileError(name, line, "", problem) from None


class TableFile:
    """The rows of a table file, checked one by one, and where they are."""

    def __init__(self, text: str, name: str) -> None:
        self.text = text
        self.name = name
        plain = read_plain(text)
        self.tables = _read_toml(text, name) if plain is None else plain
        if "embodiment" not in self.tables:
            self.fail("embodiment", problem="missing: it must be 1 or 2")
        self.embodiment = self._above_all("embodiment", Key(integer("embodiment", 1, 2)))
        self.policy = self._above_all("policy", POLICY)
        self.refuse_unknown(self.tables, TABLES)

    def fail(self, *path: str | int, problem: str) -> NoReturn:
        """Raise the TableFileError for what is at this path."""
        raise TableFileError(self.name, _line(self.text, path), written(path), problem)

    def value(self, key: Key, found: object, *path: str | int) -> Any:
        """Read one value."""
        try:
            return key.read(found)
        except ValueError as error:  # InvalidValue, or an integer too long to be shown
            self.fail(*path, problem=str(error))

    def _above_all(self, name: str, key: Key) -> Any:
        """Take a key that stands above all tables."""
        found = self.tables.pop(name, key.default)
        return self.value(key, self._in_general(name) if isinstance(found, PlainRows) else found, name)

    def _in_general(self, *path: str | int) -> Any:
        """Return what the library finds at a path, for the message of a mistake in what was read as plain."""
        found: Any = _read_toml(self.text, self.name)
        for part in path:
            found = found[part]
        return found

    def refuse_unknown(
        self, found: Mapping[str, object], keys: Mapping[int, Mapping[str, Any]], *path: str | int
    ) -> None:
        """Refuse the first key that is not among those of this embodiment."""
        known = [key for key in keys[self.embodiment] if "." not in key]
        other = 3 - self.embodiment
        for key in found:
            if key in known:
                continue
            import difflib  # noqa: PLC0415 (only for messages)

            likely = difflib.get_close_matches(key, known, 1)
            if key in LINUX and path[:1] == ("sockets",):
                hint = 'it is of the policy linux: write policy = "linux" above all tables'
            elif key in keys[other]:
                hint = f"it is of embodiment {other}, and this file is of embodiment {self.embodiment}"
            elif likely:
                hint = f"did you mean {likely[0]}?"
            else:
                hint = f"it must be one of {', '.join(known)}"
            self.fail(*path, key, problem=f"unknown: {hint}")

    def columns(self, table: str) -> dict[str, Column] | None:
        """Return a table's columns by key; None if there are none: `rows` finds what there is, or what is wrong."""
        plain = _as_plain(self.tables.get(table))
        return plain.columns(TABLES[self.embodiment][table]) if plain is not None else None

    def rows(self, *path: str | int, found: object = None) -> Iterator[Row]:
        """Yield the rows of a table, each with the values of all its keys."""
        table = ".".join(part for part in path if isinstance(part, str))
        keys = {embodiment: tables.get(table, {}) for embodiment, tables in TABLES.items()}
        if table == "sockets" and self.policy != POLICY.default:
            keys = {embodiment: of_sockets | LINUX for embodiment, of_sockets in keys.items()}
        found = self.tables.get(table, ()) if found is None else found
        plain = _as_plain(found)
        checked = plain.rows(keys[self.embodiment]) if plain is not None else None
        if checked is not None:
            yield from checked
            return
        if isinstance(found, PlainRows):
            found = self._in_general(*path)
        if not isinstance(found, list | tuple) or not all(isinstance(row, dict) for row in found):
            self.fail(*path, problem=f"no list of tables: write [[{table}]] above the keys of each row")
        for number, row in enumerate(found):
            if row.keys() - keys[self.embodiment].keys():
                self.refuse_unknown(row, keys, *path, number)
            values = {}
            for name, key in keys[self.embodiment].items():
                if name in row:
                    values[name] = self.value(key, row[name], *path, number, name)
                elif key.default is ...:
                    self.fail(*path, number, name, problem=f"missing: each [[{table}]] has one")
                else:
                    values[name] = key.default
            yield values


def _as_plain(found: object) -> PlainRows | None:
    """Return the rows of a table, for their values to be checked a column at a time; None if these are no rows."""
    return rows_of_dicts(found) if isinstance(found, list) else found if isinstance(found, PlainRows) else None


def _read_toml(text: str, name: str) -> dict[str, Any]:
    import tomli  # noqa: PLC0415 (rarely needed)

    try:
        return tomli.loads(text)
    except RecursionError:
        raise TableFileError(name, None, "", "it is nested too deeply for a table file") from None
    except ValueError as error:
        raise _syntax_error(text, name, str(error)) from None


def _syntax_error(text: str, name: str, message: str) -> TableFileError:
    place = re.search(r" \(at (?:line (\d+), column (\d+)|end of document)\)$", message)
    if place is None:
        return TableFileError(name, None, "", f"no TOML: {message}")
    problem = f"no TOML: {message[: place.start()]}"
    if place[1] is None:
        # Not splitlines(): TOML's lines end at no other character that Unicode calls a line's end.
        last = text.removesuffix("\n").count("\n") + 1
        return TableFileError(name, last, "", f"{problem}, where the file ends")
    return TableFileError(name, int(place[1]), "", f"{problem}, at column {place[2]}")


def written(path: Path) -> str:
    """Return a path as messages name it: ``sockets[0].port``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path).removeprefix(".")


def _line(text: str, path: Path) -> int | None:
    """Find the line of a key or, where it has none of its own, of the innermost ``[[header]]`` above it."""
    if '"""' in text or "'''" in text:
        return None  # what looks like a header may be a text
    lines = text.split("\n")
    start, end, line = 0, len(lines), None
    header: list[str] = []
    for part in path:
        if isinstance(part, str):
            quotes = "?" if re.fullmatch(r"[\w-]+", part) else ""
            header.append(f"[\"']{quotes}{re.escape(part)}[\"']{quotes}")
            continue
        pattern = re.compile(r"\s*\[\[\s*" + r"\s*\.\s*".join(header) + r"\s*\]\]")
        found = [number for number in range(start, end) if pattern.match(lines[number])]
        if part >= len(found):
            return line
        start, end = found[part] + 1, found[part + 1] if part + 1 < len(found) else end
        line = start
    if isinstance(path[-1], str):
        key = re.compile(r"\s*" + header[-1] + r"\s*[=.]")
        table = re.compile(r"\s*\[\[?\s*" + r"\s*\.\s*".join(header) + r"\s*[].]")
        in_row = True
        for number in range(start, end):
            if (in_row and key.match(lines[number])) or table.match(lines[number]):
                return number + 1
            in_row = in_row and not lines[number].lstrip().startswith("[")
    return line
