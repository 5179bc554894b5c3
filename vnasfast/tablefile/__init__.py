"""Table files: the tables of a machine as TOML, in the first and the second embodiment.

Embodiment 1 has one ANY-address table with a VNAS column::

    # vnasfast tables
    embodiment = 1
    policy = "linux"          # or linux-6.12, linux-6.18; default "registration"

    [[vnas]]                  # optional: names for reports
    id = 1                    # 0 to 2147483647
    name = "alpha"

    [[processes]]             # in any order; process 1 in VNAS 0 always exists and is left out
    pid = 101                 # 2 to 2147483647
    vnas = 1
    parent = 1                # default 1

    [[addresses]]             # the ANY-address table, in order of registration
    address = "10.1.0.11"
    vnas = 1
    interface = "eth0"
    vlan = 100                # 1 to 4095; default 0: untagged

    [[sockets]]               # in order of registration
    protocol = "tcp"          # tcp, udp, sctp, dccp or udplite
    port = 80                 # 1 to 65535
    address = "ANY"           # "ANY" or "::": IPv6 and IPv4; "0.0.0.0": IPv4 only; or the address itself
    pid = 101                 # a socket's VNAS is its process's
    v6only = true             # default false: with ANY, no IPv4
    sharing = true            # default false: several sockets share the port
    freebind = true           # default false: the address need not belong to the VNAS
    device = "eth0"           # this and what follows: under the policy linux only
    peer = "192.0.2.7:4000"   # connected to it; "[2001:db8::1]:4000" with IPv6
    mapped = true             # default false: an IPv6 socket on an IPv4 address
    uid = 1000                # default 0
    reuseaddr = true          # default false

    [[routes]]
    network = "default"       # or a network: "10.0.0.0/8"
    interface = "eth0"

Embodiment 2 has one ANY-address table per VNAS, and ANY sockets name theirs. ``vnas``, ``processes`` and
``routes`` are as above; the others are::

    embodiment = 2

    [[any_tables]]
    name = "ANY1"             # any text that is no address
    vnas = 1

    [[any_tables.addresses]]  # in order of registration
    address = "10.1.0.11"
    interface = "eth0"
    vlan = 100                # default 0: untagged
    order = 3                 # the place among the addresses of all tables, where these were registered
                              # in turns; all addresses of the file have one, or none has

    [[sockets]]
    protocol = "tcp"
    port = 80
    address = "ANY1"          # the table of its process's VNAS; or the address itself
    family = 4                # 4: IPv4 only, 6: IPv6 only; default both. Only with a table's name
    pid = 101
    sharing = true            # as above
    freebind = true

Under the policy linux a socket's place in the kernel's lists may depend on sockets that are closed, or on when one
connected. Then a machine also writes, for all sockets, ``place`` (in its chain), ``connected`` (the order of
connecting), ``group``, ``member`` (the place there) and ``knows_connections`` (a member connected once), and reads
them back.

A machine writes its processes by PID and the rest in order of registration, the default route last, and
leaves out what has its default. The text reads back as the same tables; socket IDs and the resources used
are not in it.

Messages name rows as ``sockets[0].port``, counted from 0. Their line is that of the key, or else of the row's
``[[header]]``; a row without a header of its own, as in ``sockets = [{...}]``, has none.
"""
