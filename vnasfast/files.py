"""Files written at once or not at all."""

import contextlib
import os
import stat
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Open a file to write what it is to hold: that replaces what it held at the end of the block, or not at all.

    A file that is there keeps its permissions, and a link stays a link. What is no regular file, such as
    a terminal, is written to directly.
    """
    target = os.path.realpath(path)
    if os.path.exists(target) and not os.path.isfile(target):
        with open(target, "wb") as file:
            yield file
        return
    temporary = os.path.join(os.path.dirname(target), f".vnasfast-{os.urandom(8).hex()}")
    try:
        with open(temporary, "xb") as file:
            yield file
            if os.path.exists(target):
                os.fchmod(file.fileno(), stat.S_IMODE(os.stat(target).st_mode))
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # the person knows the file's name, not the temporary one's
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
