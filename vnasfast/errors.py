"""The errors of vnasfast. Each is a VnasError and the builtin that a person expects.

A packet that reaches no socket is no error: it is an :class:`vnasfast.Outcome`.
"""

import errno


class VnasError(Exception):
    """Base of all errors that vnasfast raises on purpose."""


class InvalidValue(VnasError, ValueError):
    """An argument has no meaning: a port above 65535, an address that is none, an array of another dtype."""


class _Errno(VnasError, OSError):
    """An error that the socket interface would report with an errno."""

    code = 0

    def __init__(self, message: str) -> None:
        super().__init__(self.code, message)

    def __str__(self) -> str:
        return f"{self.strerror} [{errno.errorcode[self.code]}]"

    def __reduce__(self) -> tuple[type["_Errno"], tuple[str]]:
        return type(self), (str(self.strerror),)


class AddressInUse(_Errno):
    """The (protocol, port, recipient address, VNAS) has a socket, and not both asked for port sharing."""

    code = errno.EADDRINUSE


class AddressNotAvailable(_Errno):
    """The address does not belong to the process's VNAS, or the VNAS has no source address on the interface."""

    code = errno.EADDRNOTAVAIL


class NoSuchProcess(_Errno, ProcessLookupError):
    """No process has this PID."""

    code = errno.ESRCH


class ProcessExists(_Errno, FileExistsError):
    """A process has this PID already."""

    code = errno.EEXIST


class NoSuchSocket(_Errno):
    """No open socket has this socket ID."""

    code = errno.EBADF


class CaptureError(VnasError, ValueError):
    """A capture can't be read, or not further.

    Attributes
    ----------
    name : str
        The file's name, ``-`` for standard input.
    offset : int
        Where in the (decompressed) file, in bytes.
    problem : str
        What was wrong, and what to do.
    """

    def __init__(self, name: str, offset: int, problem: str) -> None:
        super().__init__(name, offset, problem)
        self.name = name
        self.offset = offset
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name}: byte {self.offset}: {self.problem}"


class TableFileError(VnasError, ValueError):
    """A table file can't be used.

    Attributes
    ----------
    name : str
        The file's name.
    line : int or None
        The line, from 1, where it is known.
    key : str
        The key, such as ``sockets[2].port``; empty for a mistake in the file's syntax.
    problem : str
        What is wrong, and what would be right.
    """

    def __init__(self, name: str, line: int | None, key: str, problem: str) -> None:
        super().__init__(name, line, key, problem)
        self.name = name
        self.line = line
        self.key = key
        self.problem = problem

    def __str__(self) -> str:
        place = self.name if self.line is None else f"{self.name}:{self.line}"
        return ": ".join(part for part in (place, self.key, self.problem) if part)


class SnapshotError(VnasError, ValueError):
    """A snapshot can't be used.

    Attributes
    ----------
    name : str
        The file's name.
    problem : str
        What is wrong, and what to do.
    """

    def __init__(self, name: str, problem: str) -> None:
        super().__init__(name, problem)
        self.name = name
        self.problem = problem

    def __str__(self) -> str:
        return f"{self.name}: {self.problem}"


class FrozenError(VnasError, AttributeError):
    """A snapshot does not change.

    Attributes
    ----------
    wish : str
        What was asked of it.
    """

    def __init__(self, wish: str) -> None:
        super().__init__(wish)
        self.wish = wish

    def __str__(self) -> str:
        return f"a snapshot does not change: {self.wish} on the machine that it is of, and freeze that again"


class MissingExtra(VnasError, ImportError):
    """An optional part is not installed; the message says which to install."""

    def __init__(self, need: str, extra: str) -> None:
        super().__init__(f"{need} needs an optional part: pip install 'vnasfast[{extra}]'")


class OracleError(VnasError, OSError):
    """The running kernel can't be asked who would get a packet; ``errno`` is the kernel's."""

    def __str__(self) -> str:
        return str(self.strerror)


class HostError(VnasError, OSError):
    """A running machine can't be read: what of it, and what to do; ``errno`` is the kernel's."""

    def __str__(self) -> str:
        return str(self.strerror)


class RuleError(VnasError, OSError):
    """The kernel, or this process, can't enforce the tables.

    Attributes
    ----------
    log : str
        What libbpf and the kernel's verifier said, if they said anything.
    """

    def __init__(self, code: int, message: str, log: str = "") -> None:
        super().__init__(code, message)
        self.log = log

    def __str__(self) -> str:
        return str(self.strerror)


class NamespaceError(VnasError, OSError):
    """A network namespace can't be made or furnished; ``errno`` is the kernel's."""

    def __str__(self) -> str:
        return str(self.strerror)
