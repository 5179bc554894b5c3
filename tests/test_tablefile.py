"""Table files: what a machine writes reads back as the same machine, in either embodiment."""

import contextlib
import os
import stat
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnasfast import InvalidValue, ServerMachine, VnasError, flow_keys

PCAPS = Path(__file__).parents[1] / "pcaps"
SEED = 7

ADDRESSES = ["10.0.0.1", "10.0.0.2", "::ffff:10.0.0.3", "fd00::1", "fd00::2", "127.0.0.1", "::1"]
ANY = ["ANY", "::", "0.0.0.0"]
NETWORKS = ["default", "10.0.0.0/8", "10.0.0.0/24", "0.0.0.0/0", "::/0", "fd00::/8", "::ffff:10.1.0.0/112"]
texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8) | st.sampled_from(
    ["eth0", "a\nb"]
)
# Of the processes that are there: the n-th, round and round; and PIDs to ask for.
pids = st.integers(0, 20)
new_pids = st.fixed_dictionaries({"pid": st.none() | st.integers(1, 12)})
vnases = st.sampled_from([0, 1, 2, 3, 2**31 - 1])
vlans = st.sampled_from([0, 0, 0, 1, 4095])

operations = st.one_of(
    st.tuples(st.just("fork"), pids, new_pids),
    st.tuples(st.just("vnas_start"), pids, vnases, new_pids),
    st.tuples(st.just("exit"), pids, st.just({})),
    st.tuples(
        st.just("validate"),
        pids,
        st.sampled_from(ADDRESSES),
        st.sampled_from(["eth0", "eth1"]) | texts,
        st.fixed_dictionaries({"vlan": vlans}),
    ),
    st.tuples(
        st.just("invalidate"), pids, st.sampled_from(ADDRESSES), st.fixed_dictionaries({"vlan": vlans})
    ),
    st.tuples(
        st.just("bind"),
        pids,
        st.sampled_from(["tcp", "udp", "sctp", "dccp", "udplite"]),
        st.sampled_from([80, 53, 65535]),
        st.sampled_from(ADDRESSES + 2 * ANY),
        st.fixed_dictionaries({option: st.booleans() for option in ("v6only", "sharing", "freebind")}),
    ),
    st.tuples(st.just("close"), st.integers(0, 8), st.just({})),
    st.tuples(st.just("set_route"), st.sampled_from(NETWORKS), texts, st.just({})),
    st.tuples(st.just("remove_route"), st.sampled_from(NETWORKS), st.just({})),
)


def unique(names: dict[int, str]) -> bool:
    return len(set(names.values())) == len(names)


@st.composite
def machines(draw: st.DrawFn) -> ServerMachine:
    machine = ServerMachine(seed=SEED)
    for vnas in (1, 2, 3):
        machine.vnas_start(1, vnas)
    for name, first, *arguments, options in draw(st.lists(operations, min_size=20, max_size=80)):
        alive = machine.processes
        if not name.endswith(("close", "_route")):
            first = alive[first % len(alive)].pid  # noqa: PLW2901
        with contextlib.suppress(VnasError):
            getattr(machine, name)(first, *arguments, **options)
    machine.names = draw(st.dictionaries(st.sampled_from([5, 0, 2**31 - 1]), texts).filter(unique))
    return machine


def views(machine: ServerMachine) -> tuple[object, ...]:
    """All that a file keeps; socket IDs and usage it does not."""
    return (
        machine.names,
        [row[:3] for row in machine.processes],
        machine.addresses,
        [row[1:-1] for row in machine.sockets],
        machine.routes,
        machine.any_tables,
        set(machine.usage_of_vnas()),
    )


def some_keys() -> np.ndarray:
    """Keys of every pair of addresses, protocol and port, on two VLANs."""
    rng = np.random.default_rng(1)
    everywhere = [str(ip_address(address)) for address in [*ADDRESSES, "10.9.9.9", "fd00::9"]]
    n = 2000
    return flow_keys(
        source=rng.choice(everywhere, n).tolist(),
        destination=rng.choice(everywhere, n).tolist(),
        source_port=rng.choice([80, 53, 4000], n),
        destination_port=rng.choice([80, 53, 65535, 9], n),
        protocol=rng.choice([6, 17, 132, 33, 136], n),
        vlan=rng.choice([0, 0, 0, 1], n),
        source_pid=rng.choice([0, 0, 1, 2, 3, 4], n),
    )


