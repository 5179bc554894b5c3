# The data plane and its writer: what dispatch reads (plane.h), kept true to the tables that it is made from.
#
# One writer at a time; readers in any number beside it, without a lock.

from libc.stdint cimport int32_t, int64_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.readers cimport Readers

cdef extern from "vnasfast/tables/plane.h":
    enum:
        VNAS_LINE_SLOTS
        VNAS_IPV6_SLOTS
        VNAS_TOGETHER
        VNAS_IPV6_TOGETHER
        VNAS_NOBODY
        VNAS_BESIDE
        VNAS_ELSEWHERE
        VNAS_FIRST_OWNER
        VNAS_PLACES
        VNAS_NO_VNAS
        VNAS_NO_PORT
        VNAS_STORED
        VNAS_SPARSE_LEAST
        VNAS_SPARSE_MOVED
        VNAS_UNIT
        VNAS_MEMBERS
        VNAS_SPECIFIC
        VNAS_SPECIFIC_HEAD
        VNAS_SPECIFIC_PLACE
        VNAS_SPECIFIC_PROBES
    const uint32_t VNAS_OWNER_MASK
    const int32_t VNAS_ASK
    const int32_t VNAS_SPARSE
    const int32_t VNAS_SPARSE_IPV6
    const int32_t VNAS_LIKE_ANY

    ctypedef struct VnasLine:
        uint32_t[8] keys
        uint32_t[8] values
    ctypedef struct VnasLines:
        uint32_t shift
        VnasLine* lines
    ctypedef struct VnasIpv6Line:
        uint64_t[3] hi
        uint64_t[3] lo
        uint32_t[4] values
    ctypedef struct VnasPorts:
        int32_t* answers
        uint32_t* directory
    ctypedef struct VnasPlane:
        uint32_t[3] ipv4_seed
        uint64_t[3] ipv6_seed
        VnasLines* ipv4
        VnasLines* ipv6
        VnasPorts* ports
        uint64_t address_changes
        uint64_t bytes
        VnasLines* sparse
        int32_t* blocks
        uint64_t sparse_changes
        uint32_t[4] sparse_seed
        uint32_t[12] flow_seed
        uint64_t n_open

    uint32_t ipv4_hash "vnas_ipv4_hash"(const VnasPlane* plane, uint32_t address, uint32_t vlan) noexcept nogil
    uint32_t ipv6_hash "vnas_ipv6_hash"(const VnasPlane* plane, uint64_t hi, uint64_t lo, uint32_t vlan) noexcept nogil
    uint64_t sparse_hash "vnas_sparse_hash"(const VnasPlane* plane, uint32_t place, uint32_t owner) noexcept nogil
    uint32_t sparse_key "vnas_sparse_key"(uint64_t hash) noexcept nogil
    uint32_t sparse_line "vnas_sparse_line"(const VnasLines* table, uint64_t hash) noexcept nogil
    uint32_t sparse_place "vnas_sparse_place"(int32_t stored, uint32_t place) noexcept nogil
    bint names_block "vnas_names_block"(int32_t stored) noexcept nogil
    int32_t* block_of "vnas_block"(int32_t* blocks, int32_t stored) noexcept nogil
    uint32_t specific_home "vnas_specific_home"(const VnasPlane* plane, const uint64_t* address) noexcept nogil
    int32_t specific_answer "vnas_specific_answer"(const VnasPlane* plane, const int32_t* block, uint32_t family,
                                                   const uint64_t* address) noexcept nogil
    int32_t choose_in_block "vnas_choose_socket"(
        const VnasPlane* plane, int32_t* blocks, int32_t stored, const uint64_t* destination, const uint64_t* source,
        uint32_t destination_port, uint32_t source_port, uint32_t protocol) noexcept nogil
    int32_t stored_answer "vnas_stored_answer"(const VnasPlane* plane, uint32_t family, uint32_t place,
                                               uint32_t owner) noexcept nogil

cdef enum:
    # Slots of the answers: one array each.
    NO_PORT_SLOT = 0
    # Of ports that few VNASs have: their answers lie in lines.
    SPARSE_SLOT = 1             # of both families, under the place of IPv4
    SPARSE_IPV6_SLOT = 2        # of IPv6 alone
    FIRST_SLOT = 3
    BLOCK_SIZES = 28            # 16 bytes, and each twice the one before

