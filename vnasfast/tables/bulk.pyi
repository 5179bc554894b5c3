import numpy as np
from numpy.typing import NDArray

from vnasfast.errors import VnasError
from vnasfast.tables.tables import Tables

def bind_many(
    tables: Tables,
    pids: NDArray[np.int32] | memoryview,
    protocols: NDArray[np.uint8] | memoryview,
    ports: NDArray[np.uint16] | memoryview,
    addresses: NDArray[np.uint8] | memoryview,
    v6only: bool,
    sharing: bool,
    freebind: bool,
    sockets: NDArray[np.int32] | memoryview,
) -> tuple[int, VnasError] | None: ...
def close_many(tables: Tables, sockets: NDArray[np.int32]) -> None: ...
