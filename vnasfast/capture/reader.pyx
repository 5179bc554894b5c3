"""The reader of captures: windows of bytes in, blocks of frames out."""

import os

from vnasfast.capture.interfaces import Interface
from vnasfast.capture.link_types import captured_limit
from vnasfast.capture.source import StreamDamaged, unknown_format
from vnasfast.capture.pcap import is_pcap
from vnasfast.errors import CaptureError, InvalidValue

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint16_t
from libc.string cimport memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from vnasfast.capture.pcap cimport PCAP_HEADER_BYTES, pcap_description, pcap_problem, pcap_start, pcap_walk
from vnasfast.capture.pcapng cimport (
    PCAPNG_SECTION_BYTES, pcapng_description, pcapng_interface, pcapng_problem, pcapng_section, pcapng_walk
)
from vnasfast.capture.times cimport TIME_TEXT_BYTES, time_format, time_ns
from vnasfast.capture.walk cimport (
    WALK_DAMAGED, WALK_FULL, WALK_INTERFACE, WALK_NEEDS, WALK_PASSED, WALK_SECTION
)
from vnasfast.capture.window cimport BEHIND, window_extend, window_ready, window_release, window_timed

# A stream's first buffer; it grows only for a record that is larger.
cdef size_t _BUFFER_BYTES = 1 << 18     # stays in the second-level cache; 512 KiB to 2 MiB measured 5 to 10 % slower
# What is unpacked of a compressed stream before the walk goes on; a plain stream goes on with what one read gave.
cdef size_t _UNPACK_BYTES = 1 << 18
cdef size_t _MOST_INTERFACES = 1 << 16
# The longest pcapng block believed; more only for link types whose frames alone are longer, and their options.
cdef uint32_t _BLOCK_LIMIT = 16 << 20
cdef uint32_t _OPTIONS_LIMIT = 1 << 20


cdef int capture_walk(Capture capture, Window window, Records* records) noexcept nogil:
    cdef size_t at
    cdef int status
    while not capture.ended:
        at = capture.next_start - window.start
        if capture.is_pcapng:
            status = pcapng_walk(&capture.pcapng, window.base, window.visible, window.until, &at, records)
        else:
            status = pcap_walk(&capture.pcap, window.base, window.visible, window.until, &at, records)
        if status == WALK_SECTION:
            if records.n:       # they are read by the state of the section before
                capture.next_start = window.start + at
                return WALK_FULL
            status = pcapng_section(&capture.pcapng, window.base, window.visible, &at)
            if status == WALK_FULL:
                capture.next_start = window.start + at
                continue
        capture.next_start = window.start + at
        if status == WALK_FULL or status == WALK_PASSED:
            return status
        if status == WALK_NEEDS:
            capture._needed = capture.pcapng.needed if capture.is_pcapng else capture.pcap.needed
            if capture.is_stream:
                return WALK_NEEDS
            if window_extend(window, &capture.windows, at + capture._needed):
                continue
        with gil:
            try:
                capture._meet(window, status)
            except Exception as error:
                capture.error = error
                capture.ended = True
    return WALK_DAMAGED


