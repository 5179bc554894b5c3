"""Frames of a window to the counters: headers, keys, sockets, a piece of frames at a time, no Python object a frame."""

from libc.stdint cimport INT64_MAX, INT64_MIN, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memset

from vnasfast.capture.headers cimport FrameColumns, FrameSums, Headers, headers_to_columns, pcap_is_common, pcapng_is_common
from vnasfast.capture.pcapng cimport PcapngState
from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walker cimport InterfaceRow, records_columns
from vnasfast.capture.times cimport time_ns
from vnasfast.capture.window cimport Window
from vnasfast.capture.times cimport times_ns as fill_times
from vnasfast.dispatch.blocks cimport KeyLists, dispatch_and_count, lists_of
from vnasfast.dispatch.dispatcher cimport Dispatcher, dispatch_block, parse_block
from vnasfast.parse.frame cimport parse_frame
from vnasfast.parse.plain cimport ParsedBlock, parse_begin, parse_plain, widen_key
from vnasfast.replay.deliveries cimport PIECE, DeliveryWriter, rows_append, rows_of_block
from vnasfast.replay.lane cimport AHEAD_BYTES, CHUNK, RUN, CaptureTotals, now_ns
from vnasfast.replay.misses cimport MissTable, misses_count, misses_merge
from vnasfast.replay.turns cimport Turn, turn_wait
from vnasfast.tables.locks cimport pthread_rwlock_unlock, rwlock_rdlock
from vnasfast.typedefs cimport FIRST_FRAGMENT, LATER_FRAGMENT, FlowKey


cdef extern from * nogil:
    """
    static inline void vnas_fetch(const unsigned char *at, const unsigned char *end) {
        for (; at < end; at += 64)
            __builtin_prefetch(at, 0, 3);
    }
    """
    void fetch_lines "vnas_fetch"(const uint8_t* at, const uint8_t* end) noexcept


cdef inline void look_ahead(Lane lane) noexcept nogil:
    """Ask for a share of the following window. A core waits for none of it while these are no more lines than it has room for."""
    cdef const uint8_t* end = lane.ahead + min(lane.ahead_share, <size_t>(lane.ahead_end - lane.ahead))
    fetch_lines(lane.ahead, end)
    lane.ahead = end


cdef void read_columns(Lane lane, const uint32_t* starts, size_t n, FrameSums* sums) noexcept nogil:
    """Read the headers of the piece's records."""
    cdef const InterfaceRow* rows = lane.run.rows
    cdef const PcapngState* pcapng = &lane.run.pcapng if lane.capture.is_pcapng else NULL
    cdef const uint16_t* interfaces = lane.block.interfaces
    cdef int64_t* times_ns = lane.times_ns
    cdef Headers headers
    cdef FrameColumns columns
    cdef int64_t before = 0
    cdef size_t start = 0
    cdef size_t end, i
    cdef bint common = False
    memset(sums, 0, sizeof(FrameSums))
    if lane.vnases == NULL and lane.run.n_rows == 1:    # no deliveries are written: then nobody asks for ticks
        common = (pcap_is_common(&lane.capture.pcap, &headers) if pcapng == NULL
                  else pcapng_is_common(pcapng, &rows[0].time, &headers))
    if common:
        columns = FrameColumns(lane.block.offsets, lane.block.lengths, lane.block.wire_lengths, times_ns)
        lane.block.base = lane.run.base
        lane.block.n = n
        while start < n:
            end = min(start + CHUNK, n)
            look_ahead(lane)
            headers_to_columns(&headers, lane.run.base, starts, start, end, &columns, sums)
            start = end
        if sums.others == 0:
            lane.row_packets[0] += n
            return
        memset(sums, 0, sizeof(FrameSums))
    records_columns(&lane.capture.pcap, pcapng, lane.run.base, starts, n, &lane.block)
    if lane.run.n_rows == 1:
        lane.row_packets[0] += n
        fill_times(&rows[0].time, lane.block.ticks, n, times_ns)
    else:
        for i in range(n):
            lane.row_packets[interfaces[i]] += 1
            times_ns[i] = time_ns(&rows[interfaces[i]].time, lane.block.ticks[i])
    for i in range(n):
        sums.bytes += lane.block.wire_lengths[i]
        sums.captured_bytes += lane.block.lengths[i]
        # Between times from 0 on no difference overflows.
        sums.disorder |= times_ns[i] | <int64_t>(<uint64_t>times_ns[i] - <uint64_t>before)
        before = times_ns[i]


