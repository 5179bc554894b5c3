"""What the kernel and this process must have, named in the error with what to do."""

import errno
import gzip
import os
import platform
import re
from pathlib import Path
from typing import NoReturn

from vnasfast.errors import RuleError
from vnasfast.host.rule.places import OBJECT

OLDEST = (6, 1)
#: Kernel options → what they are needed for.
OPTIONS = {
    "BPF_SYSCALL": "programs and maps",
    "BPF_JIT": "programs that call programs",
    "CGROUP_BPF": "programs of a cgroup",
    "DEBUG_INFO_BTF": "one object for all kernels",
    "NET_SCH_INGRESS": "the program at an interface's ingress",
    "NET_CLS_BPF": "the program at an interface's ingress",
    "INET": "the table of sockets",
}
_CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN", 38: "CAP_PERFMON", 39: "CAP_BPF"}


def needs(problem: str) -> NoReturn:
    """Raise the error of a package that was built without libbpf, or runs without it."""
    if OBJECT.exists():
        what = f"libbpf can't be loaded ({problem}): apt-get install libbpf1, then again"
    else:
        what = (
            "vnasfast was built without the kernel's part: apt-get install clang libbpf-dev, then"
            " pip install --force-reinstall --no-deps --no-cache-dir vnasfast (in a checkout: pip install -e .)"
        )
    raise RuleError(errno.ENOSYS, what)


def kernel() -> tuple[int, int]:
    """Say the kernel's version; where its name has none, one that is new enough."""
    version = re.match(r"(\d+)\.(\d+)", platform.release())
    return (int(version[1]), int(version[2])) if version else OLDEST


def check() -> None:
    """Refuse what can't work, before anything is changed."""
    release = platform.release()
    if kernel() < OLDEST:
        raise RuleError(errno.ENOSYS, f"the kernel is {release}; 6.1 or later is needed")
    held = _capabilities()
    lacking = [name for bit, name in _CAPABILITIES.items() if not held >> bit & 1]
    if lacking:
        raise RuleError(errno.EPERM, f"this process lacks {', '.join(lacking)}: run it as root (sudo)")
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise RuleError(errno.ENOSYS, f"the kernel {release} has no BTF: it must be built with CONFIG_DEBUG_INFO_BTF=y")


def explain(error: RuleError) -> RuleError:
    """Add to what the kernel refused why it may have done so."""
    hints = []
    options = _options()
    hints += [f"CONFIG_{name} is not set ({use})" for name, use in OPTIONS.items() if options and name not in options]
    if error.errno == errno.EPERM:
        hints.append("kernel lockdown or a container may forbid BPF: see /sys/kernel/security/lockdown")
    said = [line for line in error.log.splitlines() if line and not line.startswith(("--", "processed"))]
    if not hints and said:
        hints.append(said[-1])
    return RuleError(error.errno or errno.EINVAL, "; ".join([str(error), *hints]), error.log)


def _capabilities() -> int:
    line = re.search(r"^CapEff:\s*([0-9a-f]+)$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(line[1], 16) if line else 0


def _options() -> set[str]:
    """Read which options the kernel was built with; empty if it does not say."""
    for path in (Path("/proc/config.gz"), Path(f"/boot/config-{os.uname().release}")):
        try:
            raw = path.read_bytes()
        except OSError:
            continue
        text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode(errors="replace")
        return set(re.findall(r"^CONFIG_(\w+)=[ym]$", text, re.MULTILINE))
    return set()
