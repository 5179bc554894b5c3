"""Compile every .pyx of the package; all else is declared in pyproject.toml."""

import os
import runpy
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
}
FLAGS = {"include_dirs": ["."], "extra_compile_args": ["-O3", "-Wall"]}
OPTIONS = runpy.run_path("vnasfast/host/rule/build.py")["options"]()  # None: left out

extensions = [
    Extension(".".join(path.with_suffix("").parts), [str(path)], **FLAGS, **more)
    for path in sorted(Path("vnasfast").rglob("*.pyx"))
    if (more := OPTIONS.get(path, {})) is not None
]

setup(
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, nthreads=os.cpu_count() or 1),
    options={"build_ext": {"parallel": os.cpu_count() or 1}},
)
