"""The policy `linux`: rule by rule, and the engine beside the reference model on random sequences of operations."""

from ipaddress import ip_address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from linux_model import ANY6, LinuxModel, Packet, Socket

from vnasfast import AddressInUse, InvalidValue, NoSuchSocket, Outcome, ServerMachine, flow_keys, ipv4_keys

SECRETS = {"tcp": 0x12345678, "udp": 0x9ABCDEF0, "tcp6": (0x0F1E2D3C, 0x4B5A6978), "udp6": (0xDEADBEEF, 1)}
DEVICES = ("lo", "eth0", "eth1")
ADDRESSES = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
PEERS = {4: ("198.51.100.1", "198.51.100.2"), 6: ("2001:db8:9::1", "2001:db8:9::2")}


class Machine(ServerMachine):
    """Two VNASs; an address is on each device, on a VLAN of its own."""

    def __init__(self, policy="linux"):
        super().__init__(policy=policy, seed=1)
        self.pids = [self.vnas_start(1, 1), self.vnas_start(1, 2)]
        for number, pid in enumerate(self.pids):
            for vlan in range(1, len(DEVICES) + 1):
                for addresses in ADDRESSES.values():
                    for address in addresses:
                        self.validate(pid, address, DEVICES[vlan - 1], vlan=vlan + 10 * number)


def key(protocol, local, remote, port=80, remote_port=9, device="eth0", vnas=0):
    return flow_keys(
        destination=local,
        destination_port=port,
        source=remote,
        source_port=remote_port,
        protocol=protocol,
        vlan=DEVICES.index(device) + 1 + 10 * vnas,
    )


def receiver(machine, *arguments, **options):
    return int(machine.dispatch_batch(key(*arguments, **options))[0])


# ---- the engine and the model ---------------------------------------------------------------------------------------

PEER = st.tuples(st.sampled_from(range(2)), st.sampled_from((9, 10)))
BIND = st.fixed_dictionaries(
    {
        "vnas": st.sampled_from((0, 0, 0, 1)),
        "protocol": st.sampled_from(("tcp", "udp")),
        "version": st.sampled_from((4, 6)),
        "address": st.sampled_from((None, None, 0, 1)),
        "mapped": st.booleans(),
        "port": st.sampled_from((80, 80, 80, 81)),
        "device": st.sampled_from((None, None, *DEVICES)),
        "sharing": st.booleans(),
        "reuseaddr": st.booleans(),
        "v6only": st.booleans(),
        "uid": st.sampled_from((0, 0, 0, 7)),
        "peer": st.none() | PEER,
    }
)
OPERATION = BIND | st.tuples(st.just("connect"), st.integers(0, 9), PEER, st.sampled_from((4, 6))) | st.integers(0, 9)
PACKET = st.builds(
    lambda protocol, version, local, remote, remote_port, port, device, vnas: Packet(
        protocol,
        vnas,
        ip_address(ADDRESSES[version][local]),
        port,
        ip_address(PEERS[version][remote]),
        remote_port,
        device,
    ),
    st.sampled_from(("tcp", "udp")),
    st.sampled_from((4, 6)),
    st.integers(0, 1),
    st.integers(0, 1),
    st.sampled_from((9, 10, 11)),
    st.sampled_from((80, 80, 80, 81)),
    st.sampled_from(DEVICES),
    st.sampled_from((0, 0, 0, 1)),
)


