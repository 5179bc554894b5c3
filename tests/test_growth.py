"""Tables that grow a little with each change, from nothing to thousands of rows, and what comes and goes meanwhile."""

import random
import threading

import numpy as np
import pytest

from vnasfast import Outcome, ServerMachine, flow_keys

N_VNASES = 3000


def ipv4(number, vlan=0):
    return f"10.{vlan}.{number >> 8}.{number & 255}"


def ipv6(number):
    return f"2001:db8::{number + 1:x}"


def answers(machine, destinations, port, vlan=0):
    keys = flow_keys(destination=destinations, destination_port=port, protocol="udp", vlan=vlan)
    return machine.dispatch_batch(keys, count=False).tolist()


@pytest.mark.parametrize("seed", range(3))
def test_nothing_is_lost_while_all_grows_and_some_goes(seed):
    """VNASs come one after the other, with addresses of both families, tagged or not, and sockets; some go again."""
    chooser = random.Random(seed)
    machine = ServerMachine(seed=seed)
    pids, sockets, addresses = {}, {}, set()
    for number in range(N_VNASES):
        pids[number] = machine.vnas_start(1, number + 1)
        for address, vlan in ((ipv4(number), 0), (ipv6(number), 0), (ipv4(number, 7), 7)):
            assert machine.validate(pids[number], address, "eth0", vlan=vlan)
            addresses.add((number, address, vlan))
        for port in chooser.sample(range(1, 13), 3):
            sockets[number, port] = machine.bind(pids[number], "udp", port)
        if chooser.random() < 0.3:
            gone = chooser.choice(sorted(addresses)[-600:])
            addresses.discard(gone)
            assert machine.invalidate(pids[gone[0]], gone[1], vlan=gone[2])
        if chooser.random() < 0.3:
            machine.close(sockets.pop(chooser.choice(list(sockets)[-600:])))
        if chooser.random() < 0.1:
            left = chooser.choice(list(pids))
            machine.exit(pids[left])
            for port in range(1, 13):
                sockets.pop((left, port), None)
            pids[left] = machine.vnas_start(1, left + 1)
        if number % 500 == 17 or number == N_VNASES - 1:
            machine.check()
            for vlan, write in ((0, ipv4), (0, ipv6), (7, lambda each: ipv4(each, 7))):
                some = chooser.sample(range(number + 1), min(number + 1, 100))
                for port in range(1, 13):
                    expected = [
                        sockets.get((each, port), Outcome.NO_SOCKET)
                        if (each, write(each), vlan) in addresses
                        else Outcome.NO_VNAS
                        for each in some
                    ]
                    assert answers(machine, [write(each) for each in some], port, vlan) == expected


@pytest.mark.parametrize("family", ["both", "one family from the start", "one family meanwhile"])
def test_a_port_gets_answers_of_its_own_while_its_sockets_come_and_go(family):
    """With many ports open a port has them from so many sockets on; they are worked out a few at a time."""
    chooser = random.Random(3)
    machine = ServerMachine(seed=3)
    for number in range(N_VNASES):
        machine.vnas_start(1, number + 1, pid=10 + number)
        machine.validate(10 + number, ipv4(number), "eth0")
    for port in range(1000, 1400):
        machine.bind(10, "tcp", port)
    bound = {}
    for step, number in enumerate(chooser.sample(range(1, N_VNASES), 900)):
        any_address = "ANY"
        if family == "one family from the start" or (family == "one family meanwhile" and 515 < step < 520):
            any_address = "0.0.0.0"
        if step % 50 == 7:
            machine.bind(10 + number, "udp", 53, ipv4(number), sharing=True)
        bound[number] = machine.bind(10 + number, "udp", 53, any_address, sharing=step % 50 == 7)
        if chooser.random() < 0.2:
            gone = chooser.choice(list(bound))
            machine.close(bound.pop(gone))
        if step % 100 == 99 or 630 < step < 670:
            expected = [bound.get(each, Outcome.NO_SOCKET) for each in range(N_VNASES)]
            found = answers(machine, [ipv4(each) for each in range(N_VNASES)], 53)
            on_port = [row for row in machine.sockets if row.port == 53]
            specific = {row.vnas - 1: row.socket for row in on_port if str(row.address).startswith("10.")}
            expected = [specific.get(each, socket) for each, socket in enumerate(expected)]
            assert found == expected
        if step % 100 == 99:
            machine.check()
    for socket in [row.socket for row in machine.sockets]:
        machine.close(socket)
    machine.check()
    assert machine.ports == {}


def test_readers_see_the_same_answers_while_all_grows():
    """What a reader asks about does not change, whatever is made larger beside it."""
    machine = ServerMachine(seed=4)
    pids = [machine.vnas_start(1, number + 1) for number in range(20)]
    addresses = [[f"192.0.2.{number + 1}", f"2001:db8:1::{number + 1:x}"] for number in range(20)]
    for pid, both in zip(pids, addresses, strict=True):
        for address in both:
            machine.validate(pid, address, "eth0")
    expected = np.repeat([machine.bind(pid, "udp", 53) for pid in pids], 2)
    destinations = [address for both in addresses for address in both]
    keys = flow_keys(destination=destinations, destination_port=53, protocol="udp")
    assert machine.dispatch_batch(keys).tolist() == expected.tolist()
    stop = threading.Event()
    wrong = []
    n_asked = []

    def read():
        n = 0
        while not stop.is_set() or n == 0:
            found = machine.dispatch_batch(keys, count=n % 4 == 0)
            n += 1
            if found.tolist() != expected.tolist():
                wrong.append(found)
        n_asked.append(n)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    try:
        for number in range(N_VNASES):
            pid = machine.vnas_start(1, 100 + number)
            machine.validate(pid, ipv4(number), "eth0")
            machine.validate(pid, ipv6(number), "eth0")
            machine.bind(pid, "udp", 54 + number % 200)
    finally:
        stop.set()
        for reader in readers:
            reader.join()
    assert wrong == []
    assert len(n_asked) == 2
    machine.check()
