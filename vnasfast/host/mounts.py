"""The mount table."""

import re
from collections.abc import Iterator
from typing import NamedTuple


class Mount(NamedTuple):
    """A mount.

    Attributes
    ----------
    root : str
        What of the file system is mounted: ``/``, or for a namespace such as ``net:[4026532008]``.
    path : str
        Where.
    kind : str
        The file system: ``cgroup2``, ``nsfs``, …
    """

    root: str
    path: str
    kind: str


def mounts() -> Iterator[Mount]:
    """Read the mount table of this process; nothing if there is no ``/proc``."""
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return
    for line in lines:
        # ID, parent, device, root, path, options, any number of fields, "-", kind, source, options
        before, _, after = line.partition(" - ")
        fields = before.split(" ")
        yield Mount(_plain(fields[3]), _plain(fields[4]), after.partition(" ")[0])


def _plain(text: str) -> str:
    """Take back the kernel's escapes of blanks, tabs, line ends and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda escape: chr(int(escape[1], 8)), text)
