"""From packets to sockets or outcomes: one packet, many keys, many frames."""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_CheckBuffer, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_GET_SIZE
from cpython.number cimport PyNumber_Index
from libc.stdint cimport INT32_MAX, INT64_MAX, INT64_MIN, UINT32_MAX, int32_t, int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.dispatch.accounting cimport account
from vnasfast.dispatch.blocks cimport (
    KeyLists, dispatch_and_count, dispatch_keys, dispatch_with_vnases, lists_of, n_missed, tally_borrow, tally_give_back,
)
from vnasfast.dispatch.delivery cimport Delivery
from vnasfast.dispatch.steps cimport dispatch_key
from vnasfast.parse.fragments cimport FragmentTable, fragments_follow
from vnasfast.parse.frame cimport parse_frame
from vnasfast.parse.link cimport LINK_ETHERNET
from vnasfast.parse.plain cimport BLOCK, ParsedBlock, first_outside, parse_begin, parse_plain
from vnasfast.tables.locks cimport mutex_lock, pthread_mutex_unlock
from vnasfast.tables.readers cimport atomic_add
from vnasfast.tables.tables cimport Tables
from vnasfast.tables.tally cimport Tally
from vnasfast.typedefs cimport FIRST_FRAGMENT, LATER_FRAGMENT, FlowKey, FlowKeyIpv4

from vnasfast.dispatch.packets import packet_bytes
from vnasfast.errors import InvalidValue

# ---- blocks, as whoever has frames in memory calls them ---------------------------------------------------------------

cdef enum:
    WORTH_A_TALLY = 4 * BLOCK       # packets of a call, from which on it counts to memory of its own where another call is counting


cdef Tally* counting_begin(Tables tables, size_t n) noexcept nogil:
    """Begin a call that counts n packets. Two threads that took the counters' lock in turns were hardly faster than one."""
    if atomic_add(tables.n_counting, 1) == 0 or n < WORTH_A_TALLY:
        return NULL
    return tally_borrow(tables)


cdef void counting_end(Tables tables, Tally* tally) noexcept nogil:
    atomic_add(tables.n_counting, -1)
    if tally != NULL:
        tally_give_back(tables, tally)


cdef void dispatch_lists(Tables tables, const KeyLists* keys, int32_t* results, bint count, const uint32_t* wire_lengths,
                         const int64_t* times_ns, Tally* tally) noexcept nogil:
    """Dispatch at most BLOCK packets. Who doesn't ask how many missed is spared a tenth of the time."""
    if count:
        dispatch_and_count(tables, keys, results, wire_lengths, times_ns, tally)
    else:
        dispatch_keys(tables, keys, results)