cdef void read_piece(Lane lane, const uint32_t* starts, size_t n) noexcept nogil:
    """Read the headers of the piece's records, and add it to the totals."""
    cdef const int64_t* times_ns = lane.times_ns
    cdef CaptureTotals* totals = &lane.totals
    cdef FrameSums sums
    cdef size_t i
    cdef int64_t first = INT64_MAX
    cdef int64_t last = INT64_MIN
    read_columns(lane, starts, n, &sums)
    if sums.disorder >= 0 and times_ns[0] > 0:      # nearly always: then none is 0, which stands for no time
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
    totals.bytes += sums.bytes
    totals.captured_bytes += sums.captured_bytes


cdef size_t same_link_type(Lane lane, size_t start) noexcept nogil:
    """Where the frames from `start` on with one link type end."""
    cdef const InterfaceRow* rows = lane.run.rows
    cdef const uint16_t* interfaces = lane.block.interfaces
    cdef size_t end = start + 1
    if lane.run.n_rows == 1:
        return lane.block.n
    while end < lane.block.n and rows[interfaces[end]].link_type == rows[interfaces[start]].link_type:
        end += 1
    return end


cdef bint parse_piece(Lane lane) noexcept nogil:
    """Parse the piece, each kind of key apart; whether there are fragments."""
    cdef size_t start = 0
    cdef size_t same = 0
    cdef size_t end, i, j
    cdef ParsedBlock* parsed = &lane.parsed
    cdef FlowKey* key
    cdef bint fragments = False
    parse_begin(parsed)
    while start < lane.block.n:
        if start == same:
            same = same_link_type(lane, start)
        end = min(start + CHUNK, same)
        look_ahead(lane)
        # No limit to the buffer: the walk gives frames that lie inside its window, and none else.
        parse_plain(
            lane.run.rows[lane.block.interfaces[start]].link_type, lane.block.base, INT64_MAX, lane.block.offsets,
            lane.block.lengths, start, end, parsed)
        start = end
    for j in range(parsed.kinds.n_others):
        i = parsed.kinds.others[j]
        key = &parsed.wide[parsed.kinds.n_ipv6 + j]
        parse_frame(
            lane.run.rows[lane.block.interfaces[i]].link_type, lane.block.base + lane.block.offsets[i],
            lane.block.lengths[i], lane.block.wire_lengths[i], key)
        fragments |= key.status == FIRST_FRAGMENT or key.status == LATER_FRAGMENT
    return fragments


cdef void parse_in_order(Lane lane) noexcept nogil:
    """Parse the piece once more, all of it to wide keys in order, with fragments following their first."""
    cdef size_t start = 0
    cdef size_t end
    while start < lane.block.n:
        end = same_link_type(lane, start)
        parse_block(
            lane.dispatcher, lane.run.rows[lane.block.interfaces[start]].link_type, lane.block.base, INT64_MAX, end - start,
            lane.block.offsets + start, lane.block.lengths + start, lane.block.wire_lengths + start, lane.times_ns + start,
            lane.parsed.wide + start)
        start = end


cdef void number_keys(Lane lane, int16_t* numbers) noexcept nogil:
    """For each frame of the piece, the number of its narrow key; ~ the number of its wide key."""
    cdef KeyLists lists = lists_of(&lane.parsed)
    cdef size_t i
    for i in range(lists.n_narrow):
        numbers[lists.narrow_places[i] if lists.narrow_places != NULL else i] = <int16_t>i
    for i in range(lists.n_wide):
        numbers[lists.wide_places[i] if lists.wide_places != NULL else i] = ~<int16_t>i


