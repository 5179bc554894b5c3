"""Parsed keys to sockets: dispatch_batch on numpy arrays, uniform random order."""

import numpy as np
import pytest
from workload import Shape, workload

PACKETS = 1 << 20
FAMILIES = {"ipv4": (4,), "ipv6": (6,)}
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mix", ["hits", "half-misses"])
@pytest.mark.parametrize("family", FAMILIES)
def test_keys(measure, scaled, family, mix, size):
    work = workload(Shape(scaled(sockets=SIZES[size]), FAMILIES[family]))
    keys, expected = work.keys(scaled(packets=PACKETS), hits=1.0 if mix == "hits" else 0.5)
    out = np.empty(len(keys), np.int32)
    measure(lambda: work.machine.dispatch_batch(keys, out=out, count=False), len(keys))
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize("size", SIZES)
def test_keys_counted(measure, scaled, size):
    """As above, and each packet is counted to its socket, in random order too."""
    work = workload(Shape(scaled(sockets=SIZES[size])))
    keys, expected = work.keys(scaled(packets=PACKETS))
    out = np.empty(len(keys), np.int32)
    lengths = np.full(len(keys), 60, np.uint32)
    measure(lambda: work.machine.dispatch_batch(keys, wire_lengths=lengths, out=out), len(keys))
    np.testing.assert_array_equal(out, expected)
