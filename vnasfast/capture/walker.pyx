"""The walk through a capture: windows of bytes, the records in them, and what is met on the way."""
import os

from vnasfast.capture.interfaces import Interface
from vnasfast.capture.link_types import captured_limit
from vnasfast.capture.source import StreamDamaged, unknown_format
from vnasfast.capture.pcap import is_pcap
from vnasfast.errors import CaptureError

from libc.stdint cimport UINT32_MAX, UINT64_MAX, uint32_t, uint64_t
from libc.string cimport memcpy, memmove
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec

from vnasfast.capture.pcap cimport PCAP_HEADER_BYTES, pcap_problem, pcap_start, pcap_walk
from vnasfast.capture.pcapng cimport (
    PCAPNG_SECTION_BYTES, pcapng_interface, pcapng_problem, pcapng_section, pcapng_walk
)
from vnasfast.capture.walk cimport (
    WALK_DAMAGED, WALK_FULL, WALK_INTERFACE, WALK_NEEDS, WALK_PASSED, WALK_SECTION, Records
)
from vnasfast.capture.window cimport (
    BEHIND, Window, window_extend, window_is_mapped, window_ready, window_release, window_timed, window_touch
)

# A stream's first buffer; it grows only for a record that is larger.
cdef size_t _BUFFER_BYTES = 1 << 18     # stays in the second-level cache; 512 KiB to 2 MiB measured 5 to 10 % slower
# What is unpacked of a compressed stream before the walk goes on; a plain stream goes on with what one read gave.
cdef size_t _UNPACK_BYTES = 1 << 18
cdef size_t _MOST_INTERFACES = 1 << 16
# The longest pcapng block believed; more only for link types whose frames alone are longer, and their options.
cdef uint32_t _BLOCK_LIMIT = 16 << 20
cdef uint32_t _OPTIONS_LIMIT = 1 << 20


cdef int capture_walk(Walker capture, Window window, Records* records) noexcept nogil:
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
            capture.needed = capture.pcapng.needed if capture.is_pcapng else capture.pcap.needed
            if capture.is_stream:
                return WALK_NEEDS
            if window_extend(window, &capture.windows, at + capture.needed):
                continue
        with gil:
            try:
                capture.meet(window, status)
            except Exception as error:
                capture.error = error
                capture.ended = True
    return WALK_DAMAGED


cdef uint64_t _now_ns() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <uint64_t>now.tv_sec * 1000000000 + <uint64_t>now.tv_nsec


