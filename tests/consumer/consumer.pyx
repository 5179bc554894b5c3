"""Cython code outside vnasfast that embeds the engine: frames in C memory to sockets, no Python in between."""

from libc.stddef cimport offsetof
from libc.stdint cimport int32_t, uint8_t, uint32_t

from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.dispatch.steps cimport dispatch_key
from vnasfast.parse.frame cimport parse_frame
from vnasfast.typedefs cimport FlowKey, NO_VNAS


def layout():
    """Name each field of FlowKey with its offset, and the struct's size last."""
    return [
        ("destination", offsetof(FlowKey, destination)), ("source", offsetof(FlowKey, source)),
        ("destination_port", offsetof(FlowKey, destination_port)), ("source_port", offsetof(FlowKey, source_port)),
        ("vlan", offsetof(FlowKey, vlan)), ("protocol", offsetof(FlowKey, protocol)),
        ("status", offsetof(FlowKey, status)), ("source_pid", offsetof(FlowKey, source_pid)),
        ("fragment_id", offsetof(FlowKey, fragment_id)), ("size", sizeof(FlowKey)),
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