cdef size_t dispatch_piece(Lane lane, bint in_order) noexcept nogil:
    """Dispatch and count the piece; how many frames reached no socket."""
    cdef KeyLists keys = lists_of(&lane.parsed)
    if in_order:
        keys.n_narrow = 0
        keys.wide_places = NULL
        keys.n_wide = lane.block.n
    return dispatch_and_count(
        lane.dispatcher.tables, &keys, lane.results, lane.block.wire_lengths, lane.times_ns, lane.tally)


cdef void count_misses(Lane lane, bint in_order) noexcept nogil:
    """Count what reached no socket, in the order of the frames; `in_order` are their keys, as parse_in_order leaves them."""
    cdef const FlowKey* key
    cdef FlowKey wide
    cdef int16_t[PIECE] numbers
    cdef size_t i
    if not in_order:
        number_keys(lane, numbers)
    rwlock_rdlock(&lane.dispatcher.tables.changing)
    for i in range(lane.block.n):
        if lane.results[i] >= 0:
            continue
        key = &wide
        if in_order:
            key = &lane.parsed.wide[i]
        elif numbers[i] < 0:
            key = &lane.parsed.wide[~numbers[i]]
        else:
            widen_key(&lane.parsed.narrow[numbers[i]], &wide)
        misses_count(
            &lane.misses.c, &lane.dispatcher.tables.c, lane.results[i], key,
            lane.run.rows[lane.block.interfaces[i]].link_type, lane.block.base + lane.block.offsets[i],
            lane.block.lengths[i], lane.block.wire_lengths[i])
    pthread_rwlock_unlock(&lane.dispatcher.tables.changing)


cdef void process_piece(Lane lane, const uint32_t* starts, size_t n, Turn* handing_over, uint64_t ticket) noexcept nogil:
    cdef uint64_t begun = now_ns()
    cdef uint64_t read, waited, parsed, dispatched
    cdef bint fragments, in_order
    cdef size_t missed
    read_piece(lane, starts, n)
    read = now_ns()
    fragments = parse_piece(lane)
    in_order = fragments or lane.vnases != NULL
    if fragments:
        waited = now_ns()
        turn_wait(handing_over, ticket)
        waited = now_ns() - waited
        begun += waited
        read += waited
    if in_order:
        parse_in_order(lane)
    parsed = now_ns()
    if lane.vnases != NULL:
        missed = dispatch_block(
            lane.dispatcher, lane.parsed.wide, n, lane.results, lane.vnases, True, lane.block.wire_lengths, lane.times_ns)
    else:
        missed = dispatch_piece(lane, in_order)
    if missed:
        count_misses(lane, in_order)
    dispatched = now_ns()
    lane.times.reading += read - begun
    lane.times.parsing += parsed - read
    lane.times.dispatching += dispatched - parsed
    if lane.vnases != NULL:
        lane.failed |= not rows_of_block(
            &lane.text, &lane.deliveries.texts, lane.dispatcher, lane.capture, lane.run.rows, &lane.block,
            lane.run.number + <uint64_t>(starts - lane.records.starts), lane.parsed.wide, lane.results, lane.vnases)
        lane.times.writing += now_ns() - dispatched


cdef bint make_rows(Lane lane) noexcept nogil:
    cdef uint64_t* rows
    if lane.run.n_rows > lane.n_row_packets:
        rows = <uint64_t*>realloc(lane.row_packets, 2 * lane.run.n_rows * sizeof(uint64_t))
        if rows == NULL:
            return False
        memset(rows + lane.n_row_packets, 0, (2 * lane.run.n_rows - lane.n_row_packets) * sizeof(uint64_t))
        lane.row_packets = rows
        lane.n_row_packets = 2 * lane.run.n_rows
    return True


