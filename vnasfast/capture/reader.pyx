"""The reader of captures: blocks of frames, and what a capture says of itself."""

from vnasfast.errors import InvalidValue

from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.capture.pcap cimport pcap_description
from vnasfast.capture.pcapng cimport PcapngState, pcapng_description
from vnasfast.capture.times cimport TIME_TEXT_BYTES, time_format, time_ns
from vnasfast.capture.walk cimport Records
from vnasfast.capture.walker cimport Walker, records_columns
from vnasfast.capture.window cimport Window


cdef class Capture(Walker):
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
        if self.source is not None:
            raise RuntimeError("a Capture is opened once")
        if not 0 < block_frames <= 1 << 24:
            raise InvalidValue(f"block_frames is {block_frames}; it must be from 1 to {1 << 24}")
        if not 0 < window_bytes <= 1 << 30:
            raise InvalidValue(f"window_bytes is {window_bytes}; it must be from 1 to {1 << 30}")
        self.source = source
        self.name = source.name
        self.interface_list = []
        self.old_rows = []
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
        self.windows.took[0] = self.windows.took[1] = UINT64_MAX
        self.is_stream = source.data is None and source.fd < 0
        if not self.is_stream:
            self.windows.size = source.size
        if source.data is not None and len(source.data):
            data = source.data
            self.windows.data = &data[0]
        self.own_window = self.new_window()
        self.start()

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
        self.own_window = None
        if self.source is not None:
            self.source.close()

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
            if self.next_run(self.own_window, records, min(limit, self._capacity)):
                with nogil:
                    records_columns(&self.pcap, pcapng, self.own_window.base, records.starts, records.n, &self.block)
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
        if self.own_window is None:
            raise ValueError("the capture is closed")
        self.reading = True
        return 0

    # --- what it is ---

    @property
    def description(self):
        """str: Format, byte order and unit of time, such as ``pcap, little-endian, microseconds``."""
        text = pcapng_description(&self.pcapng) if self.is_pcapng else pcap_description(&self.pcap)
        compression = self.source.compression
        return f"{text}, {compression}-compressed" if compression else text

    @property
    def interfaces(self):
        """list of Interface: Those met so far; the elements of ``interface_rows`` count in it."""
        return self.interface_list.copy()

    @property
    def size(self):
        """int or None: Bytes of the file as it lies there; None for a stream."""
        return self.source.size

    @property
    def position(self):
        """int: Bytes of the capture, unpacked, that lie before the next frame to be read."""
        return self.next_start

    @property
    def source_position(self):
        """int: The same in the file as it lies there, for a progress bar up to ``size``."""
        taken = self.source.source_position
        return self.position if taken is None else taken

    # --- the block ---

    @property
    def data(self):
        """memoryview: The bytes that ``offsets`` count in; read-only."""
        cdef Window window = self.own_window
        if window is None:
            return memoryview(b"")
        if window.mapped:
            return self.source.data[window.start:window.start + window.visible].toreadonly()
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
        return self.interface_list[interface_row].format_time(int(ticks))
