"""The deliveries as CSV: one row a frame."""

from vnasfast.outcome import Outcome
from vnasfast.parse.text import protocol_name

from cpython.buffer cimport PyBUF_READ
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy, memmove

from vnasfast.capture.reader cimport Capture
from vnasfast.capture.walker cimport InterfaceRow
from vnasfast.capture.times cimport time_format
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.replay.deliveries cimport DELIVERY_ROW_BYTES, PIECE, DeliveryTexts, RowBuffer
from vnasfast.tables.family cimport is_ipv4
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.locks cimport pthread_rwlock_unlock, rwlock_rdlock
from vnasfast.tables.tables cimport MachineTables
from vnasfast.typedefs cimport FOLLOWS_FIRST, LATER_FRAGMENT, NO_TRANSPORT, FlowKey, FrameBlock

#: The first line of the file.
HEADER = "frame,time,vlan,source,destination,protocol,source_port,destination_port,vnas,socket,pid,outcome"

cdef enum:
    # 2**-127 s, the finest unit there is, has 127 decimals behind 10 digits and a point; C's own texts are shorter.
    LONG_TIME_BYTES = 192


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


cdef bint rows_reserve(RowBuffer* buffer, size_t n) noexcept nogil:
    """Make room for `n` more bytes; False without memory."""
    cdef char* larger
    if buffer.capacity - buffer.used >= n:
        return True
    larger = <char*>realloc(buffer.text, buffer.used + n + buffer.capacity // 2)
    if larger == NULL:
        return False
    buffer.text = larger
    buffer.capacity = buffer.used + n + buffer.capacity // 2
    return True


cdef bint rows_append(RowBuffer* buffer, RowBuffer* part) noexcept nogil:
    """Move the rows of `part` behind those of `buffer`; False without memory."""
    if part.used == 0:      # then it may have no memory, which memcpy must not be given even for no bytes
        return True
    if not rows_reserve(buffer, part.used):
        return False
    memcpy(buffer.text + buffer.used, part.text, part.used)
    buffer.used += part.used
    part.used = 0
    return True


cdef size_t long_time(Capture capture, uint16_t interface, uint64_t ticks, char* text) noexcept with gil:
    """Write a time in a unit that C doesn't write, such as a power of two."""
    written = capture.format_time(interface, ticks).encode("ascii")
    memcpy(text, <const char*>written, min(len(written), <Py_ssize_t>LONG_TIME_BYTES))
    return min(len(written), <Py_ssize_t>LONG_TIME_BYTES)


cdef bint rows_of_block(RowBuffer* buffer, const DeliveryTexts* texts, Dispatcher dispatcher, Capture capture,
                        const InterfaceRow* interfaces, const FrameBlock* block, uint64_t number, const FlowKey* keys,
                        const int32_t* results, const int32_t* vnases) noexcept nogil:
    cdef char text[LONG_TIME_BYTES]
    cdef const MachineTables* tables = &dispatcher.tables.c
    cdef int32_t pids[PIECE]
    cdef size_t i
    cdef size_t time_bytes
    cdef char* at
    if not rows_reserve(buffer, block.n * DELIVERY_ROW_BYTES):
        return False
    # Apart from the loop below, which may wait for the GIL: whoever has that may wait for this lock.
    rwlock_rdlock(&dispatcher.tables.changing)
    for i in range(block.n):
        pids[i] = tables.processes.rows[tables.sockets.rows[results[i]].process].pid if results[i] >= 0 else 0
    pthread_rwlock_unlock(&dispatcher.tables.changing)
    at = buffer.text + buffer.used
    for i in range(block.n):
        time_bytes = time_format(&interfaces[block.interfaces[i]].time, block.ticks[i], text)
        if time_bytes == 0:
            time_bytes = long_time(capture, block.interfaces[i], block.ticks[i], text)
        at = put_row(at, texts, number + i, text, time_bytes, &keys[i], results[i], vnases[i], pids[i])
    buffer.used = <size_t>(at - buffer.text)
    return True


cdef class DeliveryWriter:
    """Writes one CSV row a frame; flushes whole rows only.

    Parameters
    ----------
    file : file object
        Binary and unbuffered. It is not closed.
    """

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
        if not rows_reserve(&self.buffer, len(header)):
            raise MemoryError
        memcpy(self.buffer.text, <const char*>header, len(header))
        self.buffer.used = len(header)

    def __dealloc__(self):
        free(self.buffer.text)

    def flush(self):
        """Write all rows so far to the file.

        Raises
        ------
        OSError
            The file can't be written.
        """
        cdef size_t written
        while self.buffer.used:
            # What was written leaves the buffer at once, so that after an interrupt no row is written twice.
            try:
                written = self._file.write(PyMemoryView_FromMemory(self.buffer.text, self.buffer.used, PyBUF_READ))
            except OSError as error:
                error.filename = self._file.name
                raise
            self.buffer.used -= written
            memmove(self.buffer.text, self.buffer.text + written, self.buffer.used)
