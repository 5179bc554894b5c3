"""The reader of plain table files: what it reads is what the TOML library reads, and the rest it leaves alone."""

import contextlib

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from replayer import PCAPS

from vnasfast import ServerMachine, VnasError
from vnasfast.errors import TableFileError
from vnasfast.tablefile import document
from vnasfast.tablefile.keys import Key
from vnasfast.tablefile.plain import PlainRows, read_plain

READ = [
    "",
    "# nothing but a comment\n",
    'a = 1\nb = "text"\nc = true\nd = false\n',
    'a=0\n  b\t= ""  # why\n\n\n[[t]]\nx = 999999999999999999\n[[ t ]]   # two\n[[u]]\n1 = 2',
    '"ü" = 1',
    'a = "ü → \t"\n# ü\n',
    "[[t]]\nx = 1\n[[u]]\nx = 2\n[[t]]\ny = 1\nx = true\n[[t]]\n",
    "[[t]]\nx = 1\n[[t.u]]\ny = 1\n[[t.u]]\n[[t.v]]\n[[t]]\n[[t.u]]\ny = 3\n[[v]]\n[[t.u]]\nz = 4\n",
    "[[t]]\n" + "".join(f"k{i} = {i}\n" for i in range(20)) + "[[t]]\nk7 = 1\nk3 = 1",
]
LEFT = [
    "a = 1\na = 2\n",
    "[t]\n",
    "a = -1\n",
    "a = +1\n",
    "a = 01\n",
    "a = 1_000\n",
    "a = 0x10\n",
    "a = 1.5\n",
    "a = 1e3\n",
    "a = inf\n",
    "a = 1999-01-01\n",
    "a = 9999999999999999999\n",
    "a = [1]\n",
    "a = {b = 1}\n",
    "a.b = 1\n",
    "[[a.b]]\n",
    "[[a]]\n[[a.b.c]]\n",
    "[[a]]\n[[a.]]\n",
    "[[.a]]\n",
    "[[a]]\n[[a .b]]\n",
    "[[a]]\nb = 1\n[[a.b]]\n",
    "a = 1\n[[a.b]]\n",
    "[[a]]\nb = 1\nc = 1\nb = 1\n",
    "[[a]]\n" + "".join(f"k{i} = {i}\n" for i in range(21)),
    "a = 1\x00",
    "\x00",
    "a = 'text'\n",
    'a = "\\n"\n',
    'a = """text"""\n',
    'a = "unclosed\n"\n',
    'a = "\x01"\n',
    "a = 1 b = 2\n",
    "a = 1\r\n",
    "a\n",
    "a =",
    "a = \n",
    "= 1\n",
    "[[t]\n",
    "[[t]] x = 1\n",
    "[[]]\n",
    "a = 1\n[[a]]\n",
    "# \x7f\n",
    "# \x01\n",
    "a = tru\n",
    "\ufeffa = 1\n",
    'a = "\ud800"\n',
]


ABSENT = object()


def as_read_by_the_library(plain, library):
    """Give what was read as plain, whose columns have the keys that the library found, as the library would."""
    if isinstance(plain, PlainRows):
        names = {name for row in library for name in row}
        assert names == set() or plain.columns({}) is None
        rows = plain.rows({name: Key(lambda value: value, ABSENT) for name in names})
        found = [{name: value for name, value in row.items() if value is not ABSENT} for row in rows]
        return [as_read_by_the_library(*pair) for pair in zip(found, library, strict=True)]
    if isinstance(plain, dict) and isinstance(library, dict):
        assert plain.keys() == library.keys()
        return {name: as_read_by_the_library(plain[name], library[name]) for name in library}
    return plain


def check(plain, text):
    library = tomli.loads(text)
    found = as_read_by_the_library(plain, library)
    assert found == library
    assert repr(found) == repr(library)  # True is no 1


@pytest.mark.parametrize("text", READ[:4] + READ[5:])
def test_reads_what_is_plain(text):
    check(read_plain(text), text)


@pytest.mark.parametrize("text", [*LEFT, READ[4]])
def test_leaves_all_else(text):
    assert read_plain(text) is None


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("embodiment", [1, 2])
def test_what_the_machine_writes(path, embodiment):
    for text in (path.read_text(), ServerMachine.load(path).to_toml(embodiment=embodiment)):
        check(read_plain(text), text)


