"""Many frames in one buffer to flow keys."""

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from vnasfast.errors import InvalidValue

from vnasfast.parse.frame cimport parse_frame as c_parse_frame
from vnasfast.parse.link cimport link_is_known as c_link_is_known
from vnasfast.parse.plain cimport BLOCK, ParsedBlock, first_outside, parse_begin
from vnasfast.parse.plain cimport parse_plain as c_parse_plain
from vnasfast.typedefs cimport FlowKey, FlowKeyIpv4


cdef Py_ssize_t _parse_all(
    uint32_t link_type, const uint8_t* base, uint64_t n_bytes, Py_ssize_t n,
    const uint64_t* offsets, const uint32_t* lengths, const uint32_t* wire_lengths, FlowKey* keys,
) noexcept nogil:
    # The first frame that does not lie inside the buffer, or n. Offset and length are tested where they are
    # used, not in a pass before: another thread may write to the arrays while the GIL is free.
    cdef Py_ssize_t i
    cdef uint64_t offset
    cdef uint32_t length
    for i in range(n):
        offset = offsets[i]
        length = lengths[i]
        if offset > n_bytes or length > n_bytes - offset:
            return i
        c_parse_frame(link_type, base + offset, length, wire_lengths[i], &keys[i])
    return n


def parse_frames(buffer, offsets, lengths, link_type, *, wire_lengths=None, out=None):
    """Read the flow keys of many frames in one buffer.

    Parameters
    ----------
    buffer : bytes-like
        Where the frames lie: bytes, a memoryview, a memory map, a numpy array; contiguous. It is not copied.
    offsets : array_like of int, shape (n,)
        Where each frame begins, in bytes from the buffer's start. uint64 is used without a copy.
    lengths : array_like of int, shape (n,)
        Captured bytes of each frame. uint32 is used without a copy.
    link_type : int
        What the frames begin with, as in capture files: 1 is Ethernet, 101 raw IP, 113 and 276 Linux cooked,
        0 and 108 BSD loopback. Frames of a link type that is not known (see `link_is_known`) are NOT_IP.
    wire_lengths : array_like of int, shape (n,), optional
        Bytes of each frame on the wire; without it, frames count as captured whole. It decides between
        TRUNCATED and MALFORMED where a header ends behind the captured bytes.
    out : ndarray of FLOW_KEY, shape (n,), optional
        Where the keys are written; contiguous. Without it, a new array.

    Returns
    -------
    ndarray of FLOW_KEY, shape (n,)
        ``status`` is negative (an `Outcome`) where a frame shows no ports. The addresses are filled whenever
        the frame shows them, and all zero otherwise.

    Raises
    ------
    InvalidValue
        An argument has another shape or dtype, or a frame does not lie inside the buffer; the message names
        the first such frame. The keys before it are already written to `out`.
    """
    from vnasfast.columns import column, output  # with numpy, which nothing else here needs
    from vnasfast.dtypes import FLOW_KEY

    cdef Py_buffer view
    cdef const uint64_t[::1] c_offsets = column(offsets, "uint64", "offsets")
    cdef const uint32_t[::1] c_lengths = column(lengths, "uint32", "lengths")
    cdef const uint32_t[::1] c_wire_lengths = c_lengths
    cdef Py_ssize_t n = c_offsets.shape[0]
    cdef Py_ssize_t n_read = 0
    cdef uint32_t c_link_type = _link_type(link_type)
    cdef FlowKey[::1] c_keys
    if wire_lengths is not None:
        c_wire_lengths = column(wire_lengths, "uint32", "wire_lengths")
    if c_lengths.shape[0] != n or c_wire_lengths.shape[0] != n:
        raise InvalidValue(
            f"{n} offsets, {c_lengths.shape[0]} lengths and {c_wire_lengths.shape[0]} wire_lengths: "
            "there must be as many of each"
        )
    keys = output(out, FLOW_KEY, n)
    c_keys = keys
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        if n:
            with nogil:
                n_read = _parse_all(
                    c_link_type, <const uint8_t*>view.buf, <uint64_t>view.len, n,
                    &c_offsets[0], &c_lengths[0], &c_wire_lengths[0], &c_keys[0])
        if n_read < n:
            raise InvalidValue(
                f"frame {n_read}: {c_lengths[n_read]} bytes from offset {c_offsets[n_read]} "
                f"do not lie inside the buffer of {view.len} bytes"
            )
    finally:
        PyBuffer_Release(&view)
    return keys


