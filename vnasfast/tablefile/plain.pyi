from typing import Any, final

from vnasfast.tablefile.keys import Key

@final
class Column:
    values: list[Any]
    def packed(self, size: int) -> memoryview: ...

@final
class PlainRows:
    def columns(self, keys: dict[str, Key]) -> dict[str, Column] | None: ...
    def rows(self, keys: dict[str, Key]) -> list[dict[str, Any]] | None: ...

def read_plain(text: str) -> dict[str, Any] | None: ...
