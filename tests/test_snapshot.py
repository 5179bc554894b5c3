"""A snapshot answers as its machine did when it was frozen; in memory, from pickles, and mapped by many processes."""

import copy
import gc
import multiprocessing
import os
import pickle
import random
import subprocess
import sys
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from model import FIRST_FRAGMENT, Key, to_address
from pair import Pair, frame, key_array, result_of
from test_random_operations import RandomDriver

from vnasfast import FrozenError, InvalidValue, Outcome, ServerMachine, Snapshot, SnapshotError, flow_keys, ipv4_keys
from vnasfast.tables import bulk
from vnasfast.tables.listing import socket_rows

ROOT = Path(__file__).parents[1]
#: Where the header has what the tests below spoil.
BYTE_ORDER, FORMAT, LAYOUT, CHECKSUM, N_BYTES, SECTIONS = 8, 12, 16, 24, 32, 56
DIGEST_OF_FORMAT_7 = 439594129


def forms(snapshot, folder):
    """Give a snapshot in every form that it comes in."""
    path = folder / "tables.snapshot"
    snapshot.save(path)
    buffers = []
    data = pickle.dumps(snapshot, 5, buffer_callback=buffers.append)
    assert len(data) < 2000
    for protocol in range(6):
        yield pickle.loads(pickle.dumps(snapshot, protocol))
    yield from (snapshot, pickle.loads(data, buffers=buffers), copy.deepcopy(snapshot), Snapshot.open(path))


def views(machine):
    return (
        machine.addresses,
        [row[:-1] for row in machine.processes],
        [row[:-1] for row in machine.sockets],
        machine.routes,
        machine.ports,
        machine.any_tables,
        dict(machine.names),
        machine.to_toml(),
        sorted(machine.usage_of_vnas()),
    )


def answers(machine, keys, pids, addresses):
    """Ask for everything that a machine answers about packets; count nothing."""
    array = key_array(keys)
    fit = [n for n, key in enumerate(keys) if key.destination.version == key.source.version == 4 and not key.source_pid]
    frames = [frame(key, as_ipv6=n % 3 == 0) for n, key in enumerate(keys)]
    lengths = [len(data) for data in frames]
    offsets = np.concatenate([[0], np.cumsum(lengths[:-1])]).astype(np.uint64)
    pairs = zip(keys, frames, strict=True)
    return (
        machine.dispatch_batch(array, count=False).tolist(),
        machine.dispatch_batch(ipv4_keys(array[fit]), count=False).tolist(),
        machine.dispatch_frames(b"".join(frames), offsets, lengths, count=False).tolist(),
        [machine.dispatch(data, source_pid=key.source_pid, count=False) for key, data in pairs],
        [machine.dispatch_id(data, count=False) for data in frames],
        [str(machine.explain(data)) for data in frames[:20]],
        [str(machine.explain_key(one)) for one in array[:20]],
        [str(result_of(machine.source_address, pid, address)) for pid in pids for address in addresses],
        [machine.owns(vnas, address) for vnas in range(4) for address in addresses],
    )


def random_machine(seed, operations, *, large=False):
    driver = RandomDriver(seed, wide=large or seed % 2 == 1, large=large)
    driver.run(operations, compare_every=operations)
    names = {row.vnas: f"name {row.vnas} \N{SNOWMAN}" for row in driver.pair.model.processes}
    driver.pair.engine.names |= names
    return driver


def hold_same(driver, folder, n_keys):
    machine = driver.pair.engine
    keys = [driver.key() for _ in range(n_keys)]
    pids = [*[row.pid for row in driver.pair.model.processes][:10], 999]
    addresses = ["10.0.0.1", "192.0.2.77", "2001:db8::1", "127.0.0.1"]
    expected = views(machine), answers(machine, keys, pids, addresses)
    assert expected[1][0] == [driver.pair.model.dispatch(key, 0, 0, False) for key in keys]
    every = list(forms(machine.freeze(), folder))
    driver.run(200, compare_every=200)
    for snapshot in every:
        snapshot.check()
        assert (views(snapshot), answers(snapshot, keys, pids, addresses)) == expected
    assert len(every) == 10


