from typing import Protocol

from typing_extensions import Buffer

class _File(Protocol):
    @property
    def name(self) -> object: ...
    def write(self, rows: Buffer, /) -> int | None: ...

HEADER: str

class DeliveryWriter:
    def __init__(self, file: _File) -> None: ...
    def flush(self) -> None: ...
