"""The instance's life: up, reload, addresses that come and go, a killed process, processes taken over, down."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rule_world import (
    BLUE4,
    BLUE4B,
    BLUE6,
    CLIENT4,
    GREEN4,
    GREEN6,
    NEEDS_KERNEL,
    RED4,
    SERVER,
    VNASES,
    World,
    tables,
)

pytestmark = NEEDS_KERNEL


@pytest.fixture
def world(tmp_path):
    with World(tmp_path) as world:
        yield world


def traces(world):
    """What an instance leaves behind: pins, filters, addresses, cgroups, files."""
    found = world.among_servers("tc", "qdisc", "show").stdout.count("clsact")
    found += world.among_servers("ip", "-o", "addr").stdout.count("fd76:6e61:7366")
    found += sum(address in world.among_servers("ip", "-o", "addr").stdout for address in (BLUE4, GREEN6))
    folders = (f"/sys/fs/bpf/vnasfast/{world.instance}", f"/run/vnasfast/{world.instance}", str(world.cgroup))
    return found, [folder for folder in folders if os.path.exists(folder)]


def test_down_removes_all_traces(world):
    world.up()
    assert all(traces(world))
    made = world.vnasfast("down")
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert traces(world) == (0, [])


def test_down_removes_what_a_killed_up_left(world):
    world.up()
    left = Path(f"/sys/fs/bpf/vnasfast/{world.instance}/new")
    left.mkdir()
    (left.parent / "programs" / "vnas_enter").rename(left / "vnas_enter")
    assert world.vnasfast("down").returncode == 0
    assert traces(world) == (0, [])


def test_down_says_what_it_had_to_leave(world):
    world.up()
    server = world.serve("blue", "tcp:0.0.0.0:80")
    made = world.vnasfast("down")
    assert made.returncode == 0
    assert f"{world.cgroup}/blue stays, since processes are in it: {server.pid}" in made.stdout
    again = world.up()
    assert "VNAS blue is new" in again
    assert world.ask_tcp(BLUE4, 80)[0] == "blue", "a server that stayed goes on with what it is bound to"


def test_a_failed_up_leaves_nothing(world):
    path = world.folder / "t.toml"
    path.write_text(tables().replace('interface = "srv"', 'interface = "none0"'))
    made = world.vnasfast("up", path)
    assert made.returncode == 2
    assert made.stderr.startswith("Error: no interface none0 here; there are lo, srv")
    assert traces(world) == (0, [])


def test_reload_says_what_changed_and_moves_an_address_at_once(world):
    world.up()
    for name in ("blue", "green"):
        world.serve(name, "tcp:0.0.0.0:80", "udp:0.0.0.0:53")
    assert world.ask_udp(BLUE4B, 53)[0] == "blue"
    moved = {"blue": (1, [BLUE4, BLUE6]), "green": (2, [GREEN4, GREEN6, BLUE4B]), "purple": (4, ["10.77.0.41"])}
    changes = world.up(tables(moved), command="reload").splitlines()
    assert set(changes) == {
        "VNAS purple is new",
        f"{BLUE4B} is green's, no longer blue's",
        "10.77.0.41 is purple's, on srv",
        "fd77::12 is no longer blue's",
        f"{RED4} is no longer red's",
        "fd77::31 is no longer red's",
        "VNAS red is gone",
    }
    assert world.ask_tcp(BLUE4B, 80)[0] == "green"
    assert world.ask_udp(BLUE4B, 53)[::3] == ["green", BLUE4B]
    assert world.ask_udp(BLUE4, 53)[::3] == ["blue", BLUE4]
    with world.socket(socket.SOCK_STREAM) as client:
        client.settimeout(0.5)
        with pytest.raises(OSError, match=r"timed out|No route|refused"):
            client.connect((RED4, 80))
    assert world.up(tables(moved), command="reload") == "nothing changed\n"


def test_sockets_outlive_the_address_that_any_became(world):
    """Bound to ANY when the VNAS had one address; that goes, another comes, and the kernel still sees a second bind."""
    world.up(tables({"blue": (1, [BLUE4])}))
    world.serve("blue", "tcp:0.0.0.0:80", "udp:0.0.0.0:53")
    world.up(tables({"blue": (1, [BLUE4B, BLUE4])}), command="reload")
    refused = "try:\n socket.create_server(('', 80))\nexcept OSError as error:\n print(json.dumps(error.errno))"
    assert world.inside("blue", refused) == 98
    world.up(tables({"blue": (1, [BLUE4B])}), command="reload")
    assert world.ask_tcp(BLUE4B, 80)[0] == "blue"
    assert world.ask_udp(BLUE4B, 53)[::3] == ["blue", BLUE4B]


def test_an_address_that_comes_back_is_not_the_source_of_an_answer_to_another(world):
    """The question waits while its VNAS gets a second address again, which the same client had asked before."""
    both, one = {"blue": (1, [BLUE4, BLUE4B])}, {"blue": (1, [BLUE4])}
    world.up(tables(both))
    server = world.serve("blue", "udp:0.0.0.0:53")
    with world.socket(socket.SOCK_DGRAM) as client:
        assert world.ask_udp(BLUE4B, 53, client)[3] == BLUE4B
        world.up(tables(one), command="reload")
        server.send_signal(signal.SIGSTOP)
        client.sendto(b"who?", (BLUE4, 53))
        world.up(tables(both), command="reload")
        server.send_signal(signal.SIGCONT)
        assert client.recvfrom(200)[1][0] == BLUE4


def test_vnases_without_addresses_have_their_loopback(world):
    world.up(tables({"blue": (1, []), "green": (2, [])}))
    for name in ("blue", "green"):
        world.serve(name, "tcp:0.0.0.0:80", "tcp:[::]:81:v6only")
    code = "\n".join(
        [
            "print(json.dumps([socket.create_connection(to, 3).makefile().readline().split()[0]",
            "  for to in (('127.0.0.1', 80), ('::1', 81))]))",
        ]
    )
    assert world.inside("green", code) == ["green", "green"]
    outward = f"try:\n socket.create_connection(('{CLIENT4}', 9), 1)\nexcept OSError as error:\n"
    outward += " print(json.dumps(error.errno))"
    assert world.inside("blue", outward) == 99
    assert world.vnasfast("addr", "add", f"{BLUE4}/24", "dev", "srv", "--vnas", "blue").returncode == 0
    assert world.ask_tcp(BLUE4, 80)[0] == "blue", "a server that was there before its VNAS's first address"


def test_addresses_come_and_go(world):
    world.up(tables({"blue": (1, [BLUE4]), "green": (2, [GREEN4])}))
    world.serve("blue", "tcp:0.0.0.0:80")
    assert world.vnasfast("addr", "add", f"{BLUE4B}/24", "dev", "srv", "--vnas", "blue").returncode == 0
    assert world.ask_tcp(BLUE4B, 80)[0] == "blue"
    twice = world.vnasfast("addr", "add", f"{BLUE4B}/24", "dev", "srv", "--vnas", "green")
    assert (twice.returncode, twice.stderr) == (2, f"Error: {BLUE4B} is registered already: see vnasfast status\n")
    others = world.vnasfast("addr", "del", BLUE4B, "--vnas", "green")
    assert (others.returncode, others.stderr) == (
        2,
        f"Error: {BLUE4B} is not registered for green: see vnasfast status\n",
    )
    assert world.vnasfast("addr", "del", BLUE4B, "--vnas", "blue").returncode == 0
    assert BLUE4B not in world.among_servers("ip", "-o", "addr").stdout
    assert world.status()["blue"]["addresses"] == [BLUE4]


def test_an_interface_that_is_gone_hinders_neither_reload_nor_down(world):
    for name in ("gone1", "gone2"):
        world.among_servers("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p", check=True)
    rows = {
        name: f'[[addresses]]\naddress = "10.9{n}.0.1"\nvnas = 1\ninterface = "gone{n}"\n'
        for n, name in ((1, "one"), (2, "two"))
    }
    world.up(tables(more=rows["one"] + rows["two"]))
    world.serve("blue", "tcp:0.0.0.0:80")
    world.among_servers("ip", "link", "del", "gone1", check=True)
    assert world.vnasfast("status").returncode == 0
    assert "10.91.0.1" in world.up(tables(more=rows["two"]), command="reload")
    assert world.ask_tcp(BLUE4, 80)[0] == "blue"
    world.among_servers("ip", "link", "del", "gone2", check=True)
    made = world.vnasfast("down")
    assert made.returncode == 0, made.stderr
    assert not os.path.exists(f"/sys/fs/bpf/vnasfast/{world.instance}")


def test_addresses_that_others_take_away_are_followed(world):
    world.up(tables({"blue": (1, [BLUE4, BLUE4B])}))
    world.start_vnasfast("up", "--follow", world.folder / "tables.toml")
    bind = "made = socket.create_server(('', int(sys.argv[1])))\nprint(json.dumps(made.getsockname()[0]))"
    assert world.inside("blue", bind, "7001") == "0.0.0.0"
    time.sleep(1.5)
    assert world.among_servers("ip", "addr", "del", f"{BLUE4}/32", "dev", "srv").returncode == 0
    deadline = time.monotonic() + 20
    listing = ""
    while "10.77.0.12:7002" not in listing and time.monotonic() < deadline:
        hold = "made = socket.socket()\ntry:\n made.bind(('', 7002)); made.listen()\nexcept OSError: pass\n"
        hold += "import subprocess\n"
        hold += "print(json.dumps(subprocess.run(['ss', '-Hltn'], capture_output=True, text=True).stdout))"
        listing = world.inside("blue", hold)
    assert "10.77.0.12:7002" in listing


def test_a_killed_process_changes_nothing_and_up_takes_over(world):
    world.up()
    world.serve("blue", "tcp:0.0.0.0:80", "udp:0.0.0.0:53")
    assert world.ask_udp(BLUE4, 53)[0] == "blue"
    before = world.status()["blue"]["counters"]
    for milliseconds in (60, 120, 180, 240, 300, 400):
        world.kill_up(milliseconds / 1000)
        assert world.ask_tcp(BLUE4B, 80)[0] == "blue"
        assert world.ask_udp(BLUE4B, 53)[::3] == ["blue", BLUE4B]
    assert world.up() == ""
    assert world.ask_tcp(BLUE4, 80)[0] == "blue"
    assert world.status()["blue"]["counters"]["tcp"] == before["tcp"] + 7, "counters go on"


def test_attach_takes_processes_and_cgroups(world):
    world.up()
    place = world.cgroup.parent / f"{world.instance}-service"
    place.mkdir()
    run_server = f"import runpy; runpy.run_path('{SERVER}', run_name='__main__')"
    try:
        code = f"open('{place}/cgroup.procs', 'w').write('0'); {run_server}"
        service = subprocess.Popen(
            [
                "nsenter",
                f"--net=/run/netns/{world.servers}",
                sys.executable,
                "-c",
                code,
                "service",
                "0",
                "tcp:0.0.0.0:80",
                "udp:0.0.0.0:53",
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        world.running.append(service)
        assert service.stdout.readline() == "ready\n"
        with pytest.raises(ConnectionRefusedError):
            world.ask_tcp(GREEN4, 80)
        made = world.vnasfast("attach", "--vnas", "green", "--cgroup", place)
        assert made.returncode == 0, made.stderr
        assert world.ask_tcp(GREEN4, 80)[0] == "service", "what it bound before is the VNAS's now"
        assert world.ask_udp(GREEN4, 53)[0] == "service"
        with pytest.raises(ConnectionRefusedError):
            world.ask_tcp(BLUE4, 80)
        assert world.status()["green"]["processes"] == [service.pid]
        service.kill()
        service.wait()
    finally:
        place.rmdir()
    waiting = subprocess.Popen(
        [
            *("nsenter", f"--net=/run/netns/{world.servers}", sys.executable, "-c"),
            f"import sys; sys.stdin.readline(); sys.argv[1:] = ['late', '0', 'tcp:0.0.0.0:80']; {run_server}",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    world.running.append(waiting)
    assert world.vnasfast("attach", "--vnas", "blue", "--pid", waiting.pid).returncode == 0
    waiting.stdin.write("go\n")
    waiting.stdin.flush()
    assert waiting.stdout.readline() == "ready\n"
    assert world.ask_tcp(BLUE4, 80)[0] == "late"


def test_status_names_sockets_processes_and_counters(world):
    world.up()
    server = world.serve("blue", "tcp:0.0.0.0:80", "tcp:[::]:81", f"tcp:{BLUE4B}:82", "tcp:127.0.0.1:83")
    world.ask_tcp(BLUE4, 80)
    blue = world.status()["blue"]
    assert blue["addresses"] == VNASES["blue"][1]
    assert blue["processes"] == [server.pid]
    assert [(row["port"], row["family"], row["address"]) for row in blue["sockets"]] == [
        (80, 4, "ANY"),
        (81, 4, "ANY"),
        (81, 6, "ANY"),
        (82, 4, BLUE4B),
        (83, 4, "127.128.1.1"),
    ]
    assert blue["counters"]["tcp"] == 1
    text = world.vnasfast("status", "--metrics").stdout
    assert f'vnasfast_connections_total{{instance="{world.instance}",vnas="1",name="blue"}} 1\n' in text
    shown = world.vnasfast("status").stdout
    assert "1 blue   10.77.0.11, 10.77.0.12, … (4)" in shown
    assert "2/s" not in world.vnasfast("top", "--times", "2", "--every", "0.1").stdout


def test_top_ends_well_by_ctrl_c(world):
    world.up()
    top = world.start_vnasfast("top", "--every", "0.1", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert "addresses" in top.stdout.readline()
    top.send_signal(signal.SIGINT)
    _, said = top.communicate(timeout=20)
    assert (top.returncode, said) == (0, "")


def test_check_compares_the_kernel_with_the_tables(world):
    services = [
        (name, protocol, port, "0.0.0.0") for name in ("blue", "green") for protocol, port in (("tcp", 80), ("udp", 53))
    ]
    world.up(tables(services=services))
    path = world.folder / "tables.toml"
    world.serve("blue", "tcp:0.0.0.0:80", "udp:0.0.0.0:53")
    green = world.serve("green", "tcp:0.0.0.0:80", "udp:0.0.0.0:53")
    made = world.vnasfast("check", path)
    assert (made.returncode, made.stdout) == (0, "16 questions, 0 differences\n"), made.stderr
    green.kill()
    green.wait()
    made = world.vnasfast("check", path)
    assert made.returncode == 1
    assert made.stdout.splitlines() == [
        f"{GREEN4} tcp 80: tables VNAS green, kernel nobody",
        f"{GREEN4} udp 53: tables VNAS green, kernel nobody",
        "16 questions, 2 differences",
    ]
    assert world.among_servers("ip", "addr", "del", f"{BLUE4B}/32", "dev", "srv").returncode == 0
    made = world.vnasfast("check", path)
    assert made.stdout.startswith(f"{BLUE4B}: tables VNAS blue, kernel has it on no interface\n")
    assert made.returncode == 1


_MANY = """
import os, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (20_000, 20_000))
home, vnases, ports = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
kept = []
for vnas in range(1, vnases + 1):
    with open(f"{home}/vnas-{vnas}/cgroup.procs", "w") as procs:
        procs.write("0")
    for port in range(1000, 1000 + ports):
        kept.append(socket.create_server(("", port)) if port % 2 else socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        if not port % 2:
            kept[-1].bind(("", port))
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("count", [50, pytest.param(1000, marks=pytest.mark.long)])
def test_check_of_many_vnases(world, count):
    ports = 10
    text = "embodiment = 1\n"
    for vnas in range(1, count + 1):
        text += f"[[processes]]\npid = {10000 + vnas}\nvnas = {vnas}\n"
        text += f'[[addresses]]\naddress = "10.78.{vnas >> 8}.{vnas & 255}"\nvnas = {vnas}\ninterface = "srv"\n'
        for port in range(1000, 1000 + ports):
            protocol = "tcp" if port % 2 else "udp"
            text += f'[[sockets]]\nprotocol = "{protocol}"\nport = {port}\naddress = "0.0.0.0"\npid = {10000 + vnas}\n'
    start = time.monotonic()
    world.up(text)
    print(f"up of {count} VNASs: {time.monotonic() - start:.2f} s")
    many = subprocess.Popen(
        [
            "nsenter",
            f"--net=/run/netns/{world.servers}",
            sys.executable,
            "-c",
            _MANY,
            str(world.cgroup),
            str(count),
            str(ports),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    world.running.append(many)
    assert many.stdout.readline() == "ready\n"
    made = world.vnasfast("check", world.folder / "tables.toml")
    assert made.stdout == f"{count * ports:,} questions, 0 differences\n", made.stdout[-2000:] + made.stderr
    start = time.monotonic()
    moved = text.replace('address = "10.78.0.1"', 'address = "10.79.0.1"')
    assert len(world.up(moved, command="reload").splitlines()) == 2
    print(f"reload that changes one of {count} VNASs: {time.monotonic() - start:.2f} s")
    assert (
        world.vnasfast("check", world.folder / "tables.toml").stdout == f"{count * ports:,} questions, 0 differences\n"
    )


def test_mistakes_are_named(world):
    before = world.vnasfast("status")
    assert (before.returncode, before.stderr) == (
        2,
        f"Error: instance '{world.instance}' is not up here: vnasfast up tables.toml\n",
    )
    world.up()
    for arguments, message in (
        (["run", "--vnas", "blu", "--", "true"], "no VNAS 'blu'; there are: blue, green, red"),
        (["run", "--vnas", "blue", "--user", "nobody-here", "--", "true"], "no user 'nobody-here' here"),
        (["run", "--vnas", "blue", "--", "/no/such"], "can't run /no/such: No such file or directory"),
        (["attach", "--vnas", "blue"], "give one of --cgroup, --unit and --pid"),
        (["attach", "--vnas", "blue", "--cgroup", "/tmp"], "/tmp is no cgroup v2; those are below /"),
        (["addr", "add", "10.0.0.300", "dev", "srv", "--vnas", "blue"], "'10.0.0.300' is no address"),
        (["addr", "add", "127.0.0.1/8", "dev", "lo", "--vnas", "blue"], "127.0.0.1 can't be a VNAS's: it is loopback"),
    ):
        made = world.vnasfast(*arguments)
        assert made.returncode == 2
        assert made.stderr.startswith(f"Error: {message}"), made.stderr
    renamed = world.folder / "renamed.toml"
    renamed.write_text(tables({"azure": VNASES["blue"]}))
    assert "VNAS 1 was 'blue' and can't become 'azure' while it is up" in world.vnasfast("reload", renamed).stderr


def test_an_address_on_two_vlans_can_not_be_two_vnases(world):
    rows = '[[addresses]]\naddress = "10.77.0.50"\nvnas = {}\ninterface = "srv"\nvlan = {}\n'
    path = world.folder / "vlans.toml"
    path.write_text(tables(more=rows.format(1, 10) + rows.format(2, 20)))
    said = world.vnasfast("up", path).stderr
    assert (
        "10.77.0.50 belongs to VNAS 1 on VLAN 10 and to VNAS 2 on VLAN 20: one network namespace has each address once"
        in said
    )


def test_run_as_a_user_with_its_own_environment(world):
    world.up()
    made = world.vnasfast(
        "run",
        "--vnas",
        "blue",
        "--user",
        "nobody",
        "--",
        "sh",
        "-c",
        "id -un; id -Gn; echo $HOME $USER; cat /proc/self/cgroup",
    )
    user, groups, environment, *cgroups = made.stdout.splitlines()
    assert (user, groups, environment) == ("nobody", "nogroup", "/nonexistent nobody")
    assert f"0::/vnasfast/{world.instance}/blue" in cgroups
