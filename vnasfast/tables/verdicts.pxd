# VNAS number → verdict, for one port and family: who gets what arrives for an ANY address (see sockets.pxd).
#
# Two forms. Dense: an array indexed by VNAS number, one load and no compare, while it takes no more memory than the other.
# Sparse: a hash index, for ports that few VNASs of high number have. Many readers or one writer.

from libc.stdint cimport int32_t, uint32_t

from vnasfast.tables.index cimport HashIndex

cdef struct VerdictMap:
    int32_t* dense          # [n_dense]: the verdict, -1: none
    uint32_t n_dense        # 0: the map is sparse
    uint32_t n_used
    HashIndex sparse        # the tag is a bijection of the VNAS number; slots NULL while dense
    uint32_t most           # no VNAS number in the map was greater since it was empty

cdef inline uint32_t vnas_tag(int32_t vnas) noexcept nogil:
    # An odd multiplier makes this a bijection: equal tags are equal VNASs. It also spreads strided numbers evenly.
    return <uint32_t>vnas * <uint32_t>0x9E3779B1

cdef inline int32_t verdict_find(const VerdictMap* map, int32_t vnas) noexcept nogil:
    """Find the verdict of a VNAS, or -1."""
    cdef uint32_t tag, position
    if <uint32_t>vnas < map.n_dense:
        return map.dense[vnas]
    if map.n_dense != 0:
        return -1
    tag = vnas_tag(vnas)
    position = tag >> map.sparse.shift
    while map.sparse.slots[position].row >= 0:
        if map.sparse.slots[position].tag == tag:
            return map.sparse.slots[position].row
        position = (position + 1) & map.sparse.mask
    return -1

cdef int verdict_init(VerdictMap* map) except -1
cdef void verdict_free(VerdictMap* map) noexcept nogil
cdef int verdict_reserve(VerdictMap* map, int32_t vnas) except -1   # room for this VNAS, or MemoryError
# Writes the verdict of a VNAS for which there is room; -1 removes it. Returns the change of the number of VNASs in the map.
cdef int verdict_put(VerdictMap* map, int32_t vnas, int32_t verdict) noexcept nogil
cdef int verdict_check(const VerdictMap* map) except -1
