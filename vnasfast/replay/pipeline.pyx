"""The three stages joined: capture → parse → dispatch, a block of frames at a time, no Python object a frame."""

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int32_t, int64_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from vnasfast.capture.reader cimport Capture, InterfaceRow
from vnasfast.capture.times cimport time_ns
from vnasfast.capture.times cimport times_ns as fill_times
from vnasfast.dispatch.dispatcher cimport Dispatcher, dispatch_block, parse_block
from vnasfast.replay.deliveries cimport DeliveryWriter
from vnasfast.replay.misses cimport Misses, MissTable, misses_count
from vnasfast.replay.pipeline cimport PIECE, CaptureTotals
from vnasfast.tables.tables cimport pthread_rwlock_rdlock, pthread_rwlock_unlock
from vnasfast.typedefs cimport FlowKey, FrameBlock


cdef inline uint64_t now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef void block_totals(
    const FrameBlock* block, const InterfaceRow* rows, size_t n_rows, size_t start, size_t n, int64_t* times_ns,
    CaptureTotals* totals, uint64_t* row_packets,
) noexcept nogil:
    """Fill the times of `n` frames from `start`, and add them to the capture's totals."""
    cdef const uint16_t* interfaces = block.interfaces + start
    cdef size_t i
    cdef uint64_t n_bytes = 0, captured_bytes = 0
    cdef int64_t first = INT64_MAX
    cdef int64_t last = INT64_MIN
    cdef bint disorder = False
    if n_rows == 1:
        row_packets[0] += n
        fill_times(&rows[0].time, block.ticks + start, n, times_ns)
    else:
        for i in range(n):
            row_packets[interfaces[i]] += 1
            times_ns[i] = time_ns(&rows[interfaces[i]].time, block.ticks[start + i])
    # One simple loop a column: the compiler makes vectors of them.
    for i in range(n):
        n_bytes += block.wire_lengths[start + i]
    for i in range(n):
        captured_bytes += block.lengths[start + i]
    for i in range(1, n):
        disorder |= times_ns[i] < times_ns[i - 1]
    if not disorder and times_ns[0] > 0:        # nearly always: then none is 0, which stands for no time
        first = times_ns[0]
        last = times_ns[n - 1]
    else:
        for i in range(n):
            if times_ns[i] != 0:
                first = min(first, times_ns[i])
                last = max(last, times_ns[i])
    if first <= last:       # else no frame has a time
        totals.first_ns = first if totals.first_ns == 0 else min(first, totals.first_ns)
        totals.last_ns = last if totals.last_ns == 0 else max(last, totals.last_ns)
    totals.packets += n
    totals.bytes += n_bytes
    totals.captured_bytes += captured_bytes


cdef void parse_frames_of(
    Dispatcher dispatcher, const FrameBlock* block, const InterfaceRow* rows, size_t n_rows, size_t start, size_t n,
    const int64_t* times_ns, FlowKey* keys,
) noexcept nogil:
    """Parse `n` frames from `start`, one run of frames with the same link type after the other."""
    cdef size_t i = 0
    cdef size_t end = n
    cdef uint32_t link_type
    while i < n:
        link_type = rows[block.interfaces[start + i]].link_type
        if n_rows > 1:
            end = i + 1
            while end < n and rows[block.interfaces[start + end]].link_type == link_type:
                end += 1
        # No limit to the buffer: the walk gives frames that lie inside its window, and none else.
        parse_block(dispatcher, link_type, block.base, UINT64_MAX, end - i, block.offsets + start + i,
                    block.lengths + start + i, block.wire_lengths + start + i, times_ns + i, keys + i)
        i = end


cdef void count_misses(
    Dispatcher dispatcher, Misses* misses, const FrameBlock* block, const InterfaceRow* rows, size_t start, size_t n,
    const FlowKey* keys, const int32_t* results,
) noexcept nogil:
    cdef size_t i, at
    pthread_rwlock_rdlock(&dispatcher.tables.changing)
    for i in range(n):
        if results[i] < 0:
            at = start + i
            misses_count(misses, &dispatcher.tables.c, results[i], &keys[i], rows[block.interfaces[at]].link_type,
                         block.base + block.offsets[at], block.lengths[at], block.wire_lengths[at])
    pthread_rwlock_unlock(&dispatcher.tables.changing)


