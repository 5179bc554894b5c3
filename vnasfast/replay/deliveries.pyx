"""The deliveries as CSV: one row a frame."""

from vnasfast.dtypes import Outcome
from vnasfast.parse.text import protocol_name

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memmove

from vnasfast.capture.reader cimport Capture
from vnasfast.capture.times cimport TIME_TEXT_BYTES, time_format
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.replay.deliveries cimport DELIVERY_ROW_BYTES, DeliveryTexts
from vnasfast.tables.family cimport is_ipv4
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.tables cimport MachineTables, pthread_rwlock_rdlock, pthread_rwlock_unlock
from vnasfast.typedefs cimport FOLLOWS_FIRST, LATER_FRAGMENT, NO_TRANSPORT, FlowKey

#: The first line of the file.
HEADER = "frame,time,vlan,source,destination,protocol,source_port,destination_port,vnas,socket,pid,outcome"

# Written to the file in pieces of about this size.
cdef size_t _BUFFER_BYTES = 1 << 20


cdef inline char* put_text(char* at, const char* text, size_t n) noexcept nogil:
    memcpy(at, text, n)
    return at + n


cdef inline char* put_number(char* at, uint64_t value) noexcept nogil:
    cdef char digits[20]
    cdef int n = 20
    while True:
        n -= 1
        digits[n] = <char>(c'0' + value % 10)
        value //= 10
        if value == 0:
            break
    return put_text(at, digits + n, 20 - n)


cdef inline char* put_ipv4(char* at, const uint8_t* octets, const DeliveryTexts* texts) noexcept nogil:
    cdef const char* text
    cdef int i
    for i in range(4):
        text = texts.octets[octets[i]]
        memcpy(at, text, 4)
        at += text[3]
        at[0] = c'.'
        at += 1
    return at - 1


cdef inline char* put_ipv6(char* at, const uint8_t* octets) noexcept nogil:
    """RFC 5952: the first longest run of two zero groups or more becomes ::, no leading zeros, small letters."""
    cdef const char* hexadecimal = b"0123456789abcdef"
    cdef uint32_t group, digits
    cdef int i = 0, run = 0, best = -1, best_length = 1
    for i in range(8):
        if octets[2 * i] == 0 and octets[2 * i + 1] == 0:
            run += 1
            if run > best_length:
                best_length = run
                best = i - run + 1
        else:
            run = 0
    i = 0
    while i < 8:
        if i == best:
            at[0] = c':'
            at[1] = c':'
            at += 2
            i += best_length
            continue
        if i != 0 and i != best + best_length:
            at[0] = c':'
            at += 1
        group = <uint32_t>octets[2 * i] << 8 | octets[2 * i + 1]
        digits = 1 + (group > 0xF) + (group > 0xFF) + (group > 0xFFF)
        while digits:
            digits -= 1
            at[0] = hexadecimal[group >> (4 * digits) & 0xF]
            at += 1
        i += 1
    return at


cdef inline char* put_address(char* at, const uint8_t* octets, const DeliveryTexts* texts) noexcept nogil:
    if is_ipv4(load64(octets), load64(octets + 8)):
        return put_ipv4(at, octets + 12, texts)
    return put_ipv6(at, octets)


cdef inline char* put_comma(char* at) noexcept nogil:
    at[0] = c','
    return at + 1


cdef char* put_row(
    char* at, const DeliveryTexts* texts, uint64_t frame, const char* time, size_t time_bytes, const FlowKey* key,
    int32_t result, int32_t vnas, int32_t pid,
) noexcept nogil:
    # A key's address of zeros is "not shown", or :: where the whole IP header was read.
    cdef bint header = key.status >= 0 or key.status == NO_TRANSPORT or key.status == LATER_FRAGMENT
    cdef bint destination = header or (load64(key.destination) | load64(key.destination + 8)) != 0
    cdef bint source = destination or (load64(key.source) | load64(key.source + 8)) != 0
    cdef bint ports = key.status >= 0 and key.status != FOLLOWS_FIRST
    at = put_comma(put_number(at, frame))
    at = put_comma(put_text(at, time, time_bytes))
    if key.vlan:
        at = put_number(at, key.vlan)
    at = put_comma(at)
    if source:
        at = put_address(at, key.source, texts)
    at = put_comma(at)
    if destination:
        at = put_address(at, key.destination, texts)
    at = put_comma(at)
    if source or key.protocol:
        at = put_text(at, texts.protocols[key.protocol], texts.protocols[key.protocol][15])
    at = put_comma(at)
    if ports:
        at = put_number(at, key.source_port)
    at = put_comma(at)
    if ports:
        at = put_number(at, key.destination_port)
    at = put_comma(at)
    if vnas >= 0:
        at = put_number(at, vnas)
    at = put_comma(at)
    if result >= 0:
        at = put_comma(put_number(at, result))
        at = put_comma(put_number(at, pid))
        result = 0
    else:
        at = put_comma(put_comma(at))
    at = put_text(at, texts.outcomes[-result], texts.outcomes[-result][15])
    at[0] = c'\n'
    return at + 1


