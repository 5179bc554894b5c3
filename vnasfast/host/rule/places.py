"""Where things are on this machine: cgroup v2, the BPF file system, our folders in both."""

import contextlib
import ctypes
import errno
import os
import re
import socket
import struct
from pathlib import Path

from vnasfast.errors import InvalidValue, RuleError

#: Of the folder with programs that the wheel carries.
OBJECT = Path(__file__).parent / "rule.bpf.o"

_BPF_HOME = "/sys/fs/bpf"
_NETNS_COOKIE = 71  # SO_NETNS_COOKIE
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}")
_OCTAL = re.compile(r"\\([0-7]{3})")


def mounts(kind: str) -> list[Path]:
    """List where file systems of a kind are mounted."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, _, after = line.partition(" - ")
        if after.split()[0] == kind:
            place = before.split()[4]
            found.append(Path(_OCTAL.sub(lambda match: chr(int(match[1], 8)), place)))
    return found


def cgroup2() -> Path:
    """Find cgroup v2, which may be mounted beside v1."""
    found = mounts("cgroup2")
    if not found:
        problem = (
            "cgroup v2 is not mounted here: mount -t cgroup2 none /sys/fs/cgroup; 'ip netns exec' hides it,"
            " 'nsenter --net=/run/netns/NAME' does not"
        )
        raise RuleError(errno.ENOENT, problem)
    return found[0]


def mount_bpf_file_system() -> None:
    """Mount the BPF file system if it is not there."""
    if Path(_BPF_HOME) in mounts("bpf"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mount(b"bpf", _BPF_HOME.encode(), b"bpf", 0, b"mode=0700"):
        code = ctypes.get_errno()
        hint = f"can't mount the BPF file system: {os.strerror(code)}: mount -t bpf bpf {_BPF_HOME}"
        raise RuleError(code, hint)


def netns_cookie() -> int:
    """Say which network namespace this is, in the kernel's number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        cookie: int = struct.unpack("=Q", probe.getsockopt(socket.SOL_SOCKET, _NETNS_COOKIE, 8))[0]
        return cookie


def is_plain(name: str) -> bool:
    """Tell whether a name can be a folder's as it is."""
    return _NAME.fullmatch(name) is not None


class Places:
    """The folders of one instance; each network namespace can have its own instance."""

    def __init__(self, instance: str) -> None:
        if not is_plain(instance):
            raise InvalidValue(f"{instance!r} can't name an instance: use letters, digits, '_', '-' and '.'")
        self.instance = instance
        self.pins = Path(_BPF_HOME) / "vnasfast" / instance
        self.maps = self.pins / "maps"
        self.programs = self.pins / "programs"
        self.links = self.pins / "links"
        self.new = self.pins / "new"
        """Programs that are being loaded; what is there otherwise is of a process that was killed."""
        self.cgroup = cgroup2() / "vnasfast" / instance
        self.run = Path("/run/vnasfast") / instance
        self.state = self.run / "state.json"

    def exists(self) -> bool:
        """Tell whether the instance is up."""
        return self.links.is_dir()

    def make(self) -> None:
        """Make the folders that are missing."""
        mount_bpf_file_system()
        for folder in (self.maps, self.programs, self.links, self.run, self.cgroup):
            folder.mkdir(parents=True, exist_ok=True)

    def remove(self) -> None:
        """Remove the folders, and those above if nothing else is in them."""
        for folder in (self.maps, self.programs, self.links, self.new):
            if folder.is_dir():
                for pin in folder.iterdir():
                    pin.unlink()
                folder.rmdir()
        if self.run.is_dir():
            for file in self.run.iterdir():
                file.unlink()
        for folder in (self.pins, self.run, self.cgroup):
            for place in (folder, folder.parent):
                with contextlib.suppress(OSError):  # not empty, or gone
                    place.rmdir()
