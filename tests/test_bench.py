"""The check that speed stays: figures, baselines and what it says of them."""

import shutil
import subprocess

import numpy as np
import pytest
from click.testing import CliRunner

from vnasfast.bench import callgrind, cases, cli, counting, floor
from vnasfast.bench.baseline import Baseline, altered, parse, read, update
from vnasfast.bench.counting import CannotMeasure, Count

TOOLS = "gcc 12, CPython 3.11"
KEYS = ("portable", "instructions", "keys-ipv4-1k")
LINES = ("portable", "lines", "keys-ipv4-1k")
RATIO = ("portable", "ratio", "keys-ipv4-1k")
CALL = ("portable", "instructions", "dispatch-1k")
FIGURES = {KEYS: 100.0, LINES: 2.0, RATIO: 4.0, CALL: 1000.0}

needs_valgrind = pytest.mark.skipif(shutil.which("valgrind") is None, reason="valgrind is not installed")


@pytest.fixture
def measured(monkeypatch):
    """Give the figures that measuring answers with, to change."""
    now = dict(FIGURES)
    monkeypatch.setattr(cli, "measure", lambda *_: dict(now))
    monkeypatch.setattr(cli, "_ratios", lambda *_: {})
    monkeypatch.setattr(cli, "tools", lambda: TOOLS)
    return now


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "speed.toml"
    update(path, FIGURES, "first measured", TOOLS)
    return path


def run(*words):
    result = CliRunner().invoke(cli.main, [str(word) for word in words])
    return result.exit_code, result.output


# ---- the check -------------------------------------------------------------------------------------------------------


def test_what_did_not_grow_is_fine(measured, file):
    code, output = run("--check", file)
    assert code == 0
    assert "fine: nothing grew by more than 5%" in output


@pytest.mark.parametrize(("key", "most"), [(KEYS, 105.0), (LINES, 2.35), (RATIO, 6.0), (CALL, 1050.0)], ids=str)
def test_what_grew_beyond_the_tolerance_is_refused(measured, file, key, most):
    measured[key] = most - 0.001
    assert run("--check", file)[0] == 0
    measured[key] = most + 0.001
    code, output = run("--check", file)
    assert code == 1
    assert f"refused: {key[2]} (portable): {most:.2f}" in output
    assert "--update" in output


def test_what_has_no_baseline_is_refused(measured, file):
    measured["avx2", "instructions", "keys-ipv4-1k"] = 50.0
    code, output = run("--check", file)
    assert code == 1
    assert "keys-ipv4-1k (avx2): 50.00 instructions per packet, and no baseline" in output


def test_a_move_with_a_reason_lets_it_pass(measured, file):
    measured[KEYS] = 130.0
    assert run("--check", file)[0] == 1
    code, output = run("--update", file, "--why", "checks the VLAN too")
    assert (code, "3 figures moved" in output) == (0, True)
    assert run("--check", file)[0] == 0
    assert [move["why"] for move in read(file).moves] == ["first measured", "checks the VLAN too"]
    assert read(file).figures == FIGURES | {KEYS: 130.0}


def test_an_update_of_what_stands_still_leaves_the_file_alone(measured, file):
    before = file.read_text()
    measured[KEYS] = 100.9
    assert "nothing moved" in run("--update", file, "--why", "again")[1]
    assert file.read_text() == before


def test_ratios_over_the_tolerance_are_taken_again(measured, file, monkeypatch):
    measured[RATIO] = 100.0
    again = [{RATIO: 90.0}, {RATIO: 5.0}]
    monkeypatch.setattr(cli, "_ratios", lambda *_: again.pop(0) if again else {})
    assert run("--check", file)[0] == 0


def test_calls_from_python_are_not_compared_with_another_interpreter(measured, file, monkeypatch):
    monkeypatch.setattr(cli, "tools", lambda: "gcc 12, CPython 3.14")
    measured[CALL] = 2000.0
    code, output = run("--check", file)
    assert code == 0
    assert f"measured with {TOOLS}" in output
    measured[KEYS] = 130.0
    assert run("--check", file)[0] == 1


def test_a_path_that_is_not_here_is_named(measured, file):
    update(file, {("avx2", "instructions", "keys-ipv4-1k"): 50.0}, "where there is AVX2", TOOLS)
    code, output = run("--check", file)
    assert code == 0
    assert "not measured here: vector path avx2" in output


def test_the_table_without_a_file(measured):
    code, output = run()
    assert code == 0
    assert "keys-ipv4-1k" in output


@pytest.mark.parametrize(
    "words", [("--check", "a", "--update", "b", "--why", "c"), ("--update", "a"), ("--why", "a"), ("--since", "HEAD")]
)
def test_options_that_do_not_go_together(words):
    assert run(*words)[0] == 2


def test_without_valgrind_it_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(counting.shutil, "which", lambda _: None)
    code, output = run("--only", "keys-ipv4-1k")
    assert code == 2
    assert "apt-get install valgrind" in output


