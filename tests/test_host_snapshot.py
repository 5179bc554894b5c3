"""A snapshot of a network namespace of our own: field by field what was bound, and what ss, ip and psutil say."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path

import numpy as np
import pytest
from small_host import NOBODY, SPECS

from vnasfast import InvalidValue
from vnasfast.errors import HostError
from vnasfast.host import snapshot
from vnasfast.host.diag import struct_size
from vnasfast.host.processes import cgroup_paths
from vnasfast.host.rows import SOCKET, State
from vnasfast.host.ways import WAYS
from vnasfast.parse.text import protocol_name
from vnasfast.values import unpacked_address

TESTS = Path(__file__).parent
FLAGS = ("v6only", "freebind", "reuseport", "reuseaddr")


@pytest.fixture(scope="module")
def host(small_host):
    return snapshot(str(small_host["pid"]))


def described(host, place):
    row = host.sockets[place]
    names = {link.device: link.name for link in host.links[row["netns"]]}
    remote = unpacked_address(row["remote"].tobytes())
    known = {
        "protocol": protocol_name(int(row["protocol"])),
        "family": int(row["family"]),
        "local": unpacked_address(row["local"].tobytes()),
        "port": int(row["local_port"]),
        "remote": None if remote.is_unspecified else remote,
        "remote_port": int(row["remote_port"]),
        "device": names[row["device"]] if row["device"] else "",
        "uid": int(row["uid"]),
        "inode": int(row["inode"]),
        "pid": int(row["pid"]),
        "fd": int(row["fd"]),
    }
    return known | {flag: bool(row[flag]) for flag in FLAGS if row[flag] >= 0}


def test_each_socket_is_as_it_was_bound(small_host, host):
    places = {int(inode): place for place, inode in enumerate(host.sockets["inode"])}
    assert len(small_host["sockets"]) >= len(SPECS)     # a connection has three more, cgroups may be missing
    for row in small_host["sockets"]:
        wanted = {key: value for key, value in row.items() if key not in ("who", "incoming_cpu")}
        wanted["local"] = ip_address(unpacked_address_text(row["local"]))
        wanted["remote"] = ip_address(row["remote"]) if "remote" in row else None
        wanted = {"remote_port": 0, "device": ""} | wanted
        found = described(host, places[row["inode"]])
        connected_tcp = row["protocol"] == "tcp" and "remote" in row
        for flag in FLAGS:
            if flag in found and not (connected_tcp and flag == "reuseaddr"):
                assert found.pop(flag) == wanted.pop(flag, False), (flag, row)
        if connected_tcp:
            found.pop("reuseaddr", None)
        assert found == {key: value for key, value in wanted.items() if key in found}, row
        state = host.sockets["state"][places[row["inode"]]]
        waiting = State.LISTEN if row["protocol"] == "tcp" else State.CLOSE
        assert state == (State.ESTABLISHED if "remote" in row else waiting)
    assert {int(inode) for inode in host.sockets["inode"] if inode} == {row["inode"] for row in small_host["sockets"]}


def unpacked_address_text(text):
    return text.removeprefix("::ffff:")


def test_the_options_that_netlink_hides_are_asked(small_host, host):
    places = {int(inode): place for place, inode in enumerate(host.sockets["inode"])}
    for row in small_host["sockets"]:
        found = host.sockets[places[row["inode"]]]
        if row["protocol"] == "tcp" and "remote" in row:
            assert found["reuseport"] == -1     # connections are not asked
        else:
            assert found["reuseport"] == row.get("reuseport", False)
            assert found["reuseaddr"] == row.get("reuseaddr", False)
        if "incoming_cpu" in row:
            assert found["incoming_cpu"] == row["incoming_cpu"]


def test_sharing_members_come_newest_first(small_host, host):
    """In the order of the kernel's chain."""
    bound = [row["inode"] for row in small_host["sockets"] if row.get("port") == 87]
    at = host.sockets["local_port"] == 87
    assert host.sockets["inode"][at].tolist() == bound[::-1]


def test_cgroup_of_a_socket_is_named(small_host, host, own_cgroup):
    if not own_cgroup:
        pytest.skip("there is no cgroup v2 that may be written to")
    (place,) = np.flatnonzero(host.sockets["local_port"] == 9090)
    name = "/" + Path(own_cgroup).name
    assert host.cgroups[int(host.sockets["cgroup"][place])] == name
    assert host.groups("cgroup")[place] == name
    assert cgroup_paths()[os.stat(own_cgroup).st_ino] == name


