"""What was not delivered, by outcome, VLAN, protocol, destination address and port."""

import os
from collections import namedtuple

from vnasfast.errors import InvalidValue

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from vnasfast.replay.misses cimport MISS_ROWS, MissKey, MissRow, Misses, misses_add
from vnasfast.tables.hashing cimport hash_seed
from vnasfast.tables.usage cimport N_OUTCOMES
from vnasfast.typedefs cimport NO_VNAS


# Not of typing, which would compile each annotation, as Cython has them as texts.
Miss = namedtuple("Miss", "destination vlan protocol n_ports port link_type ethertype packets bytes")
Miss.__doc__ = "What packets with the same outcome were for."


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
    """What was not delivered, counted by what it was for, in a bounded number of rows.

    Parameters
    ----------
    seed : int, optional
        Of the hash; default random.
    max_rows : int, optional
        A power of two.
    """

    def __cinit__(self, seed=None, *, uint32_t max_rows=MISS_ROWS):
        self.c.max_rows = max_rows
        self.c.rows = <MissRow*>calloc(max_rows, sizeof(MissRow))
        self.c.slots = <int32_t*>calloc(2 * <size_t>max_rows, sizeof(int32_t))
        if self.c.rows == NULL or self.c.slots == NULL:
            raise MemoryError

    def __init__(self, seed=None, *, max_rows=MISS_ROWS):
        self.c.seed = hash_seed(int.from_bytes(os.urandom(8), "little") if seed is None else seed)

    def __dealloc__(self):
        free(self.c.rows)
        free(self.c.slots)

    def __len__(self):
        return self.c.n_rows

    def offenders(self, int outcome, int top):
        """Give the rows of an outcome with the most packets, and sums over all of them.

        Parameters
        ----------
        outcome : int
            Negative.
        top : int
            The most rows wanted.

        Returns
        -------
        list of Miss
            The most packets first; rows with as many stay in the order in which they came. What the VNASs themselves sent
            is left out.
        int
            How many such rows there are.
        tuple of int
            Packets and bytes that the VNASs themselves sent.
        """
        cdef const MissRow* row
        cdef uint64_t leaving_packets = 0, leaving_bytes = 0
        cdef uint32_t i, best
        cdef uint32_t n = 0
        cdef set taken = set()
        found = []
        for i in range(self.c.n_rows):
            row = &self.c.rows[i]
            if row.key.outcome == outcome:
                if row.key.leaving:
                    leaving_packets += row.packets
                    leaving_bytes += row.bytes
                else:
                    n += 1
        while len(found) < top and len(found) < n:
            best = self.c.n_rows
            for i in range(self.c.n_rows):
                row = &self.c.rows[i]
                if (row.key.outcome == outcome and not row.key.leaving
                        and (best == self.c.n_rows or row.packets > self.c.rows[best].packets) and i not in taken):
                    best = i
            taken.add(best)
            row = &self.c.rows[best]
            found.append(Miss(row.key.destination[:16], row.key.vlan, row.key.protocol, row.n_ports, row.port,
                              row.key.link_type, row.key.ethertype, row.packets, row.bytes))
        return found, n, (leaving_packets, leaving_bytes)

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
