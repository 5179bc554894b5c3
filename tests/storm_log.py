"""The writer's side of the storm: each operation on the engine has a version, and the log says what it did.

Version k of the tables is what they are after k operations. A reader notes `done` before its call and `begun` after it:
every version from the one to the other may have been the tables during the call, and no other.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from model import ANY6, Address

from vnasfast import ServerMachine

Operation = tuple[Any, ...]
START, EXIT, VALIDATE, INVALIDATE, BIND, CLOSE = range(6)
NAMES = ("start", "exit", "validate", "invalidate", "bind", "close")


class Writer:
    """Does operations and logs them. One thread uses it; any thread may read `begun` and `done`."""

    def __init__(self, machine: ServerMachine) -> None:
        self.machine = machine
        self.begun = 0
        self.done = 0
        self.log: list[Operation] = []  # of the versions after `first`, in order
        self.first = 0
        self.sockets_of: defaultdict[int, dict[int, None]] = defaultdict(dict)  # PID → its sockets, in order
        self.owners: dict[int, int] = {}

    def take_log(self) -> tuple[int, list[Operation]]:
        """Give the version before the log, and the log, and begin a new one."""
        taken = self.first, self.log
        self.first, self.log = self.done, []
        return taken

    def start(self, pid: int, vnas: int) -> None:
        self.begun += 1
        self.machine.vnas_start(1, vnas, pid=pid)
        self.log.append((START, pid, vnas))
        self.done += 1

    def exit(self, pid: int) -> None:
        """Exit: the sockets close one after the other, the newest first, and each close is seen."""
        sockets = list(reversed(self.sockets_of.pop(pid, {})))
        self.begun += len(sockets) + 1
        self.machine.exit(pid)
        self.log.extend((CLOSE, socket) for socket in sockets)
        self.log.append((EXIT, pid))
        self.done += len(sockets) + 1
        for socket in sockets:
            del self.owners[socket]

    def validate(self, pid: int, address: Address, vlan: int = 0) -> None:
        self.begun += 1
        changed = self.machine.validate(pid, address, "eth0", vlan=vlan)
        self.log.append((VALIDATE, pid, vlan, address, changed))
        self.done += 1

    def invalidate(self, pid: int, address: Address, vlan: int = 0) -> None:
        self.begun += 1
        changed = self.machine.invalidate(pid, address, vlan=vlan)
        self.log.append((INVALIDATE, pid, vlan, address, changed))
        self.done += 1

    def bind(
        self, pid: int, protocol: int, port: int, address: Address, *, v6only: bool = False, sharing: bool = False
    ) -> int:
        self.begun += 1
        recipient = "ANY" if address is ANY6 else address  # the word is read fastest
        socket = self.machine.bind(pid, protocol, port, recipient, v6only=v6only, sharing=sharing, freebind=True)
        self.log.append((BIND, socket, pid, protocol, port, address, v6only, sharing))
        self.done += 1
        self._bound(socket, pid)
        return socket

    def close(self, socket: int) -> None:
        self.begun += 1
        self.machine.close(socket)
        self.log.append((CLOSE, socket))
        self.done += 1
        self._closed(socket)

    def bind_many(self, pid: int, services: Sequence[tuple[int, int]]) -> list[int]:
        """Register ANY sockets in one call, which does them one after the other."""
        protocols, ports = np.array(services).T
        self.begun += len(services)
        sockets = self.machine.bind_many([pid] * len(services), protocols, ports).tolist()
        for socket, (protocol, port) in zip(sockets, services, strict=True):
            self.log.append((BIND, socket, pid, protocol, port, ANY6, False, False))
            self._bound(socket, pid)
        self.done += len(services)
        return sockets

    def close_many(self, sockets: list[int]) -> None:
        self.begun += len(sockets)
        self.machine.close_many(sockets)
        self.log.extend((CLOSE, socket) for socket in sockets)
        self.done += len(sockets)
        for socket in sockets:
            self._closed(socket)

    def _bound(self, socket: int, pid: int) -> None:
        self.sockets_of[pid][socket] = None
        self.owners[socket] = pid

    def _closed(self, socket: int) -> None:
        del self.sockets_of[self.owners.pop(socket)][socket]


def told(operation: Operation) -> str:
    """Write an operation for people."""
    return f"{NAMES[operation[0]]}({', '.join(str(value) for value in operation[1:])})"
