"""Interface names as small numbers, counted, so that names come and go without a trace."""

from typing import Self


class InterfaceNames:
    """Names of interfaces, each with a number as long as somebody uses it."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._names: list[str] = []
        self._n_users: list[int] = []
        self._free: list[int] = []

    def acquire(self, name: str) -> int:
        """Return the number of a name, and count one more user of it."""
        number = self._numbers.get(name)
        if number is None:
            if self._free:
                number = self._free.pop()
                self._names[number] = name
            else:
                number = len(self._names)
                self._names.append(name)
                self._n_users.append(0)
            self._numbers[name] = number
        self._n_users[number] += 1
        return number

    def release(self, number: int) -> None:
        """Count one user less; without users the name is forgotten."""
        self._n_users[number] -= 1
        if self._n_users[number] == 0:
            del self._numbers[self._names[number]]
            self._free.append(number)

    def name(self, number: int) -> str:
        """Return the name of a number in use."""
        return self._names[number]

    def state(self) -> list[list[object]]:
        """List [name, number of users] by number; without users the name means nothing."""
        return [[name, n] for name, n in zip(self._names, self._n_users, strict=True)]

    @classmethod
    def of_state(cls, state: list[tuple[str, int]]) -> Self:
        """Make the names that `state` listed."""
        names = cls()
        names._names = [name for name, _ in state]
        names._n_users = [n for _, n in state]
        names._numbers = {name: number for number, (name, n) in enumerate(state) if n > 0}
        names._free = [number for number, (_, n) in enumerate(state) if n == 0]
        return names

    def __len__(self) -> int:
        return len(self._numbers)