# ---- files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("tolerance = ", "is no TOML"),
        ("tolerance = []", "is no baseline"),
        ("[[commands]]\nname = 'x'", "is no baseline"),
        ("[[commands]]\nname = 'x'\ncommand = 'true'", "needs {n}"),
        ("[[moves]]\nportable.instructions.x = 1", "does not say why"),
        ("[[moves]]\nwhy = ' '\nportable.instructions.x = 1", "does not say why"),
        ("[[moves]]\nwhy = 'x'\nportable.instructions.x = 'many'", "is no baseline"),
        ("[[moves]]\nwhy = 'x'\nportable.instructions = 1", "is no baseline"),
    ],
)
def test_mistakes_in_a_file(tmp_path, text, problem):
    path = tmp_path / "speed.toml"
    path.write_text(text)
    code, output = run("--check", path)
    assert code == 2
    assert problem in output


def test_a_file_that_is_not_there(tmp_path):
    code, output = run("--check", tmp_path / "none.toml")
    assert (code, "can't be read" in output) == (2, True)


def test_what_people_wrote_into_a_file_stays(tmp_path):
    path = tmp_path / "speed.toml"
    path.write_text("# ours\nbuilt_in = false\n\n[[commands]]\nname = 'mine'\ncommand = 'mine {n}'\nn = 10\n")
    update(path, {("portable", "instructions", "mine"): 7.0}, 'the "first"', TOOLS)
    update(path, {("portable", "instructions", "mine"): 8.0}, "second", TOOLS)
    assert path.read_text().startswith("# ours\n")
    baseline = read(path)
    assert (baseline.built_in, baseline.commands[0].name, baseline.figures) == (
        False,
        "mine",
        {("portable", "instructions", "mine"): 8.0},
    )


def test_moves_of_a_revision_must_stand(file):
    def git(*words):
        identity = ("-c", "user.name=x", "-c", "user.email=x@example.com")
        subprocess.run(["git", *identity, *words], cwd=file.parent, check=True, capture_output=True)

    with pytest.raises(CannotMeasure, match="does not know HEAD"):
        altered(file, "HEAD")
    git("init", "--quiet")
    git("commit", "--quiet", "--allow-empty", "-m", "empty")
    assert altered(file, "HEAD") is None
    git("add", file.name)
    git("commit", "--quiet", "-m", "a baseline")
    update(file, {KEYS: 130.0}, "a reason", TOOLS)
    assert altered(file, "HEAD") is None
    file.write_text(file.read_text().replace("100.0", "140.0"))
    assert "move 1 of" in altered(file, "HEAD")
    assert run("--check", file, "--since", "HEAD")[0] == 1
    file.write_text("")
    assert "move 1 of" in altered(file, "HEAD")


def test_a_baseline_without_moves_has_no_figures():
    assert Baseline().figures == {}
    assert parse("", "x").most(KEYS) is None


# ---- measuring -------------------------------------------------------------------------------------------------------


def test_all_cases_run():
    small = [name for name in cases.names() if name.endswith("-1k")]
    prepared = list(cases.prepared(small))
    assert [case.name for case in prepared] == small
    with pytest.raises(KeyError):
        next(cases.prepared(["none-1k"]))


def test_the_floor_touches_each_line():
    region = np.zeros(64 * 10, np.uint8)
    region[::64] = np.arange(10)
    assert floor.touch(region, np.array([1, 9, 9] * 20, np.uint32)) == 19 * 20
    with pytest.raises(ValueError, match="outside"):
        floor.touch(region, np.array([10], np.uint32))


def test_nothing_is_counted_without_valgrind():
    assert not callgrind.running()
    callgrind.start()
    callgrind.stop("nothing happens")


@needs_valgrind
def test_counting_repeats():
    one, other = (counting.count_cases(["keys-misses-1k"], "portable")["keys-misses-1k"] for _ in range(2))
    assert one.instructions == pytest.approx(other.instructions, rel=0.01)
    assert 1 < one.instructions < 1000
    assert one.lines == pytest.approx(other.lines, abs=0.1)


@needs_valgrind
def test_counting_a_command():
    loop = "i=0; while [ $i -lt {n} ]; do i=$((i + 1)); done"
    count = counting.count_command(counting.Command("loop", f"sh -c '{loop}'", 500), "portable")
    assert 100 < count.instructions < 20_000
    assert count.lines is None


@needs_valgrind
@pytest.mark.parametrize(
    ("command", "problem"),
    [("true {n}", "no more than"), ("false {n}", "ended with code 1"), ("no-such-program {n}", "there is no program")],
)
def test_commands_that_can_not_be_counted(command, problem):
    with pytest.raises(CannotMeasure, match=problem):
        counting.count_command(counting.Command("x", command, 10), "portable")


def test_a_count_is_the_difference():
    few, many = {"Ir": 1000, "DLmr": 10, "DLmw": 0}, {"Ir": 3000, "DLmr": 40, "DLmw": 10}
    assert counting._difference({100: few, 200: many}) == Count(20.0, 0.4)
