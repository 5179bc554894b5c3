"""A snapshot answers as its machine did when it was frozen; in memory, from pickles, and mapped from a file by many processes."""

import copy
import json
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from pair import Pair, frame, key_array, result_of
from test_random_operations import RandomDriver

from vnasfast import FLOW_KEY, FrozenError, InvalidValue, Outcome, ServerMachine, Snapshot, SnapshotError, flow_keys, ipv4_keys

ROOT = Path(__file__).parents[1]
#: Where the header has what the tests below spoil.
BYTE_ORDER, FORMAT, LAYOUT, CHECKSUM, N_BYTES = 8, 12, 16, 24, 32
FORMS = ("frozen", "pickled", "out of band", "copied", "opened")


def forms(snapshot, folder):
    """Give a snapshot in every form that it comes in."""
    path = folder / "tables.snapshot"
    snapshot.save(path)
    buffers = []
    data = pickle.dumps(snapshot, 5, buffer_callback=buffers.append)
    assert len(data) < 2000
    for protocol in range(6):
        yield pickle.loads(pickle.dumps(snapshot, protocol))
    yield from (snapshot, pickle.loads(data, buffers=buffers), copy.deepcopy(snapshot), Snapshot.open(path))


def views(machine):
    return (
        machine.addresses,
        [row[:-1] for row in machine.processes],
        [row[:-1] for row in machine.sockets],
        machine.routes,
        machine.ports,
        machine.any_tables,
        dict(machine.names),
        machine.to_toml(),
        sorted(machine.usage_of_vnas()),
    )


def answers(machine, keys, pids, addresses):
    """Ask for everything that a machine answers about packets; count nothing."""
    array = key_array(keys)
    fit = [n for n, key in enumerate(keys) if key.destination.version == key.source.version == 4 and not key.source_pid]
    frames = [frame(key, as_ipv6=n % 3 == 0) for n, key in enumerate(keys)]
    lengths = [len(data) for data in frames]
    offsets = np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.uint64)
    return (
        machine.dispatch_batch(array, count=False).tolist(),
        machine.dispatch_batch(ipv4_keys(array[fit]), count=False).tolist(),
        machine.dispatch_frames(b"".join(frames), offsets, lengths, count=False).tolist(),
        [machine.dispatch(data, source_pid=key.source_pid, count=False) for key, data in zip(keys, frames, strict=True)],
        [machine.dispatch_id(data, count=False) for data in frames],
        [str(machine.explain(data)) for data in frames[:20]],
        [str(machine.explain_key(one)) for one in array[:20]],
        [str(result_of(machine.source_address, pid, address)) for pid in pids for address in addresses],
        [machine.owns(vnas, address) for vnas in range(4) for address in addresses],
    )


def random_machine(seed, operations, *, large=False):
    driver = RandomDriver(seed, wide=large or seed % 2 == 1, large=large)
    driver.run(operations, compare_every=operations)
    names = {row.vnas: f"name {row.vnas} \N{SNOWMAN}" for row in driver.pair.model.processes}
    driver.pair.engine.names |= names
    return driver


def hold_same(driver, folder, n_keys):
    machine = driver.pair.engine
    keys = [driver.key() for _ in range(n_keys)]
    pids = [row.pid for row in driver.pair.model.processes][:10] + [999]
    addresses = ["10.0.0.1", "192.0.2.77", "2001:db8::1", "127.0.0.1"]
    expected = views(machine), answers(machine, keys, pids, addresses)
    assert expected[1][0] == [driver.pair.model.dispatch(key, 0, 0, False) for key in keys]
    every = list(forms(machine.freeze(), folder))
    driver.run(200, compare_every=200)
    for snapshot in every:
        snapshot.check()
        assert (views(snapshot), answers(snapshot, keys, pids, addresses)) == expected
    assert len(every) == 10


@pytest.mark.parametrize("seed", range(12))
def test_a_snapshot_answers_as_its_machine_did_whatever_becomes_of_that(seed, tmp_path):
    hold_same(random_machine(300 + seed, 300), tmp_path, 300)


def test_a_snapshot_of_large_tables_in_which_rows_were_freed(tmp_path):
    hold_same(random_machine(7, 2500, large=True), tmp_path, 1000)


@pytest.mark.parametrize("path", ["portable", "avx2"])
def test_on_each_vector_path(path):
    """The path is chosen when the process starts."""
    selected = "test_a_snapshot_answers_as_its_machine_did_whatever_becomes_of_that"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", selected],
        env=os.environ | {"VNASFAST_VECTOR": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "12 passed" in run.stdout
