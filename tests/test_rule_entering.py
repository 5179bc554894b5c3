"""How sockets come into the kernel's table, and what brings in the next when one closes that shared its port."""

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import sys
import threading
from ipaddress import ip_address
from pathlib import Path

import pytest
from rule_world import BLUE4, BLUE4B, BLUE6, BLUE6B, CLIENT4, CLONE_NEWNET, NEEDS_KERNEL, SERVER, World, tables

pytestmark = NEEDS_KERNEL

ADDRESSES = (BLUE4, BLUE4B, BLUE6, BLUE6B)
_TUN, _NO_PACKET_INFORMATION, _TUNSETIFF = 1, 0x1000, 0x400454CA


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


def rows(world, name):
    from vnasfast.host.rule import loader

    table = loader.Map(f"/sys/fs/bpf/vnasfast/{world.instance}/maps/{name}")
    return table.items()


def n_lost(world):
    """How many endpoints are noted as lost: by the count that the programs look at, which must be true."""
    ((_, count),) = rows(world, "lost_count")
    (count,) = struct.unpack("=Q", count)
    assert count == len(rows(world, "lost"))
    return count


def end(process):
    process.kill()
    process.wait()


def who_answers(world, address, port):
    return {world.ask_tcp(address, port)[0] for _ in range(12)}


def close_one_after_another(world, group, addresses, port):
    """Whichever is in the table, another takes its place, for all addresses at once."""
    while len(group) > 1:
        name, process = group.popitem()
        end(process)
        for address in addresses:
            assert who_answers(world, address, port) <= set(group), (name, address)
    (last,) = group.values()
    end(last)
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            world.ask_tcp(address, port)


@pytest.mark.parametrize("service", ["tcp:0.0.0.0:80:sharing", "tcp:[::]:80:sharing", "tcp:[::]:80:sharing:v6only"])
def test_of_listeners_that_share_a_port_the_next_takes_the_place_of_one_that_closes(world, service):
    world.up()
    addresses = ADDRESSES[2:] if "v6only" in service else ADDRESSES[:2] if "0.0.0.0" in service else ADDRESSES
    group = {f"member{n}": world.serve("blue", service, name=f"member{n}") for n in range(5)}
    assert n_lost(world) == 0
    close_one_after_another(world, group, addresses, 80)
    assert n_lost(world) == 0, "nobody waits there, so connections pay nothing for it"


def test_a_lost_listener_on_one_address_does_not_give_its_connections_to_one_on_any(world):
    world.up()
    world.serve("blue", "tcp:0.0.0.0:80", name="any")
    group = {n: world.serve("blue", f"tcp:{BLUE4B}:80:sharing", name=n) for n in ("one", "two", "three")}
    assert who_answers(world, BLUE4, 80) == {"any"}
    while group:
        assert who_answers(world, BLUE4B, 80) == set(group)
        end(group.popitem()[1])
    assert who_answers(world, BLUE4B, 80) == {"any"}
    assert n_lost(world) == 0


@pytest.mark.parametrize("names", [("one", "two", "three", "four"), ("four", "three", "two", "one")])
def test_listeners_that_were_there_before_the_programs_are_followed_too(world, names):
    """Nothing tells of their end, so that while they wait each SYN for them is looked at."""
    world.up()
    place = world.cgroup.parent / f"{world.instance}-service"
    place.mkdir()
    code = (
        f"import runpy; open('{place}/cgroup.procs', 'w').write('0'); runpy.run_path('{SERVER}', run_name='__main__')"
    )
    try:
        group = {}
        for name in ("one", "two", "three", "four"):
            group[name] = subprocess.Popen(
                [
                    *("nsenter", f"--net=/run/netns/{world.servers}", sys.executable, "-c", code, name, "0"),
                    "tcp:0.0.0.0:80:sharing",
                ],
                stdout=subprocess.PIPE,
                text=True,
            )
            world.running.append(group[name])
            assert group[name].stdout.readline() == "ready\n"
        made = world.vnasfast("attach", "--vnas", "blue", "--cgroup", place)
        assert made.returncode == 0, made.stderr
        assert n_lost(world) == 1
        assert who_answers(world, BLUE4, 80) <= set(group)
        close_one_after_another(world, {name: group[name] for name in names}, (BLUE4, BLUE4B), 80)
        assert n_lost(world) == 0
    finally:
        place.rmdir()


