"""An instance is of one network namespace: who uses it from another is told so, and nothing is changed."""

import subprocess

import pytest
from rule_world import BLUE4, NEEDS_KERNEL, World, tables

pytestmark = NEEDS_KERNEL


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


def from_clients(world, *arguments):
    """Run vnasfast where the clients are, for the instance of the servers."""
    there = world.servers
    world.servers = world.clients
    try:
        return world.vnasfast(*arguments)
    finally:
        world.servers = there


def test_from_another_namespace_only_the_status_is_shown(world):
    world.up()
    world.serve("blue", "tcp:0.0.0.0:80")
    path = world.folder / "cli.toml"
    path.write_text(tables().replace('"srv"', '"cli"'))
    before = world.among_clients("ip", "-br", "addr").stdout
    for arguments in (
        ("up", path),
        ("reload", path),
        ("check", path),
        ("down",),
        ("run", "--vnas", "blue", "--", "true"),
        ("attach", "--vnas", "blue", "--pid", "1"),
        ("addr", "add", "10.77.0.50/24", "dev", "cli", "--vnas", "blue"),
        ("addr", "del", BLUE4, "--vnas", "blue"),
    ):
        made = from_clients(world, *arguments)
        assert (made.returncode, made.stdout) == (2, "")
        assert made.stderr.startswith(f"Error: instance '{world.instance}' is up in another network namespace: enter")
    assert "1 blue" in from_clients(world, "status").stdout
    assert world.among_clients("ip", "-br", "addr").stdout == before
    assert world.ask_tcp(BLUE4, 80)[0] == "blue"
    assert world.up() == ""


def test_what_a_namespace_that_is_gone_left_is_removed(world):
    world.up()
    path = world.folder / "tables.toml"
    subprocess.run(["ip", "netns", "del", world.servers], check=True)
    for _ in range(100):  # the kernel takes a namespace apart a little later
        made = from_clients(world, "up", path)
        if "is gone" in made.stderr:
            break
    gone = f"Error: the network namespace of instance '{world.instance}' is gone: vnasfast down removes what is left"
    assert made.stderr.startswith(gone), made.stderr
    assert from_clients(world, "down").returncode == 0
    assert "is not up here" in from_clients(world, "status").stderr
