"""The policy `linux` against the running kernel: random sets of sockets, random packets, and who would get each."""

import random
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vnasfast.dtypes import FLOW_KEY
from vnasfast.host.oracle import Oracle
from vnasfast.host.socket_sets import (
    DEVICES,
    LOCAL,
    PORTS,
    REMOTE,
    REMOTE_PORTS,
    Bind,
    Close,
    Connect,
    Operation,
    Pair,
    destination_of,
    random_operations,
)
from vnasfast.machine import ServerMachine
from vnasfast.parse.text import address_bytes, address_text, protocol_name

NOBODY = -1
STRANGER = -2
"""A socket that is none of the set's."""

MakeMachine = Callable[[], ServerMachine]


class Rules(NamedTuple):
    """The policy that a kernel should obey.

    Attributes
    ----------
    policy : str
    known : bool
        Whether it was written for this kernel; else for the nearest one.
    """

    policy: str
    known: bool


def rules_of(release: str) -> Rules:
    """Choose the policy for a kernel's release, such as ``6.18.44``."""
    major, minor, *_ = (int("".join(filter(str.isdigit, part)) or 0) for part in f"{release}.0".split("."))
    if (major, minor) <= (6, 12):
        return Rules("linux-6.12", (major, minor) >= (6, 1))
    return Rules("linux-6.18", (6, 15) <= (major, minor) <= (6, 18))


class Difference(NamedTuple):
    """Where the kernel and the policy differ.

    Attributes
    ----------
    operations : list
        What makes the set of sockets.
    protocol, local, local_port, remote, remote_port, device
        The packet; empty where they differ over whether a socket may be.
    kernel, policy : str
        What each says.
    """

    operations: list[Operation]
    protocol: str
    local: str
    local_port: int
    remote: str
    remote_port: int
    device: str
    kernel: str
    policy: str


class Result(NamedTuple):
    """What came of a verification."""

    sets: int
    sockets: int
    queries: int
    delivered: int
    by_kind: dict[str, int]
    differences: list[Difference]


# ---- packets --------------------------------------------------------------------------------------------------------


class Packets(NamedTuple):
    """Packets, and the index of the device that each comes in on."""

    keys: NDArray[Any]
    interfaces: NDArray[Any]


def _addresses(texts: tuple[str, ...]) -> NDArray[np.uint8]:
    return np.frombuffer(b"".join(address_bytes(text) for text in texts), np.uint8).reshape(-1, 16)


_LOCAL = {version: _addresses(texts) for version, texts in LOCAL.items()}
_REMOTE = {version: _addresses(texts) for version, texts in REMOTE.items()}


