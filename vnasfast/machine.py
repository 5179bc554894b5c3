"""ServerMachine: the tables together, and what processes ask of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Self, Unpack

from vnasfast import linux
from vnasfast.errors import AddressNotAvailable, InvalidValue
from vnasfast.parse.fragments import FragmentTable
from vnasfast.tables.tables import Tables
from vnasfast.values import (
    MOST,
    checked,
    checked_pid,
    packed_address,
    packed_network,
    transport_number,
    unpacked_address,
)
from vnasfast.views import TableViews

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

    import numpy as np
    from numpy.typing import ArrayLike, NDArray

    from vnasfast.linux import LinuxOptions
    from vnasfast.parse.keys import Addresses, Numbers, Protocols
    from vnasfast.snapshot import Snapshot

_ANY_IPV4 = packed_address("0.0.0.0")  # noqa: S104 - the name of ANY, nothing is bound
_ANY_IPV6 = bytes(16)


class ServerMachine(TableViews):
    """One operating system that serves as several machines: its processes, addresses, sockets and routes.

    Process 1 exists in VNAS 0. An operation that raises changes nothing.

    Parameters
    ----------
    seed : int, optional
        64 bits that seed the hashes: of the tables, and of the choice among sockets that share a port. Default: random.
        With a given seed the same flows reach the same sockets in every run.
    policy : str, optional
        Which of a port's sockets a packet reaches: ``registration``, or as a Linux kernel would have it, ``linux-6.12``
        (6.1 to 6.12), ``linux-6.18`` (6.15 to 6.18) or ``linux``, the last of these.

    Attributes
    ----------
    names : dict of int to str
        VNAS ID → a name for reports.

    Notes
    -----
    Changes hold the GIL; batches run without it, and readers in other threads see each change whole or not at all.
    """

    names: dict[int, str]

    def __init__(self, *, seed: int | None = None, policy: str = "registration") -> None:
        seed = int.from_bytes(os.urandom(8), "little") if seed is None else checked(seed, "seed", 0, 2**64 - 1)
        super().__init__(Tables(seed), FragmentTable())
        self.names = {}
        self._set_policy(policy)

    def _set_policy(self, policy: str) -> None:
        linux.set_policy(self.tables, policy)
        self._as_linux = policy != "registration"

    def set_kernel_secrets(self, secrets: Mapping[str, int | tuple[int, int]]) -> None:
        """Say what seeds a kernel's hashes: of the sockets that share a port a flow then reaches the same one as there.

        Under the policy `linux`; without it a hash of our own chooses.

        Parameters
        ----------
        secrets : mapping of str to int or pair of int
            ``tcp``, ``udp``, and for IPv6 ``tcp6``, ``udp6``, each with the secret by which the peer's address is
            hashed. Each is what the kernel adds up: its own and its network namespace's.

        Raises
        ------
        InvalidValue
        """
        if not self._as_linux:
            raise InvalidValue("kernel secrets are for the policy linux")
        linux.set_secrets(self.tables, secrets)

    # ---- processes -------------------------------------------------------------------------------------------------

    def fork(self, parent: int, *, pid: int | None = None) -> int:
        """Start a child in its parent's VNAS.

        Parameters
        ----------
        parent : int
            The parent's PID.
        pid : int, optional
            The child's PID; default the next free one.

        Returns
        -------
        int
            The child's PID.

        Raises
        ------
        NoSuchProcess, ProcessExists, InvalidValue
        """
        return self.tables.start(checked_pid(parent), None, None if pid is None else checked_pid(pid))

    def vnas_start(self, parent: int, vnas: int, *, pid: int | None = None) -> int:
        """Start a child in a named VNAS.

        Parameters
        ----------
        parent : int
            The parent's PID.
        vnas : int
            The VNAS ID, 0 to 2**31 - 1.
        pid : int, optional
            The child's PID; default the next free one.

        Returns
        -------
        int
            The child's PID.

        Raises
        ------
        NoSuchProcess, ProcessExists, InvalidValue
        """
        vnas = checked(vnas, "VNAS ID", 0, MOST)
        return self.tables.start(checked_pid(parent), vnas, None if pid is None else checked_pid(pid))

    def exit(self, pid: int) -> None:
        """Remove a process and close its sockets; its children go to process 1 and keep their VNAS.

        The sockets close one after the other, the newest first. Each close is a change of its own, so that what other
        threads dispatch meanwhile may find some of them closed and others not yet.

        Raises
        ------
        NoSuchProcess
        InvalidValue
            Process 1 can't exit.
        """
        self.tables.exit(checked_pid(pid))

    # ---- interface addresses ---------------------------------------------------------------------------------------

    def validate(self, pid: int, address: str | IPv4Address | IPv6Address, interface: str, *, vlan: int = 0) -> bool:
        """Bring an address up on an interface, for the VNAS of the asking process.

        Parameters
        ----------
        pid : int
            The asking process.
        address : str or ipaddress object
        interface : str
            Any name: eth0, bond0, eth0.100, eth0:1.
        vlan : int, optional
            VLAN ID, 1 to 4095; 0: untagged.

        Returns
        -------
        bool
            False when (VLAN, address) is in the ANY-address table already; then nothing changes.

        Raises
        ------
        NoSuchProcess, InvalidValue
        """
        if not isinstance(interface, str) or not interface:
            raise InvalidValue(f"{interface!r} is no interface name: it must be a text such as eth0")
        return self.tables.validate(checked_pid(pid), _specific(address), interface, checked(vlan, "VLAN ID", 0, 4095))

    def invalidate(self, pid: int, address: str | IPv4Address | IPv6Address, *, vlan: int = 0) -> bool:
        """Take an address down, if it is registered with the VNAS of the asking process.

        Returns
        -------
        bool
            False when (VLAN, address, that VNAS) is not in the ANY-address table.

        Raises
        ------
        NoSuchProcess, InvalidValue
        """
        return self.tables.invalidate(checked_pid(pid), _specific(address), checked(vlan, "VLAN ID", 0, 4095))

    # ---- sockets ---------------------------------------------------------------------------------------------------

    def bind(
        self,
        pid: int,
        protocol: str | int,
        port: int,
        address: str | IPv4Address | IPv6Address = "ANY",
        *,
        v6only: bool = False,
        sharing: bool = False,
        freebind: bool = False,
        **options: Unpack[LinuxOptions],
    ) -> int:
        """Register a socket of a process; its VNAS is the process's.

        Parameters
        ----------
        pid : int
        protocol : str or int
            tcp, udp, sctp, dccp, udplite, or the IP protocol number.
        port : int
            1 to 65535.
        address : str or ipaddress object, optional
            The recipient address. "ANY" is ``::``, which receives IPv6 and IPv4; ``0.0.0.0`` receives IPv4 only.
        v6only : bool, optional
            An IPv6 ANY socket then receives no IPv4.
        sharing : bool, optional
            Ask for port sharing: several such sockets may have the same address, and each flow keeps to one of them.
        freebind : bool, optional
            Bind a specific address that does not belong to the VNAS (yet).
        **options
            Under the policy `linux` only. device : str, the device that it is bound to; peer : pair of address and
            port, to which it is connected; mapped : bool, an IPv6 socket on an IPv4 address; uid : int, the user, 0 by
            default; reuseaddr : bool; anyway : bool, beside whatever there is, as a kernel has let it in. TCP sockets
            without a peer listen.

        Returns
        -------
        int
            The socket ID.

        Raises
        ------
        AddressInUse
            The VNAS has a socket with this protocol, port and address, and not both asked for port sharing. Under the
            policy `linux`: it has one beside which a kernel refuses this one.
        AddressNotAvailable
            A specific address does not belong to the VNAS.
        NoSuchProcess, InvalidValue
        """
        number = transport_number(protocol)
        port = checked(port, "port", 1, 65535)
        packed = packed_address(address)
        if v6only and packed.startswith(_ANY_IPV4[:12]):
            raise InvalidValue(f"v6only makes no sense for the IPv4 address {unpacked_address(packed)}")
        try:
            if self._as_linux:
                wanted = checked_pid(pid), number, port, packed, v6only, sharing, freebind
                return linux.bind(self.tables, *wanted, **options)
            if options:
                linux.refuse_options(options)
            return self.tables.bind(checked_pid(pid), number, port, packed, v6only, sharing, freebind)
        except AddressNotAvailable as error:
            raise AddressNotAvailable(f"{address}: {error.strerror}") from None

    def bind_many(
        self,
        pids: ArrayLike,
        protocol: Protocols,
        port: Numbers,
        address: Addresses = "ANY",
        *,
        v6only: bool = False,
        sharing: bool = False,
        freebind: bool = False,
    ) -> NDArray[np.int32]:
        """Register many sockets, all of them or, on an error, none.

        Each argument but the options, which are those of `bind`, is one value for all or one a socket; addresses as for
        `flow_keys`. An error is that of `bind`, and names the socket's place.

        Returns
        -------
        ndarray of int32, shape (n,)
            The socket IDs.
        """
        from vnasfast.bulk import bind_many  # noqa: PLC0415 (with numpy, whose import takes longer than all else)

        if self._as_linux:
            raise InvalidValue("bind_many is for the policy registration: under linux bind one after the other")
        return bind_many(self.tables, pids, protocol, port, address, v6only=v6only, sharing=sharing, freebind=freebind)

    def connect(
        self,
        socket: int,
        peer: tuple[str | IPv4Address | IPv6Address, int],
        address: str | IPv4Address | IPv6Address | None = None,
    ) -> None:
        """Connect a UDP socket, under the policy `linux`: from then on it receives from its peer only.

        Parameters
        ----------
        socket : int
        peer : pair of address and port
        address : str or ipaddress object, optional
            What becomes of ANY: the address that the kernel chose, by its routes.

        Raises
        ------
        NoSuchSocket
        InvalidValue
            It is connected already, or a listener.
        """
        linux.connect(self.tables, checked(socket, "socket ID", 0, MOST), peer, address)

    def close_many(self, sockets: ArrayLike) -> None:
        """Close many sockets, each named once; NoSuchSocket if one is not open, and those before it are closed."""
        from vnasfast.bulk import close_many  # noqa: PLC0415 (with numpy)

        close_many(self.tables, sockets)

    def close(self, socket: int) -> None:
        """Close a socket. Its ID may be given to a later socket.

        Raises
        ------
        NoSuchSocket
        """
        self.tables.close(checked(socket, "socket ID", 0, MOST))

    # ---- routes ----------------------------------------------------------------------------------------------------

    def set_route(self, network: object, interface: str) -> None:
        """Route a network to an interface, in place of the one it had.

        Parameters
        ----------
        network : str or ipaddress network or None
            Such as "10.0.0.0/8"; "default" or None for the default of both families.
        interface : str
        """
        if not isinstance(interface, str) or not interface:
            raise InvalidValue(f"{interface!r} is no interface name: it must be a text such as eth0")
        self.tables.set_route(*packed_network(network), interface)

    def remove_route(self, network: object) -> bool:
        """Remove the route of exactly this network; False when there is none."""
        return self.tables.remove_route(*packed_network(network))

    # ---- frozen ----------------------------------------------------------------------------------------------------

    def freeze(self) -> Snapshot:
        """Copy the tables as they are now; the copy dispatches as this machine would, and never changes.

        Returns
        -------
        Snapshot

        Raises
        ------
        InvalidValue
            `names` holds what is no VNAS ID, or no text.
        """
        from vnasfast.snapshot import Snapshot  # noqa: PLC0415 (few freeze)

        return Snapshot.of(self)

    # ---- files -----------------------------------------------------------------------------------------------------

    def to_toml(self, *, embodiment: int = 1) -> str:
        """Write the tables as the text of a table file, in the first or second embodiment.

        Other threads may change them meanwhile: the text is that of one moment.
        """
        return self.freeze().to_toml(embodiment=embodiment)

    def save(self, path: str | os.PathLike[str], *, embodiment: int = 1) -> None:
        """Write the tables of one moment to a table file, in place of what it held, at once or not at all."""
        from vnasfast.tablefile.writing import save  # noqa: PLC0415 (rarely needed)

        save(self.freeze(), path, embodiment)

    @classmethod
    def from_toml(cls, text: str, *, name: str = "<string>", seed: int | None = None) -> Self:
        """Make a machine from the text of a table file.

        Raises
        ------
        TableFileError
            Says where and what is wrong, and what would be right.
        """
        from vnasfast.tablefile.reading import fill  # noqa: PLC0415 (not needed by whoever embeds a machine)

        machine = cls(seed=seed)
        fill(machine, text, name)
        return machine

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, seed: int | None = None) -> Self:
        """Make a machine from a table file.

        Raises
        ------
        TableFileError, OSError
        """
        from vnasfast.tablefile.document import read  # noqa: PLC0415

        text, name = read(path)
        return cls.from_toml(text, name=name, seed=seed)


def _specific(address: object) -> bytes:
    packed = packed_address(address)
    if packed in (_ANY_IPV4, _ANY_IPV6):
        raise InvalidValue("ANY can't be on an interface: give the address itself")
    return packed
