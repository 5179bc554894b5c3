"""Frames in memory to sockets: parsing, dispatching and counting, at 10k sockets."""

import numpy as np
import pytest
from captures import frames
from workload import TCP, UDP, Shape, workload

SOCKETS = 10_000
PACKETS = 1 << 19

#: Families, protocols and VLANs; frames are 60 bytes long, or as long as their headers.
KINDS = {
    "ipv4-tcp": ((4,), (TCP,), (0,)),
    "ipv6-tcp": ((6,), (TCP,), (0,)),
    "vlan-ipv4-tcp": ((4,), (TCP,), (100,)),
    "all-mixed": ((4, 6), (TCP, UDP), (0, 100)),
}


@pytest.mark.parametrize("counting", ["counted", "uncounted"])
@pytest.mark.parametrize("kind", KINDS)
def test_frames(measure, scaled, kind, counting):
    work = workload(Shape(scaled(sockets=SOCKETS), *KINDS[kind]))
    traffic = work.traffic(scaled(packets=PACKETS))
    buffer, offsets, lengths = frames(traffic.keys)
    out = np.empty(len(offsets), np.int32)
    count = counting == "counted"
    measure(lambda: work.machine.dispatch_frames(buffer, offsets, lengths, out=out, count=count), len(out))
    assert traffic.wrong(out) == 0