KEYS = some_keys()


def deliveries(machine: ServerMachine) -> np.ndarray:
    """What each key reaches: the place of its socket in order of registration, or the outcome."""
    sockets = machine.dispatch_batch(KEYS, count=False)
    place = {row.socket: number for number, row in enumerate(machine.sockets)}
    return np.array([place.get(socket, socket) for socket in sockets.tolist()])


@given(machines(), st.sampled_from([1, 2]))
def test_machine_to_text_to_machine(machine: ServerMachine, embodiment: int) -> None:
    text = machine.to_toml(embodiment=embodiment)
    again = ServerMachine.from_toml(text, seed=SEED)
    again.check()
    assert views(again) == views(machine)
    assert again.to_toml(embodiment=embodiment) == text
    assert again.to_toml(embodiment=3 - embodiment) == machine.to_toml(embodiment=3 - embodiment)


@given(machines())
def test_both_embodiments_dispatch_the_same(machine: ServerMachine) -> None:
    expected = deliveries(machine)
    for embodiment in (1, 2):
        again = ServerMachine.from_toml(machine.to_toml(embodiment=embodiment), seed=SEED)
        assert np.array_equal(deliveries(again), expected)


def test_the_keys_reach_something() -> None:
    machine = ServerMachine.from_toml(FIRST, seed=SEED)
    reached = deliveries(machine)
    assert (reached >= 0).sum() > 20
    assert (reached < 0).sum() > 50


FIRST = """\
# vnasfast tables
embodiment = 1

[[vnas]]
id = 1
name = "alpha \\"ß\\""

[[processes]]
pid = 101
vnas = 1

[[processes]]
pid = 102
vnas = 1
parent = 201

[[processes]]
pid = 201
vnas = 2

[[addresses]]
address = "10.0.0.1"
vnas = 1
interface = "eth0"

[[addresses]]
address = "10.0.0.2"
vnas = 2
interface = "eth0"
vlan = 1

[[addresses]]
address = "fd00::1"
vnas = 1
interface = "eth0:1"

[[addresses]]
address = "fd00::2"
vnas = 0
interface = "eth0"

[[addresses]]
address = "10.0.0.3"
vnas = 3
interface = "eth0"

[[sockets]]
protocol = "tcp"
port = 80
address = "ANY"
pid = 101

[[sockets]]
protocol = "tcp"
port = 80
address = "0.0.0.0"
pid = 201

[[sockets]]
protocol = "udp"
port = 53
address = "ANY"
pid = 201
v6only = true
sharing = true

[[sockets]]
protocol = "udp"
port = 53
address = "10.0.0.1"
pid = 102

[[sockets]]
protocol = "udplite"
port = 53
address = "192.0.2.1"
pid = 102
freebind = true

[[sockets]]
protocol = "sctp"
port = 9
address = "127.0.0.1"
pid = 1

[[routes]]
network = "10.0.0.0/8"
interface = "eth0"

[[routes]]
network = "default"
interface = "eth1"
"""

SECOND = (
    FIRST[: FIRST.index("[[addresses]]")].replace("embodiment = 1", "embodiment = 2")
    + """\
[[any_tables]]
name = "ANY1"
vnas = 1

[[any_tables.addresses]]
address = "10.0.0.1"
interface = "eth0"
order = 1

[[any_tables.addresses]]
address = "fd00::1"
interface = "eth0:1"
order = 3

[[any_tables]]
name = "ANY2"
vnas = 2

[[any_tables.addresses]]
address = "10.0.0.2"
interface = "eth0"
vlan = 1
order = 2

[[any_tables]]
name = "ANY0"
vnas = 0

[[any_tables.addresses]]
address = "fd00::2"
interface = "eth0"
order = 4

[[any_tables]]
name = "ANY3"
vnas = 3

[[any_tables.addresses]]
address = "10.0.0.3"
interface = "eth0"
order = 5

"""
    + FIRST[FIRST.index("[[sockets]]") :]
    .replace('address = "ANY"\npid = 101', 'address = "ANY1"\npid = 101')
    .replace('address = "0.0.0.0"', 'address = "ANY2"\nfamily = 4')
    .replace('address = "ANY"\npid = 201\nv6only = true', 'address = "ANY2"\nfamily = 6\npid = 201')
)


