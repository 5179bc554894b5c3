"""``vnasfast up``, ``down``, ``reload``, ``status``, ``top``, ``run``, ``attach``, ``addr`` and ``check``."""

import contextlib
import json
import sys
import time
from collections.abc import Callable
from ipaddress import ip_interface
from pathlib import Path
from typing import Any, TypeVar

import click

from vnasfast.console import CONTEXT, plain_errors, show
from vnasfast.errors import InvalidValue
from vnasfast.host.rule import change
from vnasfast.host.rule import status as state
from vnasfast.host.rule.engine import Rule
from vnasfast.host.rule.layout import Counts

DIFFERENT = 1

_ADDR_EPILOG = """\b
Examples:
  vnasfast addr add 192.0.2.7/24 dev eth0 --vnas blue
  vnasfast addr del 192.0.2.7 --vnas blue
"""

_Command = TypeVar("_Command", bound=Callable[..., Any])

_instance = click.option(
    "--instance",
    metavar="NAME",
    default="default",
    envvar="VNASFAST_INSTANCE",
    help="Which tables: each network namespace can have its own; or VNASFAST_INSTANCE. Default: default.",
)
_vnas = click.option("--vnas", metavar="NAME", required=True, help="The VNAS's name, or its ID.")
_tables = click.argument("tables", metavar="TABLES", type=click.Path(exists=True, dir_okay=False, path_type=Path))


def _until_interrupted() -> contextlib.suppress:
    """Make Ctrl-C the right end of what has no other."""
    return contextlib.suppress(KeyboardInterrupt)


@click.command(context_settings=CONTEXT)
@_tables
@_instance
@click.option("--follow", is_flag=True, help="Stay, and follow addresses that others take away and bring back.")
def up(tables: Path, instance: str, follow: bool) -> None:
    """Let the kernel keep to a table file: each VNAS its own ANY address.

    Loads the programs, fills their tables, brings missing addresses up and attaches all to this network namespace and
    to the VNASs' cgroups. Nothing of it needs a process that stays. What an earlier "up" left is taken over, and only
    what differs is changed.
    """
    with plain_errors():
        from vnasfast.host.rule import wanted  # noqa: PLC0415 (the tables take longer to import than all else)

        rule = Rule(instance)
        _print(change.up(rule, wanted.read(tables)[1]))
        if follow:
            from vnasfast.host.rule import follow as following  # noqa: PLC0415

            with _until_interrupted():
                following.follow(rule)


@click.command(context_settings=CONTEXT)
@_instance
def down(instance: str) -> None:
    """Take all of it out of the kernel again.

    Programs, tables, addresses that were brought up, and cgroups without processes. Servers stay, and go on with what
    they are bound to.
    """
    with plain_errors():
        _print(Rule(instance).down())


@click.command(context_settings=CONTEXT)
@_tables
@_instance
def reload(tables: Path, instance: str) -> None:
    """Change to another table file while packets flow, and say what changed."""
    with plain_errors():
        from vnasfast.host.rule import wanted  # noqa: PLC0415

        changes = change.reload(Rule(instance), wanted.read(tables)[1])
        _print(changes or ["nothing changed"])


@click.command(context_settings=CONTEXT)
@_instance
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@click.option("--metrics", is_flag=True, help="Print it as Prometheus reads it.")
def status(instance: str, as_json: bool, metrics: bool) -> None:
    """Show the VNASs in the kernel: addresses, sockets, processes, counters."""
    if as_json and metrics:
        raise click.UsageError("--json and --metrics exclude each other")
    with plain_errors():
        found = state.status(Rule(instance))
        if as_json:
            show(json.dumps(found, indent=1))
        elif metrics:
            show(state.metrics(found).rstrip("\n"))
        else:
            show(state.on_screen(found))


@click.command(context_settings=CONTEXT)
@_instance
@click.option("--every", metavar="SECONDS", type=click.FloatRange(min=0.1), default=1.0, help="Default: 1.")
@click.option("--times", metavar="N", type=click.IntRange(min=1), help="Show it N times. Default: until Ctrl-C.")
def top(instance: str, every: float, times: int | None) -> None:
    """Show what comes to each VNAS, live."""
    with plain_errors(), _until_interrupted():
        rule = Rule(instance)
        before: dict[int, Counts] = {}
        shown = 0
        then = time.monotonic()
        while times is None or shown < times:
            found = state.status(rule)
            now = time.monotonic()
            if shown or times is None:
                click.clear()
            show(state.on_screen(found, before, max(now - then, 1e-3)))
            before = {vnas["id"]: Counts(**vnas["counters"]) for vnas in found["vnases"]}
            then = now
            shown += 1
            if shown != times:
                time.sleep(every)


