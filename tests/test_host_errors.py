"""What a machine does not give, and what is said then; kernels that lack something are played by seccomp filters."""

import errno
import json
import platform
import socket

import pytest
from seccomp import AF_NETLINK, PIDFD_GETFD, PIDFD_OPEN, SOCKET, run_without

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system calls are numbered as on x86-64")


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


@pytest.mark.parametrize("code", [errno.EAFNOSUPPORT, errno.EPROTONOSUPPORT, errno.EPERM])
@pytest.mark.parametrize("arguments", [["host"], ["who", "127.0.0.1:1", "127.0.0.1:2"]], ids=lambda a: a[0])
def test_without_netlink(code, arguments):
    returned, out, err = run_without(SOCKET, code, *arguments, first=AF_NETLINK)
    assert (returned, out) == (2, "")
    assert err.startswith("Error: ")
    assert "netlink" in err
    assert len(err.splitlines()) == 1
    if code == errno.EPROTONOSUPPORT:
        assert "this kernel has no such netlink" in err


@pytest.mark.parametrize("call", [PIDFD_OPEN, PIDFD_GETFD])
def test_a_kernel_that_can_not_be_asked_for_options(listener, call):
    returned, out, err = run_without(call, errno.ENOSYS, "host", "--json")
    assert (returned, err) == (0, "")
    report = json.loads(out)
    (row,) = [row for row in report["sockets"] if row["local_port"] == listener.getsockname()[1]]
    assert row["reuseport"] is None
    assert row["pids"]
    (line,) = [line for line in report["unseen"] if "SO_REUSEPORT" in line]
    assert "Linux 5.6" in line


@pytest.mark.parametrize("call", [PIDFD_OPEN, PIDFD_GETFD])
def test_no_right_to_ask_for_options(listener, call):
    returned, out, err = run_without(call, errno.EPERM, "host", "--json")
    assert (returned, err) == (0, "")
    (line,) = [line for line in json.loads(out)["unseen"] if "SO_REUSEPORT" in line]
    assert "run as root" in line