def test_a_listener_that_shares_its_port_is_followed_after_the_next_up(world):
    world.up()
    group = {n: world.serve("blue", "tcp:0.0.0.0:80:sharing", name=n) for n in ("one", "two", "three")}
    world.up()
    assert n_lost(world) == 0, "of these sockops tells"
    close_one_after_another(world, group, (BLUE4B, BLUE4), 80)


def test_a_datagram_for_nobody_is_refused_at_once(world):
    """Ingress, which looks for a socket that had no packet yet, lets it go on where that one has closed."""
    world.up()
    for service in ("udp:0.0.0.0:54", "udp:[::]:54"):
        end(world.serve("blue", service))
    for address in ADDRESSES:
        with world.socket(socket.SOCK_DGRAM, address) as client:
            client.connect((address, 54))
            client.settimeout(5)
            client.send(b"who?")
            with pytest.raises(ConnectionRefusedError):
                client.recv(200)


def ipv4_udp(source, destination, port, payload):
    """Write an IPv4 packet, without Ethernet's header."""
    udp = struct.pack(">HHHH", 40000, port, 8 + len(payload), 0) + payload
    header = struct.pack(">BBHHHBBH", 0x45, 0, 20 + len(udp), 1, 0, 64, 17, 0)
    header += ip_address(source).packed + ip_address(destination).packed
    total = sum(struct.unpack(">10H", header))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return header[:10] + struct.pack(">H", checksum) + header[12:] + udp


def open_tun(namespace, name):
    """Make an interface without Ethernet's headers, whose other side is the file that is returned."""
    made = []

    def make():
        libc = ctypes.CDLL(None, use_errno=True)
        with open(f"/run/netns/{namespace}", "rb") as place:
            assert libc.setns(place.fileno(), CLONE_NEWNET) == 0
        file = os.open("/dev/net/tun", os.O_RDWR)
        fcntl.ioctl(file, _TUNSETIFF, struct.pack("=16sH22x", name.encode(), _TUN | _NO_PACKET_INFORMATION))
        made.append(file)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    return made[0]


@pytest.mark.skipif(not Path("/dev/net/tun").exists(), reason="needs /dev/net/tun")
def test_on_an_interface_without_ethernet_headers_a_datagram_brings_its_socket_in(world):
    """Port 0x1506: read as if Ethernet's header came first, the packet would be TCP, of which no socket is lost."""
    port = 0x1506
    tun = open_tun(world.servers, "tun9")
    try:
        world.among_servers("ip", "link", "set", "tun9", "up", check=True)
        world.up(tables(more='[[addresses]]\naddress = "10.99.0.1"\nvnas = 1\ninterface = "tun9"\n'))
        world.among_servers("ip", "route", "add", "10.99.0.2", "dev", "tun9", check=True)
        world.serve("blue", f"udp:0.0.0.0:{port}")
        os.write(tun, ipv4_udp("10.99.0.2", "10.99.0.1", port, b"who?"))
        while select.select([tun], [], [], 3)[0]:
            answer = os.read(tun, 2000)
            if answer[0] == 0x45 and answer[9] == socket.IPPROTO_UDP:
                break
        else:
            pytest.fail("nobody answered")
        assert answer[12:20] == ip_address("10.99.0.1").packed + ip_address("10.99.0.2").packed
        assert answer[28:].split()[0] == b"blue"
    finally:
        os.close(tun)
    assert world.ask_udp(BLUE4, port)[::2] == ["blue", CLIENT4]
