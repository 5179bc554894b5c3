from typing import Any

from numpy.typing import NDArray

def find_holders() -> tuple[NDArray[Any], int, int]: ...
