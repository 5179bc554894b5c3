"""Messages of rtnetlink, also of links that this kernel may not have: encoded by pyroute2, read by us."""

import socket
import struct
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vnasfast.host.links import HostAddress, HostRoute, Link, read_address, read_link, read_routes
from vnasfast.host.tables import _vlan

pyroute2 = pytest.importorskip("pyroute2")


def encoded(kind, attributes, **fields):
    """The body of a message, which follows the 16 bytes of the netlink header."""
    message = kind()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = attributes
    message.encode()
    return bytes(message.data[16:])


def link(attributes, **fields):
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg

    return encoded(ifinfmsg, attributes, **fields)


def info(kind, *data):
    return ["IFLA_LINKINFO", {"attrs": [["IFLA_INFO_KIND", kind], ["IFLA_INFO_DATA", {"attrs": list(data)}]]}]


def test_a_vlan_on_a_bond():
    body = link(
        [
            ["IFLA_IFNAME", "bond0.100"],
            ["IFLA_ADDRESS", "02:00:00:00:00:07"],
            ["IFLA_LINK", 5],
            info("vlan", ["IFLA_VLAN_ID", 100], ["IFLA_VLAN_PROTOCOL", 0x88A8]),
        ],
        index=7,
        flags=1,
    )
    assert read_link(body) == Link(7, "bond0.100", "vlan", True, False, "02:00:00:00:00:07", 5, 0, 100)


def test_a_bond_and_its_member():
    bond = link([["IFLA_IFNAME", "bond0"], info("bond", ["IFLA_BOND_MODE", 1])], index=5, flags=1)
    member = link([["IFLA_IFNAME", "eth1"], ["IFLA_MASTER", 5]], index=3, flags=0)
    assert read_link(bond) == Link(5, "bond0", "bond", True, False, "", 0, 0, 0)
    assert read_link(member) == Link(3, "eth1", "", False, False, "", 0, 5, 0)


def test_a_peer_in_another_namespace_is_no_parent():
    body = link(
        [["IFLA_IFNAME", "eth0"], ["IFLA_LINK", 9], ["IFLA_LINK_NETNSID", 0], info("veth")], index=2, flags=1
    )
    assert read_link(body).parent == 0
    assert read_link(body).kind == "veth"


def test_a_vlan_id_is_of_links_of_that_kind_only():
    """Number 1 of a VRF's data is its table."""
    body = link([["IFLA_IFNAME", "red"], info("vrf", ["IFLA_VRF_TABLE", 10])], index=4, flags=1)
    assert (read_link(body).kind, read_link(body).vlan) == ("vrf", 0)


def test_the_outermost_vlan_is_that_of_the_lowest_link():
    eth = Link(1, "eth0", "", True, False, "", 0, 0, 0)
    outer = Link(2, "eth0.100", "vlan", True, False, "", 1, 0, 100)
    inner = Link(3, "eth0.100.200", "vlan", True, False, "", 2, 0, 200)
    above = Link(4, "mac0", "macvlan", True, False, "", 3, 0, 0)
    loop = Link(5, "odd", "", True, False, "", 5, 0, 0)
    links = {one.device: one for one in (eth, outer, inner, above, loop)}
    assert [_vlan(one, links) for one in (eth, outer, inner, above, loop)] == [0, 100, 100, 100, 0]


def test_addresses():
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg

    alias = encoded(
        ifaddrmsg,
        [["IFA_ADDRESS", "10.0.0.9"], ["IFA_LOCAL", "10.0.0.1"], ["IFA_LABEL", "eth0:1"]],
        family=socket.AF_INET,
        prefixlen=24,
        index=2,
    )
    assert read_address(alias, {2: "eth0"}) == HostAddress(IPv4Address("10.0.0.1"), 24, 2, "eth0:1")
    other = encoded(ifaddrmsg, [["IFA_ADDRESS", "2001:db8::1"]], family=socket.AF_INET6, prefixlen=64, index=2)
    assert read_address(other, {2: "eth0"}) == HostAddress(IPv6Address("2001:db8::1"), 64, 2, "eth0")


def test_routes():
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    way = [["RTA_GATEWAY", "10.0.0.254"], ["RTA_OIF", 2], ["RTA_PRIORITY", 7]]
    plain = encoded(
        rtmsg,
        [["RTA_TABLE", 1000], ["RTA_DST", "10.1.0.0"], *way],
        family=socket.AF_INET,
        dst_len=16,
        table=252,
        type=1,
    )
    assert read_routes(plain) == [HostRoute(IPv4Network("10.1.0.0/16"), 2, "10.0.0.254", 1000, 7, "unicast")]
    default = encoded(rtmsg, [["RTA_OIF", 3]], family=socket.AF_INET6, dst_len=0, table=254, type=1)
    assert read_routes(default) == [HostRoute(IPv6Network("::/0"), 3, "", 254, 0, "unicast")]
    multicast = encoded(rtmsg, [], family=128, dst_len=32, table=253, type=5)
    assert read_routes(multicast) == []


@given(st.binary(max_size=200), st.sampled_from([socket.AF_INET, socket.AF_INET6, 0]))
def test_attributes_that_make_no_sense_are_left_out(content, family):
    """The kernel sends no such; whatever comes, reading ends and gives what there is."""
    fixed = struct.pack("=BxHiII", family, 1, 2, 1, 0)
    assert read_link(fixed + content).device == 2


def test_a_truncated_attribute_ends_the_reading():
    body = link([["IFLA_IFNAME", "eth0"], ["IFLA_LINK", 9]], index=2, flags=1)
    assert read_link(body[:-2]) == read_link(link([["IFLA_IFNAME", "eth0"]], index=2, flags=1))
