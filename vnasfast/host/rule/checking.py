"""Two engines, one table: does the kernel give each address and port to the VNAS that the tables name?"""

import os
from typing import NamedTuple

import numpy as np

from vnasfast.host.diag import dump_sockets
from vnasfast.host.netlink import open_netlink
from vnasfast.host.oracle import Oracle
from vnasfast.host.processes import cgroup_paths
from vnasfast.host.rule import interfaces
from vnasfast.host.rule.engine import Rule
from vnasfast.host.rule.layout import CGROUP, SLOT
from vnasfast.host.rule.wanted import read
from vnasfast.outcome import Outcome
from vnasfast.parse.keys import flow_keys

_ASKED = ("tcp", "udp")
_PROTOCOLS = (6, 17)
_SOCK_DIAG = 4


class Checked(NamedTuple):
    """What came of it."""

    questions: int
    differences: list[str]

    @property
    def summary(self) -> str:
        """Say it in a line."""
        return f"{self.questions:,} questions, {len(self.differences):,} differences"


def check(rule: Rule, path: str | os.PathLike[str]) -> Checked:
    """Ask the kernel about every address with every port of a table file.

    The source of the questions is an address of documentation, so that no connected socket is meant.
    """
    rule.require_here()
    machine, wanted = read(path)
    rule.enter_all()
    ports = sorted({(row.protocol, row.port) for row in machine.sockets if row.protocol in _ASKED})
    held = {row.address for row in interfaces.all_held()}
    differences = [  # the lookup is of sockets, and finds one whose address is gone
        f"{address}: tables VNAS {rule.name_of(vnas)}, kernel has it on no interface"
        for address, (vnas, _) in wanted.addresses.items()
        if address not in held
    ]
    questions = 0
    with Oracle() as oracle:
        vnas_of_socket = _vnases_of_sockets(rule)
        for family, remote in ((4, "192.0.2.254"), (6, "2001:db8::254")):
            asked = [
                (address, protocol, port)
                for address in wanted.addresses
                if address.version == family
                for protocol, port in ports
            ]
            if not asked:
                continue
            keys = flow_keys(
                destination=[address for address, _, _ in asked],
                destination_port=[port for _, _, port in asked],
                source=[remote] * len(asked),
                source_port=65000,
                protocol=[protocol for _, protocol, _ in asked],
            )
            expected = machine.dispatch_batch(keys)
            found = oracle.ask_batch(keys)["cookie"]
            vnases = {row.socket: row.vnas for row in machine.sockets}
            for (address, protocol, port), socket, cookie in zip(asked, expected.tolist(), found.tolist(), strict=True):
                ours = vnases[socket] if socket >= 0 else None
                theirs = vnas_of_socket.get(cookie, 0) if cookie else None
                if ours != theirs:
                    says = f"VNAS {rule.name_of(ours)}" if ours is not None else Outcome(socket).name
                    differences.append(f"{address} {protocol} {port}: tables {says}, kernel {_who(rule, theirs)}")
            questions += len(asked)
    return Checked(questions, differences)


def _who(rule: Rule, vnas: int | None) -> str:
    if vnas is None:
        return "nobody"
    return f"VNAS {rule.name_of(vnas)}" if vnas else "a process of no VNAS"


def _vnases_of_sockets(rule: Rule) -> dict[int, int]:
    """Say whose each socket is by its cgroup, which the kernel tells of each: not by our tables in the kernel."""
    slots = {slot: vnas for vnas, (slot, _) in rule.vnases().items()}
    ours = {CGROUP.unpack(key)[0]: slots.get(SLOT.unpack(row)[0], 0) for key, row in rule.map("cgroups").items()}
    paths = cgroup_paths()
    vnas_of_path = {paths[number]: vnas for number, vnas in ours.items() if number in paths}
    netlink = open_netlink(_SOCK_DIAG)
    try:
        sockets, _ = dump_sockets(netlink, _PROTOCOLS)
    finally:
        os.close(netlink)
    vnas_of: dict[int, int] = {}
    for number in np.unique(sockets["cgroup"]).tolist():
        path = paths.get(number, "")
        while path and path not in vnas_of_path:
            path = path.rpartition("/")[0]
        vnas_of[number] = vnas_of_path.get(path, 0)
    return {
        cookie: vnas_of[number]
        for cookie, number in zip(sockets["cookie"].tolist(), sockets["cgroup"].tolist(), strict=True)
    }
