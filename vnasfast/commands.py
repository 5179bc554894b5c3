"""The commands of ``vnasfast``, each imported when it is used."""

import gc
import sys
from importlib import import_module
from typing import NamedTuple

import click

from vnasfast.console import CONTEXT, version_option


class Entry(NamedTuple):
    """Where a command is, and its line in the list of commands."""

    module: str
    help: str
    name: str = "main"
    """The click command in that module."""
    lasting: bool = False
    """It runs until it's stopped, so cycles of objects must be looked for; commands that end soon do without."""


#: A command more is a line more. A test holds each line to the command's own help.
COMMANDS = {
    "addr": Entry("vnasfast.host.rule.commands", "Bring an address up for a VNAS, or take it away.", "addr"),
    "attach": Entry("vnasfast.host.rule.commands", "Take processes that are running into a VNAS.", "attach"),
    "check": Entry(
        "vnasfast.host.rule.commands",
        "Ask the kernel who gets each address and port of a table file, and compare.",
        "check",
    ),
    "down": Entry("vnasfast.host.rule.commands", "Take all of it out of the kernel again.", "down"),
    "host": Entry("vnasfast.host.cli", "Show this machine: its addresses, routes and sockets, and whose they are."),
    "replay": Entry("vnasfast.replay.cli", "Say which server application each packet of a capture belongs to."),
    "reload": Entry(
        "vnasfast.host.rule.commands",
        "Change to another table file while packets flow, and say what changed.",
        "reload",
    ),
    "run": Entry("vnasfast.host.rule.commands", "Start a process in a VNAS, where its children stay too.", "run"),
    "status": Entry(
        "vnasfast.host.rule.commands",
        "Show the VNASs in the kernel: addresses, sockets, processes, counters.",
        "status",
    ),
    "top": Entry("vnasfast.host.rule.commands", "Show what comes to each VNAS, live.", "top", lasting=True),
    "up": Entry(
        "vnasfast.host.rule.commands",
        "Let the kernel keep to a table file: each VNAS its own ANY address.",
        "up",
        lasting=True,
    ),
    "verify": Entry("vnasfast.host.verify_cli", "Fuzz the policy linux against the running kernel."),
    "who": Entry("vnasfast.host.who_cli", "Say which process of this machine gets a packet, and why."),
}

_EPILOG = """\b
Examples:
  vnasfast host
  vnasfast who 192.0.2.7:4242 10.0.0.1:80
  vnasfast replay pcaps/three-servers.pcap
  vnasfast replay --help
"""


def load(name: str) -> click.Command:
    """Import a command."""
    entry = COMMANDS[name]
    if entry.lasting:
        gc.enable()
    command: click.Command = getattr(import_module(entry.module), entry.name)
    return command


class Commands(click.Group):
    """All commands; their list needs none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name all commands, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command of this name."""
        return load(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.help) for name, entry in COMMANDS.items()])


@click.command(
    cls=Commands,
    epilog=_EPILOG,
    context_settings=CONTEXT,
)
@version_option()
def group() -> None:
    """Which of several identical servers on one operating system does each packet belong to?

    "vnasfast COMMAND --help" says what a command does.
    """


def run(prog_name: str) -> None:
    """Run what the arguments of this process ask for."""
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name in COMMANDS:
        # Not through the group: click would end with another code on a Ctrl-C while the command is imported.
        load(name).main(sys.argv[2:], prog_name=f"{prog_name} {name}")
    group.main(sys.argv[1:], prog_name=prog_name)
