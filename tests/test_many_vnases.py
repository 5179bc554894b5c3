"""Ports on which few of many VNASs wait, and ports on which most do: the verdicts change their form between the two."""

import random

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys
from vnasfast.tables.probes import spare_answers

N_VNASES = 400


@pytest.fixture(params=[1 << 20, 0], ids=["answers-to-spare", "none-to-spare"])
def machine(request):
    """Process 1000 + v in VNAS v, which has the address 10.0.v / 256.v % 256."""
    machine = ServerMachine(seed=7)
    spare_answers(machine.tables, request.param)
    for vnas in range(1, N_VNASES + 1):
        machine.vnas_start(1, vnas, pid=1000 + vnas)
        machine.validate(1000 + vnas, f"10.0.{vnas >> 8}.{vnas & 255}", "eth0")
    return machine


def answers(machine, port):
    """Dispatch a packet to each VNAS's address."""
    addresses = (0x0A000000 + np.arange(1, N_VNASES + 1)).astype(np.uint32)
    return machine.dispatch_batch(flow_keys(destination=addresses, destination_port=port, protocol=17), count=False)


def expected(bound, anybody):
    """Give the socket of each VNAS that has one, else the outcome."""
    missed = Outcome.NO_SOCKET if anybody else Outcome.NO_PORT
    return [bound.get(vnas, missed) for vnas in range(1, N_VNASES + 1)]


@pytest.mark.parametrize(
    "order",
    [
        [400],
        [1, 400],
        [400, 1, 399, 2],
        [*range(1, 17), 400, 300],
        list(range(1, N_VNASES + 1)),
        list(range(N_VNASES, 0, -1)),
        list(range(16, N_VNASES + 1, 16)),
        random.Random(5).sample(range(1, N_VNASES + 1), N_VNASES),
    ],
    ids=["one", "ends", "ends-in-turn", "low-then-high", "rising", "falling", "every-16th", "shuffled"],
)
def test_sockets_come_and_go_in_any_order(machine, order):
    bound = {}
    for step, vnas in enumerate(order):
        bound[vnas] = machine.bind(1000 + vnas, "udp", 53)
        if step % 16 == 0 or step == len(order) - 1:
            machine.check()
            assert answers(machine, 53).tolist() == expected(bound, anybody=True)
    for step, vnas in enumerate(random.Random(6).sample(order, len(order))):
        machine.close(bound.pop(vnas))
        if step % 16 == 0 or not bound:
            machine.check()
            assert answers(machine, 53).tolist() == expected(bound, anybody=bool(bound))


def test_random_sockets_on_many_ports_of_many_vnases(machine):
    chooser = random.Random(8)
    sockets = []
    for step in range(6000):
        if sockets and chooser.random() < 0.4:
            machine.close(sockets.pop(chooser.randrange(len(sockets))))
        else:
            vnas = chooser.choice([chooser.randint(1, N_VNASES), chooser.randint(1, 12), N_VNASES])
            address = chooser.choice(["ANY", "0.0.0.0"])
            sockets.append(machine.bind(1000 + vnas, "udp", chooser.randint(1, 60), address, sharing=True))
        if step % 200 == 0:
            machine.check()
    machine.check()
    for socket in sockets:
        machine.close(socket)
    machine.check()
    assert machine.ports == {}
