# The policy `linux`: steps 3 and 4 as a Linux kernel takes them with the same sockets in one VNAS.
#
#   connected sockets, by both addresses and ports       TCP; UDP since Linux 6.13
#   those on the destination's address, in chain order   the best score; a port-sharing group ends the search
#   those on ANY, likewise
#
# No data plane here: every packet asks the control plane.

from libc.stdint cimport int32_t, uint32_t, uint64_t

from vnasfast.tables.linux cimport LinuxGroup, LinuxSocket, LinuxTable
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport FlowKey

# What a packet is to sockets.
cdef struct LinuxPacket:
    const FlowKey* key
    uint64_t hi, lo             # its destination
    uint64_t peer_hi, peer_lo   # its source
    uint32_t place              # protocol number << 16 | destination port
    int32_t vnas                # VNAS number
    int32_t device              # interface number of the device that it comes in on
    bint ipv4

cdef LinuxPacket linux_packet(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                              int32_t vnas) noexcept nogil
# -1: it does not match. `any_address`: the pass for ANY, else the one for the destination's address.
cdef int linux_score(const LinuxTable* table, const LinuxPacket* packet, const LinuxSocket* row, bint any_address) noexcept nogil
cdef int32_t linux_connection(const MachineTables* tables, const LinuxPacket* packet) noexcept nogil
cdef int32_t linux_member(const MachineTables* tables, const LinuxPacket* packet, const LinuxGroup* group,
                          bint any_address) noexcept nogil
cdef int32_t choose_as_linux(const MachineTables* tables, const FlowKey* key, uint64_t hi, uint64_t lo, uint32_t protocol,
                             int32_t vnas) noexcept nogil
