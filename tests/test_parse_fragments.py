"""Later fragments follow their first: rules in sentences, then random operations beside a dict."""

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from vnasfast.dtypes import FLOW_KEY
from vnasfast.errors import InvalidValue
from vnasfast.outcome import Outcome
from vnasfast.parse import FragmentTable, flow_keys

FIRST_FRAGMENT, FOLLOWS_FIRST, LATER = 1, 2, int(Outcome.LATER_FRAGMENT)
SECOND = 1_000_000_000
V4, OTHER4, V6, OTHER6 = "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"


def first(identifier=7, *, source=V4, destination=OTHER4, protocol=17, ports=(1000, 53), vlan=0):
    key = flow_keys(
        source=source,
        destination=destination,
        protocol=protocol,
        source_port=ports[0],
        destination_port=ports[1],
        vlan=vlan,
    )
    key["status"] = FIRST_FRAGMENT
    key["fragment_id"] = identifier
    return key


def later(identifier=7, **fields):
    key = first(identifier, **(fields | {"ports": (0, 0)}))
    key["status"] = LATER
    return key


def follows(table, key, time_ns=0):
    before = key.copy()
    n = table.follow(key, [time_ns])
    assert n == (key["status"][0] == FOLLOWS_FIRST)
    if not n:
        assert key == before
    return bool(n)


def test_a_later_fragment_takes_ports_and_protocol():
    table, key = FragmentTable(), later()
    table.follow(first())
    assert follows(table, key)
    assert (key["source_port"][0], key["destination_port"][0], key["protocol"][0]) == (1000, 53, 17)
    assert key["fragment_id"][0] == 7


def test_an_ipv6_fragment_is_known_without_its_protocol():
    table, key = FragmentTable(), later(source=V6, destination=OTHER6, protocol=60)
    table.follow(first(source=V6, destination=OTHER6, protocol=132))
    assert follows(table, key)
    assert key["protocol"][0] == 132


@pytest.mark.parametrize(
    "other",
    [
        later(8),
        later(protocol=6),
        later(vlan=3),
        later(source="192.0.2.9"),
        later(destination="192.0.2.9"),
        later(source=OTHER4, destination=V4),
        later(source=V6, destination=OTHER6),
    ],
)
def test_nothing_follows_the_first_of_another_packet(other):
    table = FragmentTable()
    table.follow(first())
    assert not follows(table, other.copy())


@pytest.mark.parametrize(
    ("seen", "asked", "expected"),
    [
        (SECOND, 31 * SECOND, True),
        (SECOND, 31 * SECOND + 1, False),
        (31 * SECOND, SECOND, True),
        (31 * SECOND + 1, SECOND, False),
        (0, 99 * SECOND, True),
        (99 * SECOND, 0, True),
        (-(2**63), 2**63 - 1, False),
        (2**63 - 1, -(2**63), False),
    ],
)
def test_a_first_fragment_lives_30_seconds(seen, asked, expected):
    table = FragmentTable()
    table.follow(first(), [seen])
    assert follows(table, later(), asked) is expected


def test_the_newest_first_fragment_wins():
    table, key = FragmentTable(), later()
    table.follow(np.concatenate([first(ports=(1, 2)), first(ports=(3, 4))]))
    assert len(table) == 1
    assert follows(table, key)
    assert (key["source_port"][0], key["destination_port"][0]) == (3, 4)


def test_other_keys_are_left_alone():
    table = FragmentTable()
    keys = np.concatenate([first()] * 12)
    keys["status"] = [0, 2, -1, -2, -3, -4, -5, -6, -8, -9, 3, 127]
    before = keys.copy()
    assert table.follow(keys) == 0
    assert (keys == before).all()
    assert len(table) == 0


def test_a_flood_forgets_the_oldest_and_stays_bounded():
    table = FragmentTable(100)
    flood = np.concatenate([first()] * 5000)
    flood["fragment_id"] = np.arange(5000)
    table.follow(flood)
    table.check()
    assert len(table) == 100
    assert [follows(table, later(i)) for i in (0, 4899, 4900, 4999)] == [False, False, True, True]


def test_a_copy_is_independent_and_reset_forgets():
    table = FragmentTable(3)
    empty = table.copy()
    table.follow(first())
    copy = table.copy()
    copy.follow(first(8))
    table.reset()
    for each, n in ((table, 0), (empty, 0), (copy, 2)):
        each.check()
        assert len(each) == n
        assert each.capacity == 3
    assert follows(copy, later())
    assert not follows(table, later())
    table.follow(first(9))
    assert follows(table, later(9))


@pytest.mark.parametrize("capacity", [0, -1, 2**24 + 1])
def test_capacity_has_limits(capacity):
    with pytest.raises(InvalidValue, match="capacity"):
        FragmentTable(capacity)


@pytest.mark.parametrize(
    ("keys", "times"),
    [
        ([1, 2], None),
        (np.zeros(2), None),
        (np.zeros((2, 2), FLOW_KEY), None),
        (np.zeros(4, FLOW_KEY)[::2], None),
        (np.zeros(2, FLOW_KEY), [1]),
        (np.zeros(2, FLOW_KEY), [1.5, 2.5]),
    ],
)
def test_follow_refuses_other_arrays(keys, times):
    with pytest.raises(InvalidValue):
        FragmentTable().follow(keys, times)


class BesideADict(RuleBasedStateMachine):
    """Few keys and a small table, so that hits, refreshed entries, runs and evictions all are common."""

    @initialize(capacity=st.integers(1, 12))
    def start(self, capacity):
        self.capacity = capacity
        self.table = FragmentTable(capacity)
        self.model = {}

    def fields(self, number):
        six = number % 2
        return {
            "source": V6 if six else V4,
            "destination": OTHER6 if six else OTHER4,
            "vlan": number // 2 % 2,
            "protocol": (17, 6)[number // 4 % 2],
        }

    def model_key(self, identifier, fields):
        return (
            identifier,
            fields["source"],
            fields["vlan"],
            fields["protocol"] if fields["source"] == V4 else 0,
        )

    @rule(
        identifier=st.integers(0, 9),
        number=st.integers(0, 7),
        port=st.integers(0, 65535),
        seconds=st.integers(0, 90),
    )
    def remember(self, identifier, number, port, seconds):
        fields = self.fields(number)
        self.table.follow(first(identifier, ports=(port, 53), **fields), [seconds * SECOND])
        known = self.model_key(identifier, fields)
        if known not in self.model and len(self.model) == self.capacity:
            del self.model[next(iter(self.model))]
        self.model[known] = (port, fields["protocol"], seconds)

    @rule(identifier=st.integers(0, 9), number=st.integers(0, 7), seconds=st.integers(0, 90))
    def ask(self, identifier, number, seconds):
        fields = self.fields(number)
        key = later(identifier, **fields)
        port, protocol, seen = self.model.get(self.model_key(identifier, fields), (None, None, 0))
        old = seen and seconds and abs(seconds - seen) > 30
        followed = follows(self.table, key, seconds * SECOND)
        assert followed == (port is not None and not old)
        if followed:
            assert (key["source_port"][0], key["destination_port"][0], key["protocol"][0]) == (
                port,
                53,
                protocol,
            )

    @rule()
    def go_on_with_a_copy(self):
        self.table = self.table.copy()

    @rule()
    def reset(self):
        self.table.reset()
        self.model = {}

    @invariant()
    def consistent(self):
        self.table.check()
        assert len(self.table) == len(self.model)


BesideADict.TestCase.settings = settings(max_examples=100, stateful_step_count=60, deadline=None)
TestBesideADict = BesideADict.TestCase
