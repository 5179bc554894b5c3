"""The hosts that the corners speak of, and the frames with the truth about each."""

from collections.abc import Sequence
from dataclasses import dataclass

from corner_frames import DOT1Q, Tags, ethernet, packet

CLIENT, CLIENT6 = "10.2.0.99", "fd00:2::99"
BASE, ALPHA, ALPHA_TOO, BETA, GAMMA = "10.2.0.254", "10.2.0.1", "10.2.0.11", "10.2.0.2", "10.2.0.3"
ALPHA6, BETA6, GAMMA6 = "fd00:2::1", "fd00:2::2", "fd00:2::3"
BOTH, BOTH6 = "192.168.7.7", "fd00:7::7"
VLAN_0, VLAN100, VLAN200 = ((DOT1Q, 0xA000),), ((DOT1Q, 100),), ((DOT1Q, 200),)


@dataclass(frozen=True)
class Truth:
    """A row of the truth; the fields are the columns."""

    frame: int
    vnas: int | None
    pid: int | None
    outcome: str
    socket_pids: str
    why: str


class Corners:
    """The frames and the truth about each, in order."""

    def __init__(self) -> None:
        self.frames: list[tuple[bytes, int]] = []
        self.truth: list[Truth] = []

    def delivered(self, frame: bytes, pids: int | Sequence[int], why: str, wire: int | None = None) -> None:
        """Add a frame that one of these processes receives; hundreds of a PID are its VNAS, as in TABLES."""
        allowed = [pids] if isinstance(pids, int) else list(pids)
        pid = allowed[0] if len(allowed) == 1 else None
        self._add(frame, wire, allowed[0] // 100, pid, "DELIVERED", "|".join(map(str, allowed)), why)

    def missed(self, frame: bytes, outcome: str, why: str, wire: int | None = None) -> None:
        """Add a frame that reaches no socket."""
        self._add(frame, wire, None, None, outcome, "", why)

    def _add(self, frame: bytes, wire: int | None, *row: int | str | None) -> None:
        self.frames.append((frame, len(frame) if wire is None else wire))
        self.truth.append(Truth(len(self.frames), *row))  # type: ignore[arg-type]


def whole(
    protocol: int, source: str, source_port: int, destination: str, port: int, *, tags: Tags = ()
) -> bytes:
    """Build a frame with a whole packet."""
    return ethernet(*packet(protocol, source, source_port, destination, port), tags)


def local(protocol: int, source: str, source_port: int, destination: str, port: int) -> bytes:
    """Build a frame as the loopback interface shows it."""
    return ethernet(*packet(protocol, source, source_port, destination, port), loopback=True)
