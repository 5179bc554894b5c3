"""Tables filled: through bind, one call a socket, and from a table file."""

import pytest
from workload import SERVICES, Shape, workload

from vnasfast import ServerMachine

SOCKETS = 100_000
FILE_SOCKETS = {"10k": 10_000, "100k": 100_000}


def test_bind(measure, scaled):
    n = scaled(sockets=SOCKETS)
    machines = []

    def started():
        machine = ServerMachine(seed=1)
        machines[:] = [machine]
        return (machine, [machine.vnas_start(1, vnas) for vnas in range(1, n // SERVICES + 1)]), {}

    def run(machine, pids):
        for pid in pids:
            for port in range(1, SERVICES + 1):
                machine.bind(pid, "tcp", port)

    measure(run, n, unit="socket", rounds=5, setup=started)
    machines[0].check()
    assert len(machines[0].sockets) == n


@pytest.mark.parametrize("size", FILE_SOCKETS)
def test_load_table_file(measure, scaled, tmp_path, size):
    """Two addresses and one process for each 20 sockets are in the file and in the figure."""
    n = scaled(sockets=FILE_SOCKETS[size])
    path = tmp_path / "machine.toml"
    workload(Shape(n)).machine.save(path)
    machine = measure(lambda: ServerMachine.load(path, seed=1), n, unit="socket", rounds=3)
    assert len(machine.sockets) == n