def random_packets(choose: np.random.Generator, n: int, indices: NDArray[np.uint32]) -> Packets:
    """Choose packets of both families and protocols.

    Parameters
    ----------
    choose : numpy.random.Generator
    n : int
    indices : ndarray of uint32
        Interface index of each of the devices.
    """
    keys = np.zeros(n, FLOW_KEY)
    for version, part in ((4, keys[: n // 2]), (6, keys[n // 2 :])):
        size = len(part)
        part["destination"] = _LOCAL[version][choose.integers(len(_LOCAL[version]), size=size)]
        part["source"] = _REMOTE[version][choose.integers(len(_REMOTE[version]), size=size)]
    keys["destination_port"] = choose.choice(np.array((*PORTS, PORTS[-1] + 1)), size=n, p=(0.7, 0.28, 0.02))
    keys["source_port"] = choose.choice(np.array(REMOTE_PORTS), size=n)
    anywhere = choose.random(n) < 0.3
    keys["source_port"][anywhere] = choose.integers(1024, 65536, size=int(anywhere.sum()))
    keys["protocol"] = choose.choice(np.array((6, 17), np.uint8), size=n)
    device = choose.integers(len(DEVICES), size=n)
    loopback = (keys["destination"] == _LOCAL[4][0]).all(1) | (keys["destination"] == _LOCAL[4][1]).all(1)
    loopback |= (keys["destination"] == _LOCAL[6][0]).all(1)
    device[loopback] = 0  # such packets come in on no other
    keys["vlan"] = device + 1  # the tables know an address on each device by a VLAN of its own
    keys["source_pid"] = 1
    return Packets(keys, indices[device])


# ---- comparing ------------------------------------------------------------------------------------------------------


def compare(pair: Pair, oracle: Oracle, packets: Packets) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Ask both sides about packets.

    Returns
    -------
    tuple of ndarray of int64
        The kernel's and the policy's answers: the socket's number. Sockets that share a port are one, the first.
    """
    answers = oracle.ask_batch(packets.keys, interfaces=packets.interfaces)["cookie"]
    results = pair.machine.dispatch_batch(packets.keys, count=False)
    kernel = np.where(answers == 0, NOBODY, STRANGER).astype(np.int64)
    policy = np.where(results < 0, NOBODY, STRANGER).astype(np.int64)
    groups: dict[int, int] = {}
    known = pair.machine.linux_sockets
    for number, (made, cookie) in pair.open.items():
        row = known[made]
        alike = number
        if row.group is not None and row.peer is None:
            alike = groups.setdefault(row.group, number)
        kernel[answers == cookie] = alike
        policy[results == made] = alike
    return kernel, policy


def differing(
    operations: list[Operation], oracle: Oracle, make: MakeMachine, packets: Packets
) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64], int]:
    """Make a set of sockets, and ask both sides about packets."""
    with Pair(make()) as pair:
        pair.run(operations)
        kernel, policy = compare(pair, oracle, packets)
        return pair.refusals, kernel, policy, len(pair.open)


def verify(
    make: MakeMachine,
    oracle: Oracle,
    interfaces: dict[str, int],
    *,
    sets: int,
    queries: int,
    seed: int,
    several_uids: bool,
    most_differences: int = 1,
) -> Iterator[Result]:
    """Verify a policy against the kernel, in a namespace furnished with `socket_sets.ADDRESSES`.

    Parameters
    ----------
    make : callable
        Makes a machine with the policy.
    oracle : Oracle
    interfaces : dict of str to int
        Device → interface index.
    sets : int
        How many sets of sockets.
    queries : int
        About how many packets to ask for each.
    seed : int
    several_uids : bool
        Whether sockets of another user can be made.
    most_differences : int, optional
        After which it ends.

    Yields
    ------
    Result
        What is known after each set.
    """
    choose = random.Random(seed)  # noqa: S311 (what is chosen shall come again)
    generator = np.random.default_rng(seed)
    indices = np.array([interfaces[device] for device in DEVICES], np.uint32)
    n_sockets = n_queries = n_delivered = 0
    by_kind = dict.fromkeys(("tcp IPv4", "tcp IPv6", "udp IPv4", "udp IPv6"), 0)
    differences: list[Difference] = []
    for number in range(1, sets + 1):
        operations = random_operations(choose, several_uids)
        packets = random_packets(generator, queries, indices)
        refusals, kernel, policy, n_open = differing(operations, oracle, make, packets)
        n_sockets += n_open
        n_queries += queries
        n_delivered += int((kernel >= 0).sum())
        for version, part in ((4, packets.keys[: queries // 2]), (6, packets.keys[queries // 2 :])):
            for protocol in (6, 17):
                by_kind[f"{protocol_name(protocol)} IPv{version}"] += int((part["protocol"] == protocol).sum())
        wrong = np.flatnonzero(kernel != policy)
        if refusals or len(wrong):
            only = packets if refusals else Packets(packets.keys[wrong[:1]], packets.interfaces[wrong[:1]])
            differences.append(shrink(operations, oracle, make, only, bool(refusals)))
        yield Result(number, n_sockets, n_queries, n_delivered, dict(by_kind), differences)
        if len(differences) >= most_differences:
            return


# ---- shrinking ------------------------------------------------------------------------------------------------------


def simpler(operations: list[Operation]) -> Iterator[list[Operation]]:
    """Yield what is a little less: an operation fewer, or an option."""
    for place in reversed(range(len(operations))):
        gone = operations[place]
        rest = operations[:place] + operations[place + 1 :]
        if isinstance(gone, Bind):
            rest = [other for other in rest if other.number != gone.number]
        yield rest
    for place, bound in enumerate(operations):
        if not isinstance(bound, Bind):
            continue
        less = [
            bound._replace(device=None),
            bound._replace(sharing=False),
            bound._replace(reuseaddr=False),
            bound._replace(v6only=False),
            bound._replace(uid=0),
            bound._replace(peer=None),
        ]
        yield from ([*operations[:place], plain, *operations[place + 1 :]] for plain in less if plain != bound)


def shrink(
    operations: list[Operation], oracle: Oracle, make: MakeMachine, packets: Packets, refused: bool
) -> Difference:
    """Find a set of sockets that differs still and is as small as can be: nothing of it can be left out."""

    def differs(tried: list[Operation]) -> bool:
        refusals, kernel, policy, _ = differing(tried, oracle, make, packets)
        return bool(refusals) if refused else bool((kernel != policy).any())

    found = True
    while found:
        found = False
        for tried in simpler(operations):
            if differs(tried):
                operations, found = tried, True
                break
    refusals, kernel, policy, _ = differing(operations, oracle, make, packets)
    if refused:
        return Difference(operations, "", "", 0, "", 0, "", *_said_of(refusals))
    key = packets.keys[0]
    return Difference(
        operations,
        protocol_name(int(key["protocol"])),
        address_text(key["destination"]),
        int(key["destination_port"]),
        address_text(key["source"]),
        int(key["source_port"]),
        DEVICES[int(key["vlan"]) - 1],
        _said(int(kernel[0])),
        _said(int(policy[0])),
    )


def _said(number: int) -> str:
    return {NOBODY: "nobody", STRANGER: "a socket that is none of these"}.get(number, f"s{number}")


def _said_of(refusals: list[str]) -> tuple[str, str]:
    text = refusals[0] if refusals else "differs from run to run"
    return ("it may be", "it may not be") if text.startswith("only the policy") else ("it may not be", "it may be")


# ---- as a script ----------------------------------------------------------------------------------------------------


def script(difference: Difference) -> str:
    """Write a difference as a Python script that shows what the kernel does."""
    lines = [
        "import os, socket",
        "from vnasfast.host.lab import enter_namespace, furnish",
        "from vnasfast.host.oracle import Oracle",
        "from vnasfast.host.socket_sets import ADDRESSES",
        "",
        "enter_namespace()",
        "furnish(ADDRESSES)",
    ]
    families = {bound.number: bound.family for bound in difference.operations if isinstance(bound, Bind)}
    for operation in difference.operations:
        name = f"s{operation.number}"
        if isinstance(operation, Bind):
            lines += ["", *_script_of_bind(name, operation)]
        elif isinstance(operation, Connect):
            peer = destination_of(families[operation.number], operation.peer)
            lines.append(f"{name}.connect({peer!r})")
        elif isinstance(operation, Close):
            lines.append(f"{name}.close()")
    if difference.protocol:
        asked = ", ".join(map(repr, difference[1:6]))
        lines += ["", f'print(Oracle().ask({asked}, interface=socket.if_nametoindex("{difference.device}")))']
    lines += [f"# the kernel: {difference.kernel}", f"# the policy: {difference.policy}"]
    return "\n".join(lines) + "\n"


def _script_of_bind(name: str, bound: Bind) -> Iterator[str]:
    family = "AF_INET" if bound.family == 4 else "AF_INET6"
    kind = "SOCK_STREAM" if bound.protocol == "tcp" else "SOCK_DGRAM"
    yield f"{name} = socket.socket(socket.{family}, socket.{kind})"
    if bound.protocol == "tcp" and bound.peer is not None:
        yield f"{name}.setsockopt(socket.IPPROTO_TCP, 19, 1)  # TCP_REPAIR: connected without a packet"
    if bound.family == 6:
        yield f"{name}.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, {int(bound.v6only)})"
    if bound.uid:
        yield f"os.fchown({name}.fileno(), {bound.uid}, -1)"
    for wanted, option in ((bound.sharing, "SO_REUSEPORT"), (bound.reuseaddr, "SO_REUSEADDR")):
        if wanted:
            yield f"{name}.setsockopt(socket.SOL_SOCKET, socket.{option}, 1)"
    if bound.device is not None:
        yield f"{name}.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, {bound.device.encode()!r})"
    yield f"{name}.bind({(bound.address, bound.port)!r})"
    if bound.peer is not None:
        yield f"{name}.connect({destination_of(bound.family, bound.peer)!r})"
    elif bound.protocol == "tcp":
        yield f"{name}.listen()"