class Both:
    """The engine and the model, told the same."""

    def __init__(self, old, secrets):
        self.machine = Machine("linux-6.12" if old else "linux")
        if secrets:
            self.machine.set_kernel_secrets(secrets)
        self.model = LinuxModel(old=old, secrets=secrets)
        self.open = []

    def apply(self, operations):
        for operation in operations:
            if isinstance(operation, dict):
                self.bind(operation)
            elif isinstance(operation, tuple):
                self.connect(*operation[1:])
            else:
                self.close(operation)

    def bind(self, wanted):
        version, place = wanted["version"], wanted["address"]
        anywhere = "0.0.0.0" if version == 4 else "::"
        address = ip_address(anywhere if place is None else ADDRESSES[version][place])
        mapped = wanted["mapped"] and version == 4
        v6only = wanted["v6only"] and address == ANY6
        peer = None
        if wanted["peer"] is not None and place is not None:
            peer = ip_address(PEERS[version][wanted["peer"][0]]), wanted["peer"][1]
        options = {name: wanted[name] for name in ("device", "sharing", "reuseaddr", "uid")}
        try:
            made = self.machine.bind(
                self.machine.pids[wanted["vnas"]],
                wanted["protocol"],
                wanted["port"],
                address,
                v6only=v6only,
                mapped=mapped,
                peer=peer,
                **options,
            )
        except AddressInUse:
            made = None
        sock = Socket(
            made,
            wanted["protocol"],
            wanted["vnas"],
            wanted["port"],
            address,
            mapped or version == 6,
            v6only,
            peer=peer,
            **options,
        )
        try:
            self.model.bind(sock)
        except AddressInUse:
            assert made is None, "the model refuses what the engine takes"
            return
        assert made is not None, "the engine refuses what the model takes"
        self.open.append(sock)

    def connect(self, number, peer, version):
        if number >= len(self.open):
            return
        sock = self.open[number]
        if not sock.any():
            version = sock.address.version
        own = ip_address(ADDRESSES[version][0]) if sock.any() else sock.address
        theirs = ip_address(PEERS[version][peer[0]]), peer[1]
        fits = (sock.inet6 and not (sock.any() and sock.address.version == 4)) if version == 6 else not sock.v6only
        if sock.protocol == "tcp" or sock.peer or not fits:
            with pytest.raises(InvalidValue):
                self.machine.connect(sock.socket, theirs, own)
            return
        self.machine.connect(sock.socket, theirs, own if sock.any() else None)
        self.model.connect(sock, theirs, own)

    def close(self, number):
        if number < len(self.open):
            sock = self.open.pop(number)
            self.model.close(sock)
            self.machine.close(sock.socket)

    def check(self, packets):
        self.machine.check()
        frozen = self.machine.freeze()
        for packet in packets:
            expected = self.model.dispatch(packet)
            one = key(
                packet.protocol,
                packet.local,
                packet.remote,
                packet.local_port,
                packet.remote_port,
                packet.device,
                packet.vnas,
            )
            result = int(self.machine.dispatch_batch(one)[0])
            assert int(frozen.dispatch_batch(one)[0]) == result
            explained = self.machine.explain_key(one)
            assert (explained.socket if explained.socket is not None else int(explained.outcome)) == result
            if expected is None:
                nobody = any((s.protocol, s.port) == (packet.protocol, packet.local_port) for s in self.open)
                assert result == (Outcome.NO_SOCKET if nobody else Outcome.NO_PORT)
                continue
            found = next(sock for sock in self.open if sock.socket == result)
            if self.model.secrets or expected.peer or expected.group is None:
                assert found is expected
            else:
                assert (found.group, found.peer) == (expected.group, None)


@pytest.mark.parametrize("old", [False, True], ids=["6.18", "6.12"])
@pytest.mark.parametrize("secrets", [None, SECRETS], ids=["membership", "member"])
@settings(max_examples=60, deadline=None)
@given(operations=st.lists(OPERATION, max_size=14), packets=st.lists(PACKET, min_size=12, max_size=24))
def test_engine_equals_the_model(old, secrets, operations, packets):
    both = Both(old, secrets)
    both.apply(operations)
    both.check(packets)


