"""What is missing for ruling a kernel is named, with what to do; nothing here needs root or BPF."""

import errno
import platform
import re
import runpy
from ipaddress import ip_address
from pathlib import Path

import pytest

from vnasfast.errors import RuleError
from vnasfast.host.rule import places, requirements, wanted
from vnasfast.host.rule.layout import Counts, Endpoint, Owner, VnasRow, address_key, address_of, loopback4, loopback6

ROOT = Path(__file__).parents[1]


def test_building_without_clang_or_libbpf_says_so_in_a_line(monkeypatch, capsys, tmp_path):
    build = runpy.run_path(str(ROOT / "vnasfast/host/rule/build.py"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "vnasfast/host/rule").mkdir(parents=True)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CC", "/bin/false")
    assert build["options"]() == {Path("vnasfast/host/rule/loader.pyx"): None}
    line = "built without 'vnasfast up', for want of clang and libbpf-dev: apt-get install clang libbpf-dev\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize(
    ("exists", "message"),
    [
        (False, "vnasfast was built without the kernel's part: apt-get install clang libbpf-dev, then pip install"),
        (True, "libbpf can't be loaded (no libbpf.so.1): apt-get install libbpf1"),
    ],
)
def test_a_package_without_libbpf_says_what_to_install(monkeypatch, tmp_path, exists, message):
    program = tmp_path / "rule.bpf.o"
    if exists:
        program.touch()
    monkeypatch.setattr(requirements, "OBJECT", program)
    with pytest.raises(RuleError) as raised:
        requirements.needs("no libbpf.so.1")
    assert str(raised.value).startswith(message)


def test_missing_capabilities_are_named(monkeypatch):
    monkeypatch.setattr(requirements, "_capabilities", lambda: 1 << 12)
    with pytest.raises(RuleError, match="lacks CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF: run it as root") as raised:
        requirements.check()
    assert raised.value.errno == errno.EPERM


def test_an_old_kernel_is_named(monkeypatch):
    monkeypatch.setattr(platform, "release", lambda: "5.10.0-30-amd64")
    with pytest.raises(RuleError, match=r"the kernel is 5\.10\.0-30-amd64; 6\.1 or later is needed"):
        requirements.check()


def test_missing_kernel_options_are_named(monkeypatch):
    monkeypatch.setattr(requirements, "_options", lambda: set(requirements.OPTIONS) - {"CGROUP_BPF"})
    explained = requirements.explain(RuleError(errno.EINVAL, "the kernel refuses the programs", "log\nlast line"))
    assert str(explained) == "the kernel refuses the programs; CONFIG_CGROUP_BPF is not set (programs of a cgroup)"
    monkeypatch.setattr(requirements, "_options", set)
    explained = requirements.explain(RuleError(errno.EINVAL, "the kernel refuses the programs", "log\nlast line"))
    assert str(explained) == "the kernel refuses the programs; last line"


def test_without_cgroup_v2_the_mount_is_named(monkeypatch):
    monkeypatch.setattr(places, "mounts", lambda kind: [])
    with pytest.raises(RuleError, match="cgroup v2 is not mounted here: mount -t cgroup2"):
        places.cgroup2()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0.0.0.0", "it is ANY, and each VNAS has its own"),
        ("::", "it is ANY, and each VNAS has its own"),
        ("127.0.0.1", "it is loopback, and each VNAS has its own"),
        ("::1", "it is loopback, and each VNAS has its own"),
        ("224.0.0.5", "it is a multicast group, which any may join"),
        ("ff02::1", "it is a multicast group, which any may join"),
        ("::ffff:10.0.0.1", "it is IPv4: write 10.0.0.1"),
    ],
)
def test_addresses_that_no_vnas_can_have_are_refused(text, why):
    with pytest.raises(RuleError, match=f"can't be a VNAS's: {re.escape(why)}"):
        wanted.require_ordinary(ip_address(text))


@pytest.mark.parametrize("text", ["10.1.0.11", "fd77::11", "::1", "127.0.0.1"])
def test_addresses_are_written_as_the_programs_read_them(text):
    key = address_key(ip_address(text))
    assert len(key) == 16
    assert address_of(key) == ip_address(text)


def test_rows_are_read_as_they_were_written():
    owner = Owner(slot=3, interface=2, order=9, added=32)
    assert Owner.unpack(owner.pack()) == owner
    row = VnasRow(7, 1, *(address_key(ip_address(f"10.0.0.{n}")) for n in range(4)))
    assert VnasRow.unpack(row.pack()) == row
    endpoint = bytes.fromhex("0300000050000602") + bytes(16)
    assert Endpoint.unpack(endpoint) == Endpoint(3, 80, "tcp", 6, None)
    assert Counts.unpack(bytes.fromhex("01" + "00" * 31) * 2) == Counts(tcp=2)
    assert (str(loopback4(2)), str(loopback6(2))) == ("127.128.2.0", "fd76:6e61:7366:6173:7400::2")
