from array import array

import numpy as np
from numpy.typing import NDArray

from vnasfast.errors import VnasError
from vnasfast.tables.tables import Tables

def bind_many(
    tables: Tables,
    pids: NDArray[np.int32] | array[int],
    protocols: NDArray[np.uint8] | array[int],
    ports: NDArray[np.uint16] | array[int],
    addresses: NDArray[np.uint8] | memoryview,
    v6only: bool,
    sharing: bool,
    freebind: bool,
    sockets: NDArray[np.int32] | array[int],
) -> tuple[int, VnasError] | None: ...
def close_many(tables: Tables, sockets: NDArray[np.int32]) -> None: ...
