"""Identical, unmodified servers on one network stack: who answers, from which address, and who may not."""

import json
import shutil
import socket
import subprocess

import pytest
from rule_world import (
    BLUE4,
    BLUE4B,
    BLUE6,
    BLUE6B,
    CLIENT4,
    CLIENT6,
    GREEN4,
    GREEN6,
    HOST4,
    HOST6,
    NEEDS_KERNEL,
    SERVER,
    World,
)

pytestmark = NEEDS_KERNEL


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """Blue and green with the same services, and a server of no VNAS."""
    with World(tmp_path_factory.mktemp("rule")) as world:
        world.up()
        services = (
            "tcp:0.0.0.0:80",
            "tcp:[::]:81",
            "tcp:[::]:80:v6only",
            "udp:0.0.0.0:53",
            "udp:[::]:54",
            "udp:[::]:53:v6only",
        )
        world.serve("blue", *services, uid=1001)
        world.serve("green", *services, uid=1002)
        world.serve(None, f"tcp:{HOST4}:80", "tcp:0.0.0.0:8000", f"udp:{HOST4}:53", f"tcp:[{HOST6}]:80", name="host")
        yield world


@pytest.mark.parametrize(
    ("address", "name"),
    [
        (BLUE4, "blue"),
        (BLUE4B, "blue"),
        (GREEN4, "green"),
        (HOST4, "host"),
        (BLUE6, "blue"),
        (BLUE6B, "blue"),
        (GREEN6, "green"),
        (HOST6, "host"),
    ],
)
def test_each_address_reaches_its_own_server(world, address, name):
    client = CLIENT6 if ":" in address else CLIENT4
    assert world.ask_tcp(address, 80) == [name, address, client]
    if address != HOST6:
        answer = world.ask_udp(address, 53)
        assert [answer[0], answer[2], answer[3]] == [name, client, address], (
            "UDP answers leave from the address that was asked"
        )


@pytest.mark.parametrize(
    ("address", "name"), [(BLUE4, "blue"), (BLUE4B, "blue"), (GREEN4, "green"), (BLUE6B, "blue"), (GREEN6, "green")]
)
def test_dual_stack_sockets_receive_both_families(world, address, name):
    client = CLIENT6 if ":" in address else f"::ffff:{CLIENT4}"
    local = address if ":" in address else f"::ffff:{address}"
    assert world.ask_tcp(address, 81) == [name, local, client]
    assert world.ask_udp(address, 54) == [name, "::", client, address]


def test_one_client_socket_is_answered_from_each_address_it_asks(world):
    with world.socket(socket.SOCK_DGRAM) as client:
        for address in (BLUE4, BLUE4B, GREEN4, BLUE4B, BLUE4):
            assert world.ask_udp(address, 53, client)[3] == address


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
@pytest.mark.parametrize(("first", "address"), [("any", BLUE4B), ("specific", BLUE4B), ("specific", BLUE6B)])
def test_a_specific_socket_receives_though_any_received_before(world, protocol, first, address):
    other = {BLUE4B: BLUE4, BLUE6B: BLUE6}[address]
    services = {"any": f"{protocol}:0.0.0.0:6010", "specific": f"{protocol}:{address}:6010"}
    if address == BLUE6B:
        services = {"any": f"{protocol}:[::]:6010:v6only", "specific": f"{protocol}:[{address}]:6010"}
    servers = [world.serve("blue", services[name], name=name) for name in sorted(services, reverse=first == "specific")]
    ask = world.ask_tcp if protocol == "tcp" else world.ask_udp
    assert [ask(where, 6010)[0] for where in (other, address, other)] == ["any", "specific", "any"]
    for server in servers:
        server.kill()
        server.wait()


@pytest.mark.parametrize("address", [BLUE4, GREEN6])
def test_what_no_socket_of_the_vnas_waits_for_is_refused(world, address):
    before = world.status()
    with pytest.raises(ConnectionRefusedError):
        world.ask_tcp(address, 8000)  # a server of no VNAS waits there on ANY
    name = "blue" if address == BLUE4 else "green"
    after = world.status()
    assert after[name]["counters"]["no_socket"] == before[name]["counters"]["no_socket"] + 1
    assert world.ask_tcp(HOST4, 8000)[0] == "host"


