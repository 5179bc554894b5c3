from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
from typing_extensions import Buffer

_Integers: TypeAlias = Sequence[int] | npt.NDArray[np.integer[Any]]

def parse_frames(
    buffer: Buffer,
    offsets: _Integers,
    lengths: _Integers,
    link_type: int,
    *,
    wire_lengths: _Integers | None = None,
    out: npt.NDArray[np.void] | None = None,
) -> npt.NDArray[np.void]: ...
def parse_frame(
    frame: Buffer, link_type: int = 1, *, wire_length: int | None = None
) -> npt.NDArray[np.void]: ...
def parse_plain(
    buffer: Buffer, offsets: _Integers, lengths: _Integers, link_type: int
) -> tuple[
    npt.NDArray[np.void], npt.NDArray[np.int64], npt.NDArray[np.void], npt.NDArray[np.int64], npt.NDArray[np.int64]
]: ...
def link_is_known(link_type: int) -> bool: ...