cdef class Pipeline:
    """Frames of captures, one capture after the other, to the sockets of one machine.

    Parameters
    ----------
    dispatcher : Dispatcher
        A ServerMachine; its counters count.
    misses : MissTable
    deliveries : DeliveryWriter, optional

    Notes
    -----
    One thread at a time. An exception, also KeyboardInterrupt, leaves all counts true of the frames seen so far.
    """

    def __cinit__(self):
        self.keys = <FlowKey*>malloc(PIECE * sizeof(FlowKey))
        self.results = <int32_t*>malloc(PIECE * sizeof(int32_t))
        self.times_ns = <int64_t*>malloc(PIECE * sizeof(int64_t))
        if self.keys == NULL or self.results == NULL or self.times_ns == NULL:
            raise MemoryError

    def __init__(self, Dispatcher dispatcher not None, MissTable misses not None, DeliveryWriter deliveries=None):
        if self.dispatcher is not None:
            raise RuntimeError("a Pipeline is made once")
        self.dispatcher = dispatcher
        self.misses = misses
        self.deliveries = deliveries
        if deliveries is not None:
            self.vnases = <int32_t*>malloc(PIECE * sizeof(int32_t))
            if self.vnases == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.keys)
        free(self.results)
        free(self.times_ns)
        free(self.vnases)
        free(self.row_packets)

    def begin(self, Capture capture not None):
        """Go on with another capture; the totals are its own from here on.

        Parameters
        ----------
        capture : Capture
        """
        cdef size_t i
        self.capture = capture
        self.reading = False
        self.totals.packets = self.totals.bytes = self.totals.captured_bytes = 0
        self.totals.first_ns = self.totals.last_ns = 0
        for i in range(self.n_rows):
            self.row_packets[i] = 0

    def step(self, size_t limit):
        """Read the next block of the capture and dispatch it.

        Parameters
        ----------
        limit : int
            The most frames wanted, from 1.

        Returns
        -------
        int
            Number of frames; 0 at the end.

        Raises
        ------
        CaptureError
            The capture is damaged here; all frames before were dispatched.
        OSError
            The capture can't be read, or the deliveries can't be written.
        """
        cdef uint64_t started = now_ns()
        cdef size_t start = 0
        cdef size_t size
        cdef size_t n
        self.reading = True
        try:
            n = self.capture.next_block(limit)
        finally:
            self.times.reading += now_ns() - started
        self.reading = False
        if self.capture.n_rows > self.n_rows:
            self._make_rows()
        while start < n:
            size = n - start
            if size > PIECE:
                size = PIECE
            self._piece(start, size)
            start += size
        return n

    cdef int _piece(self, size_t start, size_t n) except -1:
        cdef const FrameBlock* block = &self.capture.block
        cdef const InterfaceRow* rows = self.capture.rows
        cdef uint64_t begun, read, parsed, dispatched
        with nogil:
            begun = now_ns()
            block_totals(block, rows, self.capture.n_rows, start, n, self.times_ns, &self.totals, self.row_packets)
            read = now_ns()
            parse_frames_of(self.dispatcher, block, rows, self.capture.n_rows, start, n, self.times_ns, self.keys)
            parsed = now_ns()
            if dispatch_block(self.dispatcher, self.keys, n, self.results, self.vnases, True, block.wire_lengths + start,
                              self.times_ns):
                count_misses(self.dispatcher, &self.misses.c, block, rows, start, n, self.keys, self.results)
            dispatched = now_ns()
        self.times.reading += read - begun
        self.times.parsing += parsed - read
        self.times.dispatching += dispatched - parsed
        if self.deliveries is not None:
            self.deliveries.write_frames(
                self.dispatcher, self.capture, start, n, self.keys, self.results, self.vnases)
            self.times.writing += now_ns() - dispatched
        return 0

    cdef int _make_rows(self) except -1:
        cdef size_t i
        cdef uint64_t* rows = <uint64_t*>realloc(self.row_packets, self.capture.n_rows * sizeof(uint64_t))
        if rows == NULL:
            raise MemoryError
        self.row_packets = rows
        for i in range(self.n_rows, self.capture.n_rows):
            rows[i] = 0
        self.n_rows = self.capture.n_rows
        return 0

    # --- what it came to ---

    @property
    def packets(self):
        """int: Frames of the capture so far."""
        return self.totals.packets

    @property
    def bytes(self):
        """int: Their bytes on the wire."""
        return self.totals.bytes

    @property
    def captured_bytes(self):
        """int: Their bytes in the capture."""
        return self.totals.captured_bytes

    @property
    def first_ns(self):
        """int or None: Earliest time, in nanoseconds since the epoch."""
        return self.totals.first_ns or None

    @property
    def last_ns(self):
        """int or None: Latest time."""
        return self.totals.last_ns or None

    @property
    def interface_packets(self):
        """list of int: Frames of each row of the capture's interface list."""
        if self.capture is None:
            return []
        return [self.row_packets[i] if i < self.n_rows else 0 for i in range(self.capture.n_rows)]

    @property
    def stage_ns(self):
        """dict of str to int: Nanoseconds spent reading, parsing, dispatching (with counting) and writing deliveries."""
        return {
            "reading": self.times.reading,
            "parsing": self.times.parsing,
            "dispatching": self.times.dispatching,
            "writing": self.times.writing,
        }
