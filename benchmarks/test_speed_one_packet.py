"""One packet from Python, a call each; the loop over the frames is in the figure."""

import pytest
from captures import frames
from workload import Shape, workload

SOCKETS = 10_000
PACKETS = 100_000


@pytest.mark.parametrize("call", ["dispatch", "dispatch_id"])
def test_one_packet(measure, scaled, call):
    work = workload(Shape(scaled(sockets=SOCKETS)))
    traffic = work.traffic(scaled(packets=PACKETS))
    buffer, offsets, lengths = frames(traffic.keys)
    each = [buffer[start : start + length].tobytes() for start, length in zip(offsets, lengths, strict=True)]
    one = getattr(work.machine, call)

    def run():
        for frame in each:
            one(frame)

    measure(run, len(each))
    results = [one(frame) for frame in each[:1000]]
    sockets = [delivery.socket for delivery in results] if call == "dispatch" else results
    assert sockets == traffic.first[:1000].tolist()
