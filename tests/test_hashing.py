"""Known answers of the hashes, and the choice within a port-sharing group.

The literals were computed once by ``python tests/test_hashing.py`` from the pure-Python functions of
``model.py`` (``splitmix64(0)`` is also the published first value of that generator), so that a change of
the hash, which would move flows to other sockets, is seen. The engine is held to them through its choices.
"""

from dataclasses import replace

import numpy as np
import pytest
from model import Key, Model, flow_hash, splitmix64, to_address
from pair import Pair, key, key_array

from vnasfast import ServerMachine

SEED = 0x0123456789ABCDEF
FLOWS = [
    key("10.0.0.1", "198.51.100.9", 80, 40000, protocol=6),
    key("10.0.0.1", "198.51.100.9", 80, 40001, protocol=6),
    key("10.0.0.1", "198.51.100.9", 80, 40000, protocol=17),
    key("10.0.0.1", "198.51.100.10", 80, 40000, protocol=6),
    key("2001:db8::1", "2001:db8::9", 80, 65535, protocol=132),
    key("2001:db8::1", "198.51.100.9", 80, 1, protocol=33),
    key("127.0.0.1", "127.0.0.1", 80, 0, protocol=136, source_pid=2),
]
SPLITMIX64 = {
    0x0: 0xE220A8397B1DCDAF,
    0x1: 0x910A2DEC89025CC1,
    0x123456789ABCDEF: 0x157A3807A48FAA9D,
    0x8000000000000000: 0x481EC0A212A9F3DB,
    0xFFFFFFFFFFFFFFFF: 0xE4D971771B652C20,
}
FLOW_HASHES = [0xFE62D4BF, 0x5904FFD9, 0x45C8153A, 0xFDCB74EB, 0xF81A686A, 0x1C608749, 0x3D6C88B2]
CHOICES = {
    1: [0, 0, 0, 0, 0, 0, 0],
    2: [1, 0, 0, 1, 1, 0, 0],
    3: [2, 1, 0, 2, 2, 0, 0],
    7: [6, 2, 1, 6, 6, 0, 1],
    100: [99, 34, 27, 99, 96, 11, 23],
}


def group(members: int, seed: int = SEED) -> tuple[Pair, list[int]]:
    """Give a pair with ``members`` sockets that share port 80 of all five protocols, TCP first."""
    pair = Pair(seed)
    pair.do("vnas_start", 1, 1)
    pair.do("validate", 2, "10.0.0.1", "eth0")
    pair.do("validate", 2, "2001:db8::1", "eth0")
    sockets = [
        pair.do("bind", 2, protocol, 80, sharing=True)
        for protocol in ("tcp", "udp", "sctp", "dccp", "udplite")
        for _ in range(members)
    ]
    return pair, sockets


def member(model: Model, socket: int, members: int) -> int:
    """Give the place of a socket within its group."""
    return [row.socket for row in model.sockets].index(socket) % members


def choices(members: int, seed: int = SEED) -> list[int]:
    pair, _ = group(members, seed)
    return [member(pair.model, pair.dispatch(flow), members) for flow in FLOWS]


def many_flows(number: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    keys = np.repeat(key_array([FLOWS[0]]), number)
    keys["source"][:, 12:] = rng.integers(0, 256, (number, 4))
    keys["source_port"] = rng.integers(1, 65536, number)
    return keys


def flow(row: np.void) -> Key:
    source = ".".join(map(str, row["source"][12:]))
    return replace(FLOWS[0], source=to_address(source), source_port=int(row["source_port"]))


def test_splitmix64() -> None:
    assert {x: splitmix64(x) for x in SPLITMIX64} == SPLITMIX64


def test_flow_hash() -> None:
    assert [flow_hash(SEED, each) for each in FLOWS] == FLOW_HASHES


@pytest.mark.parametrize("members", CHOICES)
def test_the_engine_chooses_by_the_flow_hash(members: int) -> None:
    assert choices(members) == CHOICES[members]


def test_what_is_not_the_flow_does_not_change_the_choice() -> None:
    pair, _ = group(7)
    pair.do("validate", 2, "10.0.0.1", "eth0", vlan=5)
    same = [FLOWS[0], replace(FLOWS[0], vlan=5), replace(FLOWS[0], status=1, fragment_id=9)]
    same.append(replace(FLOWS[0], source_pid=1))
    assert len(set(pair.dispatch_batch(same))) == 1


def test_ten_thousand_flows_spread_evenly_and_as_the_model_says() -> None:
    for members, seed in ((2, 1), (3, SEED), (4, 2**64 - 1)):
        pair, sockets = group(members, seed)
        keys = many_flows(10_000, members)
        found = pair.engine.dispatch_batch(keys)
        assert found.dtype == np.int32
        assert (pair.engine.dispatch_batch(keys, count=False) == found).all()
        some = range(0, len(keys), 10)
        assert [pair.model.dispatch(flow(keys[index])) for index in some] == found[some].tolist()
        shares = np.array([(found == socket).sum() for socket in sockets[:members]]) * members / len(keys)
        assert shares.sum() == pytest.approx(members)
        assert abs(shares - 1).max() < 0.05


def test_another_seed_makes_another_choice() -> None:
    keys = many_flows(1000, 0)
    one, other = group(2, 1)[0], group(2, 2)[0]
    differing = (one.engine.dispatch_batch(keys) != other.engine.dispatch_batch(keys)).sum()
    assert 300 < differing < 700


def test_without_a_seed_machines_differ() -> None:
    keys = many_flows(200, 0)
    results = set()
    for _ in range(2):
        machine = ServerMachine()
        pid = machine.vnas_start(1, 1)
        machine.validate(pid, "10.0.0.1", "eth0")
        for _ in range(2):
            machine.bind(pid, "tcp", 80, sharing=True)
        results.add(machine.dispatch_batch(keys).tobytes())
    assert len(results) == 2


def test_closing_a_member_leaves_the_choice_among_the_rest() -> None:
    """Those left keep their order: the model's choices say so."""
    pair, sockets = group(4)
    keys = [flow(row) for row in many_flows(300, 4)]
    pair.dispatch_batch(keys)
    pair.do("close", sockets[1])
    left = {sockets[0], sockets[2], sockets[3]}
    assert set(pair.dispatch_batch(keys)) == left
    again = pair.do("bind", 2, "tcp", 80, sharing=True)
    assert set(pair.dispatch_batch(keys)) == {*left, again}
    pair.compare()


def main() -> None:
    """Print the literals above anew."""
    print("SPLITMIX64 = {")
    for x in (0, 1, SEED, 2**63, 2**64 - 1):
        print(f"    {x:#X}: {splitmix64(x):#018X},")
    print("}\nFLOW_HASHES = [" + ", ".join(f"{flow_hash(SEED, each):#010X}" for each in FLOWS) + "]")
    print("CHOICES = {")
    for members in (1, 2, 3, 7, 100):
        print(f"    {members}: {[flow_hash(SEED, each) * members >> 32 for each in FLOWS]},")
    print("}")


if __name__ == "__main__":
    main()
