"""The rows of tables as Python objects.

Making objects may run anybody's Python code, and other threads may change the tables meanwhile. So what a listing says is
copied first, in one go.
"""

cimport cython
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from vnasfast.tables.locks cimport mutex_lock, pthread_mutex_unlock
from vnasfast.tables.sockets cimport Endpoint, shares_port, socket_usage
from vnasfast.tables.tables cimport Tables, address_bytes, endpoint_of
from vnasfast.tables.usage cimport N_OUTCOMES, Usage, usage_add

from vnasfast.tables.resources import Usage as UsageRow

cdef uint8_t[5] PROTOCOLS
PROTOCOLS[:] = [6, 17, 33, 132, 136]

cdef struct Copied:
    uint64_t order
    uint64_t hi, lo
    int32_t number          # PID, socket ID, interface
    int32_t vnas            # VNAS ID
    int32_t pid             # the parent's, or the socket's
    uint32_t place          # VLAN ID, prefix length, or protocol and port
    bint v6only, sharing
    Usage usage


cdef object usage_row(const Usage* usage):
    return UsageRow(usage.packets, usage.bytes, usage.first_ns or None, usage.last_ns or None)


cdef Copied* room(size_t n) except NULL:
    cdef Copied* rows = <Copied*>calloc(n + 1, sizeof(Copied))
    if rows == NULL:
        raise MemoryError(f"no memory to list {n} rows")
    return rows


cdef Usage process_usage(Tables tables, int32_t process) noexcept:
    cdef Usage usage = tables.c.processes.closed[process], part
    cdef int32_t socket = tables.c.processes.rows[process].first_socket
    while socket >= 0:
        part = socket_usage(&tables.c.sockets, socket)
        usage_add(&usage, &part)
        socket = tables.c.sockets.rows[socket].next_of_process
    return usage


def process_rows(Tables tables not None):
    """List (PID, VNAS ID, parent's PID, usage), by PID."""
    cdef Copied* rows
    cdef size_t n = 0, i
    cdef int32_t row
    with cython.critical_section(tables):
        rows = room(tables.c.processes.pool.n_rows)
        mutex_lock(&tables.counting)
        tables.settle_tallies()
        for row in range(tables.c.processes.pool.n_rows):
            process = &tables.c.processes.rows[row]
            if process.pid != 0:
                rows[n].number = process.pid
                rows[n].vnas = tables.c.vnases.rows[process.vnas].id
                rows[n].pid = tables.c.processes.rows[process.parent].pid if process.parent >= 0 else 0
                rows[n].usage = process_usage(tables, row)
                n += 1
        pthread_mutex_unlock(&tables.counting)
    try:
        return sorted([(rows[i].number, rows[i].vnas, rows[i].pid, usage_row(&rows[i].usage)) for i in range(n)])
    finally:
        free(rows)


def address_rows(Tables tables not None):
    """List (address, VNAS ID, interface, VLAN ID), in order of registration."""
    cdef Copied* rows
    cdef size_t n = 0, i
    cdef int32_t row
    with cython.critical_section(tables):
        rows = room(tables.c.addresses.pool.n_rows)
        names = tables.interfaces.all_names()
        row = tables.c.addresses.first
        while row >= 0:
            address = &tables.c.addresses.rows[row]
            rows[n].hi = address.hi
            rows[n].lo = address.lo
            rows[n].vnas = tables.c.vnases.rows[address.vnas].id
            rows[n].number = address.interface
            rows[n].place = address.vlan
            n += 1
            row = address.next
    try:
        return [(address_bytes(rows[i].hi, rows[i].lo), rows[i].vnas, names[rows[i].number], rows[i].place) for i in range(n)]
    finally:
        free(rows)


