"""The three depths of embedding take what people have, without copies, and say what is wrong with the rest."""

import threading

import dpkt
import numpy as np
import pytest
from scapy.all import IP, UDP, Ether, IPv6

from vnasfast import FLOW_KEY, Delivery, InvalidValue, Outcome, ServerMachine, flow_keys, parse_frames


@pytest.fixture
def machine():
    machine = ServerMachine(seed=1)
    for vnas, address in ((1, "10.0.0.1"), (2, "10.0.0.2")):
        pid = machine.vnas_start(1, vnas)
        machine.validate(pid, address, "eth0")
        machine.bind(pid, "udp", 53)
    return machine


def test_one_frame_in_every_form_that_people_have(machine, ethernet_frame):
    frame = ethernet_frame("10.0.0.2")
    forms = [
        frame,
        bytearray(frame),
        memoryview(frame),
        np.frombuffer(frame, np.uint8),
        dpkt.ethernet.Ethernet(frame),
        dpkt.ethernet.Ethernet(frame).data,
        Ether() / IP(dst="10.0.0.2") / UDP(dport=53),
        IP(dst="10.0.0.2") / UDP(dport=53),
    ]
    for form in forms:
        delivery = machine.dispatch(form)
        assert (delivery.socket, delivery.vnas, delivery.outcome) == (1, 2, Outcome.DELIVERED)
        assert machine.dispatch_id(form) == 1
    assert machine.dispatch(frame[14:], 101).socket == 1
    assert machine.outcomes[Outcome.DELIVERED].packets == 2 * len(forms) + 1


def test_ipv6_of_scapy(machine):
    assert machine.dispatch(IPv6(dst="2001:db8::1") / UDP(dport=53)).outcome is Outcome.NO_VNAS


def test_a_miss_is_a_value(machine, ethernet_frame):
    missed = machine.dispatch(ethernet_frame("10.0.0.2", port=80))
    assert (missed.socket, missed.pid, missed.vnas, missed.outcome) == (None, None, 2, Outcome.NO_PORT)
    assert not missed
    assert repr(missed) == "Delivery(socket=None, pid=None, vnas=2, outcome=NO_PORT)"


def test_deliveries_compare_and_hash(machine, ethernet_frame):
    first, second = (machine.dispatch(ethernet_frame("10.0.0.1")) for _ in range(2))
    assert isinstance(first, Delivery)
    assert first == second != machine.dispatch(ethernet_frame("10.0.0.2"))
    assert len({first, second}) == 1
    assert first.__eq__(1) is NotImplemented


@pytest.mark.parametrize("wrong", [5, None, "frame", object(), [1, 2]])
def test_what_is_no_frame_is_refused(machine, wrong):
    with pytest.raises(InvalidValue, match="a frame must be bytes-like"):
        machine.dispatch(wrong)


def test_frames_in_one_buffer(machine, ethernet_frame):
    frames = [ethernet_frame(address) for address in ("10.0.0.1", "10.0.0.9", "10.0.0.2")]
    buffer = b"".join(frames)
    offsets, lengths = [0, 60, 120], [60, 60, 60]
    out = np.full(3, 99, np.int32)
    assert machine.dispatch_frames(buffer, offsets, lengths, out=out) is out
    assert out.tolist() == [0, Outcome.NO_VNAS, 1]
    keys = parse_frames(buffer, offsets, lengths, 1)
    assert machine.dispatch_batch(keys).tolist() == out.tolist()


def test_counters_take_lengths_and_times(machine, ethernet_frame):
    frame = ethernet_frame("10.0.0.1")
    machine.dispatch_frames(frame * 3, [0, 60, 120], [60] * 3, wire_lengths=[60, 1000, 60], times_ns=[300, 100, 200])
    usage = machine.sockets[0].usage
    assert usage == (3, 1120, 100, 300)
    assert machine.processes[1].usage == machine.usage_of_vnas()[1] == machine.outcomes[Outcome.DELIVERED] == usage
    machine.dispatch_frames(frame, [0], [60], count=False)
    assert machine.sockets[0].usage == usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0, 61], [60, 60]), r"frame 1 \(offset 61, length 60\) lies outside the buffer of 120 bytes"),
        ((np.array([0, 2**63], np.uint64), [60, 60]), "lies outside the buffer"),
        (([0], [60, 60]), "lengths has shape"),
        (([0.5], [60]), "must hold integers"),
        (([-1], [60]), r"offsets\[0\] is -1: it must fit uint64"),
        (([[0]], [60]), "one dimension"),
    ],
)
def test_frames_outside_the_buffer_are_refused_before_any_is_read(machine, ethernet_frame, arguments, message):
    with pytest.raises(InvalidValue, match=message):
        machine.dispatch_frames(ethernet_frame("10.0.0.1") * 2, *arguments)
    assert machine.outcomes[Outcome.DELIVERED].packets == 0


