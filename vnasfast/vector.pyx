"""Which vector instructions the hot loops use: the best that the machine has, or what VNASFAST_VECTOR says.

Attributes
----------
name : str
    The path in use: ``portable`` or ``avx2``.
best : str
    The fastest that this machine can run.
paths : tuple of str
    Those that this machine can run.
"""

import os

from vnasfast.errors import InvalidValue

cdef tuple NAMES = ("portable", "avx2")

paths = NAMES[: best_vector() + 1]
best = NAMES[best_vector()]


cdef int chosen() except -1:
    wanted = os.environ.get("VNASFAST_VECTOR") or best
    if wanted not in paths:
        raise InvalidValue(f"VNASFAST_VECTOR is {wanted!r}: this machine can run {' and '.join(paths)}; unset it for the best")
    return NAMES.index(wanted)


vector_path = chosen()
name = NAMES[vector_path]
