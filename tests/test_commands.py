"""The command ``vnasfast``: the list of commands, and that ``vnasfast replay`` is ``python -m vnasfast.replay``."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from replayer import COMMAND, PCAPS

from vnasfast.commands import COMMANDS, group, load

CAPTURE = PCAPS / "three-servers.pcap"
PYTHON = [sys.executable, "-W", "error"]
AS_MODULE = [*PYTHON, "-m", "vnasfast"]
#: What the console script does, whether or not it is installed.
AS_SCRIPT = [*PYTHON, "-c", "import sys; from vnasfast.__main__ import main; sys.exit(main())"]


def run(*command):
    made = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)
    return made.returncode, made.stdout, made.stderr


def without_speed(text):
    return [line for line in text.splitlines() if not line.startswith(("speed", "    "))]


@pytest.mark.parametrize("start", [AS_MODULE, AS_SCRIPT], ids=["module", "script"])
@pytest.mark.parametrize(
    "arguments",
    [["pcaps/three-servers.pcap"], [], ["--limit", "0", "x.pcap"], ["no-such.pcap"], ["--quiet", "pcaps/corners.pcap"]],
    ids=" ".join,
)
def test_replay_is_what_the_module_is(start, arguments):
    code, out, err = run(*start, "replay", *arguments)
    name = "vnasfast replay" if start is AS_SCRIPT else "python -m vnasfast replay"
    other_code, other_out, other_err = run(*COMMAND, *arguments)
    assert code == other_code
    assert without_speed(out) == without_speed(other_out)
    assert err == other_err.replace("python -m vnasfast.replay", name)


def test_the_script_is_declared():
    declared = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["scripts"]
    assert declared == {"vnasfast": "vnasfast.__main__:main"}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_line_of_the_list_is_the_commands_own(name):
    assert load(name).help.partition("\n")[0] == COMMANDS[name].help
    shown = CliRunner().invoke(group, [name, "--help"])
    assert shown.exit_code == 0, shown.output
    assert COMMANDS[name].help in " ".join(shown.output.split())


def test_the_list_of_commands_imports_none_of_them():
    code = "import sys; from vnasfast.commands import group; group.main(['--help'], standalone_mode=False)\n"
    code += "print(sorted(name for name in sys.modules if name.startswith(('vnasfast.replay', 'vnasfast.host'))))"
    code, out, _ = run(*PYTHON, "-c", code)
    assert code == 0
    for name, entry in COMMANDS.items():
        assert name in out
        assert entry.help in " ".join(out.split())
    assert out.splitlines()[-1] == "[]"


def test_an_unknown_command_is_named():
    code, out, err = run(*AS_MODULE, "reply", CAPTURE)
    assert (code, out) == (2, "")
    assert "No such command 'reply'" in err
    assert run(*AS_MODULE)[0] == 2  # and what to do is said
    assert "Commands:" in "".join(run(*AS_MODULE)[1:])


def test_the_version_is_that_of_the_replayer():
    assert run(*AS_MODULE, "--version") == run(*COMMAND, "--version")
    assert run(*AS_MODULE, "--version")[1].startswith("vnasfast ")
