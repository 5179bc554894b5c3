# Tables frozen into an image: arrays in a row, found by where they begin, so that the image can lie anywhere and nobody need
# write to it. It holds all that dispatch and the views read, and nothing that was counted.
#
#   Header: what it is, where its sections are, MachineTables without pointers
#   text: the names, as JSON
#   sections: the arrays, as far as they are used; pages that are zero take no memory, nor room in a file
#   members: of the endpoints whose sockets share a port, one after the other
#
# Everything here keeps the GIL, which keeps changes away.

from vnasfast.tables.image cimport Image
from vnasfast.tables.plane cimport VnasPorts
from vnasfast.tables.tables cimport Tables

cdef class FrozenTables(Tables):
    cdef Image image            # what the arrays lie in
    cdef Image counters         # for this process alone
    cdef VnasPorts ports
    cdef readonly dict names
    cdef bint frozen
