import numpy as np
from numpy.typing import NDArray

from vnasfast.errors import VnasError
from vnasfast.tables.tables import Tables

def bind_many(
    tables: Tables,
    pids: NDArray[np.int32],
    protocols: NDArray[np.uint8],
    ports: NDArray[np.uint16],
    addresses: NDArray[np.uint8],
    v6only: bool,
    sharing: bool,
    freebind: bool,
    sockets: NDArray[np.int32],
) -> tuple[int, VnasError] | None: ...
def close_many(tables: Tables, sockets: NDArray[np.int32]) -> None: ...
