"""Every file of a folder through reader, parser and dispatcher, counting: python tests/fuzz/every_capture.py FOLDER

A file that is no capture, or a damaged one, is no finding; any other exception is. Best under sanitized.py.
"""

import sys
from collections import Counter
from pathlib import Path

import numpy as np

from vnasfast import FLOW_KEY, Outcome, ServerMachine
from vnasfast.capture import open_capture
from vnasfast.errors import VnasError
from vnasfast.parse import parse_frames

PCAPS = Path(__file__).resolve().parents[2] / "pcaps"
MOST_EXPLAINED = 20     # frames a block


def machine_of(frames: np.ndarray) -> ServerMachine:
    """Make a machine to which some of the destinations belong, so that packets are delivered too."""
    machine = ServerMachine.load(PCAPS / "corners.toml", seed=1)
    server = machine.vnas_start(1, 50)
    for key in frames[frames["status"] >= 0][:50]:
        try:
            address = ".".join(map(str, key["destination"][12:])) if key["destination"][10] == 255 else None
            if address:
                machine.validate(server, address, "eth9", vlan=int(key["vlan"]))
            machine.bind(server, int(key["protocol"]), int(key["destination_port"]), freebind=True)
        except VnasError:
            continue  # the same again, or port 0
    return machine


def dispatch_block(capture, machine: ServerMachine | None, totals: Counter) -> ServerMachine | None:
    """Dispatch one block, link type by link type; the first block's destinations become the machine's."""
    rows = capture.interface_rows
    types = np.array([interface.link_type for interface in capture.interfaces], np.uint32)[rows]
    for link_type in np.unique(types):
        of_type = types == link_type
        columns = (capture.offsets[of_type], capture.lengths[of_type])
        wire_lengths = capture.wire_lengths[of_type]
        keys = parse_frames(capture.data, *columns, int(link_type), wire_lengths=wire_lengths)
        assert keys.dtype == FLOW_KEY
        if machine is None:
            machine = machine_of(keys)
        before = sum(usage.packets for usage in machine.outcomes.values())
        times_ns = capture.times_ns[of_type]
        options = {"wire_lengths": wire_lengths, "times_ns": times_ns}
        results = machine.dispatch_frames(capture.data, *columns, int(link_type), **options, count=True)
        assert sum(usage.packets for usage in machine.outcomes.values()) == before + len(results)
        plain = machine.dispatch_batch(keys, count=False)
        for key, result in list(zip(keys, plain.tolist(), strict=True))[:MOST_EXPLAINED]:
            explanation = machine.explain_key(key)
            assert result == (explanation.outcome if explanation.socket is None else explanation.socket)
        for result in results.tolist():
            totals[Outcome(min(result, 0)).name] += 1
    return machine


def read(path: Path, streamed: bool, totals: Counter) -> None:
    """Read a file by mapping it or as a stream."""
    machine = None
    with path.open("rb") as file:
        try:
            with open_capture(file if streamed else path) as capture:
                while capture.read():
                    machine = dispatch_block(capture, machine, totals)
        except VnasError as error:
            totals[type(error).__name__] += 1
    if machine is not None:
        machine.check()


def main() -> int:
    """Read every file in both ways, which must count the same."""
    counts = []
    paths = sorted(path for path in Path(sys.argv[1]).rglob("*") if path.is_file())
    for streamed in (False, True):
        totals: Counter[str] = Counter()
        for path in paths:
            read(path, streamed, totals)
        counts.append(totals)
        print(f"{len(paths)} files, {'streamed' if streamed else 'mapped'}: {dict(totals)}", flush=True)
    assert counts[0] == counts[1]
    return 0


if __name__ == "__main__":
    sys.exit(main())
