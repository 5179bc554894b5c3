"""Mistakes in table files: each says file, line, key, what is wrong and what would be right."""

# ruff: noqa: E501 - a mistake and its message are one line

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnasfast import ServerMachine, TableFileError

TABLES = """\
embodiment = 1

[[processes]]
pid = 101
vnas = 1

[[processes]]
pid = 201
vnas = 2

[[addresses]]
address = "10.0.0.1"
vnas = 1
interface = "eth0"

[[sockets]]
protocol = "tcp"
port = 80
address = "ANY"
pid = 101
"""

SECOND = """\
embodiment = 2

[[processes]]
pid = 101
vnas = 1

[[processes]]
pid = 201
vnas = 2

[[any_tables]]
name = "ANY1"
vnas = 1

[[any_tables.addresses]]
address = "10.0.0.1"
interface = "eth0"

[[any_tables]]
name = "ANY2"
vnas = 2

[[any_tables.addresses]]
address = "10.0.0.2"
interface = "eth0"

[[sockets]]
protocol = "tcp"
port = 80
address = "ANY1"
pid = 101
"""

SOCKET = '\n[[sockets]]\nprotocol = "tcp"\nport = 80\naddress = "10.0.0.1"\npid = 101\n'


def mistake(text: str, name: str = "t.toml") -> str:
    with pytest.raises(TableFileError) as caught:
        ServerMachine.from_toml(text, name=name)
    return str(caught.value)