@settings(max_examples=40, deadline=None)
@given(operations=st.lists(OPERATION, max_size=14), old=st.booleans())
def test_a_table_file_keeps_what_operations_left_behind(operations, old):
    both = Both(old, None)
    both.apply(operations)
    again = ServerMachine.from_toml(both.machine.to_toml(), seed=1)
    again.check()
    assert again.policy == both.machine.policy
    order = {row.socket: number for number, row in enumerate(both.machine.sockets)}
    assert [row[1:] for row in again.sockets] == [row[1:] for row in both.machine.sockets]
    groups = {socket: row.group for socket, row in both.machine.linux_sockets.items()}
    for protocol in ("tcp", "udp"):
        for version in (4, 6):
            for port, remote_port, device in ((80, 9, "eth0"), (80, 10, "lo"), (80, 11, "eth1"), (81, 9, "eth0")):
                one = key(protocol, ADDRESSES[version][0], PEERS[version][0], port, remote_port, device)
                before, after = int(both.machine.dispatch_batch(one)[0]), int(again.dispatch_batch(one)[0])
                # The flow's hash counts members in the order in which they joined, which the file keeps too.
                assert after == (order[before] if before >= 0 else before), groups
    assert again.to_toml() == both.machine.to_toml()


# ---- rule by rule ---------------------------------------------------------------------------------------------------


@pytest.fixture
def machine():
    return Machine()


def bind(machine, protocol="udp", address="0.0.0.0", **options):
    return machine.bind(machine.pids[0], protocol, 80, address, **options)


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_specific_address_comes_before_any_whatever_the_score(machine, protocol):
    bind(machine, protocol, device="eth0")
    specific = bind(machine, protocol, "192.0.2.1", device="eth1")
    plain = bind(machine, protocol, "192.0.2.2", device="lo")
    assert receiver(machine, protocol, "192.0.2.1", "198.51.100.1", device="eth1") == specific
    assert receiver(machine, protocol, "192.0.2.2", "198.51.100.1", device="lo") == plain
    assert receiver(machine, protocol, "192.0.2.1", "198.51.100.1", device="eth0") == 0


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_a_connected_socket_comes_before_all(machine, protocol):
    options = {"reuseaddr": True} if protocol == "udp" else {}
    connected = bind(machine, protocol, "192.0.2.1", peer=("198.51.100.1", 9), **options)
    waiting = bind(machine, protocol, "192.0.2.1", **options)
    assert receiver(machine, protocol, "192.0.2.1", "198.51.100.1") == connected
    assert receiver(machine, protocol, "192.0.2.1", "198.51.100.2") == waiting
    assert receiver(machine, protocol, "192.0.2.1", "198.51.100.1", remote_port=10) == waiting


def test_a_bound_device_comes_first_and_keeps_others_out(machine):
    bound = bind(machine, "tcp", device="eth1", sharing=True)
    other = bind(machine, "tcp", device="eth0", sharing=True)
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1", device="eth1") == bound
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1", device="eth0") == other
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1", device="lo") == Outcome.NO_SOCKET


def test_a_group_that_listened_later_starves_one_that_is_bound_to_a_device(machine):
    """IPv4: the newest is looked at first, and a group ends the search. IPv6: the oldest is."""
    for address, local, remote in (("0.0.0.0", "192.0.2.1", "198.51.100.1"), ("::", "2001:db8::1", "2001:db8:9::1")):
        old = bind(machine, "tcp", address, device="eth0", sharing=True, v6only=address == "::")
        new = bind(machine, "tcp", address, sharing=True, v6only=address == "::")
        assert receiver(machine, "tcp", local, remote) == (new if address == "0.0.0.0" else old)


def test_of_two_with_reuseaddr_the_newest_receives(machine):
    bind(machine, reuseaddr=True)
    newest = bind(machine, reuseaddr=True)
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1") == newest
    machine.close(newest)
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1") == 0


def test_both_families(machine):
    both = bind(machine, "tcp", "::", sharing=True)
    ipv4 = bind(machine, "tcp", "0.0.0.0", sharing=True)
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1") == ipv4
    assert receiver(machine, "tcp", "2001:db8::1", "2001:db8:9::1") == both
    machine.close(ipv4)
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1") == both
    machine.close(both)
    bind(machine, "tcp", "::", v6only=True)
    assert receiver(machine, "tcp", "192.0.2.1", "198.51.100.1") == Outcome.NO_SOCKET