def socket_rows(Tables tables not None):
    """List (socket, protocol, port, address, PID, VNAS ID, v6only, sharing, usage), in order of registration."""
    cdef Copied* rows
    cdef size_t n = 0, i
    cdef int32_t socket
    cdef Endpoint endpoint
    with cython.critical_section(tables):
        rows = room(tables.c.sockets.pool.n_rows)
        mutex_lock(&tables.counting)
        tables.settle_tallies()
        for socket in range(tables.c.sockets.pool.n_rows):
            row = &tables.c.sockets.rows[socket]
            if row.order == 0:
                continue
            endpoint = endpoint_of(&tables.c, socket)
            rows[n].order = row.order
            rows[n].number = socket
            rows[n].place = tables.c.sockets.ports[endpoint.port].place
            rows[n].hi = endpoint.hi
            rows[n].lo = endpoint.lo
            rows[n].pid = tables.c.processes.rows[row.process].pid
            rows[n].vnas = tables.c.vnases.rows[endpoint.vnas].id
            rows[n].v6only = endpoint.v6only
            rows[n].sharing = shares_port(row)
            rows[n].usage = socket_usage(&tables.c.sockets, socket)
            n += 1
        pthread_mutex_unlock(&tables.counting)
    try:
        listed = [(rows[i].order, rows[i].number, PROTOCOLS[rows[i].place >> 16], rows[i].place & 0xffff,
                   address_bytes(rows[i].hi, rows[i].lo), rows[i].pid, rows[i].vnas, bool(rows[i].v6only),
                   bool(rows[i].sharing), usage_row(&rows[i].usage)) for i in range(n)]
    finally:
        free(rows)
    return [row[1:] for row in sorted(listed)]


def n_sockets(Tables tables not None):
    """Count the open sockets."""
    cdef int32_t socket, n = 0
    with cython.critical_section(tables):
        for socket in range(tables.c.sockets.pool.n_rows):
            n += tables.c.sockets.rows[socket].order != 0
    return n


def route_rows(Tables tables not None):
    """List (network, prefix length, interface), in order of registration, the default (None, 0, interface) last."""
    cdef Copied* rows
    cdef size_t n = 0, i
    cdef int32_t row, default
    with cython.critical_section(tables):
        rows = room(tables.c.routes.pool.n_rows)
        names = tables.interfaces.all_names()
        default = tables.c.routes.default_interface
        row = tables.c.routes.first
        while row >= 0:
            route = &tables.c.routes.rows[row]
            rows[n].hi = route.hi
            rows[n].lo = route.lo
            rows[n].place = route.length
            rows[n].number = route.interface
            n += 1
            row = route.next
    try:
        listed = [(address_bytes(rows[i].hi, rows[i].lo), rows[i].place, names[rows[i].number]) for i in range(n)]
    finally:
        free(rows)
    return listed + ([(None, 0, names[default])] if default >= 0 else [])


def vnas_usage(Tables tables not None):
    """Map VNAS ID to usage, open and closed sockets together, by VNAS ID."""
    cdef Copied* rows
    cdef size_t n, i
    cdef int32_t socket
    cdef Usage part
    with cython.critical_section(tables):
        n = tables.c.vnases.pool.n_rows
        rows = room(n)
        mutex_lock(&tables.counting)
        tables.settle_tallies()
        for i in range(n):
            rows[i].vnas = tables.c.vnases.rows[i].id
            rows[i].number = tables.c.vnases.rows[i].n_users
            rows[i].usage = tables.c.vnases.closed[i]
        for socket in range(tables.c.sockets.pool.n_rows):
            if tables.c.sockets.rows[socket].order != 0:
                part = socket_usage(&tables.c.sockets, socket)
                usage_add(&rows[tables.c.processes.rows[tables.c.sockets.rows[socket].process].vnas].usage, &part)
        pthread_mutex_unlock(&tables.counting)
    try:
        return dict(sorted([(rows[i].vnas, usage_row(&rows[i].usage)) for i in range(n) if rows[i].number > 0]))
    finally:
        free(rows)


def outcome_usage(Tables tables not None):
    """List usage by outcome: [0] delivered, [-outcome] the misses."""
    cdef Usage[N_OUTCOMES] usage
    cdef int outcome
    with cython.critical_section(tables):
        mutex_lock(&tables.counting)
        tables.settle_tallies()
        usage = tables.c.outcomes
        pthread_mutex_unlock(&tables.counting)
    return [usage_row(&usage[outcome]) for outcome in range(N_OUTCOMES)]
