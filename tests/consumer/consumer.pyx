"""Cython code outside vnasfast that embeds the engine: frames in C memory to sockets, no Python in between."""

from libc.stdint cimport int32_t, uint8_t, uint32_t

from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.dispatch.steps cimport dispatch_key
from vnasfast.parse.frame cimport parse_frame
from vnasfast.typedefs cimport FlowKey, NO_VNAS


def layout():
    """Name each field of FlowKey with its offset, and the struct's size last."""
    cdef FlowKey key
    cdef char* base = <char*>&key
    return [
        ("destination", <char*>&key.destination - base), ("source", <char*>&key.source - base),
        ("destination_port", <char*>&key.destination_port - base), ("source_port", <char*>&key.source_port - base),
        ("vlan", <char*>&key.vlan - base), ("protocol", <char*>&key.protocol - base),
        ("status", <char*>&key.status - base), ("source_pid", <char*>&key.source_pid - base),
        ("fragment_id", <char*>&key.fragment_id - base), ("size", sizeof(FlowKey)),
    ]


cdef int32_t receiver(Dispatcher machine, const uint8_t* frame, uint32_t length) noexcept nogil:
    cdef FlowKey key
    cdef int32_t vnas
    parse_frame(1, frame, length, length, &key)
    return dispatch_key(&machine.tables.c, &key, &vnas)


def count_strays(Dispatcher machine, const uint8_t[:, ::1] frames):
    """Count the frames, one a row, that no VNAS owns."""
    cdef Py_ssize_t i
    cdef int strays = 0
    with nogil:
        for i in range(frames.shape[0]):
            if receiver(machine, &frames[i, 0], <uint32_t>frames.shape[1]) == NO_VNAS:
                strays += 1
    return strays
