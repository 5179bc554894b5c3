"""Processes into VNASs: start one there, take those that are running."""

import contextlib
import errno
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple, NoReturn

from vnasfast.errors import InvalidValue, RuleError
from vnasfast.host.rule.engine import Rule, cgroup_id
from vnasfast.host.rule.layout import CGROUP, SLOT
from vnasfast.host.rule.places import cgroup2


class User(NamedTuple):
    """Who a process is to be."""

    name: str
    uid: int
    gid: int
    home: str


def user_named(name: str) -> User:
    """Find a user by name or number."""
    try:
        entry = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        if name.isdecimal():
            return User(name, int(name), int(name), "/")
        raise InvalidValue(f"no user {name!r} here: 'getent passwd' lists them, or give a number") from None
    return User(entry.pw_name, entry.pw_uid, entry.pw_gid, entry.pw_dir)


def start(rule: Rule, vnas: int, command: list[str], user: User | None = None) -> NoReturn:
    """Become a process of the VNAS: the source's vnas_start. Its children stay there."""
    rule.require_here()
    _move(os.getpid(), rule.cgroup_of(vnas))
    environment = dict(os.environ)
    if user is not None:
        if user.name.isdecimal():
            os.setgroups([])
        else:
            os.initgroups(user.name, user.gid)
        os.setgid(user.gid)
        os.setuid(user.uid)
        environment |= {"USER": user.name, "LOGNAME": user.name, "HOME": user.home}
    try:
        os.execvpe(command[0], command, environment)  # noqa: S606 (that is what it is for)
    except OSError as error:
        raise RuleError(error.errno or errno.ENOENT, f"can't run {command[0]}: {error.strerror}") from None


def _move(pid: int, place: Path) -> None:
    try:
        (place / "cgroup.procs").write_text(str(pid))
    except OSError as error:
        raise RuleError(error.errno or errno.EIO, f"can't move process {pid} to {place}: {error.strerror}") from None


def attach_pid(rule: Rule, vnas: int, pid: int) -> None:
    """Move a running process into the VNAS: what it opens from now on is the VNAS's."""
    rule.require_here()
    _move(pid, rule.cgroup_of(vnas))


def attach_cgroup(rule: Rule, vnas: int, place: Path) -> None:
    """Make a cgroup of others one of the VNAS's, with all that is below it."""
    rule.require_here()
    if not (place / "cgroup.procs").exists():
        raise InvalidValue(f"{place} is no cgroup v2; those are below {cgroup2()}")
    if place.resolve() == cgroup2().resolve():
        raise InvalidValue(f"{place} is the root, in which all processes are: give one below it")
    with rule.locked():
        slot, _ = rule.vnases()[vnas]
        rule.map("cgroups").set(CGROUP.pack(cgroup_id(place)), SLOT.pack(slot))
        state = rule.state()
        state["cgroups"] = {
            path: number for path, number in state["cgroups"].items() if Path(path).is_dir() and path != str(place)
        }
        state["cgroups"][str(place)] = vnas
        rule.save_state(state)
        rule.attach_to_cgroup(place)
        rule.enter_all()


def cgroup_of_unit(unit: str) -> Path:
    """Ask systemd where a unit's processes are."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        raise RuleError(errno.ENOENT, "systemctl is not here, so there are no units: use --cgroup or --pid")
    asked = subprocess.run(  # noqa: S603
        [systemctl, "show", "--property=ControlGroup", "--value", unit], capture_output=True, text=True, check=False
    )
    path = asked.stdout.strip()
    if asked.returncode or not path:
        said = asked.stderr.strip() or "it is not running"
        raise RuleError(errno.ENOENT, f"no cgroup of {unit}: {said}")
    return cgroup2() / path.lstrip("/")


def processes_of(rule: Rule) -> dict[int, list[int]]:
    """List the processes of each VNAS."""
    places = {vnas: [rule.cgroup_of(vnas)] for vnas in rule.vnases()}
    for path, vnas in rule.state()["cgroups"].items():
        places.setdefault(vnas, []).append(Path(path))
    return {vnas: sorted({pid for place in found for pid in _pids(place)}) for vnas, found in places.items()}


def _pids(place: Path) -> list[int]:
    pids: list[int] = []
    for folder, _, _ in os.walk(place):
        with contextlib.suppress(OSError):  # the cgroup is gone
            pids += map(int, Path(folder, "cgroup.procs").read_text().split())
    return pids
