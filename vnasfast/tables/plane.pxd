# The data plane and its writer: what dispatch reads (plane.h), kept true to the tables that it is made from.
#
# One writer at a time; readers in any number beside it, without a lock.

from libc.stdint cimport int32_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.readers cimport Readers

cdef extern from "vnasfast/tables/plane.h":
    enum:
        VNAS_LINE_SLOTS
        VNAS_NOBODY
        VNAS_ELSEWHERE
        VNAS_FIRST_OWNER
        VNAS_PLACES
        VNAS_IPV6_ELSEWHERE
        VNAS_FIRST_IPV6_ROW
        VNAS_STORED
    const uint32_t VNAS_OWNER_MASK
    const int32_t VNAS_ASK

    ctypedef struct VnasLine:
        uint32_t[8] keys
        uint32_t[8] values
    ctypedef struct VnasLines:
        uint32_t shift
        VnasLine* lines
    ctypedef struct VnasIpv6Row:
        uint64_t hi, lo
        uint32_t value
    ctypedef struct VnasPorts:
        int32_t* answers
        uint32_t* directory
    ctypedef struct VnasPlane:
        uint32_t[3] ipv4_seed
        uint64_t[3] ipv6_seed
        VnasLines* ipv4
        VnasLines* ipv6
        VnasIpv6Row* ipv6_rows
        VnasPorts* ports
        uint64_t address_changes
        uint64_t bytes

    uint32_t ipv4_hash "vnas_ipv4_hash"(const VnasPlane* plane, uint32_t address, uint32_t vlan) noexcept nogil
    uint64_t ipv6_hash "vnas_ipv6_hash"(const VnasPlane* plane, uint64_t hi, uint64_t lo, uint32_t vlan) noexcept nogil
    uint32_t ipv6_key "vnas_ipv6_key"(uint64_t hash) noexcept nogil
    int32_t stored_answer "vnas_stored_answer"(const VnasPlane* plane, uint32_t family, uint32_t place,
                                               uint32_t owner) noexcept nogil

cdef enum:
    # Slots of the answers: one array each.
    NO_PORT_SLOT = 0
    ASK_SLOT = 1        # of ports that few VNASs have: the control plane answers for them
    FIRST_SLOT = 2

cdef struct Plane:
    VnasPlane c
    uint32_t[2] n_lined         # addresses in lines, by family
    uint32_t[2] n_elsewhere     # addresses that found no room in their line
    uint32_t ipv6_capacity      # rows
    uint32_t width              # answers of a slot
    uint32_t n_slots            # in use or given back
    uint32_t slot_capacity
    uint32_t n_free_slots
    uint32_t* free_slots        # [slot_capacity]
    uint64_t n_sockets          # what the memory for answers is measured by
    Readers readers

cdef int plane_init(Plane* plane, uint64_t seed) except -1
cdef void plane_free(Plane* plane) noexcept nogil
cdef int plane_check(const Plane* plane) except -1
# 1: the address is in its line with this VNAS; 0: it is not, and the line says so; -1: it is lost.
cdef int plane_find_address(const Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil
# Frees what no reader can see any more.
cdef void plane_settle(Plane* plane) noexcept nogil

cdef inline bint plane_has_owner(int32_t vnas) noexcept nogil:
    """Whether the data plane can name a VNAS number; of others the control plane knows."""
    return <uint32_t>vnas <= VNAS_OWNER_MASK - VNAS_FIRST_OWNER

# Room for a VNAS number and for an address, or MemoryError; then the changes, which can't fail.
cdef int plane_reserve_vnas(Plane* plane, int32_t vnas) except -1
# True: the family's addresses want a larger table. Whoever has them all makes it, fills it and has it used.
cdef bint plane_reserve_address(Plane* plane, int32_t row, bint ipv6) except -1
cdef VnasLines* plane_larger_lines(Plane* plane, bint ipv6) except NULL
cdef bint plane_put_address(const Plane* plane, VnasLines* lines, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan,
                            int32_t vnas) noexcept nogil     # False: its line is full, and says so
cdef void plane_use_lines(Plane* plane, bint ipv6, VnasLines* lines, uint32_t n_lined, uint32_t n_elsewhere) noexcept nogil
cdef void plane_add_address(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan, int32_t vnas) noexcept nogil
cdef void plane_remove_address(Plane* plane, int32_t row, uint64_t hi, uint64_t lo, uint16_t vlan) noexcept nogil

# Whether a port with so many sockets may have an array of its own.
cdef bint plane_affords_slot(const Plane* plane, int32_t n_sockets) noexcept nogil
cdef uint32_t plane_take_slot(Plane* plane) except 0        # all NO_SOCKET, or MemoryError
cdef void plane_give_slot(Plane* plane, uint32_t slot) noexcept nogil     # the directory does not name it any more
cdef void plane_copy_slot(Plane* plane, uint32_t source, uint32_t target) noexcept nogil
cdef void plane_point(Plane* plane, uint32_t family, uint32_t place, uint32_t slot) noexcept nogil
cdef void plane_put(Plane* plane, uint32_t slot, int32_t vnas, int32_t stored) noexcept nogil
cdef int32_t plane_get(const Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil
