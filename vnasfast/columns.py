"""Arrays that people hand in, one value a packet, checked before a loop without the GIL reads or writes them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4
from vnasfast.errors import InvalidValue


def column(values: ArrayLike, dtype: DTypeLike, name: str, n: int | None = None) -> NDArray[Any]:
    """Return a contiguous array of one dimension of an integer dtype; the array itself where it is that already.

    Parameters
    ----------
    values : array_like of int
    dtype : dtype
        What the loop reads.
    name : str
        For messages.
    n : int, optional
        How many values there must be.

    Raises
    ------
    InvalidValue
        Another shape, no integers, or a value outside the dtype.
    """
    array = np.asarray(values)
    if array.ndim != 1 or (n is not None and array.shape[0] != n):
        need = "one dimension" if n is None else f"one dimension and {n} values, one a packet"
        raise InvalidValue(f"{name} has shape {array.shape}: it must have {need}")
    if array.dtype != dtype and array.size:
        if array.dtype.kind not in "iu":
            raise InvalidValue(f"{name} has dtype {array.dtype}: it must hold integers ({np.dtype(dtype).name})")
        limits = np.iinfo(np.dtype(dtype))
        wrong = (array < limits.min) | (array > limits.max)
        if wrong.any():
            index = int(np.argmax(wrong))
            raise InvalidValue(f"{name}[{index}] is {array[index]}: it must fit {np.dtype(dtype).name}")
    return np.ascontiguousarray(array, dtype)


def key_array(keys: object, *dtypes: np.dtype[Any]) -> NDArray[Any]:
    """Return an array of keys of one of these dtypes, contiguous and of one dimension.

    Raises
    ------
    InvalidValue
        It is no such array.
    """
    if not isinstance(keys, np.ndarray) or keys.dtype not in dtypes or keys.ndim != 1:
        kinds = " or ".join({FLOW_KEY: "FLOW_KEY", FLOW_KEY_IPV4: "FLOW_KEY_IPV4"}[dtype] for dtype in dtypes)
        raise InvalidValue(
            f"keys must be a numpy array of {kinds} with one dimension: make it with flow_keys() or parse_frames()"
        )
    return np.ascontiguousarray(keys)


def output(out: NDArray[Any] | None, dtype: DTypeLike, n: int) -> NDArray[Any]:
    """Return the array that results go to: `out` where it fits, or a new one.

    Raises
    ------
    InvalidValue
        `out` has another dtype or shape, is not contiguous, or not writable.
    """
    if out is None:
        return np.empty(n, dtype)
    if not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != (n,):
        kind = "FLOW_KEY" if dtype == FLOW_KEY else np.dtype(dtype).name
        raise InvalidValue(f"out must be a numpy array of {n} {kind}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise InvalidValue("out must be contiguous and writable")
    return out