def test_batches_check_their_arrays(machine):
    keys = flow_keys(destination="10.0.0.1", destination_port=53, protocol=17)
    for wrong in (keys.view(np.uint8), [1], np.zeros((2, 2), FLOW_KEY)):
        with pytest.raises(InvalidValue, match="keys must be a numpy array of FLOW_KEY"):
            machine.dispatch_batch(wrong)
    for out in (np.empty(1, np.int64), np.empty(2, np.int32), [0]):
        with pytest.raises(InvalidValue, match="out must be"):
            machine.dispatch_batch(keys, out=out)
    with pytest.raises(InvalidValue, match="contiguous"):
        machine.dispatch_batch(np.concatenate([keys, keys]), out=np.empty(4, np.int32)[::2])
    read_only = np.empty(1, np.int32)
    read_only.flags.writeable = False
    with pytest.raises(InvalidValue, match="writable"):
        machine.dispatch_batch(keys, out=read_only)
    with pytest.raises(InvalidValue, match="wire_lengths has shape"):
        machine.dispatch_batch(keys, wire_lengths=[1, 2])


def test_empty_batches(machine):
    assert machine.dispatch_batch(np.empty(0, FLOW_KEY)).shape == (0,)
    assert machine.dispatch_frames(b"", [], []).shape == (0,)


def test_read_only_and_strided_keys_are_taken(machine):
    keys = flow_keys(destination=["10.0.0.1", "10.0.0.2"] * 2, destination_port=53, protocol=17)
    keys.flags.writeable = False
    assert machine.dispatch_batch(keys[::2]).tolist() == [0, 0]
    assert machine.dispatch_batch(keys[1::2]).tolist() == [1, 1]


def test_a_status_that_no_parser_gives_is_malformed(machine):
    keys = flow_keys(destination="10.0.0.1", destination_port=53, protocol=17)
    keys["status"] = -100
    assert machine.dispatch_batch(keys).tolist() == [Outcome.MALFORMED]
    assert machine.explain_key(keys).outcome is Outcome.MALFORMED


def test_batches_and_changes_in_several_threads(machine):
    """Every answer is that of the tables before or after a change, and no count is lost."""
    keys = flow_keys(destination=["10.0.0.1", "10.0.0.2"] * 20_000, destination_port=53, protocol=17)
    stop = threading.Event()
    strange, n_batches = [], []

    def read():
        n = 0
        while not stop.is_set() or n < 3:
            results = machine.dispatch_batch(keys)
            if not (results[1::2] == 1).all() or not np.isin(results[::2], (0, 2, Outcome.NO_SOCKET)).all():
                strange.append(results)
            n += 1
        n_batches.append(n)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    pid = machine.sockets[0].pid
    for _ in range(2_000):
        for row in machine.sockets:
            if row.pid == pid:
                machine.close(row.socket)
        machine.bind(pid, "udp", 53)
    stop.set()
    for reader in readers:
        reader.join()
    assert strange == []
    assert sum(usage.packets for usage in machine.outcomes.values()) == sum(n_batches) * len(keys)
    machine.check()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("wire_length", -1),
        ("wire_length", 2**32),
        ("link_type", -1),
        ("link_type", 2**32),
        ("link_type", "ethernet"),
        ("source_pid", 2**31),
        ("source_pid", -1),
        ("time_ns", 2**63),
        ("time_ns", 0.5),
    ],
)
def test_numbers_that_mean_nothing_are_refused(machine, ethernet_frame, name, wrong):
    for method in (machine.dispatch, machine.dispatch_id, machine.explain):
        with pytest.raises(InvalidValue, match=f"{name} is .*: it must be an integer from"):
            method(ethernet_frame("10.0.0.1"), **{name: wrong})
    assert machine.outcomes[Outcome.DELIVERED].packets == 0
