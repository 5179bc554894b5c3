"""Replay a capture of IPv4 packets with dpkt and two dicts: read, parse, (VLAN, address) → VNAS, then → socket.

usage: dpkt_dict.py CAPTURE FOLDER

The folder holds the tables that compare.py wrote. Prints the packets that reached a socket.
"""

import sys
from pathlib import Path

import dpkt

sys.path.insert(0, str(Path(__file__).parents[1]))

from exchange import ADDRESS, SOCKET
from numpy import fromfile


def main() -> None:
    folder = Path(sys.argv[2])
    addresses, sockets = fromfile(folder / "addresses", ADDRESS), fromfile(folder / "sockets", SOCKET)
    hosts = [address.tobytes() for address in addresses["address"]]
    vnas_of = dict(zip(zip(addresses["vlan"].tolist(), hosts, strict=True), addresses["vnas"].tolist(), strict=True))
    ports = zip(*(sockets[name].tolist() for name in ("protocol", "port", "vnas")), strict=True)
    socket_of = dict(zip(ports, sockets["socket"].tolist(), strict=True))
    delivered = 0
    with open(sys.argv[1], "rb") as file:
        for _time, frame in dpkt.pcap.Reader(file):
            ethernet = dpkt.ethernet.Ethernet(frame)
            ip = ethernet.data
            vlan = ethernet.vlanid if hasattr(ethernet, "vlanid") else 0
            vnas = vnas_of.get((vlan, ip.dst))
            if vnas is not None and (ip.p, ip.data.dport, vnas) in socket_of:
                delivered += 1
    print(delivered)


if __name__ == "__main__":
    main()
