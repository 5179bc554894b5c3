"""What became of one packet."""

cimport cython

from vnasfast.outcome import Outcome

cdef tuple OUTCOMES = tuple(Outcome(-number) for number in range(10))


@cython.freelist(64)
cdef class Delivery:
    """What became of one packet.

    Attributes
    ----------
    socket, pid : int or None
        The socket and its process; None when the packet reached none.
    vnas : int or None
        The destination's VNAS ID; known for NO_PORT and NO_SOCKET too.
    outcome : Outcome
    """

    @property
    def socket(self):
        return self._socket if self._socket >= 0 else None

    @property
    def pid(self):
        return self._pid if self._socket >= 0 else None

    @property
    def vnas(self):
        return self._vnas if self._vnas >= 0 else None

    @property
    def outcome(self):
        return OUTCOMES[-self._outcome]

    def __bool__(self):
        return self._socket >= 0

    def __eq__(self, other):
        if not isinstance(other, Delivery):
            return NotImplemented
        return (self.socket, self.pid, self.vnas, self.outcome) == (other.socket, other.pid, other.vnas, other.outcome)

    def __hash__(self):
        return hash((self._socket, self._pid, self._vnas, self._outcome))

    def __repr__(self):
        return f"Delivery(socket={self.socket}, pid={self.pid}, vnas={self.vnas}, outcome={self.outcome.name})"
