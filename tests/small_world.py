"""A world in which collisions are common: few values, with the edges among them."""

ADDRESSES = [
    "10.0.0.1",
    "10.0.0.2",
    "::ffff:10.0.0.2",
    "2001:db8::1",
    "2001:db8::2",
    "127.0.0.1",
    "127.255.0.9",
    "::ffff:127.0.0.1",
    "::1",
    "255.255.255.255",
]
RECIPIENTS = ["ANY", "::", "0.0.0.0", "::ffff:0.0.0.0", *ADDRESSES]
BAD_ADDRESSES = ["", "10.0.0", "10.0.0.256", "fe80::1%eth0", "10.0.0.1/32"]
VLANS = [0, 0, 0, 7, 4095]
VNASES = [0, 1, 2, 2**31 - 1]
PORTS = [53, 80, 65535]
TCP_FIRST = [6, 6, 6, 17, 33, 132, 136]
INTERFACES = ["eth0", "eth0", "eth0:1", "bond0.100"]
NETWORKS = [
    "default",
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.0.0.0/31",
    "10.0.0.2/32",
    "127.0.0.0/8",
    "::/0",
    "2001:db8::/32",
    "2001:db8::1/128",
]
WIRE_LENGTHS = [0, 60, 1500, 2**32 - 1]
TIMES = [0, 1, 10**18, 10**18 + 1, 2**63 - 1]
