"""Interface names as small numbers, counted, so that names come and go without a trace."""


cdef class InterfaceNames:
    """Names of interfaces, each with a number as long as somebody uses it."""

    def __cinit__(self):
        self.numbers = {}
        self.names = []
        self.n_users = []
        self.free = []

    cdef int32_t acquire(self, str name) except -1:
        """The number of a name; counts one more user of it."""
        cdef object number = self.numbers.get(name)
        if number is None:
            if self.free:
                number = self.free.pop()
                self.names[number] = name
            else:
                number = len(self.names)
                self.names.append(name)
                self.n_users.append(0)
            self.numbers[name] = number
        self.n_users[number] += 1
        return number

    cdef int release(self, int32_t number) except -1:
        """Count one user less; without users the name is forgotten."""
        self.n_users[number] -= 1
        if self.n_users[number] == 0:
            del self.numbers[self.names[number]]
            self.free.append(number)
        return 0

    cdef list all_names(self):
        """The names by number, as they are now."""
        return self.names[:]

    cpdef str name(self, int32_t number):
        """Return the name of a number in use."""
        return self.names[number]

    cdef list state(self):
        """List [name, number of users] by number; without users the name means nothing."""
        return [[name, n] for name, n in zip(self.names, self.n_users, strict=True)]

    @staticmethod
    def of_state(list state not None):
        """Make the names that `state` listed."""
        cdef InterfaceNames made = InterfaceNames()
        made.names = [name for name, _ in state]
        made.n_users = [n for _, n in state]
        made.numbers = {name: number for number, (name, n) in enumerate(state) if n > 0}
        made.free = [number for number, (_, n) in enumerate(state) if n == 0]
        return made

    def __len__(self):
        return len(self.numbers)
