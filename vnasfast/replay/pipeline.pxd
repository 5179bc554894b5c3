# Capture, parse and dispatch joined: windows of a capture through one lane or several.

from libc.stdint cimport uint64_t

from vnasfast.capture.reader cimport Capture
from vnasfast.dispatch.dispatcher cimport Dispatcher
from vnasfast.replay.deliveries cimport DeliveryWriter
from vnasfast.replay.lane cimport Lane
from vnasfast.replay.misses cimport MissTable
from vnasfast.replay.turns cimport Turn

cdef class Pipeline:
    cdef readonly Dispatcher dispatcher
    cdef readonly MissTable misses
    cdef readonly DeliveryWriter deliveries     # None: not wanted
    cdef readonly Capture capture               # None before begin()
    cdef readonly bint reading                  # of an exception: it came from the capture
    cdef list lanes                             # of Lane; the first is the caller's own
    # Of one step, shared by its lanes:
    cdef uint64_t unclaimed                     # number of the next window that no lane has taken
    cdef Turn walking                           # the window whose records may be looked for
    cdef Turn handing_over                      # the window that may hand over
    cdef Turn gone                              # how many helpers have finished
    cdef uint64_t left                          # frames that may still be read; the walking lane's
    cdef uint64_t number                        # of the next frame in the deliveries; the walking lane's
    cdef uint64_t deadline_ns
    cdef uint64_t least                         # the window that comes before the step may end
    cdef int stopping                           # no further window is taken

    cdef uint64_t _packets(self)
    cdef int _step_stream(self, size_t limit) except -1
    cdef int _step_windows(self, size_t limit) except -1