# What is put in place of what, and the message.
REPLACED = [
    # syntax
    ("port = 80", "port = ", "t.toml:18: no TOML: Invalid value, at column 8"),
    ("port = 80", "port = 80\nport = 81", "t.toml:19: no TOML: Cannot overwrite a value, at column 10"),
    ("port = 80", "port 80", "t.toml:18: no TOML: Expected '=' after a key in a key/value pair, at column 6"),
    ("pid = 101\n$", "pid = [101\n", "t.toml:20: no TOML: Unclosed array, where the file ends"),
    # embodiment
    ("embodiment = 1\n", "", "t.toml: embodiment: missing: it must be 1 or 2"),
    ("embodiment = 1", "embodiment = 3", "t.toml:1: embodiment: 3 is no embodiment: it must be an integer from 1 to 2"),
    ("embodiment = 1", "embodiment = true", "t.toml:1: embodiment: True is no embodiment: it must be an integer from 1 to 2"),
    # tables
    ("[[sockets]]", "[[socket]]", "t.toml:16: socket: unknown: did you mean sockets?"),
    ("[[sockets]]", "[[endpoints]]", "t.toml:16: endpoints: unknown: it must be one of vnas, processes, routes, addresses, sockets"),
    ("embodiment = 1", "embodiment = 1\nanswer = 42", "t.toml:2: answer: unknown: it must be one of vnas, processes, routes, addresses, sockets"),
    ("[[addresses]]", "[[any_tables]]", "t.toml:11: any_tables: unknown: it is of embodiment 2, and this file is of embodiment 1"),
    ("[[addresses]]", "[addresses]", "t.toml:11: addresses: no list of tables: write [[addresses]] above the keys of each row"),
    ("embodiment = 1", "embodiment = 1\nroutes = 5", "t.toml:2: routes: no list of tables: write [[routes]] above the keys of each row"),
    ("embodiment = 1", "embodiment = 1\nroutes = [5]", "t.toml:2: routes: no list of tables: write [[routes]] above the keys of each row"),
    # keys
    ("port = 80", "prot = 80", "t.toml:18: sockets[0].prot: unknown: did you mean port?"),
    ("port = 80", "port = 80\ncolour = 1", "t.toml:19: sockets[0].colour: unknown: it must be one of protocol, port, pid, sharing, freebind, address, v6only"),
    ("port = 80", "port = 80\nfamily = 4", "t.toml:19: sockets[0].family: unknown: it is of embodiment 2, and this file is of embodiment 1"),
    ("port = 80", '"p.q" = 80', "t.toml:18: sockets[0].p.q: unknown: it must be one of protocol, port, pid, sharing, freebind, address, v6only"),
    ("port = 80\n", "", "t.toml:16: sockets[0].port: missing: each [[sockets]] has one"),
    ("pid = 101\nvnas = 1\n", "pid = 101\n", "t.toml:3: processes[0].vnas: missing: each [[processes]] has one"),
    # values
    ("port = 80", "port = 70000", "t.toml:18: sockets[0].port: 70000 is no port: it must be an integer from 1 to 65535"),
    ("port = 80", "port = 0", "t.toml:18: sockets[0].port: 0 is no port: it must be an integer from 1 to 65535"),
    ("port = 80", 'port = "80"', "t.toml:18: sockets[0].port: '80' is no port: it must be an integer from 1 to 65535"),
    ("port = 80", "port = 80.0", "t.toml:18: sockets[0].port: 80.0 is no port: it must be an integer from 1 to 65535"),
    ("port = 80", "port = true", "t.toml:18: sockets[0].port: True is no port: it must be an integer from 1 to 65535"),
    ('"tcp"', '"icmp"', "t.toml:17: sockets[0].protocol: 'icmp' is no transport protocol: it must be one of tcp, udp, dccp, sctp, udplite"),
    ('"ANY"', '"ANYWHERE"', "t.toml:19: sockets[0].address: 'ANYWHERE' is no IPv4 or IPv6 address"),
    ('"ANY"', "5", "t.toml:19: sockets[0].address: 5 is no address: write it like 192.0.2.1 or 2001:db8::1"),
    ('"ANY"', '"fe80::1%eth0"', "t.toml:19: sockets[0].address: 'fe80::1%eth0' has a zone; packets carry none"),
    ("pid = 101\n", "pid = 0\n", "t.toml:4: processes[0].pid: 0 is no PID: it must be an integer from 1 to 2147483647"),
    ("vnas = 1\n", "vnas = -1\n", "t.toml:5: processes[0].vnas: -1 is no VNAS ID: it must be an integer from 0 to 2147483647"),
    ('"10.0.0.1"', '"ANY"', "t.toml:12: addresses[0].address: ANY can't be on an interface: give the address itself"),
    ('"eth0"', '""', "t.toml:14: addresses[0].interface: '' is no interface name: it must be a text such as eth0"),
    ('"eth0"', "0", "t.toml:14: addresses[0].interface: 0 is no interface name: it must be a text such as eth0"),
    ('"eth0"', '"eth0"\nvlan = 4096', "t.toml:15: addresses[0].vlan: 4096 is no VLAN ID: it must be an integer from 0 to 4095"),
    ('"ANY"', '"ANY"\nsharing = 1', "t.toml:20: sockets[0].sharing: 1 is no truth value: it must be true or false"),
    ('"ANY"', '"0.0.0.0"\nv6only = true', "t.toml:20: sockets[0].v6only: an IPv4 address can't receive IPv6 only: leave it out"),
    # processes
    ("pid = 101\nvnas", "pid = 1\nvnas", "t.toml:4: processes[0].pid: process 1 always exists, in VNAS 0: leave it out"),
    ("pid = 201", "pid = 101", "t.toml:8: processes[1].pid: processes[0] has it already: give another"),
    ("vnas = 2", "vnas = 2\nparent = 7", "t.toml:10: processes[1].parent: no process has PID 7: add it, or leave parent out"),
    ("vnas = 2", "vnas = 2\nparent = 201", "t.toml:10: processes[1].parent: its parents lead back to itself: 201 → 201"),
    # sockets
    ("pid = 101\n$", "pid = 7\n", "t.toml:20: sockets[0].pid: no process has PID 7: add it to the processes"),
    ('"ANY"', '"10.0.0.2"', "t.toml:19: sockets[0].address: 10.0.0.2 does not belong to VNAS 1 of process 101: register it there, or give freebind = true"),
]  # fmt: skip

