from collections.abc import Iterable
from typing import Any

from numpy.typing import NDArray

def dump_sockets(netlink: int, protocols: Iterable[int], netns: int = 0) -> tuple[NDArray[Any], list[int]]: ...
def struct_size() -> int: ...
