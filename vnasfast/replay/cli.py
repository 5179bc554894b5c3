"""The command line of the replayer."""

import errno
import os
import stat
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from vnasfast.console import (
    CONTEXT,
    INTERRUPTED,
    OK,
    UNUSABLE,
    check_output,
    complain,
    is_terminal,
    plain_errors,
    reason,
    show,
    version_option,
)
from vnasfast.host.ways import WAYS

if TYPE_CHECKING:
    from vnasfast.capture import Capture
    from vnasfast.replay.report import Report
    from vnasfast.replay.run import Replay

DAMAGED = 1

# The bar appears after this many seconds, so that short work prints nothing but its report.
_PATIENCE = 1.0

_EPILOG = """\b
Examples:
  python -m vnasfast.replay pcaps/three-servers.pcap
  python -m vnasfast.replay --tables machine.toml monday.pcap tuesday.pcap.gz
  python -m vnasfast.replay --host --group-by executable monday.pcap
  python -m vnasfast.replay --save-tables machine.toml monday.pcap
  tcpdump -i eth0 -w - | python -m vnasfast.replay --tables machine.toml -
  python -m vnasfast.replay --deliveries rows.csv --json monday.pcap > monday.json

\b
Exit codes:
  0    all packets of all captures were read
  1    a capture is damaged, or could not be read to its end; all before that is in the report
  2    there is no report: a wrong option, or a file that can't be used
  130  interrupted by Ctrl-C; the report is of what was read until then
"""


@click.command(epilog=_EPILOG, context_settings=CONTEXT)
@click.argument("captures", metavar="CAPTURE...", nargs=-1, required=True)
@click.option(
    "--tables",
    metavar="FILE",
    help="The table file: processes, addresses, sockets. Default: capture.toml beside capture.pcap; without one the"
    " tables are learned from the captures.",
)
@click.option("--host", is_flag=True, help="Take the tables of this machine as it is now: who of it gets the packets.")
@click.option("--netns", metavar="NAME|PID", help="With --host: of this network namespace. Default: this process's.")
@click.option("--all-netns", "every_netns", is_flag=True, help="With --host: of all network namespaces.")
@click.option(
    "--group-by",
    type=click.Choice(WAYS),
    help="With --host: what the report's groups are. Default: netns. Packets are dispatched as this machine does.",
)
@click.option("--save-tables", metavar="FILE", help="Write the tables used, such as those learned, to a table file.")
@click.option(
    "--embodiment",
    type=click.IntRange(1, 2),
    default=1,
    show_default=True,
    help="Form of the saved table file: 1, one ANY-address table; 2, one of each VNAS.",
)
@click.option(
    "--deliveries",
    metavar="FILE.csv",
    help="Write one row a frame: when, from where to where, which VNAS, socket and process, or why none. Frames count"
    " from 1 through all captures.",
)
@click.option("--limit", metavar="N", type=click.IntRange(min=1), help="Read no more than N packets, of all captures.")
@click.option(
    "--threads",
    metavar="N",
    type=click.IntRange(min=1),
    help="Use at most N processors; default all. The results don't depend on it.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--quiet", "-q", is_flag=True, help="Print no report on screen and no progress; --json still prints.")
