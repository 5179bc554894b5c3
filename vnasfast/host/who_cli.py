"""The command ``vnasfast who``."""

import sys
from typing import TYPE_CHECKING, Any

import click

from vnasfast.console import CONTEXT, OK, plain_errors, show, table

if TYPE_CHECKING:
    from vnasfast.host.who import Receiver, Verdict

DIFFERENT = 1

_EPILOG = """\b
Examples:
  vnasfast who 192.0.2.7:4242 10.0.0.1:80
  vnasfast who '[2001:db8::7]:4242' '[2001:db8::1]:53' --udp --kernel

\b
Exit codes:
  0    there is an answer, also if it is "nobody"
  1    the kernel's answer is another
  2    there is no answer: a wrong option, or the machine can't be read
  130  interrupted by Ctrl-C
"""


@click.command(epilog=_EPILOG, context_settings=CONTEXT)
@click.argument("remote", metavar="REMOTE")
@click.argument("local", metavar="LOCAL")
@click.option("--udp", is_flag=True, help="The packet is UDP. Default: TCP.")
@click.option("--kernel", is_flag=True, help="Ask the kernel too, and compare.")
@click.option("--netns", metavar="NAME|PID", help="It arrives in this network namespace. Default: this process's.")
@click.option("--json", "as_json", is_flag=True, help="Print the answer as JSON.")
def main(remote: str, local: str, udp: bool, kernel: bool, netns: str | None, as_json: bool) -> None:
    """Say which process of this machine gets a packet, and why.

    REMOTE, from where it comes, and LOCAL, to where it goes, are an address and a port, such as 192.0.2.7:4242 or
    [2001:db8::7]:4242. Nothing is sent.
    """
    with plain_errors():
        from vnasfast.host.who import parse_endpoint, who  # noqa: PLC0415 (with numpy: --help does without)

        protocol = "udp" if udp else "tcp"
        verdict = who(parse_endpoint(remote), parse_endpoint(local), protocol, netns=netns, kernel=kernel)
        if as_json:
            import json  # noqa: PLC0415

            show(json.dumps(_as_dict(verdict), indent=2))
        else:
            show(_screen(verdict))
    sys.exit(DIFFERENT if verdict.agree is False else OK)


def _as_dict(verdict: "Verdict") -> dict[str, Any]:
    kernel = None if verdict.kernel is None else verdict.kernel._asdict()
    return {
        "receiver": None if verdict.receiver is None else verdict.receiver._asdict(),
        "outcome": verdict.explanation.outcome.name,
        "steps": [step._asdict() for step in verdict.explanation.steps],
        "notes": verdict.notes,
    } | ({"kernel": kernel, "agree": verdict.agree} if verdict.asked else {})


def _screen(verdict: "Verdict") -> str:
    rows = [("tables", *_text(verdict.receiver))]
    if verdict.asked:
        rows.append(("kernel", *_text(verdict.kernel)))
    parts = [str(verdict.explanation), table(rows, "llrrr", ("by", "process", "PID", "UID", "socket inode"))]
    if verdict.asked:
        alike = "the same: nobody" if verdict.receiver is None else "the same socket"
        parts.append({True: alike, False: "NOT the same", None: "not to be compared"}[verdict.agree])
    if verdict.notes:
        parts.append("\n".join(["notes", *(f"    {note}" for note in verdict.notes)]))
    return "\n\n".join(parts)


def _text(receiver: "Receiver | None") -> tuple[str, str, str, str]:
    if receiver is None:
        return "nobody", "", "", ""
    pid = "" if receiver.pid is None else str(receiver.pid)
    return receiver.process or "not known", pid, str(receiver.uid), str(receiver.inode or "")