def test_a_connection_leaves_its_group_and_the_next_socket_forms_a_new_one(machine):
    oldest = bind(machine, sharing=True)
    connected = bind(machine, sharing=True)
    assert {machine.linux_sockets[socket].member for socket in (oldest, connected)} == {0, 1}
    machine.connect(connected, ("198.51.100.1", 9), "192.0.2.1")
    assert machine.linux_sockets[connected].group is None
    assert machine.sockets[1].address == ip_address("192.0.2.1")
    assert machine.linux_sockets[connected].peer == (ip_address("198.51.100.1"), 9)
    at_address = bind(machine, address="192.0.2.1", sharing=True)
    rows = machine.linux_sockets
    assert rows[at_address].group == rows[connected].group != rows[oldest].group
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1") == connected
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.2") == at_address


def test_vnases_do_not_meet(machine):
    one, other = (machine.bind(pid, "udp", 80, "0.0.0.0") for pid in machine.pids)
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1") == one
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1", vnas=1) == other
    machine.exit(machine.pids[0])
    assert receiver(machine, "udp", "192.0.2.1", "198.51.100.1", vnas=1) == other
    machine.check()


def test_who_may_be_bound(machine):
    bind(machine, "tcp", "0.0.0.0", device="eth0")
    bind(machine, "tcp", "0.0.0.0", device="eth1")
    for options in ({}, {"device": "eth0"}, {"address": "192.0.2.1"}, {"address": "::"}, {"reuseaddr": True}):
        with pytest.raises(AddressInUse, match="a Linux kernel refuses"):
            bind(machine, "tcp", **options)
    bind(machine, "tcp", "::", v6only=True)
    bind(machine, "udp", sharing=True)
    bind(machine, "udp", sharing=True)
    with pytest.raises(AddressInUse):
        bind(machine, "udp", sharing=True, uid=1000)
    assert len(machine.sockets) == 5


def test_what_makes_no_sense_is_refused(machine):
    wrong = [
        ({"device": ""}, "no device"),
        ({"device": 3}, "no device"),
        ({"mapped": True, "address": "::1"}, "mapped is for"),
        ({"peer": "198.51.100.1"}, "no peer"),
        ({"peer": ("0.0.0.0", 1)}, "a peer is not on ANY"),
        ({"peer": ("198.51.100.1", 0)}, "no port"),
        ({"peer": ("198.51.100.1", 9)}, "a connected socket is not on ANY"),
        ({"peer": ("::9", 9), "address": "192.0.2.1"}, "of the family"),
        ({"uid": -1}, "no UID"),
    ]
    for options, message in wrong:
        with pytest.raises(InvalidValue, match=message):
            bind(machine, **options)
    with pytest.raises(InvalidValue, match="only the policy linux knows that"):
        ServerMachine().bind(1, "udp", 80, device="eth0")
    with pytest.raises(InvalidValue, match="no policy"):
        ServerMachine(policy="windows")
    with pytest.raises(InvalidValue, match="bind one after the other"):
        machine.bind_many([1], "udp", 80)
    with pytest.raises(NoSuchSocket):
        machine.connect(5, ("198.51.100.1", 9))
    with pytest.raises(InvalidValue, match="a listener"):
        machine.connect(bind(machine, "tcp"), ("198.51.100.1", 9), "192.0.2.1")
    socket = bind(machine)
    with pytest.raises(InvalidValue, match="is on ANY"):
        machine.connect(socket, ("198.51.100.1", 9))
    machine.connect(socket, ("198.51.100.1", 9), "192.0.2.1")
    other = ServerMachine()
    with pytest.raises(InvalidValue, match="connected already"):
        machine.connect(socket, ("198.51.100.1", 9))
    with pytest.raises(InvalidValue, match="only the policy linux"):
        other.connect(other.bind(1, "udp", 80), ("198.51.100.1", 9))
    for secrets in ({"sctp": 1}, {"tcp": (1, 2)}, {"udp6": 1}, {"udp": 2**32}):
        with pytest.raises(InvalidValue, match="secret"):
            machine.set_kernel_secrets(secrets)
    with pytest.raises(InvalidValue, match="for the policy linux"):
        ServerMachine().set_kernel_secrets({})


