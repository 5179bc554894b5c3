"""Other Cython code can cimport the engine, as installed."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import vnasfast
from vnasfast import FLOW_KEY, ServerMachine

SOURCE = Path(__file__).with_name("consumer") / "consumer.pyx"
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup
setup(name="consumer", ext_modules=cythonize(
    [Extension("consumer", ["consumer.pyx"], include_dirs=[%(include)r])],
    compiler_directives={"language_level": 3, "boundscheck": False}, include_path=[%(include)r]))
"""


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consumer")
    shutil.copy(SOURCE, folder)
    (folder / "setup.py").write_text(SETUP % {"include": vnasfast.get_include()})
    built = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=folder,
        env=os.environ | {"CFLAGS": "-O0 -g0"},  # what it does is the same, sooner
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    assert "performance hint" not in built.stdout + built.stderr
    library = next(folder.glob("consumer*.so"))
    spec = importlib.util.spec_from_file_location("consumer", library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_struct_and_dtype_have_the_same_fields_at_the_same_offsets(consumer):
    fields = [(name, FLOW_KEY.fields[name][1]) for name in FLOW_KEY.names]
    assert consumer.layout() == [*fields, ("size", FLOW_KEY.itemsize)]


def test_frames_in_memory_reach_their_sockets_without_python(consumer, ethernet_frame):
    machine = ServerMachine()
    server = machine.vnas_start(1, 1)
    machine.validate(server, "10.0.0.1", "eth0")
    machine.bind(server, "udp", 53)
    frames = [ethernet_frame(destination) for destination in ("10.0.0.1", "10.0.0.2", "10.0.0.1", "10.0.0.3")]
    rows = np.array([list(frame) for frame in frames], np.uint8)
    assert consumer.count_strays(machine, rows) == 2
