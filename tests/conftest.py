"""What several test modules use."""

import signal
from ipaddress import IPv4Address

import checkers
import dpkt
import pytest
from host_fixtures import own_cgroup, small_host  # noqa: F401 (fixtures)

# Whoever starts the tests in the background may have SIGINT ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Comparisons made in the tests' own modules explain themselves as those of the tests do.
pytest.register_assert_rewrite("pair")


def pytest_collection_finish(session):
    if not session.config.option.collectonly:
        for item in session.items:
            if item.path.name == "test_quality.py":
                checkers.start(item.callspec.params["command"])


def pytest_sessionfinish():
    checkers.stop()


@pytest.fixture(scope="session")
def ethernet_frame():
    """Give a maker of 60-byte Ethernet frames that hold one UDP packet."""

    def make(destination, port=53, source="192.0.2.9", source_port=40000):
        udp = dpkt.udp.UDP(sport=source_port, dport=port, data=b"x" * 18, ulen=26)
        ip = dpkt.ip.IP(src=IPv4Address(source).packed, dst=IPv4Address(destination).packed, p=17, data=udp, len=46)
        return bytes(dpkt.ethernet.Ethernet(src=b"\2" * 6, dst=b"\4" * 6, type=0x800, data=ip))

    return make
