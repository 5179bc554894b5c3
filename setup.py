"""Compile every .pyx of the package; all else is declared in pyproject.toml."""

import os
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
JOBS = os.cpu_count() or 1

extensions = [
    Extension(
        ".".join(source.with_suffix("").parts), [str(source)], include_dirs=["."], extra_compile_args=["-O3", "-Wall"]
    )
    for source in sorted(Path("vnasfast").rglob("*.pyx"))
]

setup(
    ext_modules=cythonize(extensions, compiler_directives=DIRECTIVES, nthreads=JOBS),
    options={"build_ext": {"parallel": JOBS}},
)