# What is put at the end, and the message.
APPENDED = [
    (SOCKET.replace("10.0.0.1", "::"), "t.toml:21: sockets[1]: sockets[0] has tcp port 80 of ANY in VNAS 1 already: remove one, or give sharing = true to both"),
    (2 * SOCKET, "t.toml:27: sockets[2]: sockets[1] has tcp port 80 of 10.0.0.1 in VNAS 1 already: remove one, or give sharing = true to both"),
    ('[[addresses]]\naddress = "::ffff:10.0.0.1"\nvnas = 2\ninterface = "eth1"', "t.toml:22: addresses[1].address: addresses[0] registers 10.0.0.1 already: remove one"),
    (2 * '[[addresses]]\naddress = "fd00::1"\nvnas = 2\ninterface = "eth1"\nvlan = 7\n', "t.toml:27: addresses[2].address: addresses[1] registers fd00::1 on VLAN 7 already: remove one"),
    ('[[routes]]\nnetwork = "10.0.0.1/8"\ninterface = "eth0"', "t.toml:22: routes[0].network: '10.0.0.1/8' is no network (10.0.0.1/8 has host bits set): write it like 192.0.2.0/24, or default"),
    ('[[routes]]\nnetwork = 10\ninterface = "eth0"', "t.toml:22: routes[0].network: 10 is no network ('10' does not appear to be an IPv4 or IPv6 network): write it like 192.0.2.0/24, or default"),
    (2 * '[[routes]]\nnetwork = "default"\ninterface = "eth0"\n', "t.toml:25: routes[1].network: routes[0] routes this network already: remove one"),
    ('[[routes]]\nnetwork = "10.0.0.0/8"\ninterface = "eth0"\n[[routes]]\nnetwork = "::ffff:10.0.0.0/104"\ninterface = "eth0"\n', "t.toml:25: routes[1].network: routes[0] routes this network already: remove one"),
    ('[[vnas]]\nid = 1\nname = "a"\n[[vnas]]\nid = 1\nname = "b"', "t.toml:25: vnas[1].id: vnas[0] names this VNAS already: remove one"),
    ('[[vnas]]\nid = 1\nname = "a"\n[[vnas]]\nid = 2\nname = "a"', "t.toml:26: vnas[1].name: vnas[0] is 'a' already: give another"),
    ('[[vnas]]\nid = 1\nname = ["a"]', "t.toml:23: vnas[0].name: ['a'] is no name: it must be a text such as alpha"),
    ("[[processes]]\npid = 5\nvnas = 0\nparent = 7\n[[processes]]\npid = 6\nvnas = 0\nparent = 5\n[[processes]]\npid = 7\nvnas = 0\nparent = 5\n", "t.toml:24: processes[2].parent: its parents lead back to itself: 5 → 7 → 5"),
    ("[[processes]]\npid = 6\nvnas = 0\nparent = 5\n[[processes]]\npid = 5\nvnas = 0\nparent = 5\n", "t.toml:28: processes[3].parent: its parents lead back to itself: 5 → 5"),
    ("[sockets.deep]\nport = 5", "t.toml:21: sockets[0].deep: unknown: it must be one of protocol, port, pid, sharing, freebind, address, v6only"),
]  # fmt: skip

