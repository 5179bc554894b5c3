"""What there is to know of the processes that hold sockets."""

import contextlib
import os
import re
from collections.abc import Iterable
from typing import NamedTuple

from vnasfast.host.mounts import mounts

#: A container's ID in a cgroup's path, as Docker, podman, containerd, CRI-O and Kubernetes write it.
_CONTAINER = re.compile(r"(?<![0-9a-f])([0-9a-f]{64})(?![0-9a-f])")
#: A container's name there, as LXC, LXD and systemd-nspawn write it.
_NAMED_CONTAINER = re.compile(r"/(?:lxc(?:\.payload)?[./]|machine\.slice/machine-)([^/]+?)(?:\.scope)?(?:/|$)")


class Process(NamedTuple):
    """A process that holds a socket.

    Attributes
    ----------
    pid : int
    name : str
        As ``ps`` shows it, of at most 15 characters.
    parent : int
        PID of the parent; 0: none in this PID namespace.
    uid : int
        The user whose rights it has; -1: not known.
    executable : str
        Path of the program; empty if it is not for us to see.
    cgroup : str
        Path of its cgroup v2, or without one of systemd's; empty if it is not for us to see.
    container : str
        ID or name of its container; empty outside.
    netns : int
        Inode of its network namespace; 0 if it is not for us to see.
    """

    pid: int
    name: str
    parent: int
    uid: int
    executable: str
    cgroup: str
    container: str
    netns: int


def read_processes(pids: Iterable[int]) -> dict[int, Process]:
    """Read what ``/proc`` says of processes; those that have ended are left out."""
    found = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            found[pid] = _read_process(pid)
    return found


def _read_process(pid: int) -> Process:
    status = dict(line.split(":", 1) for line in _read(f"/proc/{pid}/status").split("\n") if ":" in line)
    cgroups = ""
    executable, netns = "", 0
    with contextlib.suppress(OSError):
        cgroups = _read(f"/proc/{pid}/cgroup")
    with contextlib.suppress(OSError):
        # A program that was replaced by a newer one is still the same program.
        executable = os.readlink(f"/proc/{pid}/exe").removesuffix(" (deleted)")
    with contextlib.suppress(OSError):
        netns = os.stat(f"/proc/{pid}/ns/net").st_ino
    return Process(
        pid,
        status.get("Name", "?").strip(),
        int(status.get("PPid", "0")),
        int(status["Uid"].split()[1]) if "Uid" in status else -1,
        executable,
        cgroup_of(cgroups),
        container_of(cgroups),
        netns,
    )


def cgroup_of(lines: str) -> str:
    """Pick the path of the cgroup from ``/proc/PID/cgroup``: that of v2, or where that one is not in use, systemd's."""
    paths = {}
    for line in lines.splitlines():
        _number, controllers, path = line.split(":", 2)
        paths[controllers] = path
    unified, systemd = paths.get("", ""), paths.get("name=systemd", "")
    return systemd if unified in ("", "/") and systemd else unified


def container_of(lines: str) -> str:
    """Pick the ID or name of the container from ``/proc/PID/cgroup``."""
    ids = _CONTAINER.findall(lines)
    if ids:
        return str(ids[-1])
    named = _NAMED_CONTAINER.search(lines)
    return named[1] if named is not None else ""


def cgroup_paths() -> dict[int, str]:
    """Map the ID of each cgroup v2 that can be seen to its path, from wherever it is mounted."""
    root = next((mount.path for mount in mounts() if mount.kind == "cgroup2"), None)
    paths: dict[int, str] = {}
    if root is None:
        return paths
    for folder, _folders, _files in os.walk(root):
        with contextlib.suppress(OSError):
            paths[os.stat(folder).st_ino] = folder.removeprefix(root) or "/"
    return paths


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()