def parse_plain(buffer, offsets, lengths, link_type):
    """Read the keys of plain frames in one buffer, and leave the others.

    A plain frame is Ethernet with at most two VLAN tags, then IPv4 without options that is no fragment, or IPv6 without
    extension headers, then a protocol with ports. These are captured, and so are 46 bytes.

    Parameters
    ----------
    buffer, offsets, lengths, link_type
        As in `parse_frames`.

    Returns
    -------
    ipv4_keys : ndarray of FLOW_KEY_IPV4, shape (k,)
        Of the plain IPv4 frames, in their order.
    ipv4 : ndarray of int64, shape (k,)
        Which frames these are.
    ipv6_keys : ndarray of FLOW_KEY, shape (m,)
        Of the plain IPv6 frames, in their order.
    ipv6 : ndarray of int64, shape (m,)
        Which frames these are.
    others : ndarray of int64, shape (n - k - m,)
        Which frames are left to `parse_frames`.

    Raises
    ------
    InvalidValue
        As in `parse_frames`.
    """
    import numpy as np

    from vnasfast.columns import column
    from vnasfast.dtypes import FLOW_KEY, FLOW_KEY_IPV4

    cdef Py_buffer view
    cdef const uint64_t[::1] c_offsets = column(offsets, "uint64", "offsets")
    cdef Py_ssize_t n = c_offsets.shape[0]
    cdef const uint32_t[::1] c_lengths = column(lengths, "uint32", "lengths", n)
    cdef uint32_t c_link_type = _link_type(link_type)
    cdef Py_ssize_t j, outside, start, n_ipv4 = 0, n_ipv6 = 0, n_others = 0
    cdef ParsedBlock block
    cdef FlowKeyIpv4[::1] c_narrow
    cdef FlowKey[::1] c_wide
    cdef int64_t[::1] c_ipv4, c_ipv6, c_others
    c_narrow = narrow = np.empty(n, FLOW_KEY_IPV4)
    c_wide = wide = np.empty(n, FLOW_KEY)
    c_ipv4, c_ipv6, c_others = ipv4, ipv6, others = np.empty((3, n), np.int64)
    PyObject_GetBuffer(buffer, &view, PyBUF_SIMPLE)
    try:
        outside = first_outside(n, &c_offsets[0], &c_lengths[0], view.len) if n else 0
        if outside < n:
            raise InvalidValue(
                f"frame {outside}: {c_lengths[outside]} bytes from offset {c_offsets[outside]} "
                f"do not lie inside the buffer of {view.len} bytes"
            )
        for start in range(0, n, BLOCK):
            parse_begin(&block)
            c_parse_plain(
                c_link_type, <const uint8_t*>view.buf, view.len, &c_offsets[start], &c_lengths[start], 0,
                min(n - start, BLOCK), &block)
            for j in range(<Py_ssize_t>block.kinds.n_ipv4):
                c_narrow[n_ipv4] = block.narrow[j]
                c_ipv4[n_ipv4] = start + block.kinds.ipv4[j]
                n_ipv4 += 1
            for j in range(<Py_ssize_t>block.kinds.n_ipv6):
                c_wide[n_ipv6] = block.wide[j]
                c_ipv6[n_ipv6] = start + block.kinds.ipv6[j]
                n_ipv6 += 1
            for j in range(<Py_ssize_t>block.kinds.n_others):
                c_others[n_others] = start + block.kinds.others[j]
                n_others += 1
    finally:
        PyBuffer_Release(&view)
    return narrow[:n_ipv4], ipv4[:n_ipv4], wide[:n_ipv6], ipv6[:n_ipv6], others[:n_others]


def parse_frame(frame, link_type=1, *, wire_length=None):
    """Read the flow key of one frame.

    Parameters
    ----------
    frame : bytes-like
        The captured bytes.
    link_type : int, optional
        As in `parse_frames`; Ethernet when not given.
    wire_length : int, optional
        Bytes on the wire; as many as captured when not given.

    Returns
    -------
    ndarray of FLOW_KEY, shape (1,)

    Raises
    ------
    InvalidValue
        The link type or the wire length is no 32-bit number.
    """
    n_bytes = memoryview(frame).nbytes
    wire_lengths = None if wire_length is None else [wire_length]
    return parse_frames(frame, [0], [n_bytes], link_type, wire_lengths=wire_lengths)


def link_is_known(link_type):
    """Tell whether frames of this link type can be read.

    Parameters
    ----------
    link_type : int
        As in capture files.

    Returns
    -------
    bool

    Raises
    ------
    InvalidValue
        The link type is no 32-bit number.
    """
    return c_link_is_known(_link_type(link_type))


cdef uint32_t _link_type(object link_type) except? 0xFFFFFFFF:
    if not 0 <= link_type <= 0xFFFFFFFF:
        raise InvalidValue(f"link type {link_type} is no 32-bit number")
    return link_type