@pytest.mark.parametrize("seed", range(12))
def test_a_snapshot_answers_as_its_machine_did_whatever_becomes_of_that(seed, tmp_path):
    hold_same(random_machine(300 + seed, 300), tmp_path, 300)


def test_a_snapshot_of_large_tables_in_which_rows_were_freed(tmp_path):
    hold_same(random_machine(7, 2500, large=True), tmp_path, 1000)


@pytest.mark.parametrize("path", ["portable", "avx2"])
def test_on_each_vector_path(path):
    """The path is chosen when the process starts."""
    selected = "test_a_snapshot_answers_as_its_machine_did_whatever_becomes_of_that"
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", selected],
        env=os.environ | {"VNASFAST_VECTOR": path},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "12 passed" in run.stdout


# ---- many processes -------------------------------------------------------------------------------------------------


N_VNASES = 10_000
PORTS = range(8000, 8010)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """Give a machine of 100,000 sockets, keys for it, and the file of its snapshot."""
    machine = ServerMachine(seed=3)
    pids = [machine.vnas_start(1, vnas) for vnas in range(1, N_VNASES + 1)]
    for number, pid in enumerate(pids):
        machine.validate(pid, f"10.0.{number >> 8}.{number & 255}", "eth0")
    for port in PORTS:
        machine.bind_many(pids, "tcp", port, sharing=port == PORTS[-1])
    machine.bind_many(pids[:100], "tcp", PORTS[-1], sharing=True)
    path = tmp_path_factory.mktemp("snapshot") / "large.snapshot"
    machine.freeze().save(path)
    rng = np.random.default_rng(5)
    keys = flow_keys(
        destination=(10 << 24) + rng.integers(0, N_VNASES + 100, 200_000).astype(np.uint32),
        destination_port=rng.choice([*PORTS, 7999], 200_000),
        source_port=rng.integers(1, 65536, 200_000),
        protocol="tcp",
    )
    return machine, keys, path


def mapped(path):
    """Sum up the process's mappings of a file, from /proc: their rights, and KiB by kind."""
    rights, sums, inside = set(), {}, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, *rest = line.split()
        if "-" in first and not first.endswith(":"):
            inside = rest[-1] == os.fspath(path)
            if inside:
                rights.add(rest[0])
        elif inside and rest[-1] == "kB":
            sums[first[:-1]] = sums.get(first[:-1], 0) + int(rest[0])
    return rights, sums


def private_kib():
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


def dispatch_in_child(path, keys, barrier, results):
    before = private_kib()
    snapshot = Snapshot.open(path)
    barrier.wait(60)
    found = snapshot.dispatch_batch(keys, count=False)
    grown = private_kib() - before
    rights, sums = mapped(path)
    counted = snapshot.dispatch_batch(keys[:1000])
    packets = sum(usage.packets for usage in snapshot.outcomes.values())
    results.put((zlib.crc32(found), counted.tolist() == found[:1000].tolist(), packets, grown, rights, sums))
    barrier.wait(60)  # nobody leaves before all have measured


