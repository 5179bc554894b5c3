"""The three stages joined: capture → parse → dispatch.

A capture that is no stream goes through several lanes, each a thread. They take its windows in turns. A lane makes its
window ready by itself; then it waits until the window before has been walked, so that it knows where its first record begins;
walks its own, which is short work, and lets the next lane walk; then reads, parses, dispatches and counts its frames beside
the others, each lane to counters of its own. What depends on the order of frames (misses, deliveries, fragments) is handed over
in the order of the windows. While a lane works on a window's frames, the lines of its next window come from memory.

So no record is ever guessed, and whatever the capture holds, damage, interfaces, a limit, is met in order: the results are
those of one lane. What it costs is that walking, about a fifth of the work, is done by one lane at a time.
"""

import _thread

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport UINT64_MAX, uint64_t

from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walk cimport WALK_DAMAGED, WALK_FULL
from vnasfast.capture.walker cimport capture_walk
from vnasfast.capture.window cimport (
    Window, WindowSource, window_is_mapped, window_ready, window_release, window_timed, window_touch
)
from vnasfast.dispatch.blocks cimport tally_borrow, tally_give_back
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.replay.deliveries cimport DeliveryWriter
from vnasfast.replay.lane cimport RUN, Lane, lane_hand_over, lane_process, lane_process_ahead, now_ns
from vnasfast.replay.misses cimport MissTable
from vnasfast.replay.turns cimport (
    flag_get, flag_set, take_number, turn_add, turn_destroy, turn_init, turn_now, turn_set, turn_wait
)

# How long a step takes about: Ctrl-C, progress bars and the deliveries' file wait for its end, and the lanes for each other.
cdef uint64_t _STEP_NS = 50_000_000
# … and windows at least, of 256 KiB each: what a step costs besides is then little, also where all is slow, as under valgrind.
cdef uint64_t _STEP_WINDOWS = 16
# Deliveries kept in memory until the step ends.
cdef size_t _MOST_TEXT_BYTES = 1 << 23
# In place of a window's number.
cdef uint64_t NO_WINDOW = UINT64_MAX
# Windows that each lane must find, or it isn't worth its start.
cdef uint64_t _WINDOWS_A_LANE = 2


cdef int walk_run(Pipeline pipeline, Lane lane, Window window) noexcept nogil:
    """Find the next records of the window; a WalkStatus. When it is the window's turn."""
    cdef uint64_t begun = now_ns()
    cdef int status = WALK_DAMAGED
    lane.records.n = 0
    lane.records.capacity = min(<uint64_t>RUN, pipeline.left)
    if pipeline.left:
        status = capture_walk(pipeline.capture, window, &lane.records)
    pipeline.left -= lane.records.n
    lane.run.base = window.base
    lane.run.number = pipeline.number
    pipeline.number += lane.records.n
    lane.run.rows = pipeline.capture.rows
    lane.run.n_rows = pipeline.capture.n_rows
    if pipeline.capture.is_pcapng:
        lane.run.pcapng = pipeline.capture.pcapng
    lane.times.reading += now_ns() - begun
    return status if pipeline.left else <int>WALK_DAMAGED


cdef void process_run(Pipeline pipeline, Lane lane, uint64_t window) noexcept nogil:
    lane_process(lane, &pipeline.handing_over, window)
    turn_wait(&pipeline.handing_over, window)
    lane_hand_over(lane, pipeline.misses, pipeline.deliveries)


