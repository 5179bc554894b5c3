"""Parsed keys to sockets: dispatch_batch on numpy arrays, uniform random order."""

import numpy as np
import pytest
from workload import NARROW, Shape, narrowed, workload

PACKETS = 1 << 20
FAMILIES = {"ipv4": (4,), "ipv6": (6,)}
SIZES = {"1k": 1_000, "10k": 10_000, "100k": 100_000, "1M": 1_000_000}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("mix", ["hits", "half-misses"])
@pytest.mark.parametrize("family", FAMILIES)
def test_keys(measure, scaled, family, mix, size):
    work = workload(Shape(scaled(sockets=SIZES[size]), FAMILIES[family]))
    misses = 0.0 if mix == "hits" else 0.25
    traffic = work.traffic(scaled(packets=PACKETS), scan=misses, flood=misses)
    out = np.empty(len(traffic.keys), np.int32)
    measure(lambda: work.machine.dispatch_batch(traffic.keys, out=out, count=False), len(out))
    assert traffic.wrong(out) == 0


@pytest.mark.skipif(NARROW is None, reason="this version has one kind of keys")
@pytest.mark.parametrize("size", SIZES)
def test_narrow_keys(measure, scaled, size):
    """IPv4 hits as above, by keys of 16 bytes."""
    work = workload(Shape(scaled(sockets=SIZES[size])))
    traffic = work.traffic(scaled(packets=PACKETS))
    keys = narrowed(traffic.keys, NARROW)
    out = np.empty(len(keys), np.int32)
    measure(lambda: work.machine.dispatch_batch(keys, out=out, count=False), len(out))
    assert traffic.wrong(out) == 0


@pytest.mark.parametrize("size", SIZES)
def test_keys_counted(measure, scaled, size):
    """IPv4 hits as above, and each packet is counted to its socket, in random order too."""
    work = workload(Shape(scaled(sockets=SIZES[size])))
    traffic = work.traffic(scaled(packets=PACKETS))
    out = np.empty(len(traffic.keys), np.int32)
    lengths = np.full(len(out), 60, np.uint32)
    measure(lambda: work.machine.dispatch_batch(traffic.keys, wire_lengths=lengths, out=out), len(out))
    assert traffic.wrong(out) == 0