LINES = st.sampled_from(
    [*(line for text in READ + LEFT for line in text.splitlines()), "[[t]]", "[[t.y]]", "x = 1", "y = 2"]
)


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(alphabet='ab="1[]#.\n\t\\\r', max_size=40))
@settings(max_examples=1000, deadline=None)
def test_never_reads_what_the_library_does_not(text):
    plain = read_plain(text)
    if plain is not None:
        check(plain, text)


ADDRESSES = ["10.0.0.1", "10.0.0.2", "fd00::1"]
some = st.integers(0, 1000)  # the n-th of what there is, round and round


@st.composite
def files(draw):
    """A table file as a machine writes it, and half of the time with a line or two that stand elsewhere, or twice."""
    machine = ServerMachine(seed=7, policy=draw(st.sampled_from(["registration", "registration", "linux"])))
    pids = [machine.vnas_start(1, vnas) for vnas in draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))]
    machine.names = {vnas: f"of {vnas}" for vnas in draw(st.sets(st.integers(0, 3)))}
    for network in draw(st.sets(st.sampled_from(["default", "10.0.0.0/8", "fd00::/8"]))):
        machine.set_route(network, "eth0")
    for pid, address, vlan in draw(st.lists(st.tuples(some, st.sampled_from(ADDRESSES), st.sampled_from([0, 0, 5])))):
        machine.validate(pids[pid % len(pids)], address, "eth0", vlan=vlan)
    flags = st.sampled_from([{}, {}, {"sharing": True}, {"freebind": True}, {"v6only": True}])
    services = st.tuples(st.sampled_from(["tcp", "udp"]), st.integers(1, 3), st.sampled_from(["ANY", *ADDRESSES]))
    for pid, service, options in draw(st.lists(st.tuples(some, services, flags))):
        with contextlib.suppress(VnasError):
            machine.bind(pids[pid % len(pids)], *service, **options)
    lines = machine.to_toml(embodiment=draw(st.integers(1, 2))).splitlines()
    for edit, one, other in draw(st.just([]) | st.lists(st.tuples(st.sampled_from(EDITS), some, some), max_size=2)):
        edit(lines, one % len(lines), other % len(lines))
    return "\n".join(lines)


def put_before(lines, one, other):
    lines.insert(other, lines[one])


def put_in_place(lines, one, other):
    lines[other] = lines[one]


def take_value(lines, one, other):
    lines[other] = lines[other].partition("=")[0] + "=" + lines[one].rpartition("=")[2]


def drop(lines, one, _):
    del lines[one]


EDITS = [put_before, put_in_place, take_value, drop]


def outcome(text):
    """What a text makes: a machine, told as texts, or a message."""
    try:
        machine = ServerMachine.from_toml(text, name="t.toml", seed=7)
    except TableFileError as error:
        return str(error)
    machine.check()
    return [machine.to_toml(embodiment=embodiment) for embodiment in (1, 2)]


def check_with_the_library(text):
    """Compare with what a text makes where the library reads it, and where rows are checked one by one."""
    found = outcome(text)
    with pytest.MonkeyPatch.context() as patch:
        for name in ("read_plain", "rows_of_dicts"):
            patch.setattr(document, name, lambda _: None)
            assert outcome(text) == found


@given(files())
@settings(max_examples=200, deadline=None)
def test_a_file_makes_the_same_whoever_reads_it(text):
    check_with_the_library(text)


@pytest.mark.parametrize(
    "text",
    [
        "[[embodiment]]\nx = 1\n",
        "embodiment = 1\n[[policy]]\n",
        "embodiment = 1\nsockets = 5\n",
        "embodiment = 1\n[[processes]]\npid = 2\nvnas = 1\n[[processes]]\npid = 3\nvnas = true\n",
        "embodiment = 1\n[[sockets]]\nprotocol = 6\n[[sockets.port]]\nx = 1\n",
        "embodiment = 1\n[[sockets]]\nsecond = 6\nfirst = 1\n[[sockets]]\nfirst = 1\n",
        "embodiment = 2\n[[any_tables]]\nname = true\nvnas = 1\n[[any_tables.addresses]]\n",
    ],
)
def test_a_mistake_has_the_same_message(text):
    assert read_plain(text) is not None
    assert isinstance(outcome(text), str)
    check_with_the_library(text)
