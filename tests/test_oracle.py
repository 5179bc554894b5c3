"""The kernel says who would get a packet: what it says is who gets it."""

import ctypes
import os
import socket
import threading

import numpy as np
import pytest

from vnasfast import InvalidValue, flow_keys
from vnasfast.errors import OracleError, VnasError
from vnasfast.host.answers import ANSWER
from vnasfast.host.oracle import Oracle

SO_COOKIE = 57
CLONE_NEWNET = 0x40000000


@pytest.fixture
def oracle():
    try:
        opened = Oracle()
    except OracleError as error:
        pytest.skip(str(error))
    with opened:
        yield opened


def cookie(sock):
    return int.from_bytes(sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8), "little")


def bound(family, kind, address="", *, sharing=False, port=0):
    sock = socket.socket(family, kind)
    if sharing:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind((address, port))
    if kind == socket.SOCK_STREAM:
        sock.listen()
    return sock


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
@pytest.mark.parametrize(("family", "address"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")])
def test_a_waiting_socket_is_found_by_its_cookie_and_inode(oracle, kind, family, address):
    with bound(family, kind, address) as sock:
        port = sock.getsockname()[1]
        answer = oracle.ask("tcp" if kind == socket.SOCK_STREAM else "udp", address, port, address, 1)
        assert answer.cookie == cookie(sock)
        assert answer.inode == os.fstat(sock.fileno()).st_ino
        assert answer.port == port
        assert answer.family == family
        assert answer.uid == os.geteuid()
        assert answer.interface == 0
        assert answer.state == (10 if kind == socket.SOCK_STREAM else 7)
    assert oracle.ask("tcp" if kind == socket.SOCK_STREAM else "udp", address, port, address, 1) is None


def test_a_connection_is_found_before_the_listener(oracle):
    with bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as listener:
        port = listener.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            client_port = client.getsockname()[1]
            accepted, _ = listener.accept()
            with accepted:
                assert oracle.ask("tcp", "127.0.0.1", port, "127.0.0.1", client_port).cookie == cookie(accepted)
                assert oracle.ask("tcp", "127.0.0.1", client_port, "127.0.0.1", port).cookie == cookie(client)
                assert oracle.ask("tcp", "127.0.0.1", port, "127.0.0.1", client_port ^ 1).cookie == cookie(listener)


def test_each_packet_reaches_the_socket_that_was_named(oracle):
    """Four sockets share a port: the kernel's hash chooses, and says beforehand what it will choose."""
    first = bound(socket.AF_INET, socket.SOCK_DGRAM, sharing=True)
    port = first.getsockname()[1]
    group = [first] + [bound(socket.AF_INET, socket.SOCK_DGRAM, sharing=True, port=port) for _ in range(3)]
    cookies = {cookie(sock): sock for sock in group}
    chosen = set()
    for _ in range(40):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.bind(("127.0.0.1", 0))
            answer = oracle.ask("udp", "127.0.0.1", port, "127.0.0.1", client.getsockname()[1])
            client.sendto(b"whose?", ("127.0.0.1", port))
            receiver = cookies[answer.cookie]
            receiver.settimeout(5)
            assert receiver.recvfrom(10) == (b"whose?", client.getsockname())
            chosen.add(answer.cookie)
    assert len(chosen) > 1
    for sock in group:
        sock.close()


def test_many_answers_stand_where_their_questions_do(oracle):
    with (
        bound(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1") as ipv4,
        bound(socket.AF_INET6, socket.SOCK_DGRAM, "::1") as ipv6,
        bound(socket.AF_INET, socket.SOCK_STREAM, "127.0.0.1") as tcp,
    ):
        asked = [("udp", "127.0.0.1", ipv4), ("udp", "::1", ipv6), ("tcp", "127.0.0.1", tcp)]
        keys = flow_keys(
            destination=[address for _, address, _ in asked] * 5000,
            destination_port=[sock.getsockname()[1] for _, _, sock in asked] * 5000,
            source_port=np.arange(15000) % 50000 + 1,
            protocol=[protocol for protocol, _, _ in asked] * 5000,
        )
        keys["destination_port"][4::9] = 1      # nobody
        answers = oracle.ask_batch(keys)
        expected = np.array([cookie(sock) for _, _, sock in asked] * 5000, np.uint64)
        expected[4::9] = 0
        assert answers.dtype == ANSWER
        np.testing.assert_array_equal(answers["cookie"], expected)


def test_threads_take_turns(oracle):
    with bound(socket.AF_INET, socket.SOCK_DGRAM, "127.0.0.1") as sock:
        keys = flow_keys(
            destination="127.0.0.1",
            destination_port=sock.getsockname()[1],
            source_port=np.arange(1, 20001),
            protocol="udp",
        )
        found = []
        threads = [threading.Thread(target=lambda: found.append(oracle.ask_batch(keys))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [(answers["cookie"] == cookie(sock)).all() for answers in found] == [True] * 4


def test_the_interface_counts_for_bound_sockets(oracle):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        except OSError as error:
            pytest.skip(f"SO_BINDTODEVICE: {error}")
        sock.bind(("", 0))
        port, lo = sock.getsockname()[1], socket.if_nametoindex("lo")
        assert oracle.ask("udp", "127.0.0.1", port, "127.0.0.1", 1, interface=lo).interface == lo
        assert oracle.ask("udp", "127.0.0.1", port, "127.0.0.1", 1) is None
        keys = flow_keys(destination=["127.0.0.1"] * 2, destination_port=port, protocol="udp")
        assert (oracle.ask_batch(keys, interfaces=[lo, lo + 1])["cookie"] != 0).tolist() == [True, False]


def in_new_namespace(function):
    """Run a function in a thread that has a network namespace of its own; its result, or the error."""
    result = []

    def run():
        try:
            if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET) != 0:
                raise PermissionError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
            result.append(function())
        except BaseException as error:
            result.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return result[0]


def test_another_namespace_is_asked_from_here(oracle):
    def serve():
        return bound(socket.AF_INET, socket.SOCK_DGRAM), os.open("/proc/thread-self/ns/net", os.O_RDONLY)

    made = in_new_namespace(serve)
    if isinstance(made, PermissionError):
        pytest.skip(f"no new network namespace: {made}")
    sock, namespace = made
    own = os.stat("/proc/thread-self/ns/net").st_ino
    with sock, Oracle(f"/proc/self/fd/{namespace}") as other:
        port = sock.getsockname()[1]
        assert other.ask("udp", "127.0.0.1", port, "127.0.0.1", 1).cookie == cookie(sock)
        assert oracle.ask("udp", "127.0.0.1", port, "127.0.0.1", 1) is None
        assert os.stat("/proc/thread-self/ns/net").st_ino == own
    os.close(namespace)


def test_a_process_names_its_namespace(oracle):
    with bound(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            same = Oracle(os.getpid())
        except OracleError as error:
            pytest.skip(str(error))
        with same:
            assert same.ask("udp", "127.0.0.1", sock.getsockname()[1], "127.0.0.1", 1).cookie == cookie(sock)


def test_errors_say_what_is_wrong(oracle, tmp_path):
    with pytest.raises(OracleError, match=r"no network namespace /nowhere: No such file or directory") as caught:
        Oracle("/nowhere")
    assert isinstance(caught.value, VnasError)
    assert isinstance(caught.value, OSError)
    assert caught.value.errno == 2
    (tmp_path / "file").touch()
    with pytest.raises(OracleError, match=r"can't enter the network namespace .*file"):
        Oracle(tmp_path / "file")
    with pytest.raises(InvalidValue, match=r"keys\[0\] is of protocol 132"):
        oracle.ask("sctp", "127.0.0.1", 1, "127.0.0.1", 1)
    with pytest.raises(InvalidValue, match="keys must be a numpy array of FLOW_KEY"):
        oracle.ask_batch([1])
    with pytest.raises(InvalidValue, match="interfaces has shape"):
        oracle.ask_batch(flow_keys(destination=["::1"] * 3, destination_port=1, protocol="udp"), interfaces=[1, 2])
    oracle.close()
    oracle.close()
    with pytest.raises(OracleError, match="closed"):
        oracle.ask("udp", "127.0.0.1", 1, "127.0.0.1", 1)
