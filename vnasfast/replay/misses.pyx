"""What was not delivered, by outcome, VLAN, protocol, destination address and port."""

import os

import numpy as np

from vnasfast.errors import InvalidValue

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from vnasfast.replay.misses cimport MISS_ROWS, MISS_SLOTS, MissKey, MissRow, Misses, misses_add
from vnasfast.tables.hashing cimport hash_seed
from vnasfast.tables.tables cimport N_OUTCOMES
from vnasfast.typedefs cimport NO_VNAS

#: A row of :meth:`MissTable.rows`.
MISS_ROW = np.dtype(
    [
        ("destination", np.uint8, (16,)),
        ("link_type", np.uint32),
        ("ethertype", np.uint16),
        ("destination_port", np.uint16),
        ("vlan", np.uint16),
        ("protocol", np.uint8),
        ("outcome", np.int8),
        ("leaving", np.uint8),
        ("has_port", np.uint8),
        ("unused", np.uint16),
        ("packets", np.uint64),
        ("bytes", np.uint64),
        ("n_ports", np.uint32),
        ("port", np.uint32),
    ]
)
if MISS_ROW.itemsize != sizeof(MissRow):
    raise ImportError("MISS_ROW is not the struct of misses.pxd")


cdef void _merge_ports(const Misses* misses, Misses* merged) noexcept nogil:
    # Where nobody has the address, the port says nothing: all ports of an address become one row.
    cdef MissKey key
    cdef MissRow* row
    cdef uint32_t i
    for i in range(misses.n_rows):
        key = misses.rows[i].key
        if key.outcome == NO_VNAS:
            key.destination_port = 0
        # There is always room: merged rows are no more than those they come from.
        row = misses_add(merged, &key, misses.rows[i].packets, misses.rows[i].bytes)
        if row.n_ports == 0:
            row.port = misses.rows[i].port
        row.n_ports += misses.rows[i].n_ports


cdef class MissTable:
    """What was not delivered, counted by what it was for; at most `MISS_ROWS` rows.

    Parameters
    ----------
    seed : int, optional
        Of the hash; default random.
    """

    def __cinit__(self):
        self.c.rows = <MissRow*>calloc(MISS_ROWS, sizeof(MissRow))
        self.c.slots = <int32_t*>calloc(MISS_SLOTS, sizeof(int32_t))
        if self.c.rows == NULL or self.c.slots == NULL:
            raise MemoryError

    def __init__(self, seed=None):
        self.c.seed = hash_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def __dealloc__(self):
        free(self.c.rows)
        free(self.c.slots)

    def __len__(self):
        return self.c.n_rows

    def rows(self):
        """Give a copy of all rows.

        Returns
        -------
        ndarray of MISS_ROW, shape (n,)
        """
        cdef Py_ssize_t size = self.c.n_rows * sizeof(MissRow)
        if size == 0:
            return np.empty(0, MISS_ROW)
        return np.frombuffer(PyMemoryView_FromMemory(<char*>self.c.rows, size, PyBUF_READ), MISS_ROW).copy()

    def without_ports(self):
        """Give a table in which all ports of an address that no VNAS has are one row; ``n_ports`` says how many.

        Returns
        -------
        MissTable
        """
        cdef MissTable merged = MissTable()
        cdef int i
        with nogil:
            _merge_ports(&self.c, &merged.c)
        for i in range(N_OUTCOMES):
            merged.c.beyond[i] = self.c.beyond[i]
        return merged

    def beyond(self, int outcome):
        """Give packets and bytes of an outcome for which no row was left.

        Parameters
        ----------
        outcome : int
            Negative.

        Returns
        -------
        tuple of int
            Packets, bytes.
        """
        if not -N_OUTCOMES < outcome <= 0:
            raise InvalidValue(f"{outcome} is no outcome")
        return self.c.beyond[-outcome].packets, self.c.beyond[-outcome].bytes

    def add(self, bytes destination, int outcome, *, uint16_t port=0, uint64_t n_bytes=0):
        """Count one packet given by values, for tests.

        Parameters
        ----------
        destination : bytes
            16.
        outcome : int
            Negative.
        port : int, optional
        n_bytes : int, optional
        """
        cdef MissKey key
        cdef MissRow* row
        if len(destination) != 16 or not -N_OUTCOMES < outcome < 0:
            raise InvalidValue("a destination has 16 bytes, and an outcome is negative")
        memset(&key, 0, sizeof(MissKey))
        memcpy(key.destination, <const uint8_t*>destination, 16)
        key.outcome = outcome
        key.destination_port = port
        key.has_port = True
        row = misses_add(&self.c, &key, 1, n_bytes)
        if row != NULL:
            row.n_ports = 1
