"""Fuzz target: table files.

The first byte chooses: the rest is the text of a table file, or it chooses rows and values, sound and unsound, of which
a text is written. Each text is refused by a TableFileError, or makes a machine whose own text reads back as the same.
"""

import atheris
import tomli_w

from vnasfast import ServerMachine, TableFileError

KEYS = {
    "vnas": ("id", "name"),
    "processes": ("pid", "vnas", "parent"),
    "addresses": ("address", "vnas", "interface", "vlan"),
    "sockets": ("protocol", "port", "address", "pid", "v6only", "sharing", "freebind", "family"),
    "routes": ("network", "interface"),
    "any_tables": ("name", "vnas", "addresses"),
}
ADDRESSES = ("10.0.0.1", "10.0.0.2", "fd00::1", "::ffff:10.0.0.3", "127.0.0.1", "::1")
SOUND = {
    "id": (0, 1, 2, 3, 2**31 - 1),
    "pid": (2, 3, 4, 5, 1, 2**31 - 1),
    "parent": (1, 2, 3, 4),
    "vnas": (0, 1, 2, 3),
    "vlan": (0, 0, 1, 4095),
    "port": (80, 53, 1, 65535),
    "name": ("alpha", "beta", "ANY1", "ANY2", 'a "quoted" name', "naïve\n"),
    "interface": ("eth0", "eth1", "bond0.100"),
    "protocol": ("tcp", "udp", "sctp", "dccp", "udplite"),
    "address": (*ADDRESSES, "ANY", "0.0.0.0", "::", "ANY1", "ANY2"),
    "network": ("default", "10.0.0.0/8", "10.0.0.0/9", "fd00::/16", "0.0.0.0/0", "::/0", "10.0.0.1/32"),
    "family": (4, 6),
    "order": (1, 2, 3, 4, 5),
    "v6only": (True, False),
    "sharing": (True, False),
    "freebind": (True, False),
    "addresses": ([],),
}
UNSOUND = (-1, 0, 2**31, 2**64, 10**30, 0.5, float("nan"), "", " ", "\0", "10.0.0.1/33", "fe80::1%eth0", True)
UNSOUND += ([], {}, [{}])


def value(provider: atheris.FuzzedDataProvider, key: str) -> object:
    if provider.ConsumeIntInRange(0, 63) == 0:
        return provider.PickValueInList(list(UNSOUND))
    return provider.PickValueInList(list(SOUND[key]))


def row(provider: atheris.FuzzedDataProvider, table: str) -> dict[str, object]:
    optional = {"parent", "vlan", "v6only", "sharing", "freebind", "family"}
    made = {}
    for key in KEYS[table]:
        if provider.ConsumeIntInRange(0, 63) == 0 or (key in optional and provider.ConsumeBool()):
            continue
        made[key] = value(provider, key)
    if table == "any_tables":
        with_order = provider.ConsumeBool()
        made["addresses"] = [
            {key: value(provider, key) for key in ("address", "interface", "vlan", *(["order"] * with_order))}
            for _ in range(provider.ConsumeIntInRange(0, 3))
        ]
    return made


def made_text(data: bytes) -> str:
    """A table file of rows that mostly fit together."""
    provider = atheris.FuzzedDataProvider(data)
    embodiment = provider.ConsumeIntInRange(1, 2)
    document: dict[str, object] = {"embodiment": embodiment}
    other = "any_tables" if embodiment == 1 else "addresses"
    for table in KEYS:
        if table == other and provider.ConsumeIntInRange(0, 63):
            continue
        rows = [row(provider, table) for _ in range(provider.ConsumeIntInRange(0, 5))]
        if table == "sockets":
            for each in rows:
                each.pop("family" if embodiment == 1 else "v6only", None)
        if table == "processes":
            # Distinct PIDs: else hardly any document would get further than here.
            rows = list({str(each.get("pid")): each for each in rows}.values())
        document[table] = rows
    return tomli_w.dumps(document)


def check_error(error: TableFileError, text: str) -> None:
    """Say what is wrong, and a line that exists."""
    assert error.problem
    assert error.line is None or 1 <= error.line <= len(text.split("\n")), str(error)


def check(text: str) -> None:
    try:
        machine = ServerMachine.from_toml(text, seed=1)
    except TableFileError as error:
        check_error(error, text)
        return
    machine.check()
    first, second = (machine.to_toml(embodiment=embodiment) for embodiment in (1, 2))
    for embodiment, written in enumerate((first, second), 1):
        again = ServerMachine.from_toml(written, seed=2)
        again.check()
        assert again.to_toml(embodiment=1) == first, (embodiment, written)
        assert again.to_toml(embodiment=2) == second, (embodiment, written)


def run(data: bytes) -> None:
    """Run one input."""
    if data[:1] >= b"\x80":
        check(made_text(data[1:]))
    else:
        check(data[1:].decode("utf-8", "replace"))