@click.command(context_settings=CONTEXT | {"ignore_unknown_options": True, "allow_interspersed_args": False})
@_vnas
@_instance
@click.option("--user", metavar="USER", help="Run it as this user, by name or number.")
@click.argument("command", metavar="-- COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
def run(vnas: str, instance: str, user: str | None, command: tuple[str, ...]) -> None:
    """Start a process in a VNAS, where its children stay too."""
    with plain_errors():
        from vnasfast.host.rule import members  # noqa: PLC0415

        rule = Rule(instance)
        rule.require_here()
        members.start(rule, rule.vnas_named(vnas), list(command), members.user_named(user) if user else None)


@click.command(context_settings=CONTEXT)
@_vnas
@_instance
@click.option(
    "--cgroup", metavar="PATH", type=click.Path(exists=True, file_okay=False, path_type=Path), help="A cgroup v2."
)
@click.option("--unit", metavar="UNIT", help="A unit of systemd; also from its own ExecStartPre.")
@click.option("--pid", metavar="PID", type=click.IntRange(min=1), help="A process.")
def attach(vnas: str, instance: str, cgroup: Path | None, unit: str | None, pid: int | None) -> None:
    """Take processes that are running into a VNAS.

    Sockets that they open from now on are the VNAS's. Those that they bound to ANY before are found by the VNAS's
    addresses too if a cgroup or unit is given, but keep their port from the other VNASs until the server is restarted.
    """
    with plain_errors():
        from vnasfast.host.rule import members  # noqa: PLC0415

        if (cgroup is not None) + (unit is not None) + (pid is not None) != 1:
            raise InvalidValue("give one of --cgroup, --unit and --pid")
        rule = Rule(instance)
        rule.require_here()
        number = rule.vnas_named(vnas)
        if pid is not None:
            members.attach_pid(rule, number, pid)
        else:
            place = cgroup if cgroup is not None else members.cgroup_of_unit(str(unit))
            members.attach_cgroup(rule, number, place.resolve())


@click.group(epilog=_ADDR_EPILOG, context_settings=CONTEXT)
def addr() -> None:
    """Bring an address up for a VNAS, or take it away."""


@addr.command("add")
@click.argument("address", metavar="ADDRESS[/LEN]")
@click.argument("dev", metavar="dev", type=click.Choice(["dev"]))
@click.argument("interface", metavar="INTERFACE")
@_vnas
@_instance
def add(address: str, dev: str, interface: str, vnas: str, instance: str) -> None:
    """Bring an address up on an interface, and register it."""
    with plain_errors():
        rule, parsed = Rule(instance), _address(address)
        rule.require_here()
        if not change.register(rule, parsed.ip, parsed.network.prefixlen, interface, rule.vnas_named(vnas)):
            raise InvalidValue(f"{parsed.ip} is registered already: see vnasfast status")


@addr.command("del")
@click.argument("address", metavar="ADDRESS")
@_vnas
@_instance
def delete(address: str, vnas: str, instance: str) -> None:
    """Take an address down, if it is the VNAS's."""
    with plain_errors():
        rule, parsed = Rule(instance), _address(address)
        rule.require_here()
        if not change.withdraw(rule, parsed.ip, rule.vnas_named(vnas)):
            raise InvalidValue(f"{parsed.ip} is not registered for {vnas}: see vnasfast status")


def _address(text: str) -> Any:
    try:
        return ip_interface(text)
    except ValueError:
        raise InvalidValue(f"{text!r} is no address: write 192.0.2.7/24 or 2001:db8::7/64") from None


@click.command(context_settings=CONTEXT)
@_tables
@_instance
def check(tables: Path, instance: str) -> None:
    """Ask the kernel who gets each address and port of a table file, and compare.

    The kernel answers without a packet, by the lookup that a packet would take. The exit code is 1 if it differs from
    the tables.
    """
    with plain_errors():
        from vnasfast.host.rule import checking  # noqa: PLC0415

        report = checking.check(Rule(instance), tables)
        _print([*report.differences, report.summary])
    sys.exit(DIFFERENT if report.differences else 0)


def _print(lines: list[str]) -> None:
    if lines:
        show("\n".join(lines))