cdef uint64_t run_window(Pipeline pipeline, Lane lane, Window window, uint64_t index, Window other) noexcept nogil:
    """Take window `index`, which is ready, to the counters; the number of the window that is ready then, or NO_WINDOW.

    `other` receives it if it is mapped. What is read comes to lane.window, which alone has memory for it: in the caches already.

    That one is taken as soon as this one is walked, so that its lines come from memory while this one's frames are worked on:
    3 to 5 ns a frame of 60 bytes, that a sweep before the walk took.
    """
    cdef WindowSource* source = &pipeline.capture.windows
    cdef bint was_fetched = window.fetched > 0
    cdef bint ahead = False
    cdef uint64_t following = NO_WINDOW
    cdef uint64_t begun = now_ns()
    cdef uint64_t busy_ns, read_ns
    cdef int status
    window_touch(window)
    busy_ns = now_ns() - begun
    lane.times.reading += busy_ns
    turn_wait(&pipeline.walking, index)
    begun = now_ns()
    status = walk_run(pipeline, lane, window)
    while status == WALK_FULL:
        # More frames than there is room for, or of another section: rare, so that the others may wait.
        process_run(pipeline, lane, index)
        status = walk_run(pipeline, lane, window)
    if status == WALK_DAMAGED:
        flag_set(&pipeline.stopping)
    turn_set(&pipeline.walking, index + 1)
    if not flag_get(&pipeline.stopping):
        following = take_number(&pipeline.unclaimed)
        ahead = window_is_mapped(source, following)
    if ahead:
        read_ns = now_ns()
        window_ready(other, source, following, True)
        lane.times.reading += now_ns() - read_ns
        other.read_ns = 0
        lane.in_other = not lane.in_other
        lane_process_ahead(lane, other, &pipeline.handing_over, index)
    else:
        lane_process(lane, &pipeline.handing_over, index)
    busy_ns += now_ns() - begun
    turn_wait(&pipeline.handing_over, index)
    lane_hand_over(lane, pipeline.misses, pipeline.deliveries)
    # Where the ways change, one window's time is that of parts of two.
    if following != NO_WINDOW and ahead == window.mapped and was_fetched:
        window_timed(source, window, busy_ns + window.read_ns)
    window_release(source, index * source.step)
    if (index >= pipeline.least and now_ns() > pipeline.deadline_ns) or (
        pipeline.deliveries is not None and pipeline.deliveries.buffer.used > _MOST_TEXT_BYTES
    ):
        flag_set(&pipeline.stopping)
    turn_set(&pipeline.handing_over, index + 1)
    if following != NO_WINDOW and not ahead:
        begun = now_ns()
        window_ready(lane.window, source, following, False)
        lane.window.read_ns = now_ns() - begun
        lane.times.reading += lane.window.read_ns
        lane.in_other = False
    return following


cdef void run_lane(Pipeline pipeline, Lane lane) noexcept nogil:
    """Take windows until the step is over; whoever took one brings it to its end, for the others wait for it."""
    cdef uint64_t index = NO_WINDOW
    if not flag_get(&pipeline.stopping):
        index = take_number(&pipeline.unclaimed)
        window_ready(
            lane.window, &pipeline.capture.windows, index, window_is_mapped(&pipeline.capture.windows, index))
    lane.in_other = False
    while index != NO_WINDOW:
        if lane.in_other:
            index = run_window(pipeline, lane, lane.other_window, index, lane.window)
        else:
            index = run_window(pipeline, lane, lane.window, index, lane.other_window)


