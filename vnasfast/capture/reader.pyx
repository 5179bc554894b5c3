"""The reader of captures: windows of bytes in, blocks of frames out."""

from vnasfast.capture.interfaces import Interface
from vnasfast.capture.link_types import captured_limit
from vnasfast.capture.source import StreamDamaged, unknown_format
from vnasfast.capture.pcap import is_pcap
from vnasfast.errors import CaptureError, InvalidValue

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint16_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memset

from vnasfast.capture.pcap cimport PCAP_HEADER_BYTES, pcap_description, pcap_problem, pcap_start, pcap_walk
from vnasfast.capture.pcapng cimport (
    PCAPNG_SECTION_BYTES, pcapng_description, pcapng_interface, pcapng_problem, pcapng_section, pcapng_walk
)
from vnasfast.capture.times cimport TIME_TEXT_BYTES, time_format, time_ns
from vnasfast.capture.walk cimport WALK_DAMAGED, WALK_FULL, WALK_INTERFACE, WALK_NEEDS

# A walk sees this much of a whole source at a time, so that the frames of a block are still in the second-level
# cache when the next stage looks at them.
cdef size_t _STEP_BYTES = 1 << 19
# A mapped file's pages are given back this many bytes at a time, so that a long file doesn't fill the memory of
# the process; less than 2 MiB at a time can be felt.
cdef size_t _RELEASE_BYTES = 1 << 24
# A stream's first buffer; it grows only for a record that is larger.
cdef size_t _BUFFER_BYTES = 1 << 18     # stays in the second-level cache; 512 KiB to 2 MiB measured 5 to 10 % slower
# What is unpacked of a compressed stream before the walk goes on; a plain stream goes on with what one read gave.
cdef size_t _UNPACK_BYTES = 1 << 18
cdef size_t _MOST_INTERFACES = 1 << 16
# The longest pcapng block believed; more only for link types whose frames alone are longer, and their options.
cdef uint32_t _BLOCK_LIMIT = 16 << 20
cdef uint32_t _OPTIONS_LIMIT = 1 << 20


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

    Raises
    ------
    CaptureError
        The source is no capture, or its header is damaged.
    """

    def __init__(self, source, *, size_t block_frames):
        if self._source is not None:
            raise RuntimeError("a Capture is opened once")
        if not 0 < block_frames <= 1 << 24:
            raise InvalidValue(f"block_frames is {block_frames}; it must be from 1 to {1 << 24}")
        self._source = source
        self.name = source.name
        self._interfaces = []
        self._capacity = block_frames
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
        if source.data is None:
            self._buffer = bytearray(_BUFFER_BYTES)
            self._window = self._buffer
        else:
            self._window = source.data
        self._start()

    def __dealloc__(self):
        free(self.rows)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Close the file. Columns and data taken before stay valid; reading ends."""
        if self._reading:
            raise RuntimeError("a Capture is closed by the thread that reads it")
        self.block.n = 0
        self.block.base = NULL
        self._window = None
        self._buffer = None
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
        if self._reading:
            raise RuntimeError("a Capture is read by one thread at a time")
        if self._window is None:
            raise ValueError("the capture is closed")
        self._reading = True
        self.block.n = 0
        self.block.capacity = limit if limit < self._capacity else self._capacity
        try:
            if self._error is None:
                self._walk()
        finally:
            self._reading = False
        self.n_frames += self.block.n
        if self._error is not None and self.block.n == 0:
            raise self._error
        return <Py_ssize_t>self.block.n

    cdef int _walk(self) except -1:
        """Fill the block, or note in _error why it can't be filled further."""
        # A view of its own: close() in another thread must not take the bytes away under the walk.
        cdef const uint8_t[::1] window
        cdef size_t needed
        cdef int status
        while True:
            window = self._window
            self.block.base = &window[0]
            with nogil:
                if self._is_pcapng:
                    status = pcapng_walk(&self._pcapng, &window[0], self._visible, &self._position, &self.block)
                else:
                    status = pcap_walk(&self._pcap, &window[0], self._visible, &self._position, &self.block)
            if status == WALK_FULL:
                return 0
            if status == WALK_NEEDS:
                needed = self._pcapng.needed if self._is_pcapng else self._pcap.needed
                # The frames found so far lie in this window: it moves when they have been used.
                if self.block.n or not self._see(needed):
                    return 0
            elif status == WALK_INTERFACE:
                if not self._describe_interface():
                    return 0
            elif self._is_pcapng:
                self._fail(pcapng_problem(&self._pcapng))
                return 0
            else:
                self._fail(pcap_problem(&self._pcap, self.rows[0].link_type))
                return 0

    cdef int _see(self, size_t needed) except -1:
        """Let the walk see `needed` bytes from its position; False at the end, with _error unless it is a clean one."""
        cdef size_t end
        if self._buffer is None:
            end = <size_t>self._window.shape[0]
            if self._position - self._released >= _RELEASE_BYTES:
                self._released = self._source.release(self._released, self._position)
            self._visible += _STEP_BYTES
            if self._visible < self._position + needed:
                self._visible = self._position + needed
            if self._visible > end:
                self._visible = end
        else:
            self._fill(needed)
        cdef size_t have = self._visible - self._position
        if have >= needed:
            return True
        if self._stream_damage is not None:
            self._error = self._damaged(self._dropped + self._visible, self._stream_damage)
        elif have:
            record = "block" if self._is_pcapng else "record"
            self._fail(f"the file ends inside a {record}, after {have:,} of its {needed:,} bytes or more")
        return False

    cdef int _fill(self, size_t needed) except -1:
        """Move what is left of the stream's buffer to its front and read on, to `needed` bytes if there are so many."""
        cdef size_t have = self._visible - self._position
        cdef size_t room = <size_t>self._window.shape[0]
        cdef size_t goal = needed
        if have:
            self._buffer[:have] = self._buffer[self._position:self._visible]
        self._dropped += self._position
        self._position = 0
        self._visible = have
        if needed > room:
            larger = bytearray(max(needed, 2 * room))
            larger[:have] = self._buffer[:have]
            self._buffer = larger
            self._window = larger
        if self._source.compression and goal < _UNPACK_BYTES:
            goal = _UNPACK_BYTES
        free_space = memoryview(self._buffer)
        while self._visible < goal and self._stream_damage is None:
            try:
                count = self._source.readinto(free_space[self._visible:])
            except StreamDamaged as damage:
                self._stream_damage = str(damage)
                break
            if count == 0:
                break
            self._visible += count
        return 0

    def _damaged(self, offset, problem):
        return CaptureError(
            self.name, offset, f"{problem}; the frames before are sound, for the rest copy or capture it again"
        )

    cdef int _fail(self, str problem) except -1:
        self._error = self._damaged(self._dropped + self._position, problem)
        return 0

    # --- formats ---

    cdef int _start(self) except -1:
        """See what format it is and read the file's header."""
        cdef const uint8_t[::1] window
        cdef int status
        if self._window.shape[0]:
            self._see(PCAPNG_SECTION_BYTES)
        cdef size_t header = PCAP_HEADER_BYTES
        head = bytes(self._window[:min(self._visible, header)])
        error, self._error = self._error, None
        if self._stream_damage is not None and self._visible < header:
            raise error
        if head[:4] == b"\x0a\x0d\x0d\x0a":
            self.format = "pcapng"
            self._is_pcapng = True
            self._pcapng.block_limit = _BLOCK_LIMIT
            while True:
                window = self._window
                status = pcapng_section(&self._pcapng, &window[0], self._visible, &self._position)
                if status == WALK_FULL:
                    return 0
                if status == WALK_DAMAGED:
                    self._fail(pcapng_problem(&self._pcapng))
                    raise self._error
                if not self._see(self._pcapng.needed):
                    raise self._error
        if len(head) < 4 or not is_pcap(head):
            raise unknown_format(self.name, head, self._source.compression)
        self.format = "pcap"
        self._add_interface(pcap_start(&self._pcap, head, self.name))
        self._position = PCAP_HEADER_BYTES
        return 0

    cdef int _describe_interface(self) except -1:
        """Take the interface description at the position into the list; False if it is damaged."""
        cdef size_t length = self._pcapng.needed
        block = bytes(self._window[self._position:self._position + length])
        if self.n_rows == _MOST_INTERFACES:
            self._fail(f"the capture describes more than {_MOST_INTERFACES:,} interfaces; split it")
            return False
        try:
            interface = pcapng_interface(&self._pcapng, block)
        except ValueError as error:
            self._fail(f"the interface description has {error}")
            return False
        self._add_interface(interface)
        if self._pcapng.n_interfaces == 0:
            self._pcapng.first_snaplen = interface.snaplen or UINT32_MAX
        self._pcapng.n_interfaces += 1
        self._pcapng.block_limit = max(
            self._pcapng.block_limit, captured_limit(interface.link_type) + _OPTIONS_LIMIT
        )
        self._position += length
        return True

    cdef int _add_interface(self, object interface) except -1:
        cdef InterfaceRow* rows = self.rows
        if self.n_rows & (self.n_rows - 1) == 0:
            # Room for twice as many at 0, 1, 2, 4 …: row by row, each would cost a copy of all before it.
            rows = <InterfaceRow*>realloc(rows, (2 * self.n_rows or 1) * sizeof(InterfaceRow))
            if rows == NULL:
                raise MemoryError
            self.rows = rows
        rows += self.n_rows
        memset(rows, 0, sizeof(InterfaceRow))
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
        text = pcapng_description(&self._pcapng) if self._is_pcapng else pcap_description(&self._pcap)
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
        return self._dropped + self._position

    @property
    def source_position(self):
        """int: The same in the file as it lies there, for a progress bar up to ``size``."""
        taken = self._source.source_position
        return self.position if taken is None else taken

    # --- the block ---

    @property
    def data(self):
        """memoryview: The bytes that ``offsets`` count in; read-only."""
        if self._window is None:
            return memoryview(b"")
        whole = self._source.data if self._buffer is None else memoryview(self._buffer)
        return whole[:self._visible].toreadonly()

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
