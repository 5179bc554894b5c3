"""Fuzz target: frames to flow keys to sockets.

An input is a row of frames, each behind a head of five bytes: link type, options, time, and two of its length. The
parser must agree with its slow model, explain with dispatch, a batch with its frames one by one, and the counters with
the packets dispatched.
"""

import itertools
from pathlib import Path

import numpy as np
from parse_model import parse

from vnasfast import FLOW_KEY, Outcome, ServerMachine
from vnasfast.parse import FragmentTable, parse_frame

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
LINK_TYPES = (1, 1, 1, 0, 12, 14, 101, 108, 113, 228, 229, 276, 105, 2**32 - 1)
RAW_KEYS = 14  # in place of a link type: the bytes are no frame but keys as C code might make them
PIDS = (0, 0, 101, 201, 301, 1, 999, 2**31 - 1)
MOST_FRAMES = 6
CHECK_EVERY = 256

# The same seed: flows that share a port must reach the same socket one by one and in a batch.
single = ServerMachine.load(PCAPS / "corners.toml", seed=7)
batch = ServerMachine.load(PCAPS / "corners.toml", seed=7)
runs = itertools.count()


def records(data: bytes):
    """Yield (link type or RAW_KEYS, options, time in seconds, bytes)."""
    for _ in range(MOST_FRAMES):
        if len(data) < 5:
            return
        length = int.from_bytes(data[3:5], "little") % 2048
        yield data[0] % 15, data[1], data[2], data[5 : 5 + length]
        data = data[5 + length :]


def exact(data: bytes) -> np.ndarray:
    """Copy to memory that ends where the data does, so that the sanitizers watch its end."""
    return np.frombuffer(data, np.uint8).copy()


def agree(found, other, what: object) -> None:
    first, second = ((one.outcome, one.socket, one.pid, one.vnas) for one in (found, other))
    assert first == second, (what, first, second)


def run_raw_keys(data: bytes) -> None:
    """Keys that no parser made: any status, VLAN and PID."""
    keys = np.frombuffer(data[: len(data) // 48 * 48], FLOW_KEY).copy()
    results = single.dispatch_batch(keys, count=False)
    for key, result in zip(keys, results.tolist(), strict=True):
        explanation = single.explain_key(key)
        expected = explanation.outcome if explanation.socket is None else explanation.socket
        assert result == expected, (key, result, expected)
    # Small, so that first fragments are also forgotten.
    small = FragmentTable(2)
    small.follow(keys)
    small.check()


def run_frame(link_type: int, options: int, seconds: int, data: bytes) -> tuple[int, int]:
    """Dispatch one frame in every way; returns its result and wire length."""
    frame = exact(data)
    wire_length = (len(data) + (0, 0, 1, 1500)[options & 3]) if options & 3 != 3 else max(len(data) - 1, 0)
    key = parse_frame(frame, link_type, wire_length=wire_length)[0]
    model = parse(data, link_type, wire_length)
    for name in FLOW_KEY.names:
        expected = getattr(model, name, 0)
        assert (bytes(key[name]) if isinstance(expected, bytes) else int(key[name])) == expected, (name, key, model)
    known = {
        "source_pid": PIDS[options >> 2 & 7],
        "time_ns": seconds * 10**9,
        "wire_length": wire_length,
    }
    explanation = single.explain(frame, link_type, **known)
    assert str(explanation)
    delivery = single.dispatch(frame, link_type, **known)
    agree(delivery, explanation, (link_type, data, known))
    result = delivery.outcome if delivery.socket is None else delivery.socket
    # Counts nothing; a first fragment is remembered again, a later one follows again.
    assert single.dispatch_id(frame, link_type, count=False, **known) == result
    return int(result), wire_length


def n_counted(machine: ServerMachine) -> int:
    return sum(usage.packets for usage in machine.outcomes.values())


def run(data: bytes) -> None:
    """Run one input."""
    single.fragments.reset()
    batch.fragments.reset()
    before = n_counted(single)
    found = []
    for kind, options, seconds, octets in records(data):
        if kind == RAW_KEYS:
            run_raw_keys(octets)
            continue
        # A batch of frames knows no source process.
        chosen = options & ~0x1C if options & 0x80 else options
        result, wire_length = run_frame(LINK_TYPES[kind], chosen, seconds, octets)
        found.append((LINK_TYPES[kind], octets, wire_length, seconds * 10**9, result, chosen >> 2 & 7))
    assert n_counted(single) == before + len(found)
    if found:
        run_batch(found)
    if next(runs) % CHECK_EVERY == 0:
        single.check()
        batch.check()
        assert sum(usage.packets for usage in single.usage_of_vnas().values()) == (
            single.outcomes[Outcome.DELIVERED].packets
        )


def run_batch(found: list[tuple]) -> None:
    """The frames of the first link type, in one buffer, where no source process was given."""
    same = [row for row in found if row[0] == found[0][0]]
    if any(PIDS[row[5]] for row in same) or len(same) != len(found):
        return
    lengths = np.array([len(row[1]) for row in same], np.uint32)
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
    results = batch.dispatch_frames(
        exact(b"".join(row[1] for row in same)),
        offsets,
        lengths,
        same[0][0],
        wire_lengths=np.array([row[2] for row in same], np.uint32),
        times_ns=np.array([row[3] for row in same], np.int64),
    )
    assert results.tolist() == [row[4] for row in same]
