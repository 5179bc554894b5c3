"""The policy `linux` beside the running kernel, and a mistake in it, which must be found."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vnasfast.host.verify import rules_of

TESTS = Path(__file__).parent

#: A policy with a mistake of each kind, in place of the right one.
MISTAKES = {
    "forgets devices": 'options["device"] = None',
    "forgets that IPv6 sockets may be v6-only": 'options["v6only"] = False',
    "forgets connections": 'options["peer"] = None',
    "forgets users": 'options["uid"] = 0',
    "takes mapped sockets for those of IPv4": 'options["mapped"] = False',
}
PLANTED = """
import sys
from vnasfast import machine

class Wrong(machine.ServerMachine):
    def bind(self, *arguments, **options):
        {mistake}
        return super().bind(*arguments, **options)

machine.ServerMachine = Wrong
from vnasfast.host.verify_cli import main
main(["--sets", "400", "--queries", "400", "--seed", "3", "--json"])
"""


def run(*command, text=None):
    environment = os.environ | {"PYTHONPATH": str(TESTS.parent)}
    return subprocess.run(
        [sys.executable, *command], input=text, capture_output=True, text=True, check=False, env=environment
    )


def verified(*command, text=None):
    """Run a verification; its exit code and result. Skips where it can't be tried."""
    done = run(*command, text=text)
    if done.returncode == 2 and ("network namespace" in done.stderr or "kernel can't be asked" in done.stderr):
        pytest.skip(done.stderr)
    assert done.returncode in (0, 1), done.stderr
    return done.returncode, json.loads(done.stdout)


def test_this_kernel_does_what_the_policy_says():
    if not rules_of(os.uname().release).known:
        pytest.skip(f"not written for Linux {os.uname().release}: vnasfast verify tells where it differs")
    code, result = verified("-m", "vnasfast", "verify", "--sets", "250", "--queries", "800", "--seed", "5", "--json")
    assert result["differences"] == []
    assert code == 0
    assert result["packets"] == 200_000
    assert result["delivered"] > 20_000
    assert min(result["by_kind"].values()) > 40_000


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_planted_mistake_is_found_and_shrunk(mistake, tmp_path):
    if "uid" in mistake and os.geteuid() != 0:
        pytest.skip("sockets of another user take root")
    code, result = verified("-", text=PLANTED.format(mistake=mistake))
    assert code == 1
    (script,) = result["differences"]
    assert 1 <= script.count("= socket.socket(") <= 3
    (tmp_path / "shrunk.py").write_text(script)
    shown = run(str(tmp_path / "shrunk.py"))
    assert shown.returncode == 0 or "OSError: [Errno 98]" in shown.stderr, shown.stderr


def test_an_older_kernel_s_rules_are_told_from_this_one_s():
    if rules_of(os.uname().release).policy != "linux-6.18":
        pytest.skip("this kernel is older")
    options = ("--policy", "linux-6.12", "--sets", "2000", "--seed", "1", "--json")
    code, result = verified("-m", "vnasfast", "verify", *options)
    assert code == 1
    assert "udp" in result["differences"][0] or "SOCK_DGRAM" in result["differences"][0]


def test_real_packets_go_where_the_kernel_says():
    done = run(str(TESTS / "real_packets.py"), "60", "1")
    if "NamespaceError" in done.stderr or "OracleError" in done.stderr:
        pytest.skip(done.stderr.splitlines()[-1])
    assert done.returncode == 0, done.stderr
    counts, *wrong = done.stdout.splitlines()
    assert wrong == []
    assert min(map(int, counts.split())) > 15


@pytest.mark.parametrize(
    ("release", "policy", "known"),
    [
        ("6.18.44-fc-v657", "linux-6.18", True),
        ("6.15.0", "linux-6.18", True),
        ("6.14.3", "linux-6.18", False),
        ("7.1.0-rc2", "linux-6.18", False),
        ("6.12.117+deb12-amd64", "linux-6.12", True),
        ("6.1.0-40-amd64", "linux-6.12", True),
        ("5.15", "linux-6.12", False),
    ],
)
def test_rules_are_chosen_by_the_kernel_s_release(release, policy, known):
    assert rules_of(release) == (policy, known)
