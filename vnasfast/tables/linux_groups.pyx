"""Groups of sockets that share a port. Members lie in blocks of one arena, which a snapshot copies as it is."""

from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport realloc
from libc.string cimport memcpy, memset

from vnasfast.tables.index cimport pool_give, pool_take
from vnasfast.tables.linux cimport LinuxGroup, LinuxSocket, LinuxTable

cdef enum:
    BLOCK = 4               # members of a new group


cdef int32_t block_take(LinuxTable* table, uint32_t size_class) except -1:
    """Take a block of the arena."""
    cdef int32_t begin = table.free_blocks[size_class] - 1
    cdef int32_t size = BLOCK << size_class, capacity
    cdef int32_t* larger
    if begin >= 0:
        table.free_blocks[size_class] = table.arena[begin]
        return begin
    if table.arena_capacity - table.arena_used < size:
        capacity = max(2 * table.arena_capacity, table.arena_used + size)
        larger = <int32_t*>realloc(table.arena, capacity * sizeof(int32_t))
        if larger == NULL:
            raise MemoryError(f"no memory for {capacity} sockets that share ports")
        table.arena = larger
        table.arena_capacity = capacity
    begin = table.arena_used
    table.arena_used += size
    return begin


cdef void block_give(LinuxTable* table, int32_t begin, uint32_t size_class) noexcept nogil:
    table.arena[begin] = table.free_blocks[size_class]
    table.free_blocks[size_class] = begin + 1


cdef int group_join(LinuxTable* table, int32_t socket, int32_t group) except -1:
    """Make a socket the last member of a group; -1: of a new one."""
    cdef LinuxGroup* into
    cdef int32_t begin
    if group < 0:
        begin = block_take(table, 0)
        try:
            group = pool_take(&table.group_pool, <void**>&table.groups, sizeof(LinuxGroup))
        except MemoryError:
            block_give(table, begin, 0)
            raise
        table.groups[group].begin = begin
    into = &table.groups[group]
    if into.n == BLOCK << into.size_class:
        begin = block_take(table, into.size_class + 1)
        memcpy(table.arena + begin, table.arena + into.begin, into.n * sizeof(int32_t))
        block_give(table, into.begin, into.size_class)
        into.begin = begin
        into.size_class += 1
    table.arena[into.begin + into.n] = socket
    table.sockets[socket].group = group
    table.sockets[socket].member = into.n
    into.n += 1
    return 0


cdef void group_leave(LinuxTable* table, int32_t socket) noexcept nogil:
    """Take a socket out of its group; the last member takes its place, as in the kernel."""
    cdef LinuxSocket* row = &table.sockets[socket]
    cdef LinuxGroup* out_of
    cdef int32_t last
    if row.group < 0:
        return
    out_of = &table.groups[row.group]
    out_of.n -= 1
    last = table.arena[out_of.begin + out_of.n]
    table.arena[out_of.begin + row.member] = last
    table.sockets[last].member = row.member
    if out_of.n == 0:
        block_give(table, out_of.begin, out_of.size_class)
        memset(out_of, 0, sizeof(LinuxGroup))
        pool_give(&table.group_pool, row.group)
    row.group = -1
