"""The parser against the slow model, on any bytes, and with nothing readable behind the frame."""

import ctypes
import mmap

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from packet_strategies import frames
from parse_model import LINK_TYPES, Key, parse

from vnasfast.dtypes import FLOW_KEY
from vnasfast.parse import link_is_known, parse_frame, parse_frames


def expected(model: Key) -> np.ndarray:
    key = np.zeros(1, FLOW_KEY)
    for name in FLOW_KEY.names:
        if name in ("destination", "source"):
            key[name] = np.frombuffer(getattr(model, name), np.uint8)
        elif name != "source_pid":
            key[name] = getattr(model, name)
    return key


def assert_equals_model(link_type: int, frame: bytes, wire_length: int) -> None:
    key = parse_frame(frame, link_type, wire_length=wire_length)
    assert key[0] == expected(parse(frame, link_type, wire_length))[0]


def assert_whole_and_cut_anywhere(link_type: int, frame: bytes) -> None:
    for n in range(len(frame) + 1):
        assert_equals_model(link_type, frame[:n], len(frame))
        assert_equals_model(link_type, frame[:n], n)


@given(frames())
@settings(max_examples=300, deadline=None)
def test_equals_the_model_whole_cut_and_shortened(case):
    assert_whole_and_cut_anywhere(*case)


@pytest.mark.long
@given(frames())
@settings(max_examples=20_000, deadline=None)
def test_equals_the_model_for_long(case):
    assert_whole_and_cut_anywhere(*case)


@given(frames(), st.data())
@settings(max_examples=400, deadline=None)
def test_equals_the_model_on_damaged_frames(case, data):
    link_type, frame = case
    damaged = bytearray(frame)
    for _ in range(data.draw(st.integers(1, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    n = data.draw(st.integers(0, len(damaged)))
    assert_equals_model(link_type, bytes(damaged), len(damaged))
    assert_equals_model(link_type, bytes(damaged[:n]), len(damaged))


@given(st.integers(0, 300), st.binary(max_size=200), st.integers(0, 300))
@settings(max_examples=400, deadline=None)
def test_equals_the_model_on_any_bytes(link_type, frame, wire_length):
    assert_equals_model(link_type, frame, wire_length)


@given(st.lists(frames(), min_size=1, max_size=20))
@settings(deadline=None)
def test_a_batch_is_its_frames_one_by_one(cases):
    link_type = cases[0][0]
    buffer = b"".join(frame for _, frame in cases)
    lengths = np.array([len(frame) for _, frame in cases], np.uint32)
    offsets = np.cumsum(lengths, dtype=np.uint64) - lengths
    keys = parse_frames(buffer, offsets, lengths, link_type)
    for key, (_, frame) in zip(keys, cases, strict=True):
        assert key == parse_frame(frame, link_type)[0]


@pytest.fixture(scope="module")
def last_page():
    """One page of memory with an unreadable page behind it: whoever reads past the end is killed."""
    memory = mmap.mmap(-1, 2 * mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    protect = libc.mprotect
    protect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    assert protect(start + mmap.PAGESIZE, mmap.PAGESIZE, 0) == 0
    yield memoryview(memory)[: mmap.PAGESIZE]
    assert protect(start + mmap.PAGESIZE, mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE) == 0


@given(case=frames())
@settings(max_examples=150, deadline=None)
def test_reads_nothing_behind_a_frame_cut_anywhere(last_page, case):
    link_type, frame = case
    for n in range(len(frame) + 1):
        place = last_page[len(last_page) - n :]
        place[:] = frame[:n]
        for wire_length in (n, len(frame)):
            key = parse_frame(place, link_type, wire_length=wire_length)
            assert key[0] == expected(parse(frame[:n], link_type, wire_length))[0]


def test_known_link_types_are_those_of_the_model():
    assert {link_type for link_type in range(1000) if link_is_known(link_type)} == LINK_TYPES