cdef int set_text(char* field, str name) except -1:
    """Fill a field of 16 bytes: the text, and its length in the last byte."""
    text = name.encode("ascii")
    if len(text) > 15:
        raise ValueError(f"{name} is too long for a field of the deliveries")
    memcpy(field, <const char*>text, len(text))
    field[15] = <char>len(text)
    return 0


cdef class DeliveryWriter:
    """Writes one CSV row a frame; flushes whole rows only.

    Parameters
    ----------
    file : file object
        Binary and unbuffered. It is not closed.
    """

    def __cinit__(self):
        self.capacity = _BUFFER_BYTES
        self.buffer = <char*>malloc(self.capacity)
        if self.buffer == NULL:
            raise MemoryError

    def __init__(self, file):
        self._file = file
        for number in range(256):
            set_text(self.texts.protocols[number], protocol_name(number))
        for outcome in Outcome:
            set_text(self.texts.outcomes[-outcome], outcome.name)
        for number in range(256):
            octet = str(number).encode()
            memcpy(self.texts.octets[number], <const char*>octet, len(octet))
            self.texts.octets[number][3] = len(octet)
        header = f"{HEADER}\n".encode()
        memcpy(self.buffer, <const char*>header, len(header))
        self.used = len(header)

    def __dealloc__(self):
        free(self.buffer)

    cdef int write_frames(self, Dispatcher dispatcher, Capture capture, size_t start, size_t n, const FlowKey* keys,
                          const int32_t* results, const int32_t* vnases) except -1:
        """Write the rows of `n` frames of the capture's block from `start`; `keys` and what follows begin with these."""
        cdef char text[TIME_TEXT_BYTES]
        cdef const MachineTables* tables = &dispatcher.tables.c
        cdef const uint64_t* ticks = capture.block.ticks + start
        cdef size_t i = 0
        cdef size_t done
        cdef int32_t pid
        cdef int time_bytes
        cdef char* at
        cdef bint in_c
        while i < n:
            if self.capacity - self.used < DELIVERY_ROW_BYTES:
                self.flush()
            done = i
            at = self.buffer + self.used
            in_c = True
            with nogil:
                pthread_rwlock_rdlock(&dispatcher.tables.changing)
                while i < n and <size_t>(self.buffer + self.capacity - at) >= DELIVERY_ROW_BYTES:
                    time_bytes = time_format(&capture.rows[capture.block.interfaces[start + i]].time, ticks[i], text)
                    if time_bytes == 0:
                        in_c = False
                        break
                    pid = 0
                    if results[i] >= 0:
                        pid = tables.processes.rows[tables.sockets.rows[results[i]].process].pid
                    at = put_row(at, &self.texts, self.n_rows + 1 + i - done, text, time_bytes, &keys[i], results[i],
                                 vnases[i], pid)
                    i += 1
                pthread_rwlock_unlock(&dispatcher.tables.changing)
            self.used = <size_t>(at - self.buffer)
            self.n_rows += i - done
            if not in_c:
                # A unit of time that C doesn't write, such as a power of two.
                long_time = capture.format_time(capture.block.interfaces[start + i], ticks[i]).encode("ascii")
                pid = 0
                if results[i] >= 0:
                    pid = tables.processes.rows[tables.sockets.rows[results[i]].process].pid
                at = put_row(at, &self.texts, self.n_rows + 1, <const char*>long_time, len(long_time), &keys[i],
                             results[i], vnases[i], pid)
                self.used = <size_t>(at - self.buffer)
                self.n_rows += 1
                i += 1
        return 0

    def flush(self):
        """Write all rows so far to the file.

        Raises
        ------
        OSError
            The file can't be written.
        """
        cdef size_t written
        while self.used:
            # What was written leaves the buffer at once, so that after an interrupt no row is written twice.
            try:
                written = self._file.write(PyMemoryView_FromMemory(self.buffer, self.used, PyBUF_READ))
            except OSError as error:
                error.filename = self._file.name
                raise
            self.used -= written
            memmove(self.buffer, self.buffer + written, self.used)