cdef size_t dispatch_block(Dispatcher dispatcher, const FlowKey* keys, size_t n, int32_t* results, int32_t* vnases,
                           bint count, const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil:
    cdef KeyLists lists = KeyLists(NULL, NULL, 0, keys, NULL, n)
    if vnases != NULL:
        dispatch_with_vnases(dispatcher.tables, keys, n, results, vnases, count, wire_lengths, times_ns)
    else:
        dispatch_lists(dispatcher.tables, &lists, results, count, wire_lengths, times_ns, NULL)
    return n_missed(results, n)


cdef size_t dispatch_block_ipv4(Dispatcher dispatcher, const FlowKeyIpv4* keys, size_t n, int32_t* results, bint count,
                                const uint32_t* wire_lengths, const int64_t* times_ns) noexcept nogil:
    cdef KeyLists lists = KeyLists(keys, NULL, n, NULL, NULL, 0)
    dispatch_lists(dispatcher.tables, &lists, results, count, wire_lengths, times_ns, NULL)
    return n_missed(results, n)


cdef void parse_frames(Dispatcher dispatcher, uint32_t link_type, const uint8_t* base, uint64_t n_bytes, size_t n,
                       const uint64_t* offsets, const uint32_t* lengths, const uint32_t* wire_lengths, const int64_t* times_ns,
                       ParsedBlock* parsed) noexcept nogil:
    """Parse at most BLOCK frames of one link type."""
    cdef size_t i, j
    cdef FlowKey* key = parsed.wide
    parse_begin(parsed)
    parse_plain(link_type, base, n_bytes, offsets, lengths, 0, n, parsed)
    key += parsed.kinds.n_ipv6
    for j in range(parsed.kinds.n_others):
        i = parsed.kinds.others[j]
        parse_block(dispatcher, link_type, base, n_bytes, 1, offsets + i, lengths + i,
                    wire_lengths + i if wire_lengths != NULL else NULL, times_ns + i if times_ns != NULL else NULL, key + j)


cdef void parse_block(Dispatcher dispatcher, uint32_t link_type, const uint8_t* base, uint64_t n_bytes, size_t n,
                      const uint64_t* offsets, const uint32_t* lengths, const uint32_t* wire_lengths,
                      const int64_t* times_ns, FlowKey* keys) noexcept nogil:
    cdef size_t i
    cdef uint64_t offset
    cdef uint32_t length
    for i in range(n):
        # Checked before, and here again: another thread may write to the caller's arrays while the GIL is free.
        offset = offsets[i]
        length = lengths[i]
        if offset > n_bytes or length > n_bytes - offset:
            offset = length = 0
        parse_frame(link_type, base + offset, length, wire_lengths[i] if wire_lengths != NULL else length, &keys[i])
        if keys[i].status == FIRST_FRAGMENT or keys[i].status == LATER_FRAGMENT:
            mutex_lock(&dispatcher.tables.counting)
            fragments_follow(&dispatcher.fragments.c_fragments, &keys[i], times_ns[i] if times_ns != NULL else 0)
            pthread_mutex_unlock(&dispatcher.tables.counting)


cdef object ZERO = 0    # every small 0 is this object


cdef int64_t number(object value, str name, int64_t low, int64_t high) except? -1:
    cdef int64_t found
    try:
        found = PyNumber_Index(value)       # no float
    except (OverflowError, TypeError):
        raise InvalidValue(f"{name} is {value!r}: it must be an integer from {low} to {high}") from None
    if not low <= found <= high:
        raise InvalidValue(f"{name} is {value!r}: it must be an integer from {low} to {high}")
    return found


cdef uint32_t read_frame(object frame, object link_type, object source_pid, object wire_length, object time_ns,
                         FlowKey* key, int64_t* time) except? 0:
    """Parse a frame in any form that people have; returns its bytes on the wire."""
    cdef Py_buffer view
    cdef uint32_t length
    if not PyObject_CheckBuffer(frame):
        frame, link_type = packet_bytes(frame, link_type)
    PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
    try:
        if view.len > UINT32_MAX:
            raise InvalidValue(f"the frame has {view.len} bytes: no link has frames of 4 GiB")
        # Captures exist that give fewer bytes on the wire than they hold; a batch takes them too.
        length = <uint32_t>view.len if wire_length is None else <uint32_t>number(wire_length, "wire_length", 0, UINT32_MAX)
        parse_frame(LINK_ETHERNET if link_type is None else <uint32_t>number(link_type, "link_type", 0, UINT32_MAX),
                    <const uint8_t*>view.buf, <uint32_t>view.len, length, key)
    finally:
        PyBuffer_Release(&view)
    key.source_pid = <int32_t>number(source_pid, "source_pid", 0, INT32_MAX)
    time[0] = number(time_ns, "time_ns", INT64_MIN, INT64_MAX)
    return length


cdef class Dispatcher:
    """Tables, and what is dispatched by them.

    Parameters
    ----------
    tables : Tables
    fragments : FragmentTable
    """

    def __init__(self, Tables tables not None, FragmentTable fragments not None):
        self.tables = tables
        self.fragments = fragments

    cdef int32_t dispatch_one(self, FlowKey* key, uint64_t n_bytes, int64_t time_ns, bint count, int32_t* vnas) noexcept:
        """Dispatch one parsed key under the GIL or in a critical section, which keep changes away; follows fragments, and counts if asked."""
        cdef int32_t result
        cdef bint fragment = key.status == FIRST_FRAGMENT or key.status == LATER_FRAGMENT
        if fragment or count:
            mutex_lock(&self.tables.counting)
        if fragment:
            fragments_follow(&self.fragments.c_fragments, key, time_ns)
        result = dispatch_key(&self.tables.c, key, vnas)
        if count:
            account(&self.tables.c, result, n_bytes, time_ns)
        if fragment or count:
            pthread_mutex_unlock(&self.tables.counting)
        return result

    cdef int32_t dispatch_frame(self, object frame, object link_type, object source_pid, object time_ns,
                                object wire_length, bint count, int32_t* vnas) except? -100:
        cdef FlowKey key
        cdef int64_t time = 0
        cdef uint32_t length
        # What most call with: nothing to check but the length.
        if (PyBytes_CheckExact(frame) and link_type is None and source_pid is ZERO and time_ns is ZERO and wire_length is None
                and PyBytes_GET_SIZE(frame) <= UINT32_MAX):
            length = <uint32_t>PyBytes_GET_SIZE(frame)
            parse_frame(LINK_ETHERNET, <const uint8_t*>PyBytes_AS_STRING(frame), length, length, &key)
            return self.dispatch_one(&key, length, 0, count, vnas)
        length = read_frame(frame, link_type, source_pid, wire_length, time_ns, &key, &time)
        return self.dispatch_one(&key, length, time, count, vnas)

    # Not one of Cython's functions, whose call takes a longer way: with what dispatch_frame leaves out, 1,239 → 804 instructions.
    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def dispatch(self, frame, link_type=None, *, source_pid=0, time_ns=0, wire_length=None, bint count=True):
        """Dispatch one frame.

        Parameters
        ----------
        frame : bytes-like, or a dpkt or scapy packet
            From its link-layer header on.
        link_type : int, optional
            The LINKTYPE number; default Ethernet (1), or what the packet object is.
        source_pid : int, optional
            The process that sent it, for loopback destinations; 0: not given.
        time_ns : int, optional
            Nanoseconds since the epoch, for counters and the age of fragments; 0: not known.
        wire_length : int, optional
            Bytes on the wire, when the capture holds fewer.
        count : bool, optional
            Whether the counters are to count it.

        Returns
        -------
        Delivery
        """
        cdef Tables tables = self.tables
        cdef int32_t vnas = -1
        cdef int32_t result
        with cython.critical_section(tables):
            result = self.dispatch_frame(frame, link_type, source_pid, time_ns, wire_length, count, &vnas)
            return self.delivery(result, vnas)

    @cython.binding(False)
    @cython.embedsignature(True)
    @cython.embedsignature.format("clinic")
    def dispatch_id(self, frame, link_type=None, *, source_pid=0, time_ns=0, wire_length=None, bint count=True):
        """Dispatch one frame to an integer: its socket ID, or a negative Outcome. Parameters as for `dispatch`."""
        cdef Tables tables = self.tables
        cdef int32_t vnas
        with cython.critical_section(tables):
            return self.dispatch_frame(frame, link_type, source_pid, time_ns, wire_length, count, &vnas)

    cdef Delivery delivery(self, int32_t result, int32_t vnas):
        cdef Delivery made = Delivery.__new__(Delivery)
        made._socket = result
        made._outcome = 0 if result >= 0 else result
        made._vnas = self.tables.c.vnases.rows[vnas].id if vnas >= 0 else -1
        made._pid = self.tables.c.processes.rows[self.tables.c.sockets.rows[result].process].pid if result >= 0 else -1
        return made

    def dispatch_batch(self, keys, *, wire_lengths=None, times_ns=None, out=None, bint count=True):
        """Dispatch many parsed keys. Runs without the GIL.

        Parameters
        ----------
        keys : ndarray of FLOW_KEY or FLOW_KEY_IPV4, shape (n,)
        wire_lengths : array of uint32, shape (n,), optional
            Bytes on the wire, for the counters; default 0 each.
        times_ns : array of int64, shape (n,), optional
            Nanoseconds since the epoch, for the counters.
        out : ndarray of int32, shape (n,), optional
            Where the results go; default a new array.
        count : bool, optional
            Whether the counters are to count them.

        Returns
        -------
        ndarray of int32, shape (n,)
            Socket IDs, or negative Outcomes.

        Raises
        ------
        InvalidValue
            An array has the wrong dtype or shape.

        Notes
        -----
        Other threads may change tables meanwhile; each packet is then dispatched by the tables before or after a change. Only packets
        that need the control plane wait for a change, and counting waits where a socket closed that packets were just dispatched to.
        """
        from vnasfast.columns import column, key_array, output  # with numpy, which one packet needs not
        from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4

        keys = key_array(keys, FLOW_KEY, FLOW_KEY_IPV4)
        cdef const FlowKey[::1] wide
        cdef const FlowKeyIpv4[::1] narrow
        cdef const FlowKey* wide_keys = NULL
        cdef const FlowKeyIpv4* narrow_keys = NULL
        cdef KeyLists lists
        cdef Py_ssize_t n = keys.shape[0], start = 0, size
        cdef const uint32_t[::1] length_view
        cdef const int64_t[::1] time_view
        cdef const uint32_t* length_column = NULL
        cdef const int64_t* time_column = NULL
        cdef const uint32_t* lengths = NULL
        cdef const int64_t* times = NULL
        cdef Tally* tally = NULL
        results = output(out, "int32", n)
        cdef int32_t[::1] result_view = results
        if n == 0:
            return results
        if keys.itemsize == sizeof(FlowKeyIpv4):
            narrow = keys
            narrow_keys = &narrow[0]
        else:
            wide = keys
            wide_keys = &wide[0]
        if wire_lengths is not None:
            length_view = column(wire_lengths, "uint32", "wire_lengths", n)
            length_column = &length_view[0]
        if times_ns is not None:
            time_view = column(times_ns, "int64", "times_ns", n)
            time_column = &time_view[0]
        with nogil:
            if count:
                tally = counting_begin(self.tables, n)
            while start < n:
                size = min(<Py_ssize_t>BLOCK, n - start)
                lengths = length_column + start if length_column != NULL else NULL
                times = time_column + start if time_column != NULL else NULL
                if narrow_keys != NULL:
                    lists = KeyLists(narrow_keys + start, NULL, size, NULL, NULL, 0)
                else:
                    lists = KeyLists(NULL, NULL, 0, wide_keys + start, NULL, size)
                dispatch_lists(self.tables, &lists, &result_view[start], count, lengths, times, tally)
                start += size
            if count:
                counting_end(self.tables, tally)
        return results

    def dispatch_frames(self, buffer, offsets, lengths, uint32_t link_type=1, *, wire_lengths=None, times_ns=None, out=None,
                        bint count=True):
        """Dispatch many frames that lie in one buffer. Runs without the GIL.

        Parameters
        ----------
        buffer : bytes-like
        offsets : array of uint64, shape (n,)
            From the buffer's begin to each frame's first byte.
        lengths : array of uint32, shape (n,)
            Bytes captured.
        link_type : int, optional
            The LINKTYPE number; default Ethernet (1).
        wire_lengths : array of uint32, shape (n,), optional
            Bytes on the wire; default as captured.
        times_ns : array of int64, shape (n,), optional
            Nanoseconds since the epoch, for counters and the age of fragments.
        out : ndarray of int32, shape (n,), optional
            Where the results go; default a new array.
        count : bool, optional
            Whether the counters are to count them.

        Returns
        -------
        ndarray of int32, shape (n,)
            Socket IDs, or negative Outcomes.

        Raises
        ------
        InvalidValue
            An array has the wrong dtype or shape, or a frame lies outside the buffer.
        """
        from vnasfast.columns import column, output

        cdef const uint64_t[::1] offset_view = column(offsets, "uint64", "offsets")
        cdef Py_ssize_t n = offset_view.shape[0], start = 0, size
        cdef const uint32_t[::1] length_view = column(lengths, "uint32", "lengths", n)
        cdef const uint32_t[::1] wire_view
        cdef const int64_t[::1] time_view
        cdef const uint32_t* wire_column = NULL
        cdef const int64_t* time_column = NULL
        cdef const int64_t* times = NULL
        cdef Tally* tally = NULL
        cdef ParsedBlock parsed
        cdef KeyLists keys
        cdef Py_buffer view
        cdef size_t outside
        results = output(out, "int32", n)
        cdef int32_t[::1] result_view = results
        if n == 0:
            return results
        wire_column = &length_view[0]
        if wire_lengths is not None:
            wire_view = column(wire_lengths, "uint32", "wire_lengths", n)
            wire_column = &wire_view[0]
        if times_ns is not None:
            time_view = column(times_ns, "int64", "times_ns", n)
            time_column = &time_view[0]
        PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
        try:
            outside = first_outside(n, &offset_view[0], &length_view[0], view.len)
            if outside < <size_t>n:
                raise InvalidValue(
                    f"frame {outside} (offset {offset_view[outside]}, length {length_view[outside]}) lies outside the buffer of"
                    f" {view.len} bytes"
                )
            with nogil:
                if count:
                    tally = counting_begin(self.tables, n)
                while start < n:
                    size = min(<Py_ssize_t>BLOCK, n - start)
                    times = time_column + start if time_column != NULL else NULL
                    parse_frames(self, link_type, <const uint8_t*>view.buf, view.len, size, &offset_view[start],
                                 &length_view[start], wire_column + start, times, &parsed)
                    keys = lists_of(&parsed)
                    dispatch_lists(self.tables, &keys, &result_view[start], count, wire_column + start, times, tally)
                    start += size
                if count:
                    counting_end(self.tables, tally)
        finally:
            PyBuffer_Release(&view)
        return results