cdef class Walker:
    """What :class:`vnasfast.capture.Capture` is, but for its blocks of frames."""

    cdef Window new_window(self):
        """Make a window for a reader of this capture; a stream has only one, which holds what came already."""
        cdef Window window = Window.__new__(Window)
        if self.is_stream and self.own_window is not None:
            return self.own_window
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
                self.next_window(window)
            elif records.n == 0 and status == WALK_NEEDS:
                self.fill(window)
        return <int>records.n

    cdef int next_window(self, Window window) except -1:
        """Make the window ready that holds the next record."""
        cdef uint64_t index = self.next_start // self.windows.step
        with nogil:
            window_timed(&self.windows, window, _now_ns() - self.ready_ns)
            window_release(&self.windows, index * self.windows.step)
            self.ready_ns = _now_ns()
            window_ready(window, &self.windows, index, window_is_mapped(&self.windows, index))
            window_touch(window)
        return 0

    cdef int fill(self, Window window) except -1:
        """Move what is left of a stream's buffer to its front and read on, to the bytes needed if there are so many."""
        cdef size_t at = self.next_start - window.start
        cdef size_t have = window.visible - at
        cdef size_t goal = self.needed
        if have:
            memmove(window.room, window.room + at, have)
        window.start = self.next_start
        window.visible = have
        if goal > window.n_room:
            window.grow(max(goal, 2 * window.n_room))
            window.base = window.room
        if self.source.compression and goal < _UNPACK_BYTES:
            goal = _UNPACK_BYTES
        free_space = memoryview(window.memory)
        while window.visible < goal and self.stream_damage is None:
            try:
                count = self.source.readinto(free_space[window.visible:])
            except StreamDamaged as damage:
                self.stream_damage = str(damage)
                break
            if count == 0:
                break
            window.visible += count
        if window.visible < self.needed:
            self.meet(window, WALK_NEEDS)
        return 0

    cdef int meet(self, Window window, int status) except -1:
        """Deal with what the walk can't pass by itself."""
        cdef size_t at = self.next_start - window.start
        cdef size_t have = window.visible - at if window.visible > at else 0
        if status == WALK_INTERFACE:
            self.describe_interface(window)
        elif status == WALK_DAMAGED:
            self.fail(pcapng_problem(&self.pcapng) if self.is_pcapng else pcap_problem(&self.pcap, self.rows[0].link_type))
        else:
            self.ended = True
            if window.error:
                self.error = OSError(window.error, os.strerror(window.error), self.name)
            elif self.stream_damage is not None:
                self.error = self.damaged(window.start + window.visible, self.stream_damage)
            elif have:
                record = "block" if self.is_pcapng else "record"
                self.fail(f"the file ends inside a {record}, after {have:,} of its {self.needed:,} bytes or more")
        return 0

    cdef object damaged(self, uint64_t offset, str problem):
        return CaptureError(
            self.name, offset, f"{problem}; the frames before are sound, for the rest copy or capture it again"
        )

    cdef int fail(self, str problem) except -1:
        self.ended = True
        self.error = self.damaged(self.next_start, problem)
        return 0

    # --- formats ---

    cdef int start(self) except -1:
        """See what format it is and read the file's header."""
        cdef Window window = self.own_window
        cdef size_t at = 0
        cdef size_t header = PCAP_HEADER_BYTES
        cdef int status
        self.needed = PCAPNG_SECTION_BYTES
        if self.is_stream:
            self.fill(window)
        else:
            self.ready_ns = _now_ns()
            window_ready(window, &self.windows, 0, window_is_mapped(&self.windows, 0))
            if not window_extend(window, &self.windows, PCAPNG_SECTION_BYTES) and window.error:
                self.meet(window, WALK_NEEDS)
        error, self.error, self.ended = self.error, None, False
        head = window.base[:min(window.visible, header)] if window.visible else b""
        if isinstance(error, OSError) or (self.stream_damage is not None and len(head) < PCAP_HEADER_BYTES):
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
                self.needed = self.pcapng.needed
                if status == WALK_NEEDS and self.is_stream:
                    self.fill(window)
                elif status == WALK_DAMAGED or not window_extend(window, &self.windows, self.needed):
                    self.meet(window, status)
                if self.error is not None:
                    raise self.error
        if len(head) < 4 or not is_pcap(head):
            raise unknown_format(self.name, head, self.source.compression)
        self.format = "pcap"
        self.add_interface(pcap_start(&self.pcap, head, self.name))
        self.next_start = PCAP_HEADER_BYTES
        return 0

    cdef int describe_interface(self, Window window) except -1:
        """Take the interface description at the next record's place into the list."""
        cdef size_t at = self.next_start - window.start
        cdef size_t length = self.pcapng.needed
        block = window.base[at:at + length]
        if self.n_rows == _MOST_INTERFACES:
            self.fail(f"the capture describes more than {_MOST_INTERFACES:,} interfaces; split it")
            return 0
        try:
            interface = pcapng_interface(&self.pcapng, block)
        except ValueError as error:
            self.fail(f"the interface description has {error}")
            return 0
        self.add_interface(interface)
        if self.pcapng.n_interfaces == 0:
            self.pcapng.first_snaplen = interface.snaplen or UINT32_MAX
        self.pcapng.n_interfaces += 1
        self.pcapng.block_limit = max(
            self.pcapng.block_limit, captured_limit(interface.link_type) + _OPTIONS_LIMIT
        )
        self.next_start += length
        return 0

    cdef int add_interface(self, object interface) except -1:
        cdef InterfaceRow* rows = self.rows
        cdef bytearray memory
        if self.n_rows & (self.n_rows - 1) == 0:
            # Room for twice as many at 0, 1, 2, 4 …: row by row, each would cost a copy of all before it.
            memory = bytearray((2 * self.n_rows or 1) * sizeof(InterfaceRow))
            if self.n_rows:
                memcpy(<char*>memory, rows, self.n_rows * sizeof(InterfaceRow))
            rows = <InterfaceRow*><char*>memory
            self.old_rows.append(memory)
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
        self.interface_list.append(interface)
        self.n_rows += 1
        return 0

