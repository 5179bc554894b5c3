"""What setup.py needs to know of the kernel's part: compile the BPF programs, and link the loader to libbpf.

Without clang or libbpf's headers the rest of vnasfast is built, and one line says what is left out. setup.py runs this
file by its path, as the package can't be imported before it is compiled.
"""

import os
import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

HERE = Path("vnasfast/host/rule")
LOADER = HERE / "loader.pyx"
SOURCES = HERE / "bpf"
OBJECT = HERE / "rule.bpf.o"
#: v3: the instructions of Linux 5.1. Else clang's version decides, and on older ones the verifier of Linux 6.18 fails.
FLAGS = ("-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror")
INSTALL = "apt-get install clang libbpf-dev"


def missing() -> list[str]:
    """Name what is not installed."""
    needs = [] if _is_compiled() or shutil.which("clang") else ["clang"]
    compiler = (os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc").split()
    found = subprocess.run(  # noqa: S603 (the compiler that setuptools will use)
        [*compiler, "-E", "-"], input="#include <bpf/libbpf.h>\n", text=True, capture_output=True, check=False
    )
    if found.returncode:
        needs.append("libbpf-dev")
    return needs


def _is_compiled() -> bool:
    """Tell whether the programs are there, as in a source distribution."""
    newest = max((path.stat().st_mtime for path in SOURCES.glob("*")), default=0.0)
    return OBJECT.exists() and OBJECT.stat().st_mtime >= newest


def options() -> dict[Path, dict[str, Any] | None]:
    """Compile the programs if need be; say how to build the loader: None without what it needs."""
    needs = missing()
    if needs:
        OBJECT.unlink(missing_ok=True)
        print(f"built without 'vnasfast up', for want of {' and '.join(needs)}: {INSTALL}")
        return {LOADER: None}
    sources = sorted(SOURCES.iterdir())
    if not _is_compiled():
        architecture = sysconfig.get_config_var("MULTIARCH") or ""
        subprocess.run(  # noqa: S603
            [
                *("clang", *FLAGS, f"-I/usr/include/{architecture}"),
                *("-c", str(SOURCES / "rule.bpf.c"), "-o", str(OBJECT)),
            ],
            check=True,
        )
    return {LOADER: {"libraries": ["bpf"], "depends": [*map(str, sources), str(HERE / "loader.h")]}}