@pytest.mark.parametrize("text", [FIRST, SECOND])
def test_canonical_text(text: str) -> None:
    """A canonical text is written again to the letter, and its twin is the other embodiment's."""
    machine = ServerMachine.from_toml(text)
    machine.check()
    assert machine.to_toml(embodiment=1) == FIRST
    assert machine.to_toml(embodiment=2) == SECOND
    assert machine.to_toml() == FIRST


def test_views_of_a_file() -> None:
    machine = ServerMachine.from_toml(SECOND)
    assert machine.names == {1: 'alpha "ß"'}
    assert [row[:3] for row in machine.processes] == [(1, 0, 0), (101, 1, 1), (102, 1, 201), (201, 2, 1)]
    assert [(str(row.address), *row[1:]) for row in machine.addresses] == [
        ("10.0.0.1", 1, "eth0", 0),
        ("10.0.0.2", 2, "eth0", 1),
        ("fd00::1", 1, "eth0:1", 0),
        ("fd00::2", 0, "eth0", 0),
        ("10.0.0.3", 3, "eth0", 0),
    ]
    assert [(row.protocol, row.port, str(row.address), *row[4:8]) for row in machine.sockets] == [
        ("tcp", 80, "::", 101, 1, False, False),
        ("tcp", 80, "0.0.0.0", 201, 2, False, False),
        ("udp", 53, "::", 201, 2, True, True),
        ("udp", 53, "10.0.0.1", 102, 1, False, False),
        ("udplite", 53, "192.0.2.1", 102, 1, False, False),
        ("sctp", 9, "127.0.0.1", 1, 0, False, False),
    ]
    assert [(str(row.network), row.interface) for row in machine.routes] == [
        ("10.0.0.0/8", "eth0"),
        ("None", "eth1"),
    ]


def test_a_fresh_machine() -> None:
    text = ServerMachine().to_toml()
    assert text == "# vnasfast tables\nembodiment = 1\n"
    assert views(ServerMachine.from_toml(text)) == views(ServerMachine())


def test_written_by_hand_with_inline_tables() -> None:
    """Any TOML will do: inline tables, other orders of keys and tables, comments, numbers of protocols."""
    machine = ServerMachine.from_toml(
        """
        sockets = [  # before all else
            {pid = 8, protocol = 6, port = 0x50, address = "any"},
            {pid = 9, protocol = "UDP", port = 5_3, address = '::', v6only = false},
        ]
        routes = []
        processes = [{pid = 9, vnas = 1, parent = 8}, {pid = 8, vnas = 2}]
        addresses = [{address = "::ffff:10.0.0.1", vnas = 1, interface = "eth0", vlan = 0}]
        embodiment = 1
        """
    )
    assert machine.to_toml() == ServerMachine.from_toml(machine.to_toml(embodiment=2)).to_toml()
    assert [(row.protocol, row.port, row.vnas) for row in machine.sockets] == [("tcp", 80, 2), ("udp", 53, 1)]
    assert str(machine.addresses[0].address) == "10.0.0.1"


def test_any_tables_with_names_of_their_own_and_inline_addresses() -> None:
    machine = ServerMachine.from_toml(
        """
        embodiment = 2
        processes = [{pid = 8, vnas = 2}]
        any_tables = [
            {name = "web", vnas = 2, addresses = [{address = "10.0.0.1", interface = "eth0"}]},
            {name = "mail", vnas = 3},
        ]
        sockets = [{pid = 8, protocol = "tcp", port = 80, address = "web"}]
        """
    )
    assert machine.to_toml(embodiment=2) == (
        "# vnasfast tables\nembodiment = 2\n\n[[processes]]\npid = 8\nvnas = 2\n"
        '\n[[any_tables]]\nname = "ANY2"\nvnas = 2\n'
        '\n[[any_tables.addresses]]\naddress = "10.0.0.1"\ninterface = "eth0"\n'
        '\n[[sockets]]\nprotocol = "tcp"\nport = 80\naddress = "ANY2"\npid = 8\n'
    )


