"""What the benchmarks share: sizes, the measuring fixture, and a table of nanoseconds per packet."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from tabulate import tabulate

SMOKE_SOCKETS = 400
SMOKE_PACKETS = 2_000


@dataclass(frozen=True)
class Measured:
    """One case: seconds of the rounds, each of `n` units."""

    name: str
    n: int
    unit: str
    seconds: list[float]


MEASURED = pytest.StashKey[list[Measured]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the smoke run."""
    parser.addoption(
        "--smoke",
        action="store_true",
        help="Benchmarks: run each case once with small sizes; the figures mean nothing.",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Print our table in place of pytest-benchmark's, which does not know how many packets a round has."""
    config.stash[MEASURED] = []
    config.option.benchmark_quiet = True


@pytest.fixture(scope="session")
def scaled(request: pytest.FixtureRequest) -> Callable[..., int]:
    """Give the function that makes sizes small in a smoke run."""
    smoke = request.config.getoption("smoke")

    def scale(*, sockets: int = 0, packets: int = 0) -> int:
        if smoke:
            return min(sockets, SMOKE_SOCKETS) or min(packets, SMOKE_PACKETS)
        return sockets or packets

    return scale


@pytest.fixture
def measure(benchmark: Any, request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Give the function that measures a case, and returns what its last round returned."""

    def run(
        work: Callable[..., Any],
        n: int,
        *,
        unit: str = "packet",
        rounds: int = 15,
        setup: Callable[[], Any] | None = None,
    ) -> Any:
        smoke = request.config.getoption("smoke")
        result = benchmark.pedantic(
            work, setup=setup, rounds=1 if smoke else rounds, warmup_rounds=0 if smoke or setup else 1, iterations=1
        )
        if benchmark.stats is not None:
            stats = benchmark.stats.stats
            benchmark.extra_info |= {"n": n, f"ns_per_{unit}": stats.median / n * 1e9}
            name = request.node.name.removeprefix("test_")
            request.config.stash[MEASURED].append(Measured(name, n, unit, stats.data))
        return result

    return run


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the table."""
    measured = config.stash[MEASURED]
    if not measured:
        return
    title = "smoke run: small sizes, one round, the figures mean nothing" if config.getoption("smoke") else "benchmarks"
    terminalreporter.section(title)
    terminalreporter.write_line(tabulate(_rows(measured), headers="keys", floatfmt=",.1f", disable_numparse=[2]))


def _rows(measured: list[Measured]) -> Iterator[dict[str, Any]]:
    for case in measured:
        ordered = sorted(case.seconds)
        median = ordered[len(ordered) // 2]
        yield {
            "case": case.name,
            "each": case.unit,
            "a round": f"{case.n:,}",
            "median ns each": median / case.n * 1e9,
            "best": ordered[0] / case.n * 1e9,
            "million/s": case.n / median / 1e6,
            "rounds": len(ordered),
        }
