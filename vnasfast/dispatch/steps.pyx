"""Step 1 of dispatch: whose is a packet to a loopback address?"""

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.addresses cimport address_find
from vnasfast.tables.counts cimport count_find
from vnasfast.tables.family cimport family_of, is_loopback
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.processes cimport process_find
from vnasfast.tables.sockets cimport PortRow, port_find
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport FlowKey


cdef inline int32_t endpoint_owner(const MachineTables* tables, const FlowKey* key, uint32_t protocol) noexcept nogil:
    """Find the VNAS of a loopback source endpoint when exactly one can own it; else -1."""
    cdef uint64_t hi = load64(key.source), lo = load64(key.source + 8)
    cdef int family = family_of(hi, lo)
    cdef int32_t row = port_find(&tables.sockets, protocol, key.source_port)
    cdef int32_t owner
    cdef uint32_t n_any, n_specific = 0
    cdef const PortRow* port
    if row < 0:
        return -1
    port = &tables.sockets.ports[row]
    n_any = port.n_vnases[family]
    owner = count_find(&tables.sockets.loopback_owners, &tables.seed, hi, lo, row)
    if owner >= 0:
        n_specific = tables.sockets.loopback_owners.rows[owner].n
    if n_any == 1 and n_specific == 0:
        return <int32_t>port.vnas_sum[family]
    if n_specific == 1 and (n_any == 0 or (n_any == 1 and port.vnas_sum[family]
                                           == tables.sockets.loopback_owners.rows[owner].sum)):
        return <int32_t>tables.sockets.loopback_owners.rows[owner].sum
    return -1


cdef int32_t source_vnas(const MachineTables* tables, const FlowKey* key, uint32_t protocol) noexcept nogil:
    """Step 1: the VNAS of the process that sent a loopback packet, or -1."""
    cdef int32_t row
    cdef uint64_t hi, lo
    if key.source_pid != 0:
        row = process_find(&tables.processes, &tables.seed, key.source_pid)
        return tables.processes.rows[row].vnas if row >= 0 else -1
    hi = load64(key.source)
    lo = load64(key.source + 8)
    if is_loopback(hi, lo):
        return endpoint_owner(tables, key, protocol)
    row = address_find(&tables.addresses, &tables.seed, hi, lo, key.vlan)
    return tables.addresses.rows[row].vnas if row >= 0 else -1
