"""What people ask of tables, whether they change or are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vnasfast.dispatch.dispatcher import Dispatcher
from vnasfast.outcome import Outcome
from vnasfast.parse.text import protocol_name
from vnasfast.tables.linux_sockets import linux_rows, policy_of
from vnasfast.tables.listing import address_rows, outcome_usage, process_rows, route_rows, socket_rows, vnas_usage
from vnasfast.values import MOST, checked, checked_pid, packed_address, unpacked_address, unpacked_network

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    import numpy as np
    from numpy.typing import NDArray

    from vnasfast.dispatch.explanation import Explanation
    from vnasfast.tables.resources import Usage
    from vnasfast.tables.rows import AddressRow, LinuxRow, ProcessRow, RouteRow, SocketRow


class TableViews(Dispatcher):
    """Tables that dispatch, and what they hold: the base of `ServerMachine` and `Snapshot`.

    Attributes
    ----------
    names : mapping of int to str
        VNAS ID → a name for reports.
    """

    names: Mapping[int, str]

    def source_address(self, pid: int, destination: str | IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
        """Choose the source address of a request or reply (source address setting).

        The process's VNAS; the interface to which the destination is routed; the first entry of the ANY-address
        table, in order of registration, of the destination's family, with that VNAS and that interface.

        Raises
        ------
        AddressNotAvailable
            There is no route, or no such entry.
        NoSuchProcess, InvalidValue
        """
        return unpacked_address(self.tables.source_address(checked_pid(pid), packed_address(destination)))

    # ---- why -------------------------------------------------------------------------------------------------------

    def explain(
        self,
        frame: object,
        link_type: int | None = None,
        *,
        source_pid: int = 0,
        wire_length: int | None = None,
        time_ns: int = 0,
    ) -> Explanation:
        """Explain how `dispatch` decides on a frame, step by step. Changes and counts nothing.

        Parameters are those of `dispatch`.
        """
        from vnasfast.dispatch.explain import explain_frame  # noqa: PLC0415 (rarely needed)

        return explain_frame(self, frame, link_type, source_pid, wire_length, time_ns)

    def explain_key(self, key: NDArray[Any] | np.void) -> Explanation:
        """Explain how `dispatch_batch` decides on one key of FLOW_KEY."""
        from vnasfast.dispatch.explain import explain_key  # noqa: PLC0415 (rarely needed)

        return explain_key(self, key)

    # ---- views -----------------------------------------------------------------------------------------------------

    @property
    def processes(self) -> list[ProcessRow]:
        """The process table, by PID."""
        from vnasfast.tables.rows import ProcessRow  # noqa: PLC0415 (with ipaddress; replays need neither)

        return [ProcessRow(*row) for row in process_rows(self.tables)]

    @property
    def addresses(self) -> list[AddressRow]:
        """The ANY-address table, in order of registration."""
        from vnasfast.tables.rows import AddressRow  # noqa: PLC0415

        return [AddressRow(unpacked_address(row[0]), *row[1:]) for row in address_rows(self.tables)]

    @property
    def sockets(self) -> list[SocketRow]:
        """The socket table, in order of registration."""
        from vnasfast.tables.rows import SocketRow  # noqa: PLC0415

        rows = [
            SocketRow(row[0], protocol_name(row[1]), row[2], unpacked_address(row[3]), *row[4:])
            for row in socket_rows(self.tables)
        ]
        known = linux_rows(self.tables)
        if not known:
            return rows
        return [
            row._replace(address=unpacked_address(address), v6only=v6only, sharing=sharing)
            for row, (address, v6only, sharing, *_) in ((row, known[row.socket]) for row in rows)
        ]

    @property
    def policy(self) -> str:
        """What decides which of a port's sockets a packet reaches: registration, linux-6.12 or linux-6.18."""
        return policy_of(self.tables)

    @property
    def linux_sockets(self) -> dict[int, LinuxRow]:
        """Socket → what it has under the policy `linux`; empty under another."""
        from vnasfast.tables.rows import LinuxRow  # noqa: PLC0415

        rows = {}
        for socket, row in linux_rows(self.tables).items():
            device, mapped, uid, reuseaddr, peer, peer_port, _, group, member, *_ = row[3:]
            known = None if peer is None else (unpacked_address(peer), peer_port)
            rows[socket] = LinuxRow(device, mapped, uid, reuseaddr, known, group if group >= 0 else None, member)
        return rows

    @property
    def ports(self) -> dict[tuple[str, int], list[int]]:
        """The port table: (protocol, port) → its sockets, in order of registration."""
        ports: dict[tuple[str, int], list[int]] = {}
        for row in self.sockets:
            ports.setdefault((row.protocol, row.port), []).append(row.socket)
        return ports

    @property
    def routes(self) -> list[RouteRow]:
        """The routing table, in order of registration, the default last."""
        from vnasfast.tables.rows import RouteRow  # noqa: PLC0415

        return [
            RouteRow(unpacked_network(network, length), interface)
            for network, length, interface in route_rows(self.tables)
        ]

    @property
    def any_tables(self) -> dict[int, list[AddressRow]]:
        """The second embodiment's view: VNAS ID → its own ANY-address table, in order of registration."""
        any_tables: dict[int, list[AddressRow]] = {}
        for row in self.addresses:
            any_tables.setdefault(row.vnas, []).append(row)
        return any_tables

    @property
    def outcomes(self) -> dict[Outcome, Usage]:
        """What became of all packets counted so far."""
        return {Outcome(-number): usage for number, usage in enumerate(outcome_usage(self.tables))}

    def usage_of_vnas(self) -> dict[int, Usage]:
        """Map each VNAS ID to the packets of its sockets, those closed since included."""
        return vnas_usage(self.tables)

    def owns(self, vnas: int, address: str | IPv4Address | IPv6Address) -> bool:
        """Tell whether a VNAS may bind an address without freebind."""
        return self.tables.owns(checked(vnas, "VNAS ID", 0, MOST), packed_address(address))

    def check(self) -> None:
        """Walk all tables and hold every invariant; for tests and for the suspicious.

        Raises
        ------
        AssertionError
        """
        from vnasfast.tables.check import check_tables  # noqa: PLC0415 (rarely needed)

        check_tables(self.tables)
        self.fragments.check()

    def to_toml(self, *, embodiment: int = 1) -> str:
        """Write the tables as the text of a table file, in the first or second embodiment."""
        from vnasfast.tablefile.writing import to_toml  # noqa: PLC0415 (rarely needed)

        return to_toml(self, embodiment)
