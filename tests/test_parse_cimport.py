"""Other Cython code takes the parser and the fragment table from their .pxd files."""

import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from hypothesis import given, settings
from packet_strategies import frames
from parse_model import parse

import vnasfast

CONSUMER = """
    # cython: language_level=3
    from libc.stdint cimport uint8_t, uint64_t
    from vnasfast.parse.fragments cimport Fragments, fragments_follow, fragments_init, fragments_reset
    from vnasfast.parse.frame cimport parse_frame
    from vnasfast.typedefs cimport FlowKey

    def following(link_type, const uint8_t[::1] frame, wire_length):
        cdef FlowKey key
        cdef const uint8_t* start = &frame[0] if frame.shape[0] else NULL
        return parse_frame(link_type, start, frame.shape[0], wire_length, &key)

    def followed(list packets):
        # How many raw packets follow a first one.
        cdef Fragments table
        cdef FlowKey key
        cdef uint64_t[4] seeds = [1, 2, 3, 4]
        cdef const uint8_t[::1] view
        cdef int n = 0
        fragments_init(&table, 10, seeds)
        for packet in packets:
            view = packet
            parse_frame(101, &view[0], view.shape[0], view.shape[0], &key)
            n += fragments_follow(&table, &key, 0)
        fragments_reset(&table)
        return n
"""

SETUP = """
    from Cython.Build import cythonize
    from setuptools import Extension, setup

    consumer = Extension("consumer", ["consumer.pyx"], extra_compile_args=["-Wall", "-Werror", "-g0"])
    setup(ext_modules=cythonize([consumer]))
"""


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumer")
    (folder / "consumer.pyx").write_text(textwrap.dedent(CONSUMER))
    (folder / "setup.py").write_text(textwrap.dedent(SETUP))
    paths = [str(Path(vnasfast.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        check=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    )
    spec = importlib.util.spec_from_file_location("consumer", next(folder.glob("consumer*.so")))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@given(case=frames())
@settings(max_examples=200, deadline=None)
def test_parse_frame_returns_where_the_ip_headers_end(consumer, case):
    link_type, frame = case
    for n in range(len(frame) + 1):
        expected = parse(frame[:n], link_type, len(frame)).following
        assert consumer.following(link_type, frame[:n], len(frame)) == expected


def test_fragments_follow_in_c(consumer):
    head = bytes([0x45, 0, 0, 28, 0, 7])
    tail = bytes([64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 53]) + bytes(4)
    first, later, whole = (head + flags + tail for flags in (b"\x20\0", b"\0\1", b"\0\0"))
    assert consumer.followed([later, first, whole, later, later]) == 2
