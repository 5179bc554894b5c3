from collections.abc import Mapping
from typing import TypeAlias

from vnasfast.tables.tables import Tables

KERNELS: dict[str, int]

_LinuxRow: TypeAlias = tuple[
    bytes, bool, bool, str | None, bool, int, bool, bytes | None, int, int, int, int, bool, int
]

def rule_as_linux(tables: Tables, policy: str) -> None: ...
def set_secrets(tables: Tables, secrets: Mapping[str, int | tuple[int, int]]) -> None: ...
def policy_of(tables: Tables) -> str: ...
def bind_linux(
    tables: Tables,
    pid: int,
    protocol: int,
    port: int,
    address: bytes,
    v6only: bool,
    sharing: bool,
    freebind: bool,
    *,
    device: str | None = None,
    mapped: bool = False,
    uid: int = 0,
    reuseaddr: bool = False,
    peer: tuple[bytes, int] | None = None,
    anyway: bool = False,
) -> int: ...
def connect_linux(
    tables: Tables, socket: int, address: bytes | None, peer: bytes, peer_port: int
) -> None: ...
def linux_rows(tables: Tables) -> dict[int, _LinuxRow]: ...
def restore_linux(
    tables: Tables, histories: list[tuple[int, int, int, int | None, int, bool]]
) -> None: ...
