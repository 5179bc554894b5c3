# Answers of ports that few VNASs have: lines of (port, VNAS), where an array would be mostly empty.
#
#   20 of 5,000 ports a VNAS, 100k sockets: 2.1 MB of lines, where arrays would take 160 MB.
#
# Readers find an answer in its line, or nothing there. Where a line was full it says so, and the answer is in the other line of its
# pair of lines; where that was full too it is in `crowded`, and the control plane is asked: 1 in 5,000 at the highest load.

from libc.stdint cimport int32_t, uint32_t

from vnasfast.tables.plane cimport Plane

# Room for so many more answers, or MemoryError; then putting one can't fail. `place` is what sparse_place gives. A larger table is
# filled beside this one, some pairs of lines with each change.
cdef int sparse_reserve(Plane* plane, uint32_t n) except -1
cdef void sparse_put(Plane* plane, uint32_t place, int32_t vnas, int32_t stored) noexcept nogil
cdef int32_t sparse_get(const Plane* plane, uint32_t place, int32_t vnas) noexcept nogil
cdef int sparse_check(const Plane* plane) except -1
