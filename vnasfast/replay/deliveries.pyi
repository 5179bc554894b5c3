from typing import Protocol

from typing_extensions import Buffer, disjoint_base

class _File(Protocol):
    @property
    def name(self) -> object: ...
    def write(self, rows: Buffer, /) -> int | None: ...

HEADER: str

@disjoint_base
class DeliveryWriter:
    def __init__(self, file: _File) -> None: ...
    def flush(self) -> None: ...
