# A self-check of what the policy `linux` knows. See linux.pxd.

from vnasfast.tables.tables cimport MachineTables

cdef int check_linux(const MachineTables* c) except -1
