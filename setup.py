"""Compile every .pyx of the package; all else is declared in pyproject.toml."""

import os
import runpy
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "freethreading_compatible": True,  # what changes tables is in critical sections: tables/tables.pxd
}
FLAGS = {"include_dirs": ["."], "extra_compile_args": ["-O3", "-Wall"]}
OPTIONS = runpy.run_path("vnasfast/host/rule/build.py")["options"]()  # None: left out
extensions = [
    Extension(".".join(path.with_suffix("").parts), [str(path)], **FLAGS, **more)
    for path in sorted(Path("vnasfast").rglob("*.pyx"))
    if (more := OPTIONS.get(path, {})) is not None
]
JOBS = os.cpu_count() or 1
NO_C = {"egg_info", "dist_info", "sdist"}  # their fresh Cython is newer than the C there is: all would be made again
modules = extensions if NO_C & set(sys.argv) else cythonize(extensions, compiler_directives=DIRECTIVES, nthreads=JOBS)
setup(ext_modules=modules, options={"build_ext": {"parallel": JOBS}})