cdef uint64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef class Capture:
    """A capture under reading, made by :func:`vnasfast.capture.open_capture`.

    Each :meth:`read` walks to the next frames and leaves them as columns: ``offsets``, ``lengths``,
    ``wire_lengths``, ``ticks``, ``interface_rows`` and, computed when asked for, ``times_ns``. All have one
    element a frame and, with ``data``, hold good until the next read. One thread at a time.

    Parameters
    ----------
    source : Source
        Of :mod:`vnasfast.capture.source`; closed together with the capture.
    block_frames : int
        The most frames that one read gives.
    window_bytes : int
        Bytes of a file that are made ready at a time.

    Raises
    ------
    CaptureError
        The source is no capture, or its header is damaged.
    """

    def __init__(self, source, *, size_t block_frames, uint64_t window_bytes):
        cdef const uint8_t[::1] data
        if self._source is not None:
            raise RuntimeError("a Capture is opened once")
        if not 0 < block_frames <= 1 << 24:
            raise InvalidValue(f"block_frames is {block_frames}; it must be from 1 to {1 << 24}")
        if not 0 < window_bytes <= 1 << 30:
            raise InvalidValue(f"window_bytes is {window_bytes}; it must be from 1 to {1 << 30}")
        self._source = source
        self.name = source.name
        self._interfaces = []
        self._old_rows = []
        self._starts = bytearray(4 * block_frames)
        self._records.starts = <uint32_t*><char*>self._starts
        self._capacity = self.block.capacity = block_frames
        # Columns lie in bytearrays, which numpy arrays are views of only when somebody asks for them: most do without numpy.
        self._offsets = bytearray(8 * block_frames)
        self._lengths = bytearray(4 * block_frames)
        self._wire_lengths = bytearray(4 * block_frames)
        self._ticks = bytearray(8 * block_frames)
        self._rows_of_frames = bytearray(2 * block_frames)
        self._times_ns = bytearray(8 * block_frames)
        self.block.offsets = <uint64_t*><char*>self._offsets
        self.block.lengths = <uint32_t*><char*>self._lengths
        self.block.wire_lengths = <uint32_t*><char*>self._wire_lengths
        self.block.ticks = <uint64_t*><char*>self._ticks
        self.block.interfaces = <uint16_t*><char*>self._rows_of_frames
        self.windows.step = window_bytes
        self.windows.fd = source.fd
        self.windows.may_read = source.fd >= 0 and source.may_read
        self.windows.best[0] = self.windows.best[1] = UINT64_MAX
        self.is_stream = source.data is None and source.fd < 0
        if not self.is_stream:
            self.windows.size = source.size
        if source.data is not None and len(source.data):
            data = source.data
            self.windows.data = &data[0]
        self._window = self.new_window()
        self._start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file. Columns and data taken before stay valid; reading ends."""
        if self.reading:
            raise RuntimeError("a Capture is closed by the thread that reads it")
        self.block.n = 0
        self.block.base = NULL
        self._window = None
        if self._source is not None:
            self._source.close()

    # --- reading ---

    def read(self, limit=None):
        """Walk to the next frames.

        Parameters
        ----------
        limit : int, optional
            The most frames wanted, from 1; never more than ``block_frames`` are given.

        Returns
        -------
        int
            Number of frames, at least 1; 0 at the end. A stream gives what has arrived.

        Raises
        ------
        CaptureError
            The capture is damaged here. The frames before the damage were given by the reads before.
        """
        cdef size_t wanted = self._capacity
        if limit is not None:
            if limit < 1:
                raise InvalidValue(f"limit is {limit}; it must be at least 1")
            wanted = min(limit, self._capacity)
        return self.next_block(wanted)

    cdef Py_ssize_t next_block(self, size_t limit) except -1:
        """read() for C: at most `limit` frames, and never more than there is room for. Holds the GIL."""
        cdef Records* records = &self._records
        cdef PcapngState* pcapng = NULL
        self.begin_reading()
        self.block.n = records.n = 0
        try:
            if self.is_pcapng:
                pcapng = &self.pcapng
            if self.next_run(self._window, records, min(limit, self._capacity)):
                with nogil:
                    records_columns(&self.pcap, pcapng, self._window.base, records.starts, records.n, &self.block)
        finally:
            self.reading = False
        self.n_frames += self.block.n
        if self.error is not None and self.block.n == 0:
            raise self.error
        return <Py_ssize_t>self.block.n

    cdef int begin_reading(self) except -1:
        """Say that a thread reads from now on, until it sets `reading` to False."""
        if self.reading:
            raise RuntimeError("a Capture is read by one thread at a time")
        if self._window is None:
            raise ValueError("the capture is closed")
        self.reading = True
        return 0

    cdef Window new_window(self):
        """Make a window for a reader of this capture."""
        cdef Window window = Window.__new__(Window)
        if self.is_stream:
            window.grow(_BUFFER_BYTES)
            window.base = window.room
            window.until = <size_t>1 << 31      # a stream's buffer has no end but what came
        elif self.windows.data == NULL or self.windows.may_read:
            window.grow(min(self.windows.step, self.windows.size) + BEHIND)
        return window

    cdef int next_run(self, Window window, Records* records, size_t limit) except -1:
        """Walk on to at most `limit` records; how many were found, 0 at the end. `window` is always the same one."""
        cdef int status
        records.n = 0
        records.capacity = limit
        while records.n == 0 and not self.ended:
            with nogil:
                status = capture_walk(self, window, records)
            # Records that were found lie in this window: it moves when they have been used.
            if records.n == 0 and status == WALK_PASSED:
                self._next_window(window)
            elif records.n == 0 and status == WALK_NEEDS:
                self._fill(window)
        return <int>records.n

    cdef int _next_window(self, Window window) except -1:
        """Make the window ready that holds the next record."""
        cdef uint64_t index = self.next_start // self.windows.step
        with nogil:
            window_timed(&self.windows, window, _now_ns() - self._ready_ns)
            window_release(&self.windows, index * self.windows.step)
            self._ready_ns = _now_ns()
            window_ready(window, &self.windows, index)
        return 0

    cdef int _fill(self, Window window) except -1:
        """Move what is left of a stream's buffer to its front and read on, to the bytes needed if there are so many."""
        cdef size_t at = self.next_start - window.start
        cdef size_t have = window.visible - at
        cdef size_t goal = self._needed
        if have:
            memmove(window.room, window.room + at, have)
        window.start = self.next_start
        window.visible = have
        if goal > window.n_room:
            window.grow(max(goal, 2 * window.n_room))
            window.base = window.room
        if self._source.compression and goal < _UNPACK_BYTES:
            goal = _UNPACK_BYTES
        free_space = memoryview(window.memory)
        while window.visible < goal and self._stream_damage is None:
            try:
                count = self._source.readinto(free_space[window.visible:])
            except StreamDamaged as damage:
                self._stream_damage = str(damage)
                break
            if count == 0:
                break
            window.visible += count
        if window.visible < self._needed:
            self._meet(window, WALK_NEEDS)
        return 0

    cdef int _meet(self, Window window, int status) except -1:
        """Deal with what the walk can't pass by itself."""
        cdef size_t at = self.next_start - window.start
        cdef size_t have = window.visible - at if window.visible > at else 0
        if status == WALK_INTERFACE:
            self._describe_interface(window)
        elif status == WALK_DAMAGED:
            self._fail(pcapng_problem(&self.pcapng) if self.is_pcapng else pcap_problem(&self.pcap, self.rows[0].link_type))
        else:
            self.ended = True
            if window.error:
                self.error = OSError(window.error, os.strerror(window.error), self.name)
            elif self._stream_damage is not None:
                self.error = self._damaged(window.start + window.visible, self._stream_damage)
            elif have:
                record = "block" if self.is_pcapng else "record"
                self._fail(f"the file ends inside a {record}, after {have:,} of its {self._needed:,} bytes or more")
        return 0

    def _damaged(self, offset, problem):
        return CaptureError(
            self.name, offset, f"{problem}; the frames before are sound, for the rest copy or capture it again"
        )

    cdef int _fail(self, str problem) except -1:
        self.ended = True
        self.error = self._damaged(self.next_start, problem)
        return 0

    # --- formats ---

    cdef int _start(self) except -1:
        """See what format it is and read the file's header."""
        cdef Window window = self._window
        cdef size_t at = 0
        cdef size_t header = PCAP_HEADER_BYTES
        cdef int status
        self._needed = PCAPNG_SECTION_BYTES
        if self.is_stream:
            self._fill(window)
        else:
            self._ready_ns = _now_ns()
            window_ready(window, &self.windows, 0)
            if not window_extend(window, &self.windows, PCAPNG_SECTION_BYTES) and window.error:
                self._meet(window, WALK_NEEDS)
        error, self.error, self.ended = self.error, None, False
        head = window.base[:min(window.visible, header)] if window.visible else b""
        if isinstance(error, OSError) or (self._stream_damage is not None and len(head) < PCAP_HEADER_BYTES):
            raise error
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            self.format = "pcapng"
            self.is_pcapng = True
            self.pcapng.block_limit = _BLOCK_LIMIT
            while True:
                status = pcapng_section(&self.pcapng, window.base, window.visible, &at)
                if status == WALK_FULL:
                    self.next_start = at
                    return 0
                self._needed = self.pcapng.needed
                if status == WALK_NEEDS and self.is_stream:
                    self._fill(window)
                elif status == WALK_DAMAGED or not window_extend(window, &self.windows, self._needed):
                    self._meet(window, status)
                if self.error is not None:
                    raise self.error
        if len(head) < 4 or not is_pcap(head):
            raise unknown_format(self.name, head, self._source.compression)
        self.format = "pcap"
        self._add_interface(pcap_start(&self.pcap, head, self.name))
        self.next_start = PCAP_HEADER_BYTES
        return 0

    cdef int _describe_interface(self, Window window) except -1:
        """Take the interface description at the next record's place into the list."""
        cdef size_t at = self.next_start - window.start
        cdef size_t length = self.pcapng.needed
        block = window.base[at:at + length]
        if self.n_rows == _MOST_INTERFACES:
            self._fail(f"the capture describes more than {_MOST_INTERFACES:,} interfaces; split it")
            return 0
        try:
            interface = pcapng_interface(&self.pcapng, block)
        except ValueError as error:
            self._fail(f"the interface description has {error}")
            return 0
        self._add_interface(interface)
        if self.pcapng.n_interfaces == 0:
            self.pcapng.first_snaplen = interface.snaplen or UINT32_MAX
        self.pcapng.n_interfaces += 1
        self.pcapng.block_limit = max(
            self.pcapng.block_limit, captured_limit(interface.link_type) + _OPTIONS_LIMIT
        )
        self.next_start += length
        return 0

    cdef int _add_interface(self, object interface) except -1:
        cdef InterfaceRow* rows = self.rows
        cdef bytearray memory
        if self.n_rows & (self.n_rows - 1) == 0:
            # Room for twice as many at 0, 1, 2, 4 …: row by row, each would cost a copy of all before it.
            memory = bytearray((2 * self.n_rows or 1) * sizeof(InterfaceRow))
            if self.n_rows:
                memcpy(<char*>memory, rows, self.n_rows * sizeof(InterfaceRow))
            rows = <InterfaceRow*><char*>memory
            self._old_rows.append(memory)
            self.rows = rows
        rows += self.n_rows
        per_second = interface.ticks_per_second
        rows.link_type = interface.link_type
        rows.snaplen = interface.snaplen
        rows.time.offset_seconds = interface.offset_seconds
        rows.time.exponent = interface.exponent
        rows.time.binary = interface.binary
        if per_second <= UINT64_MAX:
            rows.time.per_second = per_second
            rows.time.tick_ns = 0 if 10**9 % per_second else 10**9 // per_second
        self._interfaces.append(interface)
        self.n_rows += 1
        return 0

    # --- what it is ---

    @property
    def description(self):
        """str: Format, byte order and unit of time, such as ``pcap, little-endian, microseconds``."""
        text = pcapng_description(&self.pcapng) if self.is_pcapng else pcap_description(&self.pcap)
        compression = self._source.compression
        return f"{text}, {compression}-compressed" if compression else text

    @property
    def interfaces(self):
        """list of Interface: Those met so far; the elements of ``interface_rows`` count in it."""
        return self._interfaces.copy()

    @property
    def size(self):
        """int or None: Bytes of the file as it lies there; None for a stream."""
        return self._source.size

    @property
    def position(self):
        """int: Bytes of the capture, unpacked, that lie before the next frame to be read."""
        return self.next_start

    @property
    def source_position(self):
        """int: The same in the file as it lies there, for a progress bar up to ``size``."""
        taken = self._source.source_position
        return self.position if taken is None else taken

    # --- the block ---

    @property
    def data(self):
        """memoryview: The bytes that ``offsets`` count in; read-only."""
        cdef Window window = self._window
        if window is None:
            return memoryview(b"")
        if window.mapped:
            return self._source.data[window.start:window.start + window.visible].toreadonly()
        return memoryview(window.memory)[:window.visible].toreadonly()

    @property
    def offsets(self):
        """ndarray of uint64, shape (n,): Where each frame begins in ``data``."""
        return self._column(self._offsets, "uint64")

    @property
    def lengths(self):
        """ndarray of uint32, shape (n,): Bytes captured."""
        return self._column(self._lengths, "uint32")

    @property
    def wire_lengths(self):
        """ndarray of uint32, shape (n,): Bytes on the wire."""
        return self._column(self._wire_lengths, "uint32")

    @property
    def ticks(self):
        """ndarray of uint64, shape (n,): Times in the unit of the frame's interface, before its offset."""
        return self._column(self._ticks, "uint64")

    @property
    def interface_rows(self):
        """ndarray of uint16, shape (n,): Rows of ``interfaces``."""
        return self._column(self._rows_of_frames, "uint16")

    @property
    def times_ns(self):
        """ndarray of int64, shape (n,): Nanoseconds since the epoch, rounded down, held at the ends of int64."""
        cdef int64_t* times = <int64_t*><char*>self._times_ns
        cdef size_t i
        with nogil:
            for i in range(self.block.n):
                times[i] = time_ns(&self.rows[self.block.interfaces[i]].time, self.block.ticks[i])
        return self._column(self._times_ns, "int64")

    cdef object _column(self, bytearray column, str dtype):
        """Give a column as people take it."""
        import numpy

        return numpy.frombuffer(column, dtype, self.block.n)

    def format_time(self, interface_row, ticks):
        """Give a time in seconds since the epoch with every digit of the interface's resolution.

        Parameters
        ----------
        interface_row : int
            Element of ``interface_rows``.
        ticks : int
            Element of ``ticks``.

        Returns
        -------
        str
            Such as ``1700000000.123456``.
        """
        cdef char text[TIME_TEXT_BYTES]
        cdef int n
        if not 0 <= interface_row < self.n_rows:
            raise InvalidValue(f"interface row {interface_row} of {self.n_rows}")
        n = time_format(&self.rows[<size_t>interface_row].time, ticks, text)
        if n:
            return text[:n].decode("ascii")
        return self._interfaces[interface_row].format_time(int(ticks))
