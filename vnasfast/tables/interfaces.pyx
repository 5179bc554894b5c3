"""Interface names as small numbers, counted, so that names come and go without a trace."""

from cpython.ref cimport PyObject
from libc.stdlib cimport malloc

cdef extern from "Python.h":
    Py_ssize_t Py_REFCNT(PyObject* thing) noexcept      # a pointer: an argument of Cython's own might be one reference more


cdef class InterfaceNames:
    """Names of interfaces, each with a number as long as somebody uses it."""

    def __cinit__(self):
        self.numbers = {}
        self.names = []
        self.n_users = []
        self.free = []

    cdef int32_t acquire(self, str name) except -1:
        """The number of a name; counts one more user of it."""
        cdef object number
        self.part_names()
        number = self.numbers.get(name)
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

    cdef int part_names(self) except -1:
        """Before a number that was free gets another name: leave the list to whoever looks at it, and have another one.

        Making one may run Python code, which may do the same, or add a name.
        """
        cdef list names
        while self.free and Py_REFCNT(<PyObject*>self.names) > 1:
            names = self.names[:]
            if len(names) == len(self.names):
                self.names = names
                break
        return 0

    cdef list all_names(self):
        """The names by number, those in use now as they are now. Makes no object, and so runs no Python code."""
        return self.names

    cpdef str name(self, int32_t number):
        """Return the name of a number in use."""
        return self.names[number]

    cdef int32_t* users(self, Py_ssize_t* n) except NULL:
        """Copy how many users each number has, and say how many numbers there are. To be freed. Runs no Python code."""
        cdef Py_ssize_t number
        cdef int32_t* users
        n[0] = len(self.n_users)
        users = <int32_t*>malloc((n[0] + 1) * sizeof(int32_t))
        if users == NULL:
            raise MemoryError(f"no memory for the users of {n[0]} interfaces")
        for number in range(n[0]):
            users[number] = self.n_users[number]
        return users

    @staticmethod
    def of_state(list state not None):
        """Make names of [name, number of users] by number; without users a name means nothing."""
        cdef InterfaceNames made = InterfaceNames()
        made.names = [name for name, _ in state]
        made.n_users = [n for _, n in state]
        made.numbers = {name: number for number, (name, n) in enumerate(state) if n > 0}
        made.free = [number for number, (_, n) in enumerate(state) if n == 0]
        return made

    def __len__(self):
        return len(self.numbers)
