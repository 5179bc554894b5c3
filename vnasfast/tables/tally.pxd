# Counters of one of several threads that count at the same time: each to memory of its own, which is added to the tables' when somebody reads
# those.
#
# A tally stays linked to its tables for as long as they live. A thread borrows one (dispatch/blocks.pxd). The tally's own lock is taken by
# its thread for each block that it counts, by whoever closes a socket, so that what was counted to the socket goes where the socket's
# counters go, and by whoever reads counters. Taken after `counting`.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from vnasfast.tables.locks cimport pthread_mutex_t
from vnasfast.tables.usage cimport N_OUTCOMES, PackedCounts, Usage

cdef struct Tally:
    pthread_mutex_t lock
    Usage* usage                    # by socket, behind ROWS_BEFORE others, as in the socket table
    size_t usage_bytes
    PackedCounts packed             # packets without times, as in the socket table
    int32_t* counted                # [2 * capacity + MOST_COUNTED], sockets whose usage may not be zero: each that was counted since
                                    # the tally was empty, and once more each time that it was closed meanwhile
    size_t n_counted
    size_t capacity                 # sockets that there is room for
    Usage outcomes[N_OUTCOMES]      # [-outcome]
    Tally* following                # of the same tables
    Tally* next_spare               # of those that no thread has borrowed

cdef Tally* tally_new() noexcept nogil          # NULL without memory
cdef void tallies_free(Tally* first) noexcept nogil
# Whether MOST_COUNTED packets may be counted where there are n sockets.
cdef bint tally_has_room(const Tally* tally, size_t n) noexcept nogil
# Makes room for `n` sockets; False without memory. The tally is empty, and the caller holds its lock.
cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil
# Counts at most MOST_COUNTED packets, to sockets below the capacity; how many reached none. The caller holds the tally's lock.
cdef size_t tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                        const int64_t* times_ns) noexcept nogil
# Adds all to the counters given, and is empty then. The caller holds what guards these, and the tally's lock.
cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil
# The same for the tallies from `first` on; and for what they counted to one socket. The caller holds what guards the counters and the list.
cdef void tallies_add_to(Tally* first, Usage* sockets, Usage* outcomes) noexcept nogil
cdef void tallies_move(Tally* first, int32_t socket, Usage* usage) noexcept nogil