# The same in the second embodiment: what is put in place of what, and the message.
SECOND_REPLACED = [
    ('"ANY1"\nvnas = 1', '"ANY"\nvnas = 1', "t.toml:12: any_tables[0].name: 'ANY' is an address: name the table otherwise, such as ANY1"),
    ('"ANY1"\nvnas = 1', '"10.0.0.1"\nvnas = 1', "t.toml:12: any_tables[0].name: '10.0.0.1' is an address: name the table otherwise, such as ANY1"),
    ('"ANY1"\nvnas = 1', '""\nvnas = 1', "t.toml:12: any_tables[0].name: '' is no table name: it must be a text such as ANY1"),
    ('name = "ANY2"', 'name = "ANY1"', "t.toml:20: any_tables[1].name: any_tables[0] is 'ANY1' already: give another"),
    ('"ANY2"\nvnas = 2', '"ANY2"\nvnas = 1', "t.toml:21: any_tables[1].vnas: any_tables[0] is the table of VNAS 1 already: each VNAS has one"),
    ('"ANY2"\nvnas = 2\n', '"ANY2"\n', "t.toml:19: any_tables[1].vnas: missing: each [[any_tables]] has one"),
    ('"10.0.0.2"', '"10.0.0.300"', "t.toml:24: any_tables[1].addresses[0].address: '10.0.0.300' is no IPv4 or IPv6 address"),
    ('"10.0.0.2"', '"10.0.0.1"', "t.toml:24: any_tables[1].addresses[0].address: any_tables[0].addresses[0] registers 10.0.0.1 already: remove one"),
    ('"10.0.0.2"', '"10.0.0.2"\nvnas = 2', "t.toml:25: any_tables[1].addresses[0].vnas: unknown: it must be one of address, interface, vlan, order"),
    ('"10.0.0.2"\n', '"10.0.0.2"\norder = 0\n', "t.toml:25: any_tables[1].addresses[0].order: 0 is no order: it must be an integer from 1 to 2147483647"),
    ('"10.0.0.2"\n', '"10.0.0.2"\norder = 1\n', "t.toml:15: any_tables[0].addresses[0].order: missing: all addresses of the file have one, or none has"),
    ('interface = "eth0"', 'interface = "eth0"\norder = 4', "t.toml:27: any_tables[1].addresses[0].order: any_tables[0].addresses[0] has it already: give another"),
    ("[[any_tables.addresses]]", "[any_tables.addresses]", "t.toml:15: any_tables[0].addresses: no list of tables: write [[any_tables.addresses]] above the keys of each row"),
    ("[[any_tables.addresses]]", "[[any_tables.adresses]]", "t.toml:15: any_tables[0].adresses: unknown: did you mean addresses?"),
    ('"ANY1"\npid', '"ANY2"\npid', "t.toml:30: sockets[0].address: process 101 is in VNAS 1, and ANY2 is of VNAS 2"),
    ('"ANY1"\npid', '"ANY"\npid', "t.toml:30: sockets[0].address: in embodiment 2 a socket names its ANY-address table, and not ANY"),
    ('"ANY1"\npid', '"0.0.0.0"\npid', "t.toml:30: sockets[0].address: in embodiment 2 a socket names its ANY-address table, and not 0.0.0.0"),
    ('"ANY1"\npid', '"ANY_1"\npid', "t.toml:30: sockets[0].address: 'ANY_1' is neither one of the any_tables nor an address: did you mean ANY1?"),
    ('"ANY1"\npid', '"web"\npid', "t.toml:30: sockets[0].address: 'web' is neither one of the any_tables nor an address: give the name of one, or an address"),
    ('"ANY1"\npid', '"10.0.0.2"\npid', "t.toml:30: sockets[0].address: 10.0.0.2 does not belong to VNAS 1 of process 101: register it there, or give freebind = true"),
    ('"ANY1"\npid', '"10.0.0.1"\nfamily = 4\npid', "t.toml:31: sockets[0].family: 10.0.0.1 has one family: leave this out"),
    ('"ANY1"\npid', '"ANY1"\nfamily = 5\npid', "t.toml:31: sockets[0].family: 5 is no family: it must be 4 or 6, or left out for both"),
    ('"ANY1"\npid', '"ANY1"\nv6only = true\npid', "t.toml:31: sockets[0].v6only: unknown: it is of embodiment 1, and this file is of embodiment 2"),
    ("[[sockets]]", "[[addresses]]", "t.toml:27: addresses: unknown: it is of embodiment 1, and this file is of embodiment 2"),
    ("[[sockets]]", '["any_tables.addresses"]', "t.toml:27: any_tables.addresses: unknown: did you mean any_tables?"),
]  # fmt: skip


def test_the_texts_themselves_are_right() -> None:
    assert len(ServerMachine.from_toml(TABLES).sockets) == 1
    assert (
        ServerMachine.from_toml(SECOND).to_toml()
        == ServerMachine.from_toml(
            TABLES.replace(
                "\n[[sockets]]",
                '\n[[addresses]]\naddress = "10.0.0.2"\nvnas = 2\ninterface = "eth0"\n\n[[sockets]]',
            )
        ).to_toml()
    )