_LOOPBACK = """
answers = []
for family, kind, address, port in [
    (2, 1, "127.0.0.1", 80), (2, 1, "127.9.8.7", 80), (2, 1, "0.0.0.0", 80), (10, 1, "::1", 80), (10, 1, "::1", 81),
    (10, 1, "::ffff:127.0.0.1", 81), (2, 2, "127.0.0.1", 53), (10, 2, "::1", 53),
    (10, 2, "::1", 54), (10, 2, "::ffff:127.0.0.1", 54),
]:
    client = socket.socket(family, kind)
    client.settimeout(3)
    if kind == 1:
        client.connect((address, port))
        answers.append([address, *client.makefile().readline().split(), client.getpeername()[0]])
    else:
        client.sendto(b"who?", (address, port))
        answer, source = client.recvfrom(200)
        answers.append([address, *answer.decode().split(), source[0]])
        client.connect((address, port))
        client.send(b"who?")
        assert client.recv(200).split()[0] == answer.split()[0]
print(json.dumps(answers))
"""


@pytest.mark.parametrize("vnas", ["blue", "green"])
def test_loopback_stays_within_the_vnas(world, vnas):
    for address, name, local, remote, peer in world.inside(vnas, _LOOPBACK):
        assert name == vnas, address
        assert remote in {"127.0.0.1", "::1", "::ffff:127.0.0.1"}, "the server sees a client on loopback"
        assert (
            local in {"127.0.0.1", "127.0.0.255", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"} or address == "127.9.8.7"
        )
        assert peer == address or address in {"127.9.8.7", "0.0.0.0"}


def test_loopback_outside_the_vnases_is_as_before(world):
    with pytest.raises(ConnectionRefusedError):
        world.ask_tcp("127.0.0.1", 80, where=world.servers)
    assert world.ask_tcp("127.0.0.1", 8000, where=world.servers)[0] == "host"


_SOURCES = """
import contextlib
def say(made):
    return made.getsockname()[0]
tcp = socket.create_connection((sys.argv[1], 9000), 3)
bound = socket.create_connection((sys.argv[1], 9000), 3, source_address=("", 0))
udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
udp.connect((sys.argv[1], 9000))
six = socket.create_connection((sys.argv[2], 9001), 3)
free = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
free.settimeout(3)
free.sendto(b"who?", (sys.argv[1], 9000))
ask = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
ask.settimeout(3)
ask.sendto(b"who?", (sys.argv[2], 9001))
answers = [made.recv(200).decode().split()[2] for made in (free, ask)]
print(json.dumps([say(tcp), say(bound), say(udp), say(six), *answers]))
"""


def test_connections_and_datagrams_leave_from_an_address_of_the_vnas(world):
    far = subprocess.Popen(
        [
            *("nsenter", f"--net=/run/netns/{world.clients}", "python3", str(SERVER), "far", "0"),
            *("tcp:0.0.0.0:9000", "udp:0.0.0.0:9000", "tcp:[::]:9001:v6only", "udp:[::]:9001:v6only"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    world.running.append(far)
    assert far.stdout.readline() == "ready\n"
    for vnas, four, six in (("blue", BLUE4, BLUE6), ("green", GREEN4, GREEN6)):
        assert world.inside(vnas, _SOURCES, CLIENT4, CLIENT6) == [four, four, four, six, four, six]


_BINDS = """
import errno
def attempt(kind, address, port, *options, family=None):
    made = socket.socket(family or (10 if ":" in address else 2), kind)
    try:
        for option in options:
            made.setsockopt(*option, 1)
        made.bind((address, port))
        if kind == 1:
            made.listen()
    except OSError as error:
        return errno.errorcode[error.errno]
    return made.getsockname()[0]
IP_FREEBIND, IP_TRANSPARENT = (0, 15), (0, 19)
V6_FREEBIND, V6_TRANSPARENT = (41, 78), (41, 75)
REUSE, SHARE = (1, 2), (1, 15)
"""


def test_the_kernel_refuses_the_second_bind_of_a_vnas(world):
    code = (
        _BINDS
        + """
print(json.dumps([attempt(1, "0.0.0.0", 80), attempt(1, "", 81), attempt(2, "0.0.0.0", 53), attempt(1, "::", 81),
    attempt(1, "0.0.0.0", 82), attempt(1, "::", 83), attempt(1, "127.0.0.1", 84), attempt(1, "::1", 84)]))
"""
    )
    taken, free = ["EADDRINUSE"] * 4, ["0.0.0.0", "::", "127.0.0.1", "::1"]
    assert world.inside("blue", code) == taken + free


def test_no_way_to_bind_an_address_of_another(world):
    code = (
        _BINDS
        + """
four, six, host = sys.argv[1:]
mapped = "::ffff:" + four
print(json.dumps([
    *[attempt(kind, four, port, *options) for kind in (1, 2) for port in (0, 80, 7000)
      for options in ((), (IP_FREEBIND,), (IP_TRANSPARENT,), (REUSE, SHARE))],
    *[attempt(kind, address, 7000, *options) for kind in (1, 2) for address in (six, mapped)
      for options in ((), (V6_FREEBIND,), (V6_TRANSPARENT,), (REUSE, SHARE))],
    attempt(1, host, 7000), attempt(2, host, 7000), attempt(1, "127.128.2.0", 7000),
    attempt(1, "fd76:6e61:7366:6173:7400::2", 7000),
]))
"""
    )
    answers = world.inside("blue", code, GREEN4, GREEN6, HOST4)
    assert len(answers) == 24 + 16 + 4
    assert set(answers) == {"EADDRNOTAVAIL"}
    assert world.status()["blue"]["counters"]["refused"] >= len(answers)


def test_no_way_to_send_from_an_address_of_another(world):
    code = (
        _BINDS
        + """
import struct
four, six, to4, to6 = sys.argv[1:]
def spoof(family, level, kind, data, to):
    made = socket.socket(family, socket.SOCK_DGRAM)
    try:
        made.sendmsg([b"x"], [(level, kind, data)], 0, (to, 9000))
    except OSError as error:
        return errno.errorcode[error.errno]
    return "sent"
def spoof_connected(family, level, kind, data, to):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.connect((to, 9000))
    try:
        made.sendmsg([b"x"], [(level, kind, data)])
    except OSError as error:
        return errno.errorcode[error.errno]
    return "sent"
def raw(protocol):
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, protocol)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "made"
print(json.dumps([
    spoof(2, 0, 8, struct.pack("=i4s4s", 0, socket.inet_aton(four), bytes(4)), to4),
    spoof(10, 41, 50, socket.inet_pton(10, six) + bytes(4), to6),
    spoof_connected(2, 0, 8, struct.pack("=i4s4s", 0, socket.inet_aton(four), bytes(4)), to4),
    spoof_connected(10, 41, 50, socket.inet_pton(10, six) + bytes(4), to6),
    raw(socket.IPPROTO_TCP), raw(socket.IPPROTO_UDP), raw(socket.IPPROTO_RAW), raw(socket.IPPROTO_ICMP)]))
"""
    )
    refused = ["EPERM"] * 7
    assert world.inside("blue", code, GREEN4, GREEN6, CLIENT4, CLIENT6) == [*refused, "made"]


def test_a_socket_that_chooses_its_source_keeps_its_choice(world):
    """A server that reads IP_PKTINFO answers from where it says, also if another address was asked since."""
    code = (
        _BINDS
        + """
import struct
made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
made.setsockopt(0, 8, 1)
made.bind(("", 5353))
made.settimeout(5)
print("ready", file=sys.stderr, flush=True)
asked = []
for _ in range(2):
    _, ancillary, _, peer = made.recvmsg(100, 100)
    asked.append(ancillary[0][2][8:12])
for local in asked:
    made.sendmsg([b"x"], [(0, 8, struct.pack("=i4s4s", 0, local, bytes(4)))], 0, peer)
print(json.dumps([socket.inet_ntoa(local) for local in asked]))
"""
    )
    import sys

    server = world.start(
        "blue",
        sys.executable,
        "-c",
        "import json, os, socket, sys\n" + code,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert server.stderr.readline() == "ready\n"
    with world.socket(socket.SOCK_DGRAM) as client:
        for address in (BLUE4, BLUE4B):
            client.sendto(b"?", (address, 5353))
        assert [client.recvfrom(10)[1][0] for _ in range(2)] == [BLUE4, BLUE4B]
    assert json.loads(server.stdout.readline()) == [BLUE4, BLUE4B]


def test_a_specific_socket_stands_beside_any_of_the_other_family_and_before_any(world):
    world.serve("blue", f"udp:{BLUE4B}:6000", name="specific")
    world.serve("blue", "udp:0.0.0.0:6001", name="any")
    assert world.ask_udp(BLUE4B, 6000)[::3] == ["specific", BLUE4B]
    with world.socket(socket.SOCK_DGRAM) as client:
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            world.ask_udp(BLUE4, 6000, client)
    world.serve("green", f"tcp:{GREEN4}:6002", name="specific")
    assert world.ask_tcp(GREEN4, 6002)[0] == "specific"


def test_a_client_of_a_vnas_gets_its_answers(world):
    """Unconnected UDP sockets that were never bound, as resolvers have."""
    code = """
answers = []
for family, address in ((2, sys.argv[1]), (10, sys.argv[2])):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.settimeout(3)
    made.sendto(b"who?", (address, 53))
    answers.append(made.recv(100).decode().split()[0::2])
print(json.dumps(answers))
"""
    assert world.inside("blue", code, GREEN4, GREEN6) == [["green", BLUE4], ["green", BLUE6]]


def test_sockets_that_share_a_port_are_all_used_and_survive_one_another(world):
    group = [
        world.serve("blue", "tcp:0.0.0.0:7100:sharing", "udp:0.0.0.0:7100:sharing", name=f"member{n}", uid=1001)
        for n in range(3)
    ]
    seen = {world.ask_tcp(BLUE4B, 7100)[0] for _ in range(60)}
    assert seen == {"member0", "member1", "member2"}
    assert {world.ask_udp(BLUE4B, 7100)[0] for _ in range(60)} == seen
    for number in (2, 0):  # the one that the table holds is among them, whichever it is
        group[number].kill()
        group[number].wait()
        alive = {f"member{n}" for n in range(3) if group[n].poll() is None}
        assert {world.ask_tcp(BLUE4B, 7100)[0] for _ in range(40)} == alive
        assert {world.ask_udp(BLUE4, 7100)[0] for _ in range(40)} == alive


@pytest.mark.skipif(shutil.which("nginx") is None, reason="needs nginx")
def test_the_same_nginx_twice(world, tmp_path):
    for name in ("blue", "green"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "conf").write_text(
            f"daemon off; pid {folder}/pid; error_log {folder}/error; events {{}}\n"
            f"http {{ access_log off; server {{ listen 7200 reuseport; listen [::]:7200; return 200 {name}; }} }}\n"
        )
        world.start(name, "nginx", "-p", str(folder), "-c", str(folder / "conf"), stderr=subprocess.DEVNULL)
    for address, name in (
        (BLUE4, "blue"),
        (BLUE4B, "blue"),
        (GREEN4, "green"),
        (f"[{BLUE6B}]", "blue"),
        (f"[{GREEN6}]", "green"),
    ):
        url = f"http://{address}:7200/"
        got = world.among_clients(
            "curl", "-s", "--retry", "20", "--retry-connrefused", "--retry-delay", "0", "-m", "3", url
        )
        assert got.stdout == name, (url, got)
    listed = world.among_servers("ss", "-Hltn", "sport = :7200").stdout
    assert listed.count(":7200") >= 4