def test_order_is_written_only_where_tables_interleave() -> None:
    machine = ServerMachine()
    for vnas in (1, 2):
        machine.vnas_start(1, vnas, pid=vnas + 10)
    machine.validate(12, "10.0.0.1", "eth0")
    machine.validate(12, "10.0.0.2", "eth0")
    machine.validate(11, "10.0.0.3", "eth0")
    assert "order" not in machine.to_toml(embodiment=2)
    machine.validate(12, "10.0.0.4", "eth0")
    assert machine.to_toml(embodiment=2).count("order") == 4


def test_an_address_of_a_vnas_without_processes_leaves_no_trace() -> None:
    machine = ServerMachine.from_toml(
        'embodiment = 1\naddresses = [{address = "10.0.0.1", vnas = 4, interface = "eth0"}]'
        "\nprocesses = [{pid = 2147483647, vnas = 5}]"
    )
    assert [row.pid for row in machine.processes] == [1, 2**31 - 1]
    assert machine.fork(1) == 2
    assert set(machine.usage_of_vnas()) == {0, 4, 5}


def test_a_chain_of_processes_written_backwards() -> None:
    n = 20_000
    rows = (f"[[processes]]\npid = {pid}\nvnas = {pid % 3}\nparent = {pid - 1}\n" for pid in range(n, 1, -1))
    machine = ServerMachine.from_toml("embodiment = 1\n" + "".join(rows))
    assert [row[:3] for row in machine.processes[1:]] == [(pid, pid % 3, pid - 1) for pid in range(2, n + 1)]


@pytest.mark.parametrize("name", ["three-servers", "corners"])
def test_the_committed_tables(name: str) -> None:
    machine = ServerMachine.load(PCAPS / f"{name}.toml", seed=SEED)
    machine.check()
    assert machine.sockets
    again = ServerMachine.from_toml(machine.to_toml(embodiment=2), seed=SEED)
    assert views(again) == views(machine)


def test_save_and_load(tmp_path: Path) -> None:
    machine = ServerMachine.from_toml(FIRST)
    path = tmp_path / ("x" * 250 + ".toml")
    path.write_text("what it held")
    path.chmod(0o640)
    link = tmp_path / "link"
    link.symlink_to(path)
    for embodiment, text in ((2, SECOND), (1, FIRST)):
        machine.save(link, embodiment=embodiment)
        assert path.read_bytes() == text.encode()
        assert views(ServerMachine.load(str(link))) == views(machine)
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert sorted(os.listdir(tmp_path)) == ["link", path.name]


def test_a_new_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "other").touch()
    ServerMachine().save(tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_a_file_with_a_byte_order_mark_and_dos_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(b"\xef\xbb\xbf" + FIRST.replace("\n", "\r\n").encode())
    assert ServerMachine.load(path).to_toml() == FIRST


def test_save_that_fails_leaves_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "t.toml"
    path.write_text("old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        ServerMachine().save(path)
    assert caught.value.filename == str(path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["t.toml"]


def test_save_where_there_is_no_folder(tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "t.toml"
    with pytest.raises(FileNotFoundError) as caught:
        ServerMachine().save(path)
    assert caught.value.filename == str(path)


def test_save_over_a_folder(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        ServerMachine().save(tmp_path)


def test_save_to_a_pipe(tmp_path: Path) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        ServerMachine.from_toml(FIRST).save(path)
        assert os.read(reader, 100_000) == FIRST.encode()
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)


@pytest.mark.parametrize("embodiment", [0, 3, True, "1", None])
def test_there_are_two_embodiments(embodiment: int) -> None:
    with pytest.raises(InvalidValue, match="embodiment"):
        ServerMachine().to_toml(embodiment=embodiment)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ({1: "a", 2: "a"}, "VNAS 1 and VNAS 2 have the same name 'a': rename one"),
        ({-1: "a"}, "-1 is no VNAS ID: it must be an integer from 0 to 2147483647"),
        ({1: ""}, "'' is no name: it must be a text such as alpha"),
    ],
)
def test_names_that_no_file_can_hold(names: dict[int, str], problem: str) -> None:
    machine = ServerMachine()
    machine.names = names
    with pytest.raises(InvalidValue) as caught:
        machine.to_toml()
    assert str(caught.value) == problem


def test_a_name_that_is_no_unicode(tmp_path: Path) -> None:
    machine = ServerMachine()
    machine.names[1] = "\ud800"
    with pytest.raises(InvalidValue, match="UTF-8"):
        machine.save(tmp_path / "t.toml")
    assert not os.listdir(tmp_path)
