"""Readers under a storm of changes: no answer is torn. And the checker that says so finds torn answers."""

import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model import Model
from storm import Report, Storm, run
from storm_answers import Answer, Answers
from storm_check import Call, check
from storm_log import BIND, CLOSE, EXIT, INVALIDATE, START, VALIDATE, Operation

import vnasfast
from vnasfast import Outcome


def quiet_log(operations: int, seed: int = 1, sockets: int = 60) -> tuple[Storm, list[Operation]]:
    """Give a storm without readers that has done some operations, and its log."""
    storm = Storm(readers=0, sockets=sockets, seed=seed)
    chooser = random.Random(seed)
    while storm.writer.done < operations:
        next(chooser.choice(storm.bursts))
    return storm, storm.writer.take_log()[1]


def apply(model: Model, operation: Operation) -> None:
    match operation:
        case (kind, pid, vnas) if kind == START:
            model.vnas_start(1, vnas, pid)
        case (kind, pid) if kind == EXIT:
            model.exit(pid)
        case (kind, pid, vlan, address, changed) if kind == VALIDATE:
            assert model.validate(pid, address, "eth0", vlan) == changed
        case (kind, pid, vlan, address, changed) if kind == INVALIDATE:
            assert model.invalidate(pid, address, vlan) == changed
        case (kind, socket) if kind == CLOSE:
            model.close(socket)
        case (kind, socket, *values, v6only, sharing) if kind == BIND:
            model.bind(*values, v6only=v6only, sharing=sharing, freebind=True, socket=socket)


def modelled(model: Model, key) -> Answer:
    outcome, vnas, socket = model.decide(key)
    return Answer(int(outcome), vnas, None) if socket is None else Answer(socket.socket, vnas, socket.pid)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_checker_follows_the_model(seed: int) -> None:
    storm, log = quiet_log(1500, seed)
    keys = storm.keys.keys
    model, answers = Model(seed), Answers(keys, seed)
    chooser = random.Random(seed)
    for number, operation in enumerate(log):
        apply(model, operation)
        before = list(answers.answers)
        answers.replay([operation])
        changed = [index for index in range(len(keys)) if answers.answers[index] != before[index]]
        some = range(len(keys)) if number % 300 == 0 else chooser.sample(range(len(keys)), 20)
        for index in (*changed, *some):
            assert modelled(model, keys[index]) == answers.answers[index], (operation, keys[index])
    assert set(answers.results.tolist()) > {int(Outcome(-number)) for number in range(1, 5)}
    storm.compare(check(storm.answers, log, []), [])


def recorded(operations: int = 4000) -> tuple[Storm, list[Operation], list[Call]]:
    """Give a log, and calls with windows of a few operations whose answers are right."""
    storm, log = quiet_log(operations)
    answers = Answers(storm.keys.keys, 1)
    chooser = random.Random(3)
    calls, version = [], 0
    while version + 30 < len(log):
        step = chooser.randint(1, 30)
        answers.replay(log[version : version + step])
        version += step
        first, last = version - chooser.randint(0, step), version + chooser.randint(0, 5)
        indices = np.array(chooser.sample(range(len(storm.keys.keys)), 300))
        calls.append(Call("dispatch_batch", first, last, indices, answers.results[indices]))
        single = indices[:1]
        delivery = answers.answers[int(single[0])]
        calls.append(Call("dispatch", first, last, single, answers.results[single], delivery))
    return storm, log, calls


def test_right_answers_pass() -> None:
    storm, log, calls = recorded()
    checked = check(Answers(storm.keys.keys, 1), log, calls)
    assert checked.wrong == []
    assert checked.operations == len(log)
    assert checked.answers == {"dispatch_batch": len(calls) // 2 * 300, "dispatch": len(calls) // 2}
    assert checked.in_change > checked.new > 0  # the storm has changes in its calls


def test_one_wrong_answer_is_found() -> None:
    storm, log, calls = recorded()
    call = calls[len(calls) // 2 & ~1]
    call.found[123] = 10**6
    wrong = check(Answers(storm.keys.keys, 1), log, calls).wrong
    assert [(each.index, each.found, each.first) for each in wrong] == [(call.indices[123], 10**6, call.first)]
    assert "answered 1000000 to Key" in str(wrong[0])


def test_an_answer_of_too_early_or_too_late_is_found() -> None:
    """Every answer that some version gave, but none of the call's window, is wrong; no other is."""
    storm, log, _ = recorded()
    answers = Answers(storm.keys.keys, 1)
    answers.replay(log)
    planted = 0
    for index, history in enumerate(answers.history):
        for (_, earlier), (version, now), (following, later) in zip(history, history[1:], history[2:], strict=False):
            for other in {earlier.result, later.result} - {now.result}:
                call = Call("dispatch_batch", version, following - 1, np.array([index]), np.array([other], np.int32))
                wider = [replace(call, first=version - 1), replace(call, last=following)]
                checked = check(Answers([storm.keys.keys[index]], 1), log, [on_first_key(call)])
                assert len(checked.wrong) == 1
                expected = [other != earlier.result, other != later.result]
                for each, is_wrong in zip(wider, expected, strict=True):
                    checked = check(Answers([storm.keys.keys[index]], 1), log, [on_first_key(each)])
                    assert len(checked.wrong) == is_wrong
                planted += 1
            if planted > 15:
                return
    raise AssertionError("the storm changes too little")


def on_first_key(call: Call) -> Call:
    return replace(call, indices=np.array([0]))


def test_a_delivery_whose_parts_are_of_two_versions_is_found() -> None:
    storm, log, calls = recorded()
    call = next(call for call in calls if call.delivery is not None and call.delivery.pid is not None)
    call.delivery = call.delivery._replace(pid=1)
    (wrong,) = check(Answers(storm.keys.keys, 1), log, calls).wrong
    assert wrong.found == call.delivery


def test_a_torn_move_is_found() -> None:
    """NO_SOCKET is never right for an address that only has owners with a socket."""
    storm, log, calls = recorded()
    moved = next(index for index, key in enumerate(storm.keys.keys) if key.protocol == 6 and index in storm.groups[1])
    call = Call("dispatch_batch", 0, len(log), np.array([moved]), np.array([Outcome.NO_SOCKET], np.int32))
    (wrong,) = check(Answers(storm.keys.keys, 1), log, [*calls, call]).wrong
    assert wrong.index == moved
    assert {answer.result for _, answer in wrong.right} > {int(Outcome.NO_VNAS)}


def hold(report: Report) -> None:
    assert report.checked.wrong == [], "\n".join(map(str, report.checked.wrong[:3]))
    assert report.checked.operations > 0
    assert set(report.checked.answers) >= {"dispatch_batch", "dispatch_frames", "dispatch_id", "dispatch"}


def test_no_answer_is_torn() -> None:
    hold(run(Storm(readers=2, sockets=2_000), 1.0))


@pytest.mark.long
@pytest.mark.parametrize("sockets", [500, 20_000, 200_000])
@pytest.mark.parametrize("readers", [1, 3])
def test_no_answer_is_torn_in_a_long_storm(readers: int, sockets: int, capsys: pytest.CaptureFixture[str]) -> None:
    report = run(Storm(readers=readers, sockets=sockets, seed=readers), 30.0)
    hold(report)
    with capsys.disabled():
        print(f"\n{readers} readers, {sockets:,} sockets: {json.dumps(report.figures())}")


def test_the_command() -> None:
    command = [sys.executable, Path(__file__).with_name("storm.py"), "--seconds", "0.2", "--sockets", "100", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(Path(vnasfast.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(done.stdout)["wrong"] == 0
