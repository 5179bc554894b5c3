"""A snapshot as tables; the commands host and who; replays through the tables of this machine."""

import json
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import dpkt
import numpy as np
import pytest
from captures_builder import Frame, pcap_file
from host_agreement import SKIPPED
from small_host import NOBODY

from vnasfast import InvalidValue, ServerMachine, flow_keys
from vnasfast.host import snapshot
from vnasfast.host.agreement import receivers
from vnasfast.host.tables import MOST_PID, owners_of, tables_of
from vnasfast.host.ways import WAYS
from vnasfast.host.who import parse_endpoint, who

RAW_IP = 101


@pytest.fixture(scope="module")
def host(small_host):
    return snapshot(small_host["pid"])


def run(*arguments):
    made = subprocess.run(
        [sys.executable, "-W", "error", "-m", "vnasfast", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    return made.returncode, made.stdout, made.stderr


def packet(remote, local, protocol="tcp"):
    (source, source_port), (destination, port) = parse_endpoint(remote), parse_endpoint(local)
    if protocol == "tcp":
        inner = dpkt.tcp.TCP(sport=source_port, dport=port)
    else:
        inner = dpkt.udp.UDP(sport=source_port, dport=port, ulen=8)
    number = 6 if protocol == "tcp" else 17
    length = 20 + len(inner)
    return bytes(dpkt.ip.IP(src=source.packed, dst=destination.packed, p=number, data=inner, len=length))


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_the_tables_hold_processes_addresses_routes_and_sockets(small_host, host):
    machine = tables_of(host).machine
    machine.check()
    vnas = next(iter(machine.names))
    assert machine.names[vnas] == f"pid {small_host['pid']}"
    addresses = {str(row.address): row for row in machine.addresses}
    assert {"10.7.0.1", "10.7.0.9", "fd07::1"} <= set(addresses)
    assert "10.8.0.1" in addresses
    assert all(row.vnas == vnas for row in machine.addresses)
    assert addresses["10.7.0.1"].interface == "v0"
    assert not any(row.address.is_loopback for row in machine.addresses)
    processes = {row.pid: row for row in machine.processes}
    assert small_host["pid"] in processes
    children = {row["pid"] for row in small_host["sockets"]} - {small_host["pid"]}
    assert all(processes[pid].parent == small_host["pid"] for pid in children)
    routes = {str(route.network): route.interface for route in machine.routes}
    assert routes["198.51.100.0/24"] == "v0"
    assert "203.0.113.0/24" not in routes   # a blackhole has no interface


def test_a_network_that_is_local_as_a_whole_is_named(host):
    (note,) = [note for note in tables_of(host).notes if "local as a whole" in note]
    assert note.endswith(": 198.18.0.0/24")


def test_an_address_on_a_link_that_is_down_is_left_out(host):
    v1 = next(link for link in host.links[0] if link.name == "w1")
    assert not v1.up
    machine = tables_of(host).machine
    assert all(row.interface != "w1" for row in machine.addresses)


def test_packets_reach_the_processes_that_bound_the_sockets(small_host, host):
    tables = tables_of(host)
    for address, port in (("10.7.0.1", 80), ("10.7.0.9", 82), ("10.7.0.1", 8080)):
        delivery = tables.machine.dispatch(packet("10.7.0.2:4000", f"{address}:{port}"), RAW_IP)
        (wanted,) = [row for row in small_host["sockets"] if (row["protocol"], row["port"]) == ("tcp", port)]
        assert delivery.pid == wanted["pid"]
        assert host.sockets["inode"][tables.places[delivery.socket]] == wanted["inode"]


@pytest.mark.parametrize("way", WAYS)
def test_saved_tables_dispatch_the_same(host, tmp_path, way):
    tables = tables_of(host, way)
    tables.machine.check()
    path = tmp_path / "saved.toml"
    tables.machine.save(path)
    again = ServerMachine.load(path)
    assert again.addresses == tables.machine.addresses
    assert again.sockets == tables.machine.sockets
    assert again.names == tables.machine.names


def test_groups_that_share_addresses_leave_them_to_you(small_host, host):
    tables = tables_of(host, "user")
    assert not any(str(row.address) == "10.7.0.1" for row in tables.machine.addresses)
    assert any("10.7.0.1" in note and "several groups" in note for note in tables.notes)
    vnases = {row.vnas for row in tables.machine.sockets if row.port == 8080}
    assert [tables.machine.names[vnas] for vnas in vnases] == ["nobody"]


def test_owners_are_the_processes(small_host, host):
    tables = tables_of(host)
    owners = owners_of(host, tables, "user")
    by_port = {row.port: owners[row.socket] for row in tables.machine.sockets}
    children = {row["port"]: row["pid"] for row in small_host["sockets"]}
    assert by_port[80][1] == "root"
    assert by_port[8080][1] == "nobody"
    assert by_port[8080][2].endswith(f" {children[8080]}")


def test_sockets_of_unknown_processes_have_a_stand_in(small_host):
    hidden = snapshot(small_host["pid"])
    hidden.sockets["pid"][:] = 0
    hidden.processes.clear()
    machine = tables_of(hidden).machine
    assert {row.pid for row in machine.sockets} == {MOST_PID + 1}


# ---- vnasfast host ---------------------------------------------------------------------------------------------------


def test_the_command_shows_what_there_is(small_host, tmp_path):
    saved = tmp_path / "tables.toml"
    code, out, err = run("host", "--netns", small_host["pid"], "--group-by", "user", "--save", saved)
    assert (code, err) == (0, "")
    for words in (
        ("10.7.0.9/24", "v0:1", "veth", "up"),
        ("198.51.100.0/24", "10.7.0.2", "v0"),
        ("tcp", "0.0.0.0:80", str(small_host["pid"]), "root"),
        ("tcp", "*:82"),
        ("tcp", "*:83", "v6only"),
        ("tcp", "[fd07::1]:85"),
        ("tcp", "0.0.0.0:86", "on v0"),
        ("tcp", "0.0.0.0:87", "reuseport"),
        ("udp", "*:8080", "nobody"),
    ):
        assert any(all(word in line for word in words) for line in out.splitlines()), words
    assert f"saved    {saved}" in out
    assert ServerMachine.load(saved).sockets
    assert "50000" not in out
    assert "10.7.0.1:50000" in run("host", "--netns", small_host["pid"], "--all")[1]


def test_json_holds_the_same(small_host, host):
    code, out, err = run("host", "--netns", small_host["pid"], "--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    (namespace,) = report["namespaces"]
    assert namespace["name"] == f"pid {small_host['pid']}"
    sockets = {row["inode"]: row for row in report["sockets"]}
    for row in small_host["sockets"]:
        found = sockets[row["inode"]]
        assert found["pids"] == [row["pid"]]
        assert found["device"] == row.get("device", "")
        assert found["local"] == row["local"].removeprefix("::ffff:")
        assert found["uid"] == row["uid"]
    assert sockets[next(row["inode"] for row in small_host["sockets"] if row["port"] == 87)]["reuseport"] is True


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--netns", "no-such"], ["no-such", "ip netns"]),
        (["--netns", "1", "--all-netns"], ["--netns", "--all-netns"]),
        (["--group-by", "colour"], ["colour", "cgroup"]),
        (["--save", "/no/such/folder/x.toml"], ["/no/such/folder", "no such folder"]),
        (["--save", "/"], ["is a directory"]),
    ],
    ids=str,
)
def test_a_mistake_is_one_line(arguments, words):
    code, out, err = run("host", *arguments)
    assert (code, out) == (2, "")
    last = err.strip().splitlines()[-1]
    assert last.startswith("Error: ")
    for word in words:
        assert word in last


# ---- vnasfast who ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "port"),
    [("192.0.2.1:80", "192.0.2.1", 80), ("[2001:db8::1]:65535", "2001:db8::1", 65535)],
)
def test_an_endpoint_is_an_address_and_a_port(text, address, port):
    assert parse_endpoint(text) == (ip_address(address), port)


