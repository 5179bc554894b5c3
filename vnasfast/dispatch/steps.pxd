# Dispatch of one packet: DESIGN's steps 1 to 4, from a flow key to a socket or an outcome.
#
#   1  destination is loopback      → the VNAS of the packet's source process     else UNKNOWN_SOURCE
#   2  otherwise                    → the VNAS of (VLAN, destination)             else NO_VNAS
#   3  (protocol, destination port) → the port's sockets                          else NO_PORT
#   4  policy                       → the socket                                  else NO_SOCKET
#
# Steps 1 and 2 are the same under every policy; steps 3 and 4 are the policy's. Under `linux` (linux.pxd) the data plane has no answers,
# so choose_socket comes to its slow half, which alone asks for the policy: the default pays nothing for the other.
#
# All functions here only read. Many readers or one writer.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.dispatch.registration cimport choose_socket
from vnasfast.tables.addresses cimport address_find
from vnasfast.tables.family cimport is_loopback
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.sockets cimport NO_PROTOCOL, protocol_number
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport MALFORMED, NO_TRANSPORT, NO_VNAS, UNKNOWN_SOURCE, FlowKey

# Step 1 is rare and long: compiled apart, it leaves dispatch_key short enough to be inlined (134 → 112 instructions a packet).
cdef int32_t source_vnas(const MachineTables* tables, const FlowKey* key, uint32_t protocol) noexcept nogil

cdef inline int32_t dispatch_key(const MachineTables* tables, const FlowKey* key, int32_t* vnas) noexcept nogil:
    """Dispatch one key: a socket, or a negative outcome.

    `vnas` receives the VNAS number of the destination, -1 where none was found.
    """
    cdef uint64_t hi, lo
    cdef uint32_t protocol
    cdef int32_t row
    vnas[0] = -1
    if key.status < 0:
        return key.status if key.status >= MALFORMED else MALFORMED
    protocol = protocol_number(key.protocol)
    if protocol == NO_PROTOCOL:
        return NO_TRANSPORT
    hi = load64(key.destination)
    lo = load64(key.destination + 8)
    if is_loopback(hi, lo):
        vnas[0] = source_vnas(tables, key, protocol)
        if vnas[0] < 0:
            return UNKNOWN_SOURCE
    else:
        row = address_find(&tables.addresses, &tables.seed, hi, lo, key.vlan)
        if row < 0:
            return NO_VNAS
        vnas[0] = tables.addresses.rows[row].vnas
    return choose_socket(tables, key, hi, lo, protocol, vnas[0])