@version_option()
def main(
    captures: tuple[str, ...],
    tables: str | None,
    host: bool,
    netns: str | None,
    every_netns: bool,
    group_by: str | None,
    save_tables: str | None,
    embodiment: int,
    deliveries: str | None,
    limit: int | None,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """Say which server application each packet of a capture belongs to.

    CAPTURE is a pcap or pcapng file, also compressed by gzip, bzip2, xz or zstd; "-" is standard input. Several are
    read one after the other, through the same tables, into one report.

    Each packet goes by its destination address to a VNAS (one of the servers that live on the machine) and by its port
    to a socket of that VNAS. The report has one row for each service of each VNAS, says why the other packets
    reached no socket, and for which addresses and ports they were.
    """
    with plain_errors():
        wish = _host_wish(tables, host, netns, every_netns, group_by)
        code = _replay(captures, tables, wish, save_tables, embodiment, deliveries, limit, threads, as_json, quiet)
    sys.exit(code)


def _host_wish(
    tables: str | None, host: bool, netns: str | None, every_netns: bool, group_by: str | None
) -> tuple[str | None, bool, str] | None:
    """Check the options of a running machine; give what `host_tables` takes, if it is wished for."""
    if host and tables is not None:
        raise click.UsageError("--host and --tables exclude each other")
    if netns is not None and every_netns:
        raise click.UsageError("--netns and --all-netns exclude each other")
    for option, given in (("--netns", netns is not None), ("--all-netns", every_netns), ("--group-by", group_by)):
        if given and not host:
            raise click.UsageError(f"{option} belongs to --host")
    return (netns, every_netns, group_by or WAYS[0]) if host else None


def _replay(
    captures: Sequence[str],
    tables: str | None,
    wish: tuple[str | None, bool, str] | None,
    save_tables: str | None,
    embodiment: int,
    deliveries: str | None,
    limit: int | None,
    threads: int | None,
    as_json: bool,
    quiet: bool,
) -> int:
    _check_files(captures, tables, {"--save-tables": save_tables, "--deliveries": deliveries})
    from vnasfast.replay.choose import choose_tables, find_beside, host_tables  # noqa: PLC0415 (after the cheap checks)
    from vnasfast.replay.run import Replay, Sources  # noqa: PLC0415

    show_progress = not quiet and is_terminal(sys.stderr)
    learning = tables is None and wish is None and find_beside(captures) is None
    with Sources(captures, learning=learning) as sources:
        with _Bar(sources.paths, "learning", wanted=show_progress and learning) as bar:
            if wish is not None:
                chosen = host_tables(*wish)
            else:
                chosen = choose_tables(sources.paths, tables, limit=limit, on_progress=bar, interruptible=True)
        if chosen.interrupted_after is not None:
            limit = max(1, chosen.interrupted_after)  # the report is of what was learned from
        with (
            Replay(chosen, deliveries=deliveries, limit=limit, threads=threads) as running,
            _Bar(sources.paths, "replaying", wanted=show_progress) as bar,
        ):
            _feed_all(running, captures, sources.paths, bar)
            running.interrupted |= sources.interrupted or chosen.interrupted_after is not None
    code = INTERRUPTED if running.interrupted else OK
    problems = [capture.damage.message for capture in running.captures if capture.damage is not None]
    if problems and code == OK:
        code = DAMAGED
    if save_tables is not None:
        # Last, so that what is no capture leaves no tables; and a full disk then takes no report away.
        try:
            chosen.machine.save(save_tables, embodiment=embodiment)
            running.saved = save_tables
        except OSError as error:
            problems.append(reason(error))
            code = UNUSABLE
    if as_json or not quiet:
        _print(running.report(), as_json)
    for problem in problems:
        complain(problem)
    return code


def _feed_all(running: "Replay", names: Sequence[str], paths: Sequence[str], bar: "_Bar | None") -> None:
    """Feed all captures; Ctrl-C ends it early."""
    from vnasfast.capture import open_capture  # noqa: PLC0415
    from vnasfast.errors import CaptureError  # noqa: PLC0415

    try:
        for name, path in zip(names, paths, strict=False):
            if running.full:
                break
            try:
                capture = open_capture(path)
            except CaptureError as error:  # a stream's temporary file is nothing that the person knows
                raise CaptureError(name, error.offset, error.problem) from None
            with capture:
                running.feed(capture, name=name, on_progress=bar)
    except KeyboardInterrupt:
        running.interrupted = True


# ---- files -----------------------------------------------------------------------------------------------------------


def _check_files(captures: Sequence[str], tables: str | None, outputs: dict[str, str | None]) -> None:
    """Find the mistakes that would otherwise show after minutes of work, and outputs that would destroy inputs."""
    if captures.count("-") > 1:
        raise click.UsageError("standard input (-) can be read only once")
    if "-" in captures and is_terminal(sys.stdin):
        raise click.UsageError("standard input is a terminal: pipe a capture into it")
    files = [path for path in captures if path != "-"]
    for path in files:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(errno.EISDIR, "is a directory; name the captures in it", path)
        # A pipe must not be opened before its turn; the only capture is opened soon enough.
        if len(captures) > 1 and stat.S_ISREG(status.st_mode):
            from vnasfast.capture import open_capture  # noqa: PLC0415

            open_capture(path).close()
    taken = dict.fromkeys(files, "a capture")
    for option, output in outputs.items():
        if output is None:
            continue
        for other, role in taken.items():
            if _same_file(output, other):
                raise click.UsageError(f"{option} {output} would overwrite {role}")
        if tables is not None and option != "--save-tables" and _same_file(output, tables):
            raise click.UsageError(f"{option} {output} would overwrite the table file")
        taken[output] = f"the file of {option}"
        check_output(output)


def _same_file(path: str, other: str) -> bool:
    if os.path.abspath(path) == os.path.abspath(other):
        return True
    try:
        # Two of a kind that may be named twice, such as /dev/null, destroy nothing.
        return os.path.samefile(path, other) and stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False


# ---- output ----------------------------------------------------------------------------------------------------------


def _print(report: "Report", as_json: bool) -> None:
    if as_json:
        import json  # noqa: PLC0415

        text = json.dumps(report.as_dict(), indent=2)
    else:
        from vnasfast.replay.screen import screen  # noqa: PLC0415

        text = screen(report)
    show(text)


class _Bar:
    """A progress bar by bytes, made when the work turns out to be long.

    As a context manager it gives itself if it is wanted, else None.
    """

    def __init__(self, paths: Sequence[str], verb: str, *, wanted: bool) -> None:
        self._wanted = wanted
        self._verb = verb
        sizes = [_size_of(path) for path in paths] if wanted else []
        self._total = None if None in sizes else sum(size for size in sizes if size is not None)
        self._capture: Capture | None = None
        self._before = 0
        self._started = time.monotonic()
        self._next = self._started + _PATIENCE
        self._bar: Any = None

    def __enter__(self) -> "_Bar | None":
        return self if self._wanted else None

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, capture: "Capture", packets: int) -> None:
        if capture is not self._capture:
            self._before += 0 if self._capture is None else self._capture.source_position
            self._capture = capture
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + 0.1
        if self._bar is None:
            from tqdm import tqdm  # noqa: PLC0415 (not needed for short work)

            self._bar = tqdm(
                desc=self._verb,
                total=self._total,
                unit="B",
                unit_scale=True,
                smoothing=0,
                file=sys.stderr,
                leave=False,
                dynamic_ncols=True,
                mininterval=0,
                miniters=1,
            )
            self._bar.start_t -= now - self._started
        rate = self._bar.format_sizeof(packets / (now - self._started))
        self._bar.set_postfix_str(f"{packets:,} packets, {rate}/s", refresh=False)
        self._bar.update(self._before + capture.source_position - self._bar.n)


def _size_of(path: str) -> int | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_size if stat.S_ISREG(status.st_mode) else None
