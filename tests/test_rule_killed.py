"""Our process is killed under load: no request is lost, and the next ``up`` takes over."""

import itertools
import random
import socket
import threading

import pytest
from rule_world import BLUE4, BLUE4B, BLUE6, GREEN4, GREEN6, NEEDS_KERNEL, World

pytestmark = NEEDS_KERNEL

OWNERS = {BLUE4: "blue", BLUE4B: "blue", BLUE6: "blue", GREEN4: "green", GREEN6: "green"}


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


def keep_asking(ask, stop, right, lost):
    """Ask all addresses in turns, one request at a time, and count what is answered by the right server."""
    for address in itertools.cycle(OWNERS):
        if stop.is_set():
            return
        try:
            answered = ask(address)
        except OSError as error:
            lost.append((address, error))
        else:
            (right if answered == OWNERS[address] else lost).append((address, answered))


@pytest.mark.parametrize("kills", [8, pytest.param(200, marks=pytest.mark.long)])
def test_no_request_is_lost_when_our_process_is_killed(world, kills):
    world.up()
    for name in ("blue", "green"):
        services = ("tcp:0.0.0.0:80", "tcp:[::]:80:v6only", "udp:0.0.0.0:53", "udp:[::]:53:v6only")
        world.serve(name, *services)
    clients = {4: world.socket(socket.SOCK_DGRAM), 6: world.socket(socket.SOCK_DGRAM, "::")}
    asks = {
        "tcp": lambda address: world.ask_tcp(address, 80)[0],
        "udp": lambda address: world.ask_udp(address, 53, clients[6 if ":" in address else 4])[0],
    }
    stop, lost = threading.Event(), []
    right = {protocol: [] for protocol in asks}
    threads = [
        threading.Thread(target=keep_asking, args=(ask, stop, right[protocol], lost)) for protocol, ask in asks.items()
    ]
    for thread in threads:
        thread.start()
    chance = random.Random(3)
    for number in range(kills):
        world.kill_up(chance.random() * 0.8, *(["--follow"] if number % 2 else []))
    said = world.up()
    for protocol in asks:
        enough = len(right[protocol]) + 100  # with what was taken over
        while len(right[protocol]) < enough and not lost:
            stop.wait(0.05)
    stop.set()
    for thread in threads:
        thread.join()
    for client in clients.values():
        client.close()
    counted = {protocol: len(answers) for protocol, answers in right.items()}
    print(f"{kills} times 'up' was killed; right answers: {counted}; lost: {len(lost)}")
    assert lost == []
    assert said == "", "all that a killed one left is as the tables say"
    counters = [vnas["counters"] for vnas in world.status().values()]
    assert {protocol: sum(row[protocol] for row in counters) for protocol in asks} == counted, "counters go on"