@pytest.mark.parametrize("way", WAYS)
def test_groups(small_host, host, way):
    groups = host.groups(way)
    by_port = dict(zip(host.sockets["local_port"].tolist(), groups, strict=True))
    assert len(groups) == len(host.sockets)
    if way == "netns":
        assert set(groups) == {f"pid {small_host['pid']}"}
    elif way == "user":
        assert by_port[8080] == "nobody"
        assert by_port[80] == "root"
    elif way == "executable":
        assert set(groups) == {os.path.realpath(sys.executable)}
    elif way == "container":
        assert len(set(groups)) == 1


def test_there_is_no_other_way_to_group(host):
    with pytest.raises(InvalidValue, match="netns, cgroup, user, executable, container"):
        host.groups("colour")


def test_pids_are_all_that_hold_a_socket(small_host, host):
    """The child processes were forked before these sockets were made."""
    (place,) = np.flatnonzero(host.sockets["local_port"] == 80)
    assert host.pids(place) == [small_host["pid"]]
    (other,) = np.flatnonzero((host.sockets["local_port"] == 8080) & (host.sockets["protocol"] == 6))
    assert len(host.pids(other)) == 1
    assert host.pids(other) != [small_host["pid"]]
    process = host.processes[host.pids(other)[0]]
    assert (process.parent, process.uid) == (small_host["pid"], NOBODY)


def test_ss_says_the_same(small_host, host):
    if not shutil.which("ss"):
        pytest.skip("needs ss: apt-get install iproute2")
    out = subprocess.run(
        ["nsenter", "-t", str(small_host["pid"]), "-n", "ss", "-anutpeH"], capture_output=True, text=True, check=True
    ).stdout
    theirs = set()
    for line in out.splitlines():
        protocol, state, _received, _sent, local, remote, *rest = line.split()
        rest = " ".join(rest)
        inode = int(re.search(r"ino:(\d+)", rest)[1])
        cookie = int(re.search(r"sk:([0-9a-f]+)", rest)[1], 16)
        uid = re.search(r"uid:(\d+)", rest)
        pids = tuple(sorted({int(pid) for pid in re.findall(r"pid=(\d+)", rest)}))
        ports = local.rpartition(":")[2], remote.rpartition(":")[2]
        theirs.add((protocol, state, *ports, inode, cookie, int(uid[1]) if uid else 0, "v6only:1" in rest, pids))
    states = {State.LISTEN: "LISTEN", State.CLOSE: "UNCONN", State.ESTABLISHED: "ESTAB"}
    ours = set()
    for place, row in enumerate(host.sockets):
        if row["protocol"] == 136:
            continue    # ss lists no UDP-Lite
        ports = str(row["local_port"]), str(row["remote_port"] or "*")
        numbers = [int(row[name]) for name in ("inode", "cookie", "uid")]
        known = protocol_name(int(row["protocol"])), states[row["state"]]
        ours.add((*known, *ports, *numbers, bool(row["v6only"]), tuple(host.pids(place))))
    assert ours == theirs
    assert len(ours) > 20


def test_ip_says_the_same_of_addresses_links_and_routes(small_host, host):
    def ip(*arguments):
        command = ["nsenter", "-t", str(small_host["pid"]), "-n", "ip", "-j", "-d", *arguments]
        return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    links = {link["ifindex"]: link for link in ip("link")}
    assert {link.device: link.name for link in host.links[0]} == {k: link["ifname"] for k, link in links.items()}
    for link in host.links[0]:
        other = links[link.device]
        assert link.kind == other.get("linkinfo", {}).get("info_kind", "")
        assert link.up == ("UP" in other["flags"])
        assert link.mac == ("" if link.loopback else other["address"])
        assert link.loopback == (other["link_type"] == "loopback")
        peer = other.get("link")
        assert link.parent == next((k for k, one in links.items() if one["ifname"] == peer), 0)
    theirs = {
        (row["local"], row["prefixlen"], link["ifindex"], row.get("label", link["ifname"]))
        for link in ip("addr")
        for row in link["addr_info"]
    }
    assert {(str(row.address), row.prefix, row.device, row.label) for row in host.addresses[0]} == theirs
    assert ("10.7.0.9", 24, next(k for k, link in links.items() if link["ifname"] == "v0"), "v0:1") in theirs
    routes = {(str(route.network), route.gateway, route.kind) for route in host.routes[0] if route.table == 254}
    assert ("198.51.100.0/24", "10.7.0.2", "unicast") in routes
    assert ("203.0.113.0/24", "", "blackhole") in routes
    assert {("192.88.99.0/24", "10.7.0.2", "unicast"), ("192.88.99.0/24", "10.7.0.3", "unicast")} <= routes
    names = {link.device: link.name for link in host.links[0]}
    plain = {
        (row["dst"], row.get("gateway", ""), row.get("dev", "")) for row in ip("route") if "nexthops" not in row
    }
    ours = {
        (str(route.network), route.gateway, names.get(route.device, ""))
        for route in host.routes[0]
        if route.table == 254 and route.network.version == 4 and str(route.network) != "192.88.99.0/24"
    }
    assert ours == plain


