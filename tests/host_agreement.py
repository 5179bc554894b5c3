"""Random sets of sockets in a network namespace: is a snapshot's dispatch that of the kernel?

In a process of its own, which leaves its network namespace; it prints how many packets there were and which went
elsewhere, and ends with 77 where it can have no network namespace.
"""

import random
import sys

import numpy as np

from vnasfast import FLOW_KEY, ServerMachine
from vnasfast.errors import NamespaceError
from vnasfast.host import snapshot
from vnasfast.host.agreement import receivers
from vnasfast.host.lab import enter_namespace, furnish
from vnasfast.host.socket_sets import ADDRESSES, LOCAL, PORTS, REMOTE, REMOTE_PORTS, Pair, random_operations
from vnasfast.host.tables import tables_of
from vnasfast.parse.text import address_bytes

SKIPPED = 77
PACKETS = 1000


def octets(texts):
    return np.array([list(address_bytes(text)) for text in texts], np.uint8)


def packets(choose):
    """Packets to addresses that the machine has; the last of LOCAL is nobody's."""
    keys = np.zeros(PACKETS, FLOW_KEY)
    for version, part in ((4, keys[: PACKETS // 2]), (6, keys[PACKETS // 2 :])):
        part["destination"] = choose.choice(octets(LOCAL[version][:-1]), len(part))
        part["source"] = choose.choice(octets(REMOTE[version]), len(part))
    keys["destination_port"] = choose.choice(PORTS, PACKETS)
    keys["source_port"] = choose.choice(REMOTE_PORTS, PACKETS)
    keys["protocol"] = choose.choice([6, 17], PACKETS)
    return keys


def connected_alike(sockets):
    """Whether two UDP sockets are connected from the same to the same: the later wins, and no list shows it."""
    first, second = (
        tuple(row[name].tolist() for name in ("protocol", "local", "local_port", "remote", "remote_port"))
        for row in sockets
    )
    return first == second and first[-1] > 0


def main(sets, seed):
    """Compare for each set of sockets."""
    try:
        alone = enter_namespace()
        furnish(ADDRESSES)
    except NamespaceError as error:
        print(error)
        sys.exit(SKIPPED)
    choose, generator = random.Random(seed), np.random.default_rng(seed)
    delivered = differing = 0
    for _ in range(sets):
        operations = random_operations(choose, several_uids=not alone)
        with Pair(ServerMachine(policy="linux")) as pair:
            pair.run(operations)
            host = snapshot()
            tables = tables_of(host)
            keys = packets(generator)
            keys["source_pid"] = tables.process_in(host.namespaces[0].name)
            ours, kernel = receivers(host, tables, keys)
            delivered += int((kernel >= 0).sum())
            wrong = [
                i
                for i in np.flatnonzero(ours != kernel)
                if min(ours[i], kernel[i]) < 0 or not connected_alike(host.sockets[[ours[i], kernel[i]]])
            ]
            differing += len(wrong)
            if wrong:
                print(operations, keys[wrong[0]], ours[wrong[0]], kernel[wrong[0]], tables.notes, sep="\n")
    print(f"{sets * PACKETS} packets, {delivered} delivered, {differing} differ")