def test_many_processes_share_the_memory_of_one_file(large):
    machine, keys, path = large
    expected = machine.dispatch_batch(keys, count=False)
    assert (expected >= 0).mean() > 0.8
    context = multiprocessing.get_context("spawn")
    n = 3
    barrier, results = context.Barrier(n), context.Queue()
    children = [context.Process(target=dispatch_in_child, args=(path, keys, barrier, results)) for _ in range(n)]
    for child in children:
        child.start()
    found = [results.get(timeout=120) for _ in children]
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    size = path.stat().st_size >> 10
    for answer, same, packets, grown, rights, sums in found:
        assert (answer, same, packets) == (zlib.crc32(expected), True, 1000)
        assert rights == {"r--s"}
        assert sums["Private_Dirty"] == sums["Anonymous"] == 0
        assert sums["Rss"] > size // 2
        assert grown < min(4096, size // 2)  # the results, mostly
    results.close()
    results.join_thread()


def test_opening_does_nothing_for_each_row(large, tmp_path):
    """As many calls for 100,000 sockets as for one."""
    small = ServerMachine()
    small.validate(small.fork(1), "10.0.0.1", "eth0")
    small.bind(2, "tcp", 80)
    small.freeze().save(tmp_path / "small.snapshot")
    calls = []
    for path in (tmp_path / "small.snapshot", large[2]):
        Snapshot.open(path)
        events = []
        sys.setprofile(lambda _frame, event, _arg, events=events: events.append(event))
        Snapshot.open(path)
        sys.setprofile(None)
        calls.append(len(events))
    assert calls[0] == calls[1] < 200


# ---- files ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def saved(tmp_path):
    """Give a small machine and the file of its snapshot."""
    machine = ServerMachine(seed=9)
    blue = machine.vnas_start(1, 1)
    machine.validate(blue, "10.0.0.1", "eth0")
    machine.set_route("10.0.0.0/8", "eth1")
    machine.bind(blue, "udp", 53)
    for _ in range(3):
        machine.bind(blue, "tcp", 80, sharing=True)
    machine.names[1] = "blue"
    path = tmp_path / "tables.snapshot"
    machine.freeze().save(path)
    return machine, path


def test_what_the_bytes_mean_has_a_number(saved):
    """If this fails because the tables changed: raise FORMAT in tables/snapshot.pyx, and write down the new digest."""
    machine, path = saved
    data = bytearray(path.read_bytes())
    assert int.from_bytes(data[FORMAT : FORMAT + 4], "little") == 7
    assert zlib.crc32(data) == DIGEST_OF_FORMAT_7
    machine.freeze().save(path)
    assert path.read_bytes() == data
    Snapshot.of(Snapshot.open(path)).save(path)
    assert path.read_bytes() == data


def test_snapshots_that_come_and_go_leave_nothing_behind(saved):
    machine, path = saved

    def held():
        gc.collect()
        maps = Path("/proc/self/maps").read_text().splitlines()
        return len(os.listdir("/proc/self/fd")), [line for line in maps if line.endswith(str(path))]

    before = held()
    for _ in range(50):
        keys = flow_keys(destination="10.0.0.1", destination_port=80, protocol="tcp", source_port=[1, 2, 3])
        snapshot = Snapshot.open(path)
        expected = machine.dispatch_batch(keys).tolist()
        for other in (snapshot, pickle.loads(pickle.dumps(snapshot)), machine.freeze()):
            assert other.dispatch_batch(keys).tolist() == expected
    assert len(held()[1]) == 1
    del snapshot, other
    assert held() == before


def test_a_file_has_holes_where_the_tables_are_zero(saved):
    status = saved[1].stat()
    assert status.st_size > 3_000_000
    if status.st_blocks * 512 == status.st_size:
        pytest.skip("this file system keeps no holes")
    assert status.st_blocks * 512 < 200_000


def test_saving_replaces_the_file_at_once_and_whoever_has_the_old_one_keeps_it(saved, ethernet_frame):
    machine, path = saved
    old = Snapshot.open(path)
    machine.exit(2)
    machine.freeze().save(path)
    assert old.dispatch(ethernet_frame("10.0.0.1")).socket == 0
    assert Snapshot.open(path).dispatch(ethernet_frame("10.0.0.1")).outcome is Outcome.NO_PORT
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_save_leaves_the_file_as_it_was(saved, tmp_path):
    machine, path = saved
    data = path.read_bytes()
    snapshot = machine.freeze()
    with pytest.raises(OSError, match="nowhere"):
        snapshot.save(tmp_path / "nowhere" / "x")
    code = (
        "import resource, signal, sys; from vnasfast import Snapshot; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "snapshot = Snapshot.open(sys.argv[1]); resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192));"
        "snapshot.save(sys.argv[1])"
    )
    run = subprocess.run([sys.executable, "-c", code, path], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "File too large" in run.stderr
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == [path.name]


def spoil(path, at, value):
    data = bytearray(path.read_bytes())
    data[at : at + len(value)] = value
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("at", "value", "problem"),
    [
        (0, b"PK", "this is no snapshot: one is written by machine.freeze"),
        (BYTE_ORDER, b"\1\2\3\4", "the other byte order"),
        (FORMAT, b"\0\0\0\0", "format 0, and this vnasfast reads format 7: freeze the tables again"),
        (LAYOUT, bytes(8), "laid out otherwise: freeze the tables again"),
        (CHECKSUM, bytes(8), "it is damaged, its bytes have another checksum: copy it again"),
        (N_BYTES, bytes(8), r"it has \d+ bytes and should have 0"),
    ],
)
def test_a_foreign_header_is_named(saved, at, value, problem):
    path = saved[1]
    spoil(path, at, value)
    with pytest.raises(SnapshotError, match=problem) as raised:
        Snapshot.open(path)
    assert str(raised.value).startswith(f"{path}: ")
    assert (raised.value.name, isinstance(raised.value, ValueError)) == (str(path), True)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)


