"""The command ``vnasfast host``."""

import sys

import click

from vnasfast.console import CONTEXT, check_output, is_terminal, plain_errors, show
from vnasfast.host.ways import WAYS

_EPILOG = """\b
Examples:
  vnasfast host
  vnasfast host --all-netns --group-by container
  vnasfast host --netns blue --json
  vnasfast host --save tables.toml && vnasfast replay --tables tables.toml monday.pcap

\b
Exit codes:
  0    the machine was read; what could not be seen is said
  2    it can't be read, or a wrong option
  130  interrupted by Ctrl-C
"""


@click.command(epilog=_EPILOG, context_settings=CONTEXT)
@click.option("--netns", metavar="NAME|PID", help="Read this network namespace. Default: that of this process.")
@click.option("--all-netns", "every_netns", is_flag=True, help="Read all network namespaces.")
@click.option(
    "--group-by",
    type=click.Choice(WAYS),
    default="netns",
    show_default=True,
    help="What makes sockets belong together.",
)
@click.option("--all", "-a", "every_socket", is_flag=True, help="Show connected sockets too.")
@click.option("--json", "as_json", is_flag=True, help="Print all as JSON.")
@click.option("--save", metavar="FILE.toml", help="Write a table file, each group a VNAS.")
def main(
    netns: str | None, every_netns: bool, group_by: str, every_socket: bool, as_json: bool, save: str | None
) -> None:
    """Show this machine: its addresses, routes and sockets, and whose they are.

    Sockets and addresses come from the kernel by netlink, processes from /proc, and what neither says, such as
    SO_REUSEPORT, from the sockets themselves. Root sees all; others see their own, and are told what they don't see.
    """
    with plain_errors():
        if netns is not None and every_netns:
            raise click.UsageError("--netns and --all-netns exclude each other")
        if save is not None:
            check_output(save)
        _show(netns, every_netns, group_by, every_socket, as_json, save)


def _show(
    netns: str | None, every_netns: bool, group_by: str, every_socket: bool, as_json: bool, save: str | None
) -> None:
    from vnasfast.host.reading import snapshot  # noqa: PLC0415
    from vnasfast.host.report import as_dict, screen  # noqa: PLC0415 (with numpy: --help does without)

    host = snapshot(netns, every_netns=every_netns)
    notes: list[str] = []
    if save is not None:
        from vnasfast.host.tables import tables_of  # noqa: PLC0415

        tables = tables_of(host, group_by)
        tables.machine.save(save)
        notes = tables.notes
    if as_json:
        import json  # noqa: PLC0415

        report = as_dict(host, group_by) | ({"saved": save, "notes": notes} if save else {})
        # Lines for people only: they take Python's slow encoder, half a second for 20,000 sockets.
        show(json.dumps(report, indent=2 if is_terminal(sys.stdout) else None))
        return
    show(screen(host, group_by, every_socket=every_socket))
    if save is not None:
        show("\n".join([f"\nsaved    {save}", *(f"    {note}" for note in notes)]))