def test_devices_are_forgotten_with_their_sockets(machine):
    before = len(machine.tables.interfaces)
    sockets = [bind(machine, device=f"tap{number}") for number in range(10)]
    assert len(machine.tables.interfaces) == before + 10
    with pytest.raises(AddressInUse):
        bind(machine, device="tap3")
    for socket in sockets:
        machine.close(socket)
    assert len(machine.tables.interfaces) == before


def test_a_thousand_members_and_connections(machine):
    group = [bind(machine, "tcp", sharing=True) for _ in range(1000)]
    peers = [bind(machine, "tcp", "192.0.2.1", peer=("198.51.100.1", port)) for port in range(1, 1001)]
    keys = flow_keys(
        destination="192.0.2.1",
        destination_port=80,
        source="198.51.100.1",
        source_port=list(range(1, 2001)),
        protocol="tcp",
        vlan=1,
    )
    results = machine.dispatch_batch(keys).tolist()
    assert results[:1000] == peers
    assert set(results[1000:]) <= set(group)
    assert len(set(results[1000:])) > 500
    for socket in (*group[::2], *peers[::2]):
        machine.close(socket)
    machine.check()
    results = machine.dispatch_batch(keys).tolist()
    assert results[1:1000:2] == peers[1::2]
    assert set(results[::2]) <= set(group[1::2])


def test_the_explanation_has_candidates_and_scores(machine):
    bind(machine, device="eth0", reuseaddr=True)
    bind(machine, reuseaddr=True)
    bind(machine, address="::", reuseaddr=True, device="eth1")
    text = str(machine.explain_key(key("udp", "192.0.2.1", "198.51.100.1")))
    assert "as Linux 6.18 looks for it?" in text
    assert "the packet comes in on device eth0" in text
    assert "socket 2: ::, device eth1: another device" in text
    assert "socket 1: 0.0.0.0: score 2, the best so far" in text
    assert "socket 0: 0.0.0.0, device eth0: score 6, the best so far" in text
    assert "→ socket 0: the best score of those on ANY (policy linux)" in text


def test_frames_and_threads_of_dispatch_know_the_policy(ethernet_frame):
    """One frame, many frames, narrow keys and counters all ask the same policy."""
    machine = ServerMachine(policy="linux", seed=1)
    for address in ("192.0.2.1", "192.0.2.2"):
        machine.validate(1, address, "eth0")
    machine.bind(1, "udp", 53, "192.0.2.1", reuseaddr=True)
    newest = machine.bind(1, "udp", 53, "192.0.2.1", reuseaddr=True)
    anywhere = machine.bind(1, "udp", 53, "::", reuseaddr=True)
    frames = [ethernet_frame(address) for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3")]
    expected = [newest, anywhere, Outcome.NO_VNAS]
    assert [machine.dispatch_id(frame) for frame in frames] == expected
    assert machine.dispatch(frames[0]).socket == newest
    offsets = [0, len(frames[0]), 2 * len(frames[0])]
    assert machine.dispatch_frames(b"".join(frames), offsets, [len(frame) for frame in frames]).tolist() == expected
    keys = flow_keys(
        destination=["192.0.2.1", "192.0.2.2", "192.0.2.3"], destination_port=53, source="192.0.2.9", protocol="udp"
    )
    assert machine.dispatch_batch(keys).tolist() == expected
    assert machine.dispatch_batch(ipv4_keys(keys)).tolist() == expected
    assert [row.usage.packets for row in machine.sockets] == [0, 5, 4]
    assert machine.policy == machine.freeze().policy == "linux-6.18"
    assert ServerMachine().policy == "registration"
    assert ServerMachine().linux_sockets == {}