def test_a_file_that_is_cut_short_or_too_long(saved):
    path = saved[1]
    data = path.read_bytes()
    for n_bytes in (1, 7, 8, 100, 4096, len(data) // 2, len(data) - 1, len(data) + 1, 2 * len(data)):
        path.write_bytes((data + data)[:n_bytes])
        with pytest.raises(SnapshotError, match=r"(cut short, to \d+ bytes|should have \d+): copy it again"):
            Snapshot.open(path)
    path.write_bytes(b"")
    with pytest.raises(SnapshotError, match="the file is empty"):
        Snapshot.open(path)
    path.write_text("embodiment = 1\n" * 1000)
    with pytest.raises(SnapshotError, match="this is no snapshot"):
        Snapshot.open(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        Snapshot.open(path)


def test_every_changed_bit_is_found(saved):
    path = saved[1]
    data = path.read_bytes()
    chance = random.Random(1)
    written = [at for at in range(0, len(data), 8) if data[at : at + 8] != bytes(8)]
    places = [at + chance.randrange(8) for at in chance.sample(written, 150)]
    with open(path, "r+b") as file:
        for at in places + [chance.randrange(len(data)) for _ in range(150)]:
            file.seek(at)
            file.write(bytes([data[at] ^ 1 << chance.randrange(8)]))
            file.flush()
            with pytest.raises(SnapshotError):
                Snapshot.open(path)
            file.seek(at)
            file.write(data[at : at + 1])
    Snapshot.open(path).check()


def checksum(data):
    """As tables/snapshot.pyx has it."""
    whole = 2**64 - 1
    lanes = [1, 2, 3, 4]
    for at, word in enumerate(np.frombuffer(data, "<u8").tolist()):
        lane = lanes[at & 3] ^ word
        lanes[at & 3] = ((lane << 29 & whole | lane >> 35) * 0x9E3779B97F4A7C15) & whole
    total = 0
    for lane in lanes:
        total = (((total ^ lane) * 0xBF58476D1CE4E5B9 & whole) + (total >> 32)) & whole
    return total


@pytest.mark.parametrize("section", [0, 31, 33, 39])
@pytest.mark.parametrize("value", [(2**64 - 64, 64), (64, 2**64 - 1), (0, 0), (3, 64)])
def test_sections_that_can_not_be_are_refused_though_the_checksum_is_right(saved, section, value):
    path = saved[1]
    spoil(path, SECTIONS + 16 * section, b"".join(word.to_bytes(8, "little") for word in value))
    data = path.read_bytes()
    spoil(path, CHECKSUM, checksum(data[N_BYTES:]).to_bytes(8, "little"))
    with pytest.raises(SnapshotError, match="its sections contradict each other"):
        Snapshot.open(path)


def test_a_pickle_whose_pieces_lie_outside_is_refused(saved):
    snapshot = saved[0].freeze()
    restore, (n_bytes, pieces) = snapshot.__reduce_ex__(4)
    with pytest.raises(InvalidValue, match="lies outside"):
        restore(n_bytes, [*pieces, (n_bytes - 1, b"ab")])
    with pytest.raises(SnapshotError, match=r"<pickle>: it is damaged"):
        restore(n_bytes, pieces[:-1])


# ---- what a snapshot is not ------------------------------------------------------------------------------------------


def test_a_snapshot_counts_for_itself_from_zero(saved, ethernet_frame):
    machine, path = saved
    frame = ethernet_frame("10.0.0.1")
    machine.dispatch_frames(frame * 5, [0, 60, 120, 180, 240], [60] * 5)
    machine.close(0)
    machine.bind(2, "udp", 53)
    one, other = machine.freeze(), Snapshot.open(path)
    for snapshot in (one, other):
        assert not any(usage.packets for usage in snapshot.outcomes.values())
        assert not any(row.usage.packets for row in snapshot.processes)
        assert not any(usage.packets for usage in snapshot.usage_of_vnas().values())
    one.dispatch(frame, time_ns=7)
    assert one.sockets[-1].usage == one.processes[1].usage == one.usage_of_vnas()[1] == (1, 60, 7, 7)
    assert one.outcomes[Outcome.DELIVERED].packets == 1
    assert other.outcomes[Outcome.DELIVERED].packets == 0
    assert machine.outcomes[Outcome.DELIVERED].packets == 5
    again = pickle.loads(pickle.dumps(one))
    assert again.outcomes[Outcome.DELIVERED].packets == 0


def test_a_snapshot_has_all_that_a_machine_has_or_says_that_it_does_not_change(saved):
    snapshot = saved[0].freeze()
    refused = set()
    for name in dir(ServerMachine):
        if name.startswith("_") or name in ("freeze", "from_toml", "load"):
            continue
        if not hasattr(snapshot, name):
            refused.add(name)
            with pytest.raises(FrozenError, match=r"a snapshot does not change: .* on the machine that it is of"):
                getattr(snapshot, name)
    assert refused == {
        *("fork", "vnas_start", "exit", "validate", "invalidate", "bind", "bind_many", "close", "close_many"),
        *("set_route", "remove_route", "connect", "set_kernel_secrets"),
    }
    with pytest.raises(AttributeError, match="no attribute 'blnd'"):
        snapshot.blnd  # noqa: B018
    with pytest.raises(TypeError):
        snapshot.names[2] = "x"


def test_its_tables_do_not_change_either(saved):
    tables = Snapshot.open(saved[1]).tables
    before = socket_rows(tables)
    address = bytes(10) + b"\xff\xff\x0a\0\0\2"
    calls = {
        "start": (1, None, None),
        "exit": (2,),
        "validate": (2, address, "eth0", 0),
        "invalidate": (2, address, 0),
        "bind": (2, 6, 81, bytes(16), False, False, False),
        "close": (0,),
        "set_route": (None, 0, "eth0"),
        "remove_route": (None, 0),
    }
    for name, arguments in calls.items():
        with pytest.raises(FrozenError, match="a snapshot does not change"):
            getattr(tables, name)(*arguments)
    columns = np.ones(1, np.uint8), np.ones(1, np.uint16), np.zeros((1, 16), np.uint8)
    place, error = bulk.bind_many(tables, np.ones(1, np.int32), *columns, False, True, False, np.empty(1, np.int32))
    assert (place, type(error)) == (0, FrozenError)
    with pytest.raises(FrozenError):
        bulk.close_many(tables, np.zeros(1, np.int32))
    assert socket_rows(tables) == before


@pytest.mark.parametrize(("names", "message"), [({-1: "x"}, "VNAS ID"), ({1: b"x"}, "it must be a text")])
def test_names_that_are_none_are_refused(names, message):
    machine = ServerMachine()
    machine.names.update(names)
    with pytest.raises(InvalidValue, match=message):
        machine.freeze()


def test_fragments_follow_their_first_in_each_snapshot_alone():
    pair = Pair()
    pair.do("validate", 1, "10.0.0.1", "eth0")
    pair.do("bind", 1, "udp", 53)
    whole = Key(to_address("10.0.0.1"), to_address("10.0.0.9"), 53, 9, protocol=17)
    first = frame(replace(whole, status=FIRST_FRAGMENT, fragment_id=7))
    later = frame(replace(whole, fragment_id=7), later=True)
    one, other = (pair.engine.freeze() for _ in range(2))
    assert one.dispatch(first).socket == one.dispatch(later).socket == 0
    assert other.dispatch(later).outcome is pair.engine.dispatch(later).outcome is Outcome.LATER_FRAGMENT