# Whatever grows is made aside, some of it with each change, while readers go on with what there is, and changes go to both. It is
# there for them at once when it is done.
cdef struct NextLines:
    VnasLines* lines            # NULL: none are being filled
    int32_t filled              # the addresses before this row are in them
    uint32_t n_lined
    uint32_t n_elsewhere

cdef struct NextPorts:
    VnasPorts* ports            # NULL: none are being filled
    uint32_t width
    uint32_t slot_capacity
    uint32_t slot               # the slots before it are there, and of this one
    uint32_t filled             # so many answers
    uint32_t page               # the pages of the directory before it are there

# An answer of a sparse port that found no room in its line.
cdef struct Crowded:
    uint64_t hash
    int64_t stored              # an int32_t's value: a snapshot holds no byte that was never written

# The answers of sparse ports that are in a table of lines, or should be.
cdef struct Answers:
    Crowded* crowded            # [crowded_capacity]
    uint32_t n                  # in lines
    uint32_t n_crowded          # and elsewhere
    uint32_t crowded_capacity

cdef struct NextAnswers:
    VnasLines* lines            # NULL: none are being filled
    Answers answers
    uint32_t filled             # the answers of the lines before this one are in them; even

cdef struct Plane:
    VnasPlane c
    uint32_t[2] n_lined         # addresses in lines, by family
    uint32_t[2] n_elsewhere     # addresses that found no room in their line
    NextLines[2] next_lines
    bint asks                   # of a policy that it can't answer for: all ports are sparse, and stored for them is VNAS_ASK
    uint32_t width              # answers of a slot
    uint32_t n_slots            # in use or given back
    uint32_t slot_capacity
    NextPorts next_ports
    uint64_t[10] touched        # pages of the directory, one bit each, that are not all zero
    uint32_t n_touched
    uint32_t n_free_slots
    uint32_t free_capacity
    uint32_t* free_slots        # [free_capacity]
    uint64_t free_answers       # that arrays may have in all, however few sockets their ports have
    Answers sparse
    NextAnswers next_sparse
    uint32_t n_units            # of blocks, in use or given back; unit 0 is none
    uint32_t unit_capacity
    uint32_t[BLOCK_SIZES] free_blocks       # by log2 of their units: the first, which names the next; 0: none
    Readers readers

cdef int plane_init(Plane* plane, uint64_t seed) except -1
cdef void plane_free(Plane* plane) noexcept nogil
cdef int plane_check(const Plane* plane) except -1
# Frees what no reader can see any more.
cdef void plane_settle(Plane* plane) noexcept nogil

cdef inline bint plane_has_owner(int32_t vnas) noexcept nogil:
    """Whether the data plane can name a VNAS number; of others the control plane knows."""
    return <uint32_t>vnas <= VNAS_OWNER_MASK - VNAS_FIRST_OWNER

cdef inline uint32_t owner_of(int32_t vnas) noexcept nogil:
    return VNAS_FIRST_OWNER + <uint32_t>vnas if plane_has_owner(vnas) else VNAS_ELSEWHERE

cdef void plane_measure(Plane* plane) noexcept nogil
# Goes on with what is being made, and makes room for what a change may retire, or MemoryError: before each change.
cdef int plane_advance(Plane* plane) except -1
# Room for a VNAS number, or MemoryError.
cdef int plane_reserve_vnas(Plane* plane, int32_t vnas) except -1

# Has fresh tables' control plane asked for every port.
cdef void plane_ask(Plane* plane) noexcept nogil

# Whether a port with so many sockets may have an array of its own; whether one that has it may keep it.
cdef bint plane_affords_slot(const Plane* plane, int32_t n_sockets) noexcept nogil
cdef bint plane_keeps_slot(const Plane* plane, int32_t n_sockets) noexcept nogil
cdef uint32_t plane_take_slot(Plane* plane) except 0        # all NO_SOCKET, or MemoryError
# The directory does not name it any more, and all its answers are NO_SOCKET but that of one VNAS; or any of them may not be.
cdef void plane_give_slot(Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil
cdef void plane_give_full_slot(Plane* plane, uint32_t slot) noexcept nogil
cdef void plane_copy_slot(Plane* plane, uint32_t source, uint32_t target) noexcept nogil
cdef void plane_point(Plane* plane, uint32_t family, uint32_t place, uint32_t slot) noexcept nogil
cdef void plane_put(Plane* plane, uint32_t slot, int32_t vnas, int32_t stored) noexcept nogil
cdef int32_t plane_get(const Plane* plane, uint32_t slot, int32_t vnas) noexcept nogil