NO_ENDPOINTS = """
: 192.0.2.1 192.0.2.1: 192.0.2.1:0 192.0.2.1:65536 2001:db8::1 2001:db8::1:80 [192.0.2.1]:80 name:80 192.0.2.1:-1
192.0.2.1:\N{FULLWIDTH DIGIT EIGHT} [::1]80 [::1]:0x8
"""


@pytest.mark.parametrize("text", ["", *NO_ENDPOINTS.split()])
def test_what_is_no_endpoint_is_said(text):
    with pytest.raises(InvalidValue, match=r"192\.0\.2\.1:80, or \[2001:db8::1\]:80"):
        parse_endpoint(text)


QUESTIONS = [
    ("tcp", "10.7.0.2:4000", "10.7.0.1:80"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:81"),
    ("tcp", "10.7.0.2:4000", "10.7.0.9:81"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:82"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:83"),
    ("tcp", "[fd07::2]:4000", "[fd07::1]:83"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:84"),
    ("tcp", "[fd07::2]:4000", "[fd07::1]:85"),
    ("tcp", "[fd07::2]:4000", "[fd07::1]:80"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:87"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:8080"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:7"),
    ("udp", "10.7.0.2:4000", "10.7.0.1:53"),
    ("udp", "[fd07::2]:4000", "[fd07::1]:55"),
    ("udp", "10.7.0.2:4000", "10.7.0.1:55"),
    ("udp", "[fd07::2]:4000", "[fd07::1]:8080"),
    ("tcp", "10.7.0.2:4000", "10.7.0.1:86"),
    ("tcp", "10.8.0.2:4000", "10.8.0.1:86"),
    ("tcp", "10.7.0.1:50000", "10.7.0.1:99"),
    ("tcp", "10.7.0.1:99", "10.7.0.1:50000"),
    ("tcp", "10.7.0.2:99", "10.7.0.1:50000"),
    ("udp", "10.7.0.2:4242", "10.7.0.1:54"),
    ("udp", "10.7.0.2:4243", "10.7.0.1:54"),
    ("udp", "[fd07::2]:4000", "[fd07::1]:56"),
    ("udp", "10.7.0.2:4000", "10.7.0.1:56"),
    ("tcp", "127.0.0.1:4000", "127.0.0.1:80"),
    ("tcp", "[::1]:4000", "[::1]:82"),
]


@pytest.mark.parametrize(("protocol", "remote", "local"), QUESTIONS)
def test_the_tables_and_the_kernel_say_the_same(small_host, protocol, remote, local):
    verdict = who(parse_endpoint(remote), parse_endpoint(local), protocol, netns=small_host["pid"], kernel=True)
    assert verdict.agree, (str(verdict.explanation), verdict.receiver, verdict.kernel)


def test_the_tables_dispatch_as_the_kernel_does(small_host, host):
    """All its addresses and ports, from peers that are known and that are not."""
    tables = tables_of(host)
    ports = sorted({*host.sockets["local_port"].tolist(), 7})
    remotes = [("10.7.0.2", 4000), ("10.7.0.2", 4242), ("10.7.0.1", 50_000), ("10.7.0.1", 99), ("fd07::2", 4000)]
    locals_ = [row.address for row in host.addresses[0]]
    questions = [
        (protocol, str(local), port, *remote)
        for protocol in ("tcp", "udp")
        for local in locals_
        for port in ports
        for remote in remotes
        if ip_address(remote[0]).version == local.version and not local.is_link_local
    ]
    columns = list(zip(*questions, strict=True))
    keys = flow_keys(
        protocol=columns[0],
        destination=columns[1],
        destination_port=columns[2],
        source=columns[3],
        source_port=columns[4],
        source_pid=tables.process_in(host.namespaces[0].name),
    )
    ours, kernel = receivers(host, tables, keys)
    differ = np.flatnonzero(ours != kernel)
    assert [(questions[i], ours[i], kernel[i]) for i in differ] == []
    assert len(questions) > 500
    assert len(set(ours.tolist())) > 20


@pytest.mark.parametrize("sets", [30, pytest.param(2000, marks=pytest.mark.long)])
def test_random_sets_of_sockets_dispatch_as_the_kernel_does(sets):
    """The order in which sockets came, which decides ties, is read from the order of the kernel's lists."""
    # Not as a script: its folder would come before this one, and vnasfast from where it is installed.
    folder = str(Path(__file__).parent)
    code = f"import sys; sys.path.append({folder!r}); import host_agreement; host_agreement.main({sets}, 7)"
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if made.returncode == SKIPPED:
        pytest.skip(made.stdout.strip())
    assert made.returncode == 0, made.stdout + made.stderr
    total, delivered, differing = (int(word) for word in made.stdout.split() if word.isdigit())
    assert (total, differing) == (1000 * sets, 0)
    assert delivered > 0.1 * total


def test_an_address_of_others_is_not_to_be_compared(small_host):
    ends = parse_endpoint("10.7.0.2:4000"), parse_endpoint("192.0.2.250:80")
    verdict = who(*ends, netns=small_host["pid"], kernel=True)
    assert verdict.receiver is None
    assert verdict.kernel is not None
    assert verdict.agree is None


def test_the_command_explains(small_host):
    code, out, err = run("who", "10.7.0.2:4000", "10.7.0.1:8080", "--netns", small_host["pid"], "--kernel")
    assert (code, err) == (0, "")
    (wanted,) = [row for row in small_host["sockets"] if (row["port"], row["protocol"]) == (8080, "tcp")]
    for by in ("tables", "kernel"):
        line = next(line for line in out.splitlines() if line.startswith(by))
        assert line.split()[-3:] == [str(wanted["pid"]), str(NOBODY), str(wanted["inode"])]
    assert "the same socket" in out
    assert "tcp port 8080" in out
    report = json.loads(run("who", "10.7.0.2:1", "10.7.0.1:8080", "--netns", small_host["pid"], "--json")[1])
    assert report["receiver"]["pid"] == wanted["pid"]
    assert report["outcome"] == "DELIVERED"
    assert "kernel" not in report


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["10.7.0.2", "10.7.0.1:80"], ["'10.7.0.2'", "192.0.2.1:80"]),
        (["10.7.0.2:1", "[::1]:80"], ["family"]),
        (["10.7.0.2:1", "10.7.0.1:80", "--netns", "no-such"], ["no-such"]),
    ],
    ids=str,
)
def test_a_question_that_makes_no_sense_is_refused(arguments, words):
    code, out, err = run("who", *arguments)
    assert (code, out) == (2, "")
    assert err.startswith("Error: ")
    for word in words:
        assert word in err


