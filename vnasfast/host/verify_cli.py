"""``vnasfast verify``: does this kernel do what the policy `linux` says?"""

import json
import os
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

import click

from vnasfast.console import CONTEXT, is_terminal, plain_errors, show

if TYPE_CHECKING:
    from vnasfast.host.verify import Result, Rules

_EPILOG = """\b
Examples:
  vnasfast verify                          # a few seconds
  vnasfast verify --sets 2000 --seed 7     # two million packets
  vnasfast verify --policy linux-6.12      # where does this kernel differ from an older one?

Exit codes: 0 the kernel and the policy agree; 1 they differ; 2 it can't be tried here.
"""

_DIFFERS = 1


@click.command(context_settings=CONTEXT, epilog=_EPILOG)
@click.option("--sets", type=click.IntRange(1), default=300, show_default=True, help="How many sets of sockets.")
@click.option("--queries", type=click.IntRange(2), default=1000, show_default=True, help="Packets with each.")
@click.option("--seed", type=click.IntRange(0), help="The same seed, the same sets. Default: random.")
@click.option(
    "--policy",
    type=click.Choice(("linux-6.12", "linux-6.18")),
    help="Whose rules. Default: those of the running kernel.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def main(sets: int, queries: int, seed: int | None, policy: str | None, as_json: bool) -> None:
    """Fuzz the policy linux against the running kernel.

    In a network namespace of its own it makes random sets of TCP and UDP sockets, IPv4 and IPv6, and asks the kernel,
    by sock_diag, who would get random packets; the policy must say the same. Where they differ, the set is shrunk
    until nothing of it can be left out, and printed as a script. It needs root, or user namespaces.
    """
    with plain_errors():
        from vnasfast.host.lab import enter_namespace, furnish  # noqa: PLC0415 (the command's list needs none of it)

        # Before numpy comes, which starts threads: a process of several may not enter a user namespace.
        one_user = enter_namespace()
        from vnasfast.host.oracle import Oracle  # noqa: PLC0415
        from vnasfast.host.socket_sets import ADDRESSES, DEVICES  # noqa: PLC0415
        from vnasfast.host.verify import rules_of, script, verify  # noqa: PLC0415
        from vnasfast.machine import ServerMachine  # noqa: PLC0415

        furnish(ADDRESSES)
        rules = rules_of(os.uname().release) if policy is None else None
        chosen = policy if rules is None else rules.policy
        seed = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        started = time.monotonic()
        with Oracle() as oracle:
            result = None
            for result in verify(
                lambda: ServerMachine(policy=str(chosen)),
                oracle,
                {device: socket.if_nametoindex(device) for device in DEVICES},
                sets=sets,
                queries=queries,
                seed=seed,
                several_uids=not one_user and os.geteuid() == 0,
            ):
                if is_terminal(sys.stderr) and not as_json:
                    click.echo(f"\r{result.sets:,} of {sets:,} sets, {result.queries:,} packets", nl=False, err=True)
        if is_terminal(sys.stderr) and not as_json:
            click.echo("\r\033[K", nl=False, err=True)
        assert result is not None  # noqa: S101 (there is at least one set)
        seconds = time.monotonic() - started
        facts = _facts(result, rules, str(chosen), seed, seconds, one_user)
        if as_json:
            scripts = [script(difference) for difference in result.differences]
            show(json.dumps(facts | {"differences": scripts}, indent=2))
        else:
            show(_report(facts, len(result.differences)))
            for difference in result.differences:
                show(f"\nThe smallest set of sockets that differs, as a script:\n\n{script(difference)}")
    if result.differences:
        sys.exit(_DIFFERS)


def _facts(
    result: "Result", rules: "Rules | None", policy: str, seed: int, seconds: float, one_user: bool
) -> dict[str, Any]:
    return {
        "kernel": os.uname().release,
        "policy": policy,
        "assumed": rules is not None and not rules.known,
        "seed": seed,
        "sets": result.sets,
        "sockets": result.sockets,
        "packets": result.queries,
        "delivered": result.delivered,
        "by_kind": result.by_kind,
        "one_user": one_user,
        "seconds": round(seconds, 1),
    }


def _report(facts: dict[str, Any], differences: int) -> str:
    lines = [f"kernel    {facts['kernel']}", f"policy    {facts['policy']}"]
    if facts["assumed"]:
        lines[1] += " (assumed: this kernel is not one that the policy was written for)"
    kinds = ", ".join(f"{kind} {n:,}" for kind, n in facts["by_kind"].items())
    lines += [
        f"sets      {facts['sets']:,} with {facts['sockets']:,} sockets (seed {facts['seed']})",
        f"packets   {facts['packets']:,}: {kinds}",
        f"          {facts['delivered']:,} have a receiver",
        f"time      {facts['seconds']} s",
    ]
    if facts["one_user"]:
        lines.append("users     one: in a user namespace there are no sockets of another")
    lines.append(f"result    {'the kernel differs from the policy' if differences else 'no difference'}")
    return "\n".join(lines)
