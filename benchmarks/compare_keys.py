"""Parsed keys to sockets: vnasfast beside the floor, hash maps, DPDK, the kernel and a dict, all on the same keys."""

import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from exchange import write_packets, write_tables
from rounds import PASSES, Run, Sample, Work, WrongAnswersError, sample_of, timed
from workload import NARROW, TCP, UDP, Shape, Traffic, Workload, narrowed, workload
from yardsticks import ABSL, BOOST, DPDK_HASH, FLOOR, KERNEL, PEERS, READ_KEYS, Peer

NARROW_KEYS = "dispatch_batch, 16-byte keys"
WIDE_KEYS = "dispatch_batch, 48-byte keys"
COUNTED = "dispatch_batch, 48-byte keys, counted"
IPV6 = "dispatch_batch, 48-byte keys, IPv6"
FLOOR_NAME = "floor"
READ_NARROW = "reading the keys only, 16 bytes"
READ_WIDE = "reading the keys only, 48 bytes"
BOOST_TWO = "boost flat map, two steps"
BOOST_ONE = "boost flat map, one step"
ABSL_TWO = "absl flat map, two steps"
ABSL_PREFETCHED = "absl flat map, two steps, prefetched"
DPDK_TWO = "DPDK bulk lookup, two steps"
DICT_TWO = "Python dict, two steps"
KERNEL_ONE = "kernel listener lookup, net"

#: Table sizes up to which the slow ones take part.
MOST_SOCKETS = {DICT_TWO: 100_000, KERNEL_ONE: 10_000}

#: The orders other than uniform, and the misses.
ORDERS: Mapping[str, Mapping[str, Any]] = {
    "uniform hits": {},
    "Zipf hits": {"order": "zipf"},
    "bursts of hits": {"order": "bursts"},
    "port scan": {"scan": 1.0},
    "flood for nobody": {"flood": 1.0},
}

#: What machines can hold; the last is all of it in one table.
SHAPES: Mapping[str, Mapping[str, Any]] = {
    "plain": {},
    "VLANs": {"vlans": (0, *range(100, 104))},
    "TCP and UDP": {"protocols": (TCP, UDP)},
    "one address a VNAS": {"addresses": 1},
    "1,000 addresses a VNAS": {"addresses": 1_000, "ports": 1_000, "all_ports": 1_000},
    "5,000 ports a VNAS": {"ports": 5_000, "all_ports": 5_000},
    "20 of 5,000 ports a VNAS": {"all_ports": 5_000},
    "port sharing by 4": {"sharing": 4},
    "specific beside ANY": {"specific": True},
    "sparse, shuffled VNAS IDs": {"scattered": True},
    "IPv6": {"families": (6,)},
    "IPv4 and IPv6": {"families": (4, 6)},
}
MIX = "all of it in one table"
PLAIN = "plain"


def sizes_title(sockets: int) -> str:
    """Name the work at one table size."""
    return f"IPv4 keys, {sockets:,} sockets"


def orders_title(sockets: int) -> str:
    """Name the work in several orders."""
    return f"orders and misses, {sockets:,} sockets"


def shapes_title(sockets: int) -> str:
    """Name the work on several shapes."""
    return f"shapes, 48-byte keys, {sockets:,} sockets"


