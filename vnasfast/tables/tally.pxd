# Counters of one of several threads that count at the same time: each to memory of its own, added to the tables' at the end.
#
# A tally is linked to the tables from tally_begin to tally_end. Its own lock is taken by its thread for each block that it counts, and by
# whoever closes a socket, so that what was counted to the socket goes where the socket's counters go. Taken after `counting`.

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t

from vnasfast.tables.locks cimport pthread_mutex_t
from vnasfast.tables.usage cimport N_OUTCOMES, Usage

cdef struct Tally:
    pthread_mutex_t lock
    Usage* usage                    # by socket, behind ROWS_BEFORE others, as in the socket table
    size_t usage_bytes
    int32_t* counted                # sockets whose usage is not zero; each once
    size_t n_counted
    size_t capacity                 # sockets that there is room for
    Usage outcomes[N_OUTCOMES]      # [-outcome]
    Tally* following                # of the same tables

cdef void tally_init(Tally* tally) noexcept nogil
cdef void tally_free(Tally* tally) noexcept nogil
# Makes room for `n` sockets; False without memory. While the tally is linked nowhere.
cdef bint tally_reserve(Tally* tally, size_t n) noexcept nogil
# Counts at most MOST_COUNTED packets, to sockets below the capacity; how many reached none. The caller holds the tally's lock.
cdef size_t tally_count(Tally* tally, const int32_t* results, size_t n, const uint32_t* wire_lengths,
                        const int64_t* times_ns) noexcept nogil
# Adds all to the counters given, and is empty then. The caller holds what guards these, and nobody counts.
cdef void tally_add_to(Tally* tally, Usage* sockets, Usage* outcomes) noexcept nogil
# Moves what the tallies from `first` on counted to one socket. The caller holds what guards `usage` and the list.
cdef void tallies_move(Tally* first, int32_t socket, Usage* usage) noexcept nogil
