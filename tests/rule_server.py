"""A server that knows nothing of VNASs: it answers with its name, the address it is asked at, and who asks.

Arguments: its name, a user's number, and services such as ``tcp:0.0.0.0:80`` or ``udp:[::]:53:v6only``.
"""

import os
import re
import selectors
import socket
import sys

SERVICE = re.compile(r"(tcp|udp):\[?([0-9a-f.:]*?)\]?:(\d+)((?::\w+)*)$")


def open_service(text):
    protocol, address, port, flags = SERVICE.match(text).groups()
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM)
    if protocol == "tcp":
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, "v6only" in flags)
    if "sharing" in flags:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    made.bind((address, int(port)))
    if protocol == "tcp":
        made.listen(512)
    return made


def main():
    name, uid, *services = sys.argv[1:]
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
    waiting = selectors.DefaultSelector()
    for service in services:
        waiting.register(open_service(service), selectors.EVENT_READ)
    print("ready", flush=True)
    while True:
        for key, _ in waiting.select():
            if key.fileobj.type == socket.SOCK_STREAM:
                connection, peer = key.fileobj.accept()
                with connection:
                    local = connection.getsockname()[0]
                    connection.sendall(f"{name} {local} {peer[0]}\n".encode())
            else:
                _, peer = key.fileobj.recvfrom(2000)
                key.fileobj.sendto(f"{name} {key.fileobj.getsockname()[0]} {peer[0]}".encode(), peer)


if __name__ == "__main__":
    main()
