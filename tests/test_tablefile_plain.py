"""The reader of plain table files: what it reads is what the TOML library reads, and the rest it leaves alone."""

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st
from replayer import PCAPS

from vnasfast import ServerMachine
from vnasfast.tablefile.plain import read_plain

READ = [
    "",
    "# nothing but a comment\n",
    'a = 1\nb = "text"\nc = true\nd = false\n',
    'a=0\n  b\t= ""  # why\n\n\n[[t]]\nx = 999999999999999999\n[[ t ]]   # two\n[[u]]\n1 = 2',
    '"ü" = 1',
    'a = "ü → \t"\n# ü\n',
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


@pytest.mark.parametrize("text", READ[:4] + READ[5:])
def test_reads_what_is_plain(text):
    assert read_plain(text) == tomli.loads(text)


@pytest.mark.parametrize("text", [*LEFT, READ[4]])
def test_leaves_all_else(text):
    assert read_plain(text) is None


@pytest.mark.parametrize("path", sorted(PCAPS.glob("*.toml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("embodiment", [1, 2])
def test_what_the_machine_writes(path, embodiment):
    for text in (path.read_text(), ServerMachine.load(path).to_toml(embodiment=embodiment)):
        plain = read_plain(text)
        assert plain == tomli.loads(text) or (embodiment == 2 and "any_tables.addresses" in text and plain is None)


LINES = st.sampled_from([*(line for text in READ + LEFT for line in text.splitlines()), "[[t]]", "x = 1", "y = 2"])


@given(st.lists(LINES, max_size=8).map("\n".join) | st.text(alphabet='ab="1[]#.\n\t\\\r', max_size=40))
@settings(max_examples=1000, deadline=None)
def test_never_reads_what_the_library_does_not(text):
    plain = read_plain(text)
    if plain is not None:
        library = tomli.loads(text)
        assert plain == library
        assert repr(plain) == repr(library)  # True is no 1