cdef void lane_process(Lane lane, Turn* handing_over, uint64_t ticket) noexcept nogil:
    cdef size_t start = 0
    cdef size_t n
    if not make_rows(lane):
        lane.failed = True
        return
    while start < lane.records.n:
        n = lane.records.n - start
        if n > PIECE:
            n = PIECE
        process_piece(lane, lane.records.starts + start, n, handing_over, ticket)
        start += n


cdef void lane_process_ahead(Lane lane, Window following, Turn* handing_over, uint64_t ticket) noexcept nogil:
    cdef size_t n = min(following.visible, following.until)
    lane.ahead = following.base + following.fetched
    lane.ahead_end = following.base + n
    # Twice a chunk: before its headers are read, and before its frames are parsed.
    lane.ahead_share = (n - following.fetched) * CHUNK // (2 * lane.records.n + 1) + 64 & ~<size_t>63
    lane.ahead_share = min(lane.ahead_share, <size_t>AHEAD_BYTES)
    lane_process(lane, handing_over, ticket)
    following.fetched = lane.ahead - following.base
    lane.ahead = lane.ahead_end


cdef void lane_hand_over(Lane lane, MissTable misses, DeliveryWriter deliveries) noexcept nogil:
    misses_merge(&misses.c, &lane.misses.c)
    if deliveries is not None:
        lane.failed |= not rows_append(&deliveries.buffer, &lane.text)


cdef class Lane:
    """The memory of one thread that replays.

    Parameters
    ----------
    dispatcher : Dispatcher
    misses : MissTable
        Those of the whole replay.
    deliveries : DeliveryWriter or None
    """

    def __cinit__(self):
        self.records.starts = <uint32_t*>malloc(RUN * sizeof(uint32_t))
        self.block.offsets = <uint64_t*>malloc(PIECE * sizeof(uint64_t))
        self.block.lengths = <uint32_t*>malloc(PIECE * sizeof(uint32_t))
        self.block.wire_lengths = <uint32_t*>malloc(PIECE * sizeof(uint32_t))
        self.block.ticks = <uint64_t*>malloc(PIECE * sizeof(uint64_t))
        self.block.interfaces = <uint16_t*>calloc(PIECE, sizeof(uint16_t))
        self.block.capacity = PIECE
        self.times_ns = <int64_t*>malloc(PIECE * sizeof(int64_t))
        self.results = <int32_t*>malloc(PIECE * sizeof(int32_t))
        if (
            self.records.starts == NULL or self.block.offsets == NULL or self.block.lengths == NULL
            or self.block.wire_lengths == NULL or self.block.ticks == NULL or self.block.interfaces == NULL
            or self.times_ns == NULL or self.results == NULL
        ):
            raise MemoryError

    def __init__(self, Dispatcher dispatcher not None, MissTable misses not None, DeliveryWriter deliveries):
        self.dispatcher = dispatcher
        self.deliveries = deliveries
        self.misses = MissTable(max_rows=RUN)
        self.misses.c.seed = misses.c.seed
        if deliveries is not None:
            self.vnases = <int32_t*>malloc(PIECE * sizeof(int32_t))
            if self.vnases == NULL:
                raise MemoryError

    def __dealloc__(self):
        free(self.records.starts)
        free(self.block.offsets)
        free(self.block.lengths)
        free(self.block.wire_lengths)
        free(self.block.ticks)
        free(self.block.interfaces)
        free(self.times_ns)
        free(self.results)
        free(self.vnases)
        free(self.text.text)
        free(self.row_packets)

    cdef int begin(self, Capture capture) except -1:
        """Go on with another capture; the totals are its own from here on."""
        self.capture = capture
        self.window = capture.new_window()
        self.other_window = Window.__new__(Window)
        memset(&self.totals, 0, sizeof(CaptureTotals))
        memset(self.block.interfaces, 0, PIECE * sizeof(uint16_t))
        if self.row_packets != NULL:
            memset(self.row_packets, 0, self.n_row_packets * sizeof(uint64_t))
        return 0