def replaced(text: str, old: str, new: str) -> str:
    if old.endswith("$"):
        assert text.endswith(old[:-1])
        return text.removesuffix(old[:-1]) + new
    assert old in text
    return text.replace(old, new)


@pytest.mark.parametrize(("old", "new", "message"), REPLACED)
def test_mistakes(old: str, new: str, message: str) -> None:
    assert mistake(replaced(TABLES, old, new)) == message


@pytest.mark.parametrize(("more", "message"), APPENDED)
def test_mistakes_in_more_rows(more: str, message: str) -> None:
    assert mistake(TABLES + more.lstrip("\n")) == message


@pytest.mark.parametrize(("old", "new", "message"), SECOND_REPLACED)
def test_mistakes_in_the_second_embodiment(old: str, new: str, message: str) -> None:
    assert mistake(replaced(SECOND, old, new)) == message


def test_inline_tables_have_no_line() -> None:
    text = 'embodiment = 1\nsockets = [\n  {pid = 1, protocol = "tcp", port = 80, address = "ANY"},\n  {pid = 1, port = 0},\n]'
    assert mistake(text) == "t.toml: sockets[1].protocol: missing: each [[sockets]] has one"


def test_inline_addresses_have_the_line_of_their_table() -> None:
    text = (
        'embodiment = 2\n[[any_tables]]\nname = "A"\nvnas = 1\n'
        '[[any_tables]]\nname = "B"\nvnas = 2\naddresses = [{address = "10.0.0.1", interface = 5}]\n'
        "[[any_tables.more]]\n"
    )
    assert mistake(text.replace("[[any_tables.more]]\n", "")) == (
        "t.toml:5: any_tables[1].addresses[0].interface: 5 is no interface name: it must be a text such as eth0"
    )
    assert mistake(text) == "t.toml:9: any_tables[1].more: unknown: it must be one of name, vnas, addresses"


def test_headers_in_long_texts_are_not_counted() -> None:
    text = TABLES.replace('"eth0"', '"""\n[[sockets]]\n"""').replace("port = 80", "port = 0")
    assert mistake(text) == "t.toml: sockets[0].port: 0 is no port: it must be an integer from 1 to 65535"


@pytest.mark.parametrize("header", ["[[ sockets ]]", '  [["sockets"]] # c', "[['sockets']]", "\t[[sockets]]"])
def test_headers_and_keys_in_other_dress(header: str) -> None:
    text = TABLES.replace("[[sockets]]", header).replace("port = 80", "  'port'=0 # port = 80")
    assert mistake(text).startswith("t.toml:18: sockets[0].port: 0 is no port")


def test_a_dos_file_has_the_same_lines() -> None:
    assert mistake(TABLES.replace("port = 80", "port = 0").replace("\n", "\r\n")).startswith(
        "t.toml:18: sockets[0].port"
    )


def test_what_an_error_holds() -> None:
    with pytest.raises(TableFileError) as caught:
        ServerMachine.from_toml(TABLES.replace("port = 80", "port = 0"))
    error = caught.value
    assert (error.name, error.line, error.key) == ("<string>", 18, "sockets[0].port")
    assert error.problem == "0 is no port: it must be an integer from 1 to 65535"
    assert isinstance(error, ValueError)


def test_an_empty_file() -> None:
    assert mistake("") == "t.toml: embodiment: missing: it must be 1 or 2"


@pytest.mark.parametrize("line", ["x = " + 100_000 * "[", "x = " + 5_000 * "9"])
def test_files_made_to_break_readers(line: str) -> None:
    assert mistake("embodiment = 1\n" + line).startswith("t.toml: ")


def test_a_number_too_long_to_be_shown() -> None:
    text = TABLES.replace("port = 80", "port = 0x" + 5_000 * "f")
    assert mistake(text).startswith("t.toml:18: sockets[0].port: Exceeds the limit")


