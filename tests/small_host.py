"""A network namespace with sockets that are known: run as a process of its own, it binds them, lists them and waits.

The first line of standard output is JSON: ``{"sockets": [...], "pids": {...}}``; it ends when standard input does.
"""

import contextlib
import ctypes
import json
import os
import socket
import subprocess
import sys

CLONE_NEWNET = 0x40000000
PR_SET_DUMPABLE = 4
SO_INCOMING_CPU = 49
NOBODY = 65534
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
KINDS = {
    "tcp": (socket.SOCK_STREAM, 0),
    "udp": (socket.SOCK_DGRAM, 0),
    "udplite": (socket.SOCK_DGRAM, 136),
}

#: What is bound; whatever is left out is off. ``who`` is which process binds it.
SPECS = [
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 80},
    {"protocol": "tcp", "family": 4, "local": "10.7.0.1", "port": 81, "reuseaddr": True},
    {"protocol": "tcp", "family": 6, "local": "::", "port": 82},
    {"protocol": "tcp", "family": 6, "local": "::", "port": 83, "v6only": True},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 83},
    {"protocol": "tcp", "family": 6, "local": "::ffff:10.7.0.1", "port": 84},
    {"protocol": "tcp", "family": 6, "local": "fd07::1", "port": 85, "v6only": True},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 86, "device": "v0"},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 86, "device": "w0"},
    *[{"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 87, "reuseport": True} for _ in range(4)],
    {"protocol": "tcp", "family": 4, "local": "192.0.2.99", "port": 88, "freebind": True},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 89, "incoming_cpu": 1},
    {"protocol": "udp", "family": 4, "local": "0.0.0.0", "port": 53, "reuseaddr": True},
    {"protocol": "udp", "family": 4, "local": "0.0.0.0", "port": 53, "reuseaddr": True},
    {"protocol": "udp", "family": 4, "local": "10.7.0.1", "port": 54, "remote": "10.7.0.2", "remote_port": 4242},
    {"protocol": "udp", "family": 6, "local": "::", "port": 55, "reuseport": True, "v6only": True},
    {"protocol": "udp", "family": 6, "local": "::", "port": 55, "reuseport": True, "v6only": True},
    {"protocol": "udp", "family": 6, "local": "::", "port": 56, "device": "v0"},
    {"protocol": "udplite", "family": 4, "local": "0.0.0.0", "port": 57},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 8080, "who": "nobody"},
    {"protocol": "udp", "family": 6, "local": "::", "port": 8080, "who": "nobody"},
    {"protocol": "tcp", "family": 4, "local": "0.0.0.0", "port": 9090, "who": "cgroup"},
]


def known(protocol):
    """Whether this kernel has the protocol; UDP-Lite may be missing."""
    try:
        socket.socket(socket.AF_INET, *KINDS[protocol]).close()
    except OSError:
        return False
    return True


def bound(spec):
    """The socket of a spec."""
    made = socket.socket(FAMILIES[spec["family"]], *KINDS[spec["protocol"]])
    if spec["family"] == 6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, spec.get("v6only", False))
    for option, name in ((socket.SO_REUSEADDR, "reuseaddr"), (socket.SO_REUSEPORT, "reuseport")):
        made.setsockopt(socket.SOL_SOCKET, option, spec.get(name, False))
    if "device" in spec:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, spec["device"].encode())
    if spec.get("freebind"):
        made.setsockopt(socket.IPPROTO_IP, 15, 1)
    if "incoming_cpu" in spec:
        made.setsockopt(socket.SOL_SOCKET, SO_INCOMING_CPU, spec["incoming_cpu"])
    made.bind((spec["local"], spec["port"]))
    if "remote" in spec:
        made.connect((spec["remote"], spec["remote_port"]))
    if spec["protocol"] == "tcp":
        made.listen()
    return made


def main(cgroup):
    """Bind all, say what was bound, wait."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET) < 0:
        raise OSError(ctypes.get_errno(), "unshare")
    for command in (
        "link set lo up",
        "link add v0 type veth peer name v1",
        "link add w0 type veth peer name w1",
        "link set v0 up",
        "link set v1 up",
        "link set w0 up",
        "addr add 10.7.0.1/24 dev v0",
        "addr add 10.7.0.9/24 dev v0 label v0:1",
        "addr add fd07::1/64 dev v0 nodad",
        "addr add 10.8.0.1/24 dev w0",
        "route add 198.51.100.0/24 via 10.7.0.2",
        "route add local 198.18.0.0/24 dev lo",
        "route add blackhole 203.0.113.0/24",
        "route add 192.88.99.0/24 nexthop via 10.7.0.2 dev v0 nexthop via 10.7.0.3 dev v0",
    ):
        subprocess.run(["ip", *command.split()], check=True)
    rows, kept = [], []
    mine = [spec for spec in SPECS if "who" not in spec and known(spec["protocol"])]
    for who in ("nobody", "cgroup"):
        rows += in_child(who, cgroup, kept)
    rows += [listed(spec, made) for spec, made in zip(mine, map(bound, mine), strict=True) if not kept.append(made)]
    # A connection: both ends, and the listener.
    server = bound({"protocol": "tcp", "family": 4, "local": "10.7.0.1", "port": 99, "reuseaddr": True})
    client = socket.create_connection(("10.7.0.1", 99), source_address=("10.7.0.1", 50_000))
    accepted = server.accept()[0]
    kept += [server, client, accepted]
    ends = {"protocol": "tcp", "family": 4, "local": "10.7.0.1", "remote": "10.7.0.1"}
    rows.append(listed({"protocol": "tcp", "family": 4, "local": "10.7.0.1", "port": 99, "reuseaddr": True}, server))
    rows.append(listed(ends | {"port": 50_000, "remote_port": 99}, client))
    rows.append(listed(ends | {"port": 99, "remote_port": 50_000}, accepted))
    print(json.dumps({"sockets": rows, "pid": os.getpid()}), flush=True)
    sys.stdin.read()


def listed(spec, made):
    """A row of what was bound."""
    status = os.fstat(made.fileno())
    return spec | {"inode": status.st_ino, "pid": os.getpid(), "fd": made.fileno(), "uid": os.geteuid()}


def in_child(who, cgroup, kept):
    """Bind the sockets of another user, or in another cgroup, in a child that waits too."""
    if who == "cgroup" and not cgroup:
        return []
    told, tell = os.pipe()
    if os.fork() == 0:
        os.close(told)
        if who == "nobody":
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 1)     # as after an exec: nobody may look at nobody's processes
        else:
            with open(os.path.join(cgroup, "cgroup.procs"), "w") as procs:
                procs.write(str(os.getpid()))
        with contextlib.suppress(PermissionError):
            kept += [(spec, bound(spec)) for spec in SPECS if spec.get("who") == who]
        os.write(tell, json.dumps([listed(*one) for one in kept]).encode())
        os.close(tell)
        sys.stdin.read()
        os._exit(0)
    os.close(tell)
    with open(told) as answer:
        return json.load(answer)


if __name__ == "__main__":
    main(sys.argv[1])
