"""What all commands share: exit codes, one-line errors, output that may be cut short, tables, how a process ends."""

import contextlib
import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

OK = 0
#: There is no answer: a wrong option, a file that can't be used, a right that is missing.
UNUSABLE = 2
INTERRUPTED = 130
#: Of every command of click.
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def complain(message: str) -> None:
    """Print one line to standard error."""
    import click  # noqa: PLC0415 (in time that Ctrl-C may interrupt)

    with contextlib.suppress(OSError):
        click.echo(f"Error: {' '.join(message.split())}", err=True)


def stop(message: str) -> NoReturn:
    """End because something can't be used."""
    complain(message)
    sys.exit(UNUSABLE)


def reason(error: OSError) -> str:
    """Say which file and why."""
    name = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    return f"{name}{error.strerror or error}"


@contextlib.contextmanager
def plain_errors() -> Iterator[None]:
    """Turn what may go wrong into one line and an exit code."""
    from vnasfast.errors import VnasError  # noqa: PLC0415 (--help and --version need no vnasfast)

    try:
        yield
    except KeyboardInterrupt:
        complain("interrupted")
        sys.exit(INTERRUPTED)
    except VnasError as error:
        stop(str(error))
    except OSError as error:
        stop(reason(error))
    except MemoryError:
        stop("out of memory")


def check_output(path: str) -> None:
    """Find out before long work that its file can't be written.

    Raises
    ------
    OSError
    """
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, "is a directory; name a file", path)
    if not os.path.isdir(folder):
        raise FileNotFoundError(errno.ENOENT, "there is no such folder to write to", folder)
    if not os.access(path if os.path.exists(path) else folder, os.W_OK):
        raise PermissionError(errno.EACCES, "can't be written: permission denied", path)


def show(text: str) -> None:
    """Print to standard output, whose reader may stop reading, as ``| head`` does."""
    import click  # noqa: PLC0415

    try:
        click.echo(text)
        sys.stdout.flush()
    except OSError as error:
        # The interpreter would try again at its end, and complain once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise OSError(error.errno, error.strerror, "standard output") from None


def is_terminal(stream: Any) -> bool:
    """Tell whether a person looks on; a stream may be missing."""
    return stream is not None and stream.isatty()


def table(rows: Sequence[tuple[str, ...]], align: str, headers: tuple[str, ...] = ()) -> str:
    """Write rows as columns, ``l`` or ``r`` aligned.

    As the library tabulate does in its formats "plain" and "simple"; its import alone took 60 ms, a fourth of what a
    capture of 200 packets takes from start to exit.
    """
    cells = [[cell.strip() for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    if headers:
        widths = [max(width, len(header) + 2) for width, header in zip(widths, headers, strict=True)]
        cells = [list(headers), ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(row, widths, align, strict=True)
        ).rstrip()
        for row in cells
    )


def version_option() -> Callable[[Callable[..., object]], Callable[..., object]]:
    """Make the option ``--version`` of a command of click."""
    import click  # noqa: PLC0415

    return click.option(
        "--version",
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_version,
        help="Print the version and exit.",
    )


def _show_version(context: Any, _option: Any, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from importlib.metadata import PackageNotFoundError, version  # noqa: PLC0415 (slow, rarely needed)

    import click  # noqa: PLC0415

    try:
        number = version("vnasfast")
    except PackageNotFoundError:
        number = "(not installed)"
    click.echo(f"vnasfast {number}")
    context.exit()


def run_and_end(command: Callable[[], object]) -> NoReturn:
    """Run a command of click and end the process as soon as all is written.

    Parameters
    ----------
    command : callable
        Imports and runs it; Ctrl-C may come meanwhile.
    """
    # A short process that makes no cycles: looking for them took 5 % of a replay with a table file of 10k sockets.
    gc.disable()
    code = _run(command)
    try:
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except (OSError, ValueError):  # the interpreter says what there is to say
        sys.exit(code)
    # All is written and closed. Taking what is left apart took 15 ms, a tenth of a short replay.
    os._exit(code)


def _run(command: Callable[[], object]) -> int:
    try:
        command()
    except KeyboardInterrupt:
        return INTERRUPTED
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
