"""Two Python dicts: (VLAN, address) → VNAS, then (protocol, port, VNAS) → socket.

usage: python_dict.py FOLDER PASSES

Keys are Python objects before the clock starts. Prints what the other peers print, without bytes.
"""

import statistics
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from exchange import read

PART = 1 << 16
MOST = 1 << 18  # packets: more take long, and change nothing


def main() -> None:
    rows = read(Path(sys.argv[1]))
    passes = int(sys.argv[2])
    vnases = {(row["vlan"], bytes(row["address"])): row["vnas"] for row in _rows(rows["addresses"])}
    sockets = {(row["protocol"], row["port"], row["vnas"]): row["socket"] for row in _rows(rows["sockets"])}
    keys = rows["keys"][:MOST]
    destinations = [data.tobytes() for data in keys["destination"]]
    packets = list(
        zip(
            zip(keys["vlan"].tolist(), destinations, strict=True),
            keys["protocol"].tolist(),
            keys["destination_port"].tolist(),
            strict=True,
        )
    )
    wall, cpu = [], []
    answers: list[int] = []
    for _ in range(passes):
        answers.clear()
        for start in range(0, len(packets), PART):
            part = packets[start : start + PART]
            wall_start, cpu_start = time.perf_counter_ns(), time.thread_time_ns()
            for address, protocol, port in part:
                vnas = vnases.get(address)
                answers.append(-1 if vnas is None else sockets.get((protocol, port, vnas), -1))
            cpu.append((time.thread_time_ns() - cpu_start) / len(part))
            wall.append((time.perf_counter_ns() - wall_start) / len(part))
    expected = rows["expected"].tolist()
    wrong = sum(a != max(e, -1) for a, e in zip(answers, expected, strict=False))
    print(statistics.median(wall), statistics.median(cpu), wrong)


def _rows(array):
    names = array.dtype.names
    return (dict(zip(names, row, strict=True)) for row in zip(*(array[name].tolist() for name in names), strict=True))


if __name__ == "__main__":
    main()
