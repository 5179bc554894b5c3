"""Keys from values, and what people read of them."""

import ipaddress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnasfast.dtypes import FLOW_KEY
from vnasfast.errors import InvalidValue
from vnasfast.parse import (
    PORT_PROTOCOLS,
    address_bytes,
    address_of,
    address_text,
    flow_keys,
    parse_frame,
    protocol_name,
    protocol_number,
)


def test_one_key():
    keys = flow_keys(destination="192.0.2.1", destination_port=80, protocol="tcp", source_pid=12, vlan=5)
    assert keys.dtype == FLOW_KEY
    assert keys.shape == (1,)
    assert address_text(keys["destination"][0]) == "192.0.2.1"
    assert address_text(keys["source"][0]) == ""
    assert [keys[name][0] for name in FLOW_KEY.names[2:]] == [80, 0, 5, 6, 0, 12, 0]


def test_scalars_spread_over_arrays():
    keys = flow_keys(
        destination=np.array([0xC0000201, 0x0A000001], np.uint32),
        destination_port=53,
        protocol="udp",
        source=["2001:db8::1", ipaddress.ip_address("10.9.8.7")],
        source_port=[1, 2],
    )
    assert [address_text(a) for a in keys["destination"]] == ["192.0.2.1", "10.0.0.1"]
    assert [address_text(a) for a in keys["source"]] == ["2001:db8::1", "10.9.8.7"]
    assert keys["destination_port"].tolist() == [53, 53]
    assert keys["source_port"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "destination",
    [
        "192.0.2.1",
        b"\xc0\0\2\1",
        bytes(10) + b"\xff\xff\xc0\0\2\1",
        "::ffff:192.0.2.1",
        ["192.0.2.1"],
        ipaddress.IPv4Address("192.0.2.1"),
        np.uint32(0xC0000201) * np.ones(1, np.uint32),
        np.frombuffer(bytes(10) + b"\xff\xff\xc0\0\2\1", np.uint8),
        np.frombuffer(bytes(10) + b"\xff\xff\xc0\0\2\1", np.uint8).reshape(1, 16),
    ],
)
def test_ways_to_write_an_address(destination):
    keys = flow_keys(destination=destination, destination_port=1, protocol=17)
    assert keys["destination"].tobytes() == bytes(10) + b"\xff\xff\xc0\0\2\1"


def test_equals_the_key_of_a_frame():
    header = bytes([0x45, 0, 0, 28, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2])
    frame = header + bytes([0x9C, 0x40, 0, 53]) + bytes(4)
    keys = flow_keys(
        destination="10.0.0.2", destination_port=53, protocol="udp", source="10.0.0.1", source_port=40000
    )
    assert keys == parse_frame(frame, 101)


def test_protocols_one_by_one():
    keys = flow_keys(destination="::1", destination_port=1, protocol=["tcp", 17, "SCTP"])
    assert keys["protocol"].tolist() == [6, 17, 132]
    keys = flow_keys(destination="::1", destination_port=1, protocol=np.array([6, 136]))
    assert keys["protocol"].tolist() == [6, 136]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"destination": "192.0.2"}, "no IPv4 or IPv6 address"),
        ({"destination": "fe80::1%eth0"}, "zone"),
        ({"destination": np.zeros((2, 4), np.uint8)}, "shape"),
        ({"destination": np.zeros(2, np.int64)}, "int64"),
        ({"destination": 5}, "destination is 5"),
        ({"destination_port": 65536}, "destination_port 65536"),
        ({"source_port": -1}, "source_port -1"),
        ({"source_port": [1.5]}, "integer"),
        ({"vlan": 4096}, "vlan 4096"),
        ({"protocol": "tpc"}, "'tpc'"),
        ({"protocol": 256}, "256"),
        ({"destination_port": [1, 2], "source_port": [1, 2, 3]}, "differ in length"),
    ],
)
def test_wrong_values_are_named(wrong, message):
    with pytest.raises(InvalidValue, match=message):
        flow_keys(**({"destination": "10.0.0.1", "destination_port": 1, "protocol": 6} | wrong))


def test_no_keys():
    assert flow_keys(destination=[], destination_port=1, protocol=6).shape == (0,)


@given(st.ip_addresses())
def test_addresses_go_around(address):
    packed = address_bytes(str(address))
    assert len(packed) == 16
    expected = getattr(address, "ipv4_mapped", None) or address
    if int(address) == 0 and address.version == 6:
        assert address_of(packed) is None
        assert address_text(packed) == ""
    else:
        assert address_of(np.frombuffer(packed, np.uint8)) == expected
        assert address_bytes(address_text(packed)) == packed


@pytest.mark.parametrize("octets", [b"", bytes(4), bytes(17)])
def test_an_address_field_has_16_bytes(octets):
    with pytest.raises(InvalidValue, match="16 bytes"):
        address_text(octets)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("icmp", 1),
        ("igmp", 2),
        ("tcp", 6),
        ("udp", 17),
        ("dccp", 33),
        ("gre", 47),
        ("esp", 50),
        ("ah", 51),
        ("icmp6", 58),
        ("ospf", 89),
        ("sctp", 132),
        ("udplite", 136),
        ("253", 253),
    ],
)
def test_protocols_have_names(name, number):
    assert protocol_name(number) == name
    assert protocol_number(name) == protocol_number(name.upper()) == protocol_number(number) == number


def test_every_number_goes_around():
    assert [protocol_number(protocol_name(number)) for number in range(256)] == list(range(256))
    assert [protocol_name(number) for number in PORT_PROTOCOLS] == ["tcp", "udp", "dccp", "sctp", "udplite"]


@pytest.mark.parametrize("wrong", ["", "x", "256", -1, 256])
def test_what_is_no_protocol(wrong):
    with pytest.raises(InvalidValue, match="IP protocol"):
        protocol_number(wrong)
