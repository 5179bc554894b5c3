"""The process that runs the built-in cases: ``python -m vnasfast.bench.child count|time CASE...``.

Apart from the one that judges, because the vector path is chosen when vnasfast is imported, and because one of the two
measurements is made under valgrind.
"""

import gc
import json
import statistics
import sys
import time

import numpy as np

from vnasfast.bench import callgrind, floor
from vnasfast.bench.cases import Case, prepared

#: Packets are as many times more when they are timed, and timed so often; all cases in turn, then all again.
SCALE = 8
ROUNDS = 15
PASSES = 3
_BYTES_PER_SOCKET = 16
_LINE = 64


def count(names: list[str]) -> None:
    """Have callgrind write what each case takes for n packets and for half of them, after both ran once before."""
    for case in prepared(names, 2):
        half = case.packets // 2
        for n in (half, case.packets):
            case.run(n)
        for n in (half, case.packets):
            callgrind.start()
            case.run(n)
            callgrind.stop(f"{case.name} {n}")


def ratios(names: list[str]) -> dict[str, float]:
    """Time each case and the floor in turn: the median of the rounds' ratios, in the best of the passes."""
    cases = list(prepared(names, SCALE))
    found = [{case.name: _ratio(case) for case in cases} for _ in range(PASSES)]
    return {case.name: min(ratios[case.name] for ratios in found) for case in cases}


def _ratio(case: Case) -> float:
    rng = np.random.default_rng(1)
    region = np.ones(-(-case.sockets * _BYTES_PER_SOCKET // _LINE) * _LINE, np.uint8)
    lines = rng.integers(0, len(region) // _LINE, case.packets).astype(np.uint32)
    found = []
    for _ in range(ROUNDS):
        # The processor's clock does not run while somebody else has the core.
        start = time.thread_time()
        case.run(case.packets)
        middle = time.thread_time()
        floor.touch(region, lines)
        found.append((middle - start) / (time.thread_time() - middle))
    return statistics.median(found)


if __name__ == "__main__":
    gc.disable()
    if sys.argv[1] == "count":
        count(sys.argv[2:])
    else:
        print(json.dumps(ratios(sys.argv[2:])))
