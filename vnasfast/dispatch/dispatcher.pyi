from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Buffer, disjoint_base

from vnasfast.dispatch.delivery import Delivery
from vnasfast.parse.fragments import FragmentTable
from vnasfast.tables.tables import Tables

@disjoint_base
class Dispatcher:
    @property
    def tables(self) -> Tables: ...
    @property
    def fragments(self) -> FragmentTable: ...
    def __init__(self, tables: Tables, fragments: FragmentTable) -> None: ...
    def dispatch(
        self,
        frame: object,
        link_type: int | None = None,
        *,
        source_pid: int = 0,
        time_ns: int = 0,
        wire_length: int | None = None,
        count: bool = True,
    ) -> Delivery: ...
    def dispatch_id(
        self,
        frame: object,
        link_type: int | None = None,
        *,
        source_pid: int = 0,
        time_ns: int = 0,
        wire_length: int | None = None,
        count: bool = True,
    ) -> int: ...
    def dispatch_batch(
        self,
        keys: NDArray[Any],
        *,
        wire_lengths: ArrayLike | None = None,
        times_ns: ArrayLike | None = None,
        out: NDArray[np.int32] | None = None,
        count: bool = True,
    ) -> NDArray[np.int32]: ...
    def dispatch_frames(
        self,
        buffer: Buffer,
        offsets: ArrayLike,
        lengths: ArrayLike,
        link_type: int = 1,
        *,
        wire_lengths: ArrayLike | None = None,
        times_ns: ArrayLike | None = None,
        out: NDArray[np.int32] | None = None,
        count: bool = True,
    ) -> NDArray[np.int32]: ...
