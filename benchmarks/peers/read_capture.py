"""Read a capture with a Python package, and count its packets.

usage: read_capture.py dpkt|pcapy|cypcap CAPTURE

Only the package that is asked for is imported.
"""

import sys


def with_dpkt(path: str) -> int:
    import dpkt  # noqa: PLC0415

    with open(path, "rb") as file:
        return sum(1 for _packet in dpkt.pcap.Reader(file))


def with_pcapy(path: str) -> int:
    import pcapy  # noqa: PLC0415

    reader = pcapy.open_offline(path)
    packets = 0
    while reader.next()[0] is not None:
        packets += 1
    return packets


def with_cypcap(path: str) -> int:
    import cypcap  # noqa: PLC0415

    with cypcap.open_offline(path) as reader:
        return sum(1 for _packet in reader)


if __name__ == "__main__":
    print({"dpkt": with_dpkt, "pcapy": with_pcapy, "cypcap": with_cypcap}[sys.argv[1]](sys.argv[2]))