cdef class Pipeline:
    """Frames of captures, one capture after the other, to the sockets of one machine.

    Parameters
    ----------
    dispatcher : Dispatcher
        A ServerMachine; its counters count.
    misses : MissTable
    deliveries : DeliveryWriter, optional
    threads : int, optional
        The most threads that work on a capture, the caller's among them. Streams are read by one.

    Notes
    -----
    One thread at a time. An exception, also KeyboardInterrupt, leaves all counts true of the frames seen so far.
    """

    def __cinit__(self):
        turn_init(&self.walking)
        turn_init(&self.handing_over)
        turn_init(&self.gone)

    def __init__(
        self, Dispatcher dispatcher not None, MissTable misses not None, DeliveryWriter deliveries=None, *, int threads=1,
    ):
        if self.dispatcher is not None:
            raise RuntimeError("a Pipeline is made once")
        self.dispatcher = dispatcher
        self.misses = misses
        self.deliveries = deliveries
        self.lanes = [Lane(dispatcher, misses, deliveries) for _ in range(threads)]

    def __dealloc__(self):
        turn_destroy(&self.walking)
        turn_destroy(&self.handing_over)
        turn_destroy(&self.gone)

    def begin(self, Capture capture not None):
        """Go on with another capture; the totals are its own from here on.

        Parameters
        ----------
        capture : Capture
        """
        cdef Lane lane
        self.capture = capture
        self.reading = False
        for lane in self.lanes:
            lane.begin(capture)

    def step(self, size_t limit):
        """Read some frames of the capture and dispatch them.

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
        cdef uint64_t before = self._packets()
        cdef uint64_t n
        cdef Lane lane
        self.reading = True
        self.capture.begin_reading()
        if self.deliveries is not None:
            self.number = self.deliveries.n_rows + 1
        try:
            if self.capture.is_stream:
                self._step_stream(limit)
            else:
                self._step_windows(limit)
                while self._packets() == before and not self.capture.ended:     # only blocks without packets so far
                    PyErr_CheckSignals()
                    self._step_windows(limit)
        finally:
            self.capture.reading = False
            n = self._packets() - before
            self.capture.n_frames += n
            if self.deliveries is not None:
                self.deliveries.n_rows += n
        for lane in self.lanes:
            if lane.failed:
                raise MemoryError
        if n == 0 and self.capture.error is not None:
            raise self.capture.error
        self.reading = False
        if self.deliveries is not None and self.deliveries.buffer.used > _MOST_TEXT_BYTES // 8:
            self.deliveries.flush()
        return n

    cdef int _step_stream(self, size_t limit) except -1:
        cdef Lane lane = self.lanes[0]
        cdef uint64_t begun = now_ns()
        try:
            self.capture.next_run(lane.window, &lane.records, min(limit, <size_t>RUN))
        finally:
            lane.times.reading += now_ns() - begun
        lane.run.base = lane.window.base
        lane.run.number = self.number
        lane.run.rows = self.capture.rows
        lane.run.n_rows = self.capture.n_rows
        lane.run.pcapng = self.capture.pcapng
        with nogil:
            lane_process(lane, &self.handing_over, turn_now(&self.handing_over))
            lane_hand_over(lane, self.misses, self.deliveries)
        return 0

    cdef int _step_windows(self, size_t limit) except -1:
        cdef Lane lane
        cdef uint64_t first = self.capture.next_start // self.capture.windows.step
        cdef uint64_t windows = self.capture.windows.size // self.capture.windows.step + 1 - first
        cdef uint64_t n_helpers = 0
        cdef list lanes = self.lanes[:max(<uint64_t>1, windows // _WINDOWS_A_LANE)]
        self.left = limit
        self.unclaimed = first
        self.stopping = 0
        self.deadline_ns = now_ns() + _STEP_NS
        self.least = first + _STEP_WINDOWS - 1
        turn_set(&self.walking, first)
        turn_set(&self.handing_over, first)
        turn_set(&self.gone, 0)
        try:
            if len(lanes) > 1:
                for lane in lanes:
                    lane.tally = tally_borrow(self.dispatcher.tables)
            for helper in lanes[1:]:
                try:
                    _thread.start_new_thread(self._help, (helper,))
                except RuntimeError:    # no more threads: those that there are do the work
                    break
                n_helpers += 1
            lane = lanes[0]
            with nogil:
                run_lane(self, lane)
        finally:
            with nogil:
                flag_set(&self.stopping)
                turn_wait(&self.gone, n_helpers)
            for lane in reversed(lanes):    # each gets the same next time: its core has it
                if lane.tally != NULL:
                    tally_give_back(self.dispatcher.tables, lane.tally)
                    lane.tally = NULL
        return 0

    def _help(self, Lane lane):
        """Run a lane in a thread of its own."""
        with nogil:
            run_lane(self, lane)
            turn_add(&self.gone)

    # --- what it came to ---

    cdef uint64_t _packets(self):
        cdef Lane lane
        cdef uint64_t n = 0
        for lane in self.lanes:
            n += lane.totals.packets
        return n

    @property
    def packets(self):
        """int: Frames of the capture so far."""
        return self._packets()

    @property
    def bytes(self):
        """int: Their bytes on the wire."""
        cdef Lane lane
        return sum([lane.totals.bytes for lane in self.lanes])

    @property
    def captured_bytes(self):
        """int: Their bytes in the capture."""
        cdef Lane lane
        return sum([lane.totals.captured_bytes for lane in self.lanes])

    @property
    def first_ns(self):
        """int or None: Earliest time, in nanoseconds since the epoch."""
        cdef Lane lane
        return min([lane.totals.first_ns for lane in self.lanes if lane.totals.first_ns], default=None)

    @property
    def last_ns(self):
        """int or None: Latest time."""
        cdef Lane lane
        return max([lane.totals.last_ns for lane in self.lanes if lane.totals.last_ns], default=None)

    @property
    def interface_packets(self):
        """list of int: Frames of each row of the capture's interface list."""
        cdef Lane lane
        cdef size_t i
        cdef Py_ssize_t n_rows = 0 if self.capture is None else self.capture.n_rows
        packets = [0] * n_rows
        for lane in self.lanes:
            for i in range(lane.n_row_packets):
                if lane.row_packets[i]:
                    packets[<Py_ssize_t>i] += lane.row_packets[i]
        return packets

    @property
    def stage_ns(self):
        """dict of str to int: Nanoseconds spent reading, parsing, dispatching (with counting) and writing deliveries.

        Those of all threads together.
        """
        cdef Lane lane
        return {
            "reading": sum([lane.times.reading for lane in self.lanes]),
            "parsing": sum([lane.times.parsing for lane in self.lanes]),
            "dispatching": sum([lane.times.dispatching for lane in self.lanes]),
            "writing": sum([lane.times.writing for lane in self.lanes]),
        }