# ---- replay --host ---------------------------------------------------------------------------------------------------


def test_a_capture_is_attributed_to_processes(small_host, tmp_path):
    packets = [
        packet("10.7.0.2:4000", "10.7.0.1:80"),
        packet("10.7.0.2:4001", "10.7.0.1:80"),
        packet("10.7.0.2:4002", "10.7.0.1:8080"),
        packet("10.7.0.2:4003", "10.7.0.1:53", "udp"),
        packet("10.7.0.2:4004", "10.7.0.1:7"),
        packet("10.7.0.2:4005", "192.0.2.250:80"),
    ]
    capture = tmp_path / "a.pcap"
    capture.write_bytes(pcap_file([Frame(data, i, len(data)) for i, data in enumerate(packets)], network=RAW_IP))
    rows = tmp_path / "rows.csv"
    options = ["--host", "--netns", small_host["pid"], "--group-by", "user", "--deliveries", rows]
    code, out, err = run("replay", "--json", *options, capture)
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["tables"]["origin"] == "host"
    busy = {(row["protocol"], row["port"]): row for row in report["services"] if row["packets"]}
    pids = {(row["protocol"], row["port"]): row["pid"] for row in small_host["sockets"]}
    assert {key: row["packets"] for key, row in busy.items()} == {("tcp", 80): 2, ("tcp", 8080): 1, ("udp", 53): 1}
    for key, row in busy.items():
        assert row["process"].endswith(f" {pids[key]}")
        assert row["name"] == ("nobody" if key == ("tcp", 8080) else "root")
    assert {row["outcome"]: row["packets"] for row in report["outcomes"]} == {"NO_PORT": 1, "NO_VNAS": 1}
    delivered = [line.split(",")[-2:] for line in rows.read_text().splitlines()[1:]]
    assert [outcome for _pid, outcome in delivered] == ["DELIVERED"] * 4 + ["NO_PORT", "NO_VNAS"]
    assert int(delivered[2][0]) == pids["tcp", 8080]
    shown = run("replay", *options, capture)[1]
    assert "this machine" in shown
    assert any("nobody" in line and f" {pids['tcp', 8080]}" in line for line in shown.splitlines())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--host", "--tables", "x.toml"], ["--host", "--tables"]),
        (["--netns", "a"], ["--netns", "--host"]),
        (["--all-netns"], ["--all-netns", "--host"]),
        (["--group-by", "user"], ["--group-by", "--host"]),
        (["--host", "--netns", "a", "--all-netns"], ["--netns", "--all-netns"]),
    ],
    ids=str,
)
def test_options_that_do_not_belong_together(arguments, words):
    code, out, err = run("replay", *arguments, "pcaps/corners.pcap")
    assert (code, out) == (2, "")
    for word in words:
        assert word in err.strip().splitlines()[-1]
