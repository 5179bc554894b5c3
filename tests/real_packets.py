"""Random sets of sockets, real packets over loopback, and the kernel's word beforehand. In a namespace of its own.

Prints how many UDP datagrams and TCP handshakes reached the socket that the kernel had named, then each that did not.
"""

import random
import select
import socket
import sys
from ipaddress import ip_address

from vnasfast import ServerMachine
from vnasfast.host.lab import enter_namespace, furnish
from vnasfast.host.oracle import Oracle
from vnasfast.host.socket_sets import ADDRESSES, LOCAL, PORTS, REMOTE, REMOTE_PORTS, Pair, random_operations

OWN = {4: ("192.0.2.2", "127.0.0.1"), 6: ("2001:db8:1::2", "::1")}  # of the peers, those that can send here


def packet(choose):
    version = choose.choice((4, 6))
    source = choose.choice([address for address in REMOTE[version] if address in OWN[version]])
    return version, choose.choice(LOCAL[version][:-1]), choose.choice(PORTS), source, choose.choice(REMOTE_PORTS)


def sender(version, kind, source, source_port):
    sock = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, kind)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # closed without a trace
    sock.bind((source, source_port))
    sock.setblocking(False)
    return sock


def send(sock, kind, destination):
    """Send one datagram, or begin a handshake."""
    try:
        if kind == socket.SOCK_DGRAM:
            sock.sendto(b"whose?", destination)
        else:
            sock.connect(destination)
    except (BlockingIOError, ConnectionRefusedError):
        pass


def receiver_of(sockets):
    """Tell which of the sockets something came to, and take it."""
    readable, _, _ = select.select(list(sockets.values()), [], [], 0.05)
    for number, sock in sockets.items():
        if sock in readable:
            if sock.type == socket.SOCK_DGRAM:
                sock.recv(100)
            else:
                sock.accept()[0].close()
            return number
    return None


def interface_of(address):
    """Give the interface on which a packet to an own address counts as come in: the address's, though it is lo."""
    for device, addresses in ADDRESSES.items():
        if any(interface.startswith(f"{address}/") for interface in addresses):
            return socket.if_nametoindex(device)
    return socket.if_nametoindex("lo")


def main(n_sets, seed):
    enter_namespace()
    furnish(ADDRESSES)
    choose = random.Random(seed)
    agreed = {socket.SOCK_DGRAM: 0, socket.SOCK_STREAM: 0}
    wrong = []
    with Oracle() as oracle:
        for _ in range(n_sets):
            operations = random_operations(choose, several_uids=False)
            with Pair(ServerMachine(policy="linux")) as pair:
                pair.run(operations)
                waiting = {
                    number: sock
                    for number, sock in pair.sockets.items()
                    if sock.type == socket.SOCK_DGRAM or sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
                }
                numbers = {cookie: number for number, (_, cookie) in pair.open.items()}
                for _ in range(16):
                    version, local, port, source, source_port = packet(choose)
                    kind = choose.choice((socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_DGRAM))
                    protocol = "udp" if kind == socket.SOCK_DGRAM else "tcp"
                    answer = oracle.ask(protocol, local, port, source, source_port, interface=interface_of(local))
                    named = numbers.get(answer.cookie) if answer else None  # a handshake's remains are none of the set
                    if named not in waiting:
                        continue
                    if protocol == "tcp" and ip_address(source).is_loopback != ip_address(local).is_loopback:
                        continue  # the answer may find no way back
                    try:
                        sock = sender(version, kind, source, source_port)
                    except OSError:  # a socket of the set connects from there
                        continue
                    with sock:
                        send(sock, kind, (local, port))
                        got = receiver_of(waiting)
                    if got == named:
                        agreed[kind] += 1
                    else:
                        wrong.append((operations, protocol, local, port, source, source_port, named, got))
    print(*agreed.values())
    for row in wrong:
        print(row)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
