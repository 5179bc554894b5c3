from collections.abc import Sequence
from typing import Any

from vnasfast.tablefile.keys import Key

def read_plain(text: str) -> dict[str, Any] | None: ...
def columns_of(rows: Sequence[object], keys: dict[str, Key]) -> dict[str, list[Any]] | None: ...
