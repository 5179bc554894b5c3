import builtins
from typing import NamedTuple

from typing_extensions import disjoint_base

class Miss(NamedTuple):
    destination: builtins.bytes
    vlan: int
    protocol: int
    n_ports: int
    port: int
    link_type: int
    ethertype: int
    packets: int
    bytes: int

@disjoint_base
class MissTable:
    def __init__(self, seed: int | None = None, *, max_rows: int = ...) -> None: ...
    def __len__(self) -> int: ...
    def offenders(self, outcome: int, top: int) -> tuple[list[Miss], int, tuple[int, int]]: ...
    def without_ports(self) -> MissTable: ...
    def beyond(self, outcome: int) -> tuple[int, int]: ...
    def add(self, destination: builtins.bytes, outcome: int, *, port: int = 0, n_bytes: int = 0) -> None: ...
