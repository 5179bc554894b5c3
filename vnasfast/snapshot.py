"""Snapshot: the tables of a machine, frozen."""

import os
import pickle
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, NoReturn, Self

from vnasfast.errors import FrozenError, InvalidValue, SnapshotError
from vnasfast.files import replacing
from vnasfast.parse.fragments import FragmentTable
from vnasfast.tables.image import Image
from vnasfast.tables.snapshot import freeze_tables, open_tables
from vnasfast.values import MOST, checked
from vnasfast.views import TableViews

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: What a machine does and a snapshot does not.
_CHANGES = {
    "fork": "fork",
    "vnas_start": "start a process",
    "exit": "let a process exit",
    "validate": "validate an address",
    "invalidate": "invalidate an address",
    "bind": "bind",
    "bind_many": "bind",
    "close": "close a socket",
    "connect": "connect a socket",
    "set_kernel_secrets": "set secrets",
    "close_many": "close sockets",
    "set_route": "set a route",
    "remove_route": "remove a route",
}


class Snapshot(TableViews):
    """The tables of a `ServerMachine` as they were when it was frozen: they dispatch as it did, and never change.

    Made by `ServerMachine.freeze`, by `open` from a file that `save` wrote, or by pickle. Ports are shared by the
    machine's own hash: the same flow reaches the same socket.

    Attributes
    ----------
    names : mapping of int to str
        VNAS ID → a name for reports.

    Notes
    -----
    A snapshot counts what it dispatches, from zero, in memory of its own: what the machine had counted is not in it,
    and each process that opens or unpickles one has counts of its own, which are not saved. It remembers first
    fragments for itself too.

    As with pickles, open snapshots only of whom you trust: damage is found, malice is not.
    """

    names: Mapping[int, str]

    def __init__(self, image: Image, name: str = "<memory>") -> None:
        tables = open_tables(image, name)
        super().__init__(tables, FragmentTable())
        self._image = image
        self.names = MappingProxyType(tables.names)

    @classmethod
    def of(cls, machine: TableViews) -> Self:
        """Freeze the tables of a machine. Other threads may dispatch meanwhile."""
        for vnas, name in machine.names.items():
            checked(vnas, "VNAS ID", 0, MOST)
            if not isinstance(name, str):
                raise InvalidValue(f"VNAS {vnas} has the name {name!r}: it must be a text")
        return cls(freeze_tables(machine.tables, machine.names))

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> Self:
        """Map a file that `save` wrote, to read only: all processes that open it share its memory.

        Raises
        ------
        SnapshotError
            The file is no snapshot, is damaged, or was written by another version of vnasfast.
        OSError
        """
        name = os.fspath(path)
        with open(path, "rb") as file:
            n_bytes = os.fstat(file.fileno()).st_size
            if n_bytes == 0:
                raise SnapshotError(name, "the file is empty: copy it again, or save the snapshot again")
            return cls(Image(n_bytes, file.fileno()), name)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the snapshot to a file, in place of what it held, at once or not at all.

        Whoever has the old file open keeps the old tables. The file has holes where the tables are zero, so that it
        takes less room than its size tells.

        Raises
        ------
        OSError
        """
        view = self._image.view()
        with replacing(path) as file:
            for begin, end in self._image.extents():
                file.seek(begin)
                file.write(view[begin:end])
            file.truncate(len(view))

    def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
        view = self._image.view()
        buffered = isinstance(protocol, int) and protocol >= 5
        pieces = [
            (begin, pickle.PickleBuffer(view[begin:end]) if buffered else bytes(view[begin:end]))
            for begin, end in self._image.extents()
        ]
        return self._of_pieces, (len(view), pieces)

    @classmethod
    def _of_pieces(cls, n_bytes: int, pieces: "Iterable[tuple[int, Buffer]]") -> Self:
        return cls(Image.of_pieces(n_bytes, pieces), "<pickle>")

    def __getattr__(self, name: str) -> NoReturn:
        if name in _CHANGES:
            raise FrozenError(_CHANGES[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