def test_a_file_that_is_no_utf8(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_bytes(b"# caf\xc3\xa9\n# caf\xe9\n")
    with pytest.raises(TableFileError) as caught:
        ServerMachine.load(path)
    assert str(caught.value) == f"{path}:2: byte 13 (0xe9) is not UTF-8, which a table file must be"


def test_a_mistake_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.write_text(TABLES.replace("port = 80", "port = 0"))
    with pytest.raises(TableFileError) as caught:
        ServerMachine.load(path)
    assert str(caught.value).startswith(f"{path}:18: sockets[0].port: 0 is no port")


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        ServerMachine.load(tmp_path / "none.toml")
    with pytest.raises(IsADirectoryError):
        ServerMachine.load(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read all")
def test_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    path = tmp_path / "t.toml"
    path.touch(mode=0)
    with pytest.raises(PermissionError):
        ServerMachine.load(path)


pieces = st.sampled_from(
    [
        "[[sockets]]",
        "[[any_tables]]",
        "[vnas]",
        "port",
        "=",
        "80",
        '"ANY1"',
        "\n",
        "pid",
        "{",
        "}",
        "[",
        "]",
        ",",
        "1979-05-27",
        "nan",
        "-1",
        "true",
        '"""',
        "'",
    ]
)


@given(
    st.sampled_from([TABLES, SECOND]),
    st.lists(
        st.tuples(st.integers(0, 400), st.integers(0, 30), pieces | st.text(max_size=3)),
        min_size=1,
        max_size=4,
    ),
)
def test_a_damaged_file_is_read_or_refused(text: str, damages: list[tuple[int, int, str]]) -> None:
    """Whatever stands in a file: a machine whose tables hold, or a TableFileError within the file."""
    for start, length, piece in damages:
        text = text[:start] + piece + text[start + length :]
    try:
        machine = ServerMachine.from_toml(text)
    except TableFileError as error:
        assert error.problem  # noqa: PT017
        assert error.line is None or 1 <= error.line <= text.count("\n") + 1  # noqa: PT017
    else:
        machine.check()


SOCKET_53 = """[[sockets]]
protocol = "udp"
port = 53
address = "192.0.2.1"
pid = 5
"""
LINUX_SOCKET = f"""embodiment = 1
policy = "linux"
[[processes]]
pid = 5
vnas = 1
[[addresses]]
address = "192.0.2.1"
vnas = 1
interface = "eth0"
{SOCKET_53}"""


@pytest.mark.parametrize(
    ("added", "line", "key", "problem"),
    [
        ('peer = "192.0.2.9"', 15, "sockets[0].peer", "write it like 192.0.2.1:4000"),
        ('peer = "2001:db8::1:53"', 15, "sockets[0].peer", r"or \[2001:db8::1\]:4000"),
        ('peer = "[2001:db8::1]:53"', 10, "sockets[0]", "of the family of the socket's own"),
        ('peer = "192.0.2.9:0"', 15, "sockets[0].peer", "no port"),
        ("uid = -1", 15, "sockets[0].uid", "no UID"),
        ('device = ""', 15, "sockets[0].device", "no device"),
        ("reuseadr = true", 15, "sockets[0].reuseadr", "did you mean reuseaddr"),
        (f"sharing = true\ngroup = 1\n{SOCKET_53}group = 1", 22, "sockets[1].group", "can't share a port"),
        (SOCKET_53, 15, "sockets[1]", "a Linux kernel refuses"),
    ],
)
def test_mistakes_under_the_policy_linux(added, line, key, problem):
    with pytest.raises(TableFileError, match=problem) as caught:
        ServerMachine.from_toml(LINUX_SOCKET + added + "\n")
    assert (caught.value.line, caught.value.key) == (line, key)


def test_the_policy_is_named():
    with pytest.raises(TableFileError, match=r"'linus' is no policy: it must be one of registration, linux, linux-6\.12"):
        ServerMachine.from_toml('embodiment = 1\npolicy = "linus"\n')
    with pytest.raises(TableFileError, match='it is of the policy linux: write policy = "linux" above all tables'):
        ServerMachine.from_toml(LINUX_SOCKET.replace('policy = "linux"', "") + "uid = 5\n")