def test_pyroute2_reads_the_same_messages(small_host, host):
    pyroute2 = pytest.importorskip("pyroute2")
    with pyroute2.IPRoute() as here:
        theirs = [(link["index"], link.get_attr("IFLA_IFNAME"), bool(link["flags"] & 1)) for link in here.get_links()]
        addresses = [
            (row.get_attr("IFA_LOCAL") or row.get_attr("IFA_ADDRESS"), row["prefixlen"], row["index"])
            for row in here.get_addr()
        ]
        routes = [
            (row["family"], row["dst_len"], row.get_attr("RTA_DST"), row.get_attr("RTA_OIF"), row.get_attr("RTA_TABLE"))
            for row in here.get_routes()
        ]
    ours = snapshot(options=False)
    assert [(link.device, link.name, link.up) for link in ours.links[0]] == theirs
    assert [(str(row.address), row.prefix, row.device) for row in ours.addresses[0]] == addresses
    families = {4: socket.AF_INET, 6: socket.AF_INET6}
    assert [
        (families[route.network.version], *str(route.network).split("/"), route.device or None, route.table)
        for route in ours.routes[0]
    ] == [
        (family, to or ("0.0.0.0" if family == socket.AF_INET else "::"), str(length), device, table)
        for family, length, to, device, table in routes
    ]


def test_all_namespaces_hold_this_one_and_the_other(small_host):
    host = snapshot(every_netns=True)
    names = [namespace.name for namespace in host.namespaces]
    assert len(names) == len(set(names)) >= 2
    inode = os.stat(f"/proc/{small_host['pid']}/ns/net").st_ino
    (place,) = [place for place, namespace in enumerate(host.namespaces) if namespace.inode == inode]
    there = {int(i) for i in host.sockets["inode"][host.sockets["netns"] == place] if i}
    assert there == {row["inode"] for row in small_host["sockets"]}
    assert os.stat("/proc/thread-self/ns/net").st_ino == host.namespaces[0].inode     # and we are back


def test_the_array_is_the_c_struct():
    assert SOCKET.itemsize == struct_size()


def test_nobody_sees_less_and_is_told(small_host):
    # One as root first, which imports all there is, late parts of numpy too: nobody may not read every environment.
    code = (
        "import os; from vnasfast.host import snapshot; from vnasfast.host.oracle import Oracle; snapshot()\n"
        f"os.setgroups([]); os.setresgid({NOBODY}, {NOBODY}, {NOBODY}); os.setresuid({NOBODY}, {NOBODY}, {NOBODY})\n"
        "host = snapshot(); Oracle(host.namespaces[0].path).close()    # its own may be asked by anybody\n"
        "print(int((host.sockets['pid'] > 0).sum())); print(*host.unseen, sep='\\n')"
    )
    command = ["nsenter", "-t", str(small_host["pid"]), "-n", sys.executable, "-c", code]
    made = subprocess.run(command, capture_output=True, text=True, check=False, cwd=TESTS.parent)
    assert made.returncode == 0, made.stderr
    n, *unseen = made.stdout.splitlines()
    assert int(n) == 2      # those of nobody
    text = "\n".join(unseen)
    assert re.search(r"\d+ sockets have no known process: the files of \d+ process(es)? are hidden from this", text)
    assert "run as root" in text
    assert "SO_REUSEPORT" in text


def test_the_most_that_is_asked_is_said(small_host):
    host = snapshot(small_host["pid"], most_asked=3)
    assert (host.sockets["reuseport"] >= 0).sum() == 3
    assert any("beyond the first 3" in line for line in host.unseen)
    without = snapshot(small_host["pid"], options=False)
    assert (without.sockets["reuseport"] == -1).all()


@pytest.mark.parametrize(
    ("wanted", "words"),
    [("no-such", ["no-such", "ip netns"]), ("4194303", ["process 4194303", "/proc/4194303/ns/net"])],
)
def test_a_namespace_that_is_none_is_named(wanted, words):
    with pytest.raises(HostError) as error:
        snapshot(wanted)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("wanted", ["", "a/b", "../self"])
def test_a_path_is_no_name(wanted):
    with pytest.raises(InvalidValue, match="ip netns"):
        snapshot(wanted)


def test_one_or_all():
    with pytest.raises(InvalidValue, match="exclude"):
        snapshot("1", every_netns=True)
