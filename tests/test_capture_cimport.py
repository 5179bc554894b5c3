"""Other Cython code reads a capture through the installed .pxd files, with no Python object a frame."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

from captures_builder import Frame, enhanced, interface, option, section

import vnasfast
from vnasfast.capture import open_capture

CONSUMER = """
# cython: language_level=3
from vnasfast.capture cimport Capture, InterfaceRow
from vnasfast.capture.times cimport TIME_TEXT_BYTES, time_format, time_ns

def frames_of(Capture capture):
    cdef char text[TIME_TEXT_BYTES]
    cdef const InterfaceRow* row
    cdef size_t i
    cdef int n
    found = []
    while capture.next_block(2):
        for i in range(capture.block.n):
            row = &capture.rows[capture.block.interfaces[i]]
            n = time_format(&row.time, capture.block.ticks[i], text)
            found.append((
                (<const char*>capture.block.base + capture.block.offsets[i])[:capture.block.lengths[i]],
                capture.block.wire_lengths[i], row.link_type, text[:n],
                time_ns(&row.time, capture.block.ticks[i]),
            ))
    return found
"""


def test_a_consumer_in_cython(tmp_path):
    (tmp_path / "consumer.pyx").write_text(CONSUMER)
    root = str(Path(vnasfast.__file__).parents[1])
    subprocess.run(
        [sys.executable, "-m", "Cython.Build.Cythonize", "-i", "-q", "consumer.pyx"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root, "CFLAGS": "-O0 -g0"},
        check=True,
    )
    (built,) = tmp_path.glob("consumer*.so")
    spec = importlib.util.spec_from_file_location("consumer", built)
    consumer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(consumer)
    data = section() + interface() + interface(link_type=113, options=option(9, b"\x09"))
    for i, row in enumerate((0, 1, 1, 0, 1)):
        data += enhanced(Frame(bytes([i]) * i, 1_000_000_000 + i, 60, row))
    with open_capture(data) as capture:
        assert consumer.frames_of(capture) == [
            (b"", 60, 1, b"1000.000000", 1_000_000_000_000),
            (b"\1", 60, 113, b"1.000000001", 1_000_000_001),
            (b"\2\2", 60, 113, b"1.000000002", 1_000_000_002),
            (b"\3\3\3", 60, 1, b"1000.000003", 1_000_000_003_000),
            (b"\4\4\4\4", 60, 113, b"1.000000004", 1_000_000_004),
        ]
