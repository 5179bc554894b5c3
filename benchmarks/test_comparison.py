"""The comparison itself: what is measured is right, and what it says of it."""

import json
import sys
from dataclasses import asdict

import agree
import compare_keys
import numpy as np
import pytest
from click.testing import CliRunner
from exchange import write_packets, write_tables
from rounds import Results, Work, WrongAnswersError, medians, sample_of
from verdicts import Verdict, line
from workload import Shape, workload
from yardsticks import PEERS, Missing

PACKETS = 5_000
TRAFFIC = {
    "uniform": {},
    "zipf": {"order": "zipf"},
    "bursts": {"order": "bursts"},
    "scan": {"scan": 1.0},
    "flood": {"flood": 1.0},
    "mixed": {"scan": 0.25, "flood": 0.25},
}


@pytest.mark.parametrize("traffic", TRAFFIC)
@pytest.mark.parametrize("shape", [*compare_keys.SHAPES, compare_keys.MIX])
def test_every_answer_is_the_one_planned(shape, traffic):
    options = compare_keys.SHAPES if shape == compare_keys.MIX else {shape: compare_keys.SHAPES[shape]}
    work = workload(*(Shape(400, **each) for each in options.values()))
    packets = work.traffic(PACKETS, **TRAFFIC[traffic])
    assert packets.wrong(work.machine.dispatch_batch(packets.keys, count=False)) == 0


def test_wrong_answers_are_counted():
    packets = workload(Shape(400)).traffic(PACKETS)
    answers = packets.first.copy()
    answers[:3] -= 1
    assert packets.wrong(answers) == 3


def test_a_peer_that_answers_wrongly_ends_the_run(tmp_path):
    work = workload(Shape(400))
    packets = work.traffic(PACKETS)
    write_tables(tmp_path, work)
    write_packets(tmp_path, packets)
    peer = (sys.executable, PEERS / "python_dict.py", tmp_path, "1")
    sample_of(*peer)
    (packets.first + np.int32(1)).tofile(tmp_path / "expected")
    with pytest.raises(WrongAnswersError, match=f"{PACKETS} answers are wrong"):
        sample_of(*peer)


def test_ratios_are_medians_of_the_rounds_own():
    floor, mine = iter([1.0, 2.0, 10.0]), iter([3.0, 4.0, 10.0])

    def missing():
        raise Missing("no such program")

    runs = {"floor": lambda: (next(floor), 1.0), "mine": lambda: (next(mine), None), "other": missing}
    results = Results()
    results.run(Work("work", runs, "floor"), 3, lambda text: None)
    assert medians(results.ratios("work", "mine", "floor")) == (2.0, None)
    assert results.ns("work", "mine") == (4.0, None)
    assert results.left_out == {"other": "no such program"}
    assert not results.has("work", "other")
    assert [row.name for row in results.rows()] == ["floor", "mine"]


def test_a_second_sitting_adds_to_the_rounds_of_the_first():
    results = Results()
    for first in (1.0, 3.0):
        samples = iter([first, first + 1])
        results.run(Work("work", {"mine": lambda each=samples: (next(each), None)}, "mine"), 2, lambda text: None)
    assert results.samples == {"work": {"mine": [(1.0, None), (2.0, None), (3.0, None), (4.0, None)]}}


@pytest.mark.parametrize(
    ("measured", "at_least", "says"),
    [
        ([(1.9, 2.0)], False, "met"),
        ([(1.9, 2.1)], False, "missed"),
        ([(2.1, None)], False, "missed"),
        ([(2.1, 2.0)], True, "met"),
        ([(2.1, 1.9)], True, "missed"),
        ([(1.7, 1), (1.8, 1), (1.9, 1), (2.0, 1), (9.0, 1)], False, "met"),
        ([(1.7, 1), (1.8, 1), (1.9, 1), (2.1, 1), (9.0, 1)], False, "on both sides"),
        ([(1.0, 1), (1.9, 1), (2.1, 1), (2.1, 1), (2.1, 1)], False, "on both sides"),
        ([(1.0, 1), (2.1, 1), (2.1, 1), (2.1, 1), (2.1, 1)], False, "missed"),
        ([(1.9, 1), (2.1, 1), (2.1, 1), (2.1, 1), (2.1, 1)], True, "missed"),
        ([(1.9, 2.5), (2.1, 2.5), (2.1, 2.5), (2.1, 2.5), (2.1, 2.5)], True, "met"),
        ([], True, "not measured"),
    ],
)
def test_a_bar_is_met_by_both_clocks_or_not_at_all(measured, at_least, says):
    verdict = Verdict("it", 2.0, measured, at_least)
    assert verdict.says == says
    assert line(verdict).startswith(f"{says}: it")


def test_runs_agree_unless_one_meets_a_bar_that_another_misses(tmp_path):
    near, within, beyond = [(1.9, None), (2.1, None)], [(1.9, None)], [(2.1, None)]

    def run(number, *measured):
        results = Results()
        results.run(Work("work", {"mine": lambda: (float(number), None)}, "mine"), 1, lambda text: None)
        bars = [Verdict(f"bar {n}", 2.0, each) for n, each in enumerate(measured)]
        path = tmp_path / f"{number}.json"
        content = {
            "rows": [asdict(row) for row in results.rows()],
            "verdicts": [{**asdict(bar), "says": bar.says} for bar in bars],
        }
        path.write_text(json.dumps(content))
        return str(path)

    one, two, three = run(1, within, near), run(2, within, beyond), run(3, beyond, near)
    agreeing, other = CliRunner().invoke(agree.main, [one, two]), CliRunner().invoke(agree.main, [one, two, three])
    assert (agreeing.exit_code, other.exit_code) == (0, 1)
    assert "1.00 to 2.00" in agreeing.output
    assert "the same in all runs: bar 0: met" in agreeing.output
    assert "not alike in all runs: bar 1: on both sides, missed" in agreeing.output
    assert "contradicted: bar 0: met, met, missed" in other.output
    assert "not alike in all runs: bar 1: missed" in CliRunner().invoke(agree.main, [run(4, within), two]).output
    (tmp_path / "other.json").write_text("[]")
    wrong = CliRunner().invoke(agree.main, [one, str(tmp_path / "other.json")])
    assert wrong.exit_code == 1
    assert "other.json is no run of compare.py" in wrong.output
