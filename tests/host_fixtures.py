"""A network namespace with known sockets, for the tests of host."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent


def cgroup_root():
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return next((line.split()[4] for line in mounts if " - cgroup2 " in line), None)


@pytest.fixture(scope="session")
def own_cgroup():
    """The path of a cgroup v2 of our own; empty where there can be none."""
    root = cgroup_root()
    path = Path(root, f"vnasfast-test-{os.getpid()}") if root else None
    with contextlib.suppress(OSError):
        path.mkdir()
    yield str(path) if path and path.exists() else ""
    if path and path.exists():
        path.rmdir()


@pytest.fixture(scope="session")
def small_host(own_cgroup):
    """What the process of small_host.py says it has bound; it waits until the tests end."""
    if os.geteuid() != 0:
        pytest.skip("needs root: makes a network namespace, and sockets of several users in it")
    if not (shutil.which("ip") and shutil.which("nsenter")):
        pytest.skip("needs ip and nsenter: apt-get install iproute2 util-linux")
    with subprocess.Popen(
        [sys.executable, str(TESTS / "small_host.py"), own_cgroup], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        line = process.stdout.readline()
        if not line:
            process.stdin.close()
            pytest.skip(f"no network namespace with veth can be made here: small_host.py ended with {process.wait()}")
        yield json.loads(line)
        process.stdin.close()
