"""Before Linux 6.6 an interface's ingress has filters and no links: the same, with what differs."""

import sys

import pytest
from rule_world import BLUE4, BLUE6B, NEEDS_KERNEL, World, tables

pytestmark = NEEDS_KERNEL

_OLDER = """
from vnasfast.host.rule import engine
engine.WITH_TCX = (99, 0)
from vnasfast.commands import run
run("vnasfast")
"""


@pytest.fixture
def world(tmp_path):
    """What is up as on an older kernel."""
    with World(tmp_path) as world:
        path = tmp_path / "tables.toml"
        path.write_text(tables())
        made = world.among_servers(sys.executable, "-c", _OLDER, "up", path, env=world.environment)
        assert made.returncode == 0, made.stderr
        assert ingress(world)
        yield world


def ingress(world):
    return "vnas_enter" in world.among_servers("tc", "filter", "show", "dev", "srv", "ingress").stdout


@pytest.mark.parametrize("address", [BLUE4, BLUE6B])
def test_udp_sockets_enter_with_the_first_packet(world, address):
    world.serve("blue", "udp:0.0.0.0:53", "udp:[::]:53:v6only")
    assert world.ask_udp(address, 53)[::3] == ["blue", address]


def test_a_newer_kernel_s_up_and_down_take_the_filters_over(world):
    world.serve("blue", "udp:0.0.0.0:53")
    assert world.up() == ""
    assert world.ask_udp(BLUE4, 53)[0] == "blue"
    assert world.vnasfast("down").returncode == 0
    assert "clsact" not in world.among_servers("tc", "qdisc", "show", "dev", "srv").stdout


def test_down_leaves_the_filters_of_others(world):
    program = f"/sys/fs/bpf/vnasfast/{world.instance}/programs/vnas_enter"
    others = ("tc", "filter", "add", "dev", "srv", "egress", "bpf", "direct-action", "object-pinned", program)
    made = world.among_servers(*others)
    assert made.returncode == 0, made.stderr
    assert world.vnasfast("down").returncode == 0
    assert "vnas_enter" in world.among_servers("tc", "filter", "show", "dev", "srv", "egress").stdout
    assert not ingress(world)