def by_size(
    programs: Mapping[Peer, Path],
    folder: Path,
    sizes: tuple[int, ...],
    least: int,
    bytes_each: dict[int, dict[str, float]],
) -> Iterator[Work]:
    """Uniform hits, the hardest order, at each table size; `bytes_each` is filled: sockets → peer → bytes a socket.

    There are at least so many packets, and enough to touch far more lines of a large table than a cache keeps.
    """
    for sockets in sizes:
        packets = max(least, sockets // 4)
        noted = bytes_each.setdefault(sockets, {})
        work = workload(Shape(sockets))
        traffic = work.traffic(packets)
        runs: dict[str, Run] = {}
        if FLOOR in programs:
            runs[FLOOR_NAME] = partial(sample_of, programs[FLOOR], str(sockets), str(packets), str(PASSES))
        if READ_KEYS in programs:
            for name, size in ((READ_NARROW, "16"), (READ_WIDE, "48")):
                runs[name] = partial(sample_of, programs[READ_KEYS], size, str(packets), str(PASSES))
        runs |= ours(work, traffic)
        runs[COUNTED] = _dispatching(work, traffic, traffic.keys, count=True)
        ipv6 = workload(Shape(sockets, families=(6,)))
        traffic6 = ipv6.traffic(packets)
        runs[IPV6] = _dispatching(ipv6, traffic6, traffic6.keys)
        runs |= {
            name: run
            for name, run in peers(programs, folder / f"keys-{sockets}", work, traffic, noted).items()
            if sockets <= MOST_SOCKETS.get(name, sockets)
        }
        yield Work(sizes_title(sockets), runs, FLOOR_NAME)
        workload.cache_clear()


def by_order(programs: Mapping[Peer, Path], folder: Path, sizes: tuple[int, ...], packets: int) -> Iterator[Work]:
    """Other orders of the hits, and misses, beside those that come nearest."""
    for sockets in sizes:
        work = workload(Shape(sockets))
        runs: dict[str, Run] = {}
        for order, options in ORDERS.items():
            traffic = work.traffic(packets, **options)
            all_runs = ours(work, traffic) | peers(programs, folder / f"{order}-{sockets}", work, traffic)
            runs |= {
                f"{order}: {name}": all_runs[name]
                for name in (NARROW_KEYS, WIDE_KEYS, BOOST_TWO, BOOST_ONE, DPDK_TWO)
                if name in all_runs
            }
        yield Work(orders_title(sockets), runs, f"uniform hits: {NARROW_KEYS if NARROW else WIDE_KEYS}")
        workload.cache_clear()


def by_shape(sizes: tuple[int, ...], packets: int) -> Iterator[Work]:
    """Other machines than the plain one, each with as many sockets, and one that has a part of each."""
    for sockets in sizes:
        runs: dict[str, Run] = {}
        parts = [Shape(max(1, sockets // len(SHAPES)), **options) for options in SHAPES.values()]
        for name, shapes in [*((name, [Shape(sockets, **options)]) for name, options in SHAPES.items()), (MIX, parts)]:
            work = workload(*shapes)
            traffic = work.traffic(packets)
            runs[name] = _dispatching(work, traffic, traffic.keys)
        yield Work(shapes_title(sockets), runs, PLAIN)
        workload.cache_clear()


def ours(work: Workload, traffic: Traffic) -> dict[str, Run]:
    """Give dispatch_batch for both kinds of keys, where this version of the package has both."""
    runs = {} if NARROW is None else {NARROW_KEYS: _dispatching(work, traffic, narrowed(traffic.keys, NARROW))}
    runs[WIDE_KEYS] = _dispatching(work, traffic, traffic.keys)
    return runs


def _dispatching(work: Workload, traffic: Traffic, keys: Any, *, count: bool = False) -> Run:
    dispatch_batch = work.machine.dispatch_batch
    out = np.empty(len(keys), np.int32)

    def run() -> Sample:
        sample = timed(lambda part: dispatch_batch(keys[part], out=out[part], count=count), len(keys))
        if wrong := traffic.wrong(out):
            raise WrongAnswersError(f"dispatch_batch: {wrong} answers are wrong")
        return sample

    return run


def peers(
    programs: Mapping[Peer, Path],
    folder: Path,
    work: Workload,
    traffic: Traffic,
    bytes_each: dict[str, float] | None = None,
) -> dict[str, Run]:
    """Write tables and packets to a folder, and give the peers that look them up there."""
    folder.mkdir()
    write_tables(folder, work)
    write_packets(folder, traffic)
    tail = (folder, str(PASSES))
    noted = {} if bytes_each is None else bytes_each
    tables: dict[str, tuple[Peer, str]] = {
        BOOST_TWO: (BOOST, "two"),
        BOOST_ONE: (BOOST, "one"),
        ABSL_TWO: (ABSL, "find"),
        ABSL_PREFETCHED: (ABSL, "prefetch"),
        DPDK_TWO: (DPDK_HASH, "16"),
    }
    runs: dict[str, Run] = {
        name: partial(sample_of, programs[peer], how, *tail, note=partial(noted.__setitem__, name))
        for name, (peer, how) in tables.items()
        if peer in programs
    }
    if KERNEL in programs:
        runs[KERNEL_ONE] = partial(sample_of, programs[KERNEL], programs[KERNEL].with_suffix(".bpf.o"), *tail)
    runs[DICT_TWO] = partial(sample_of, sys.executable, PEERS / "python_dict.py", *tail)
    return runs
