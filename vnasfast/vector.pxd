# The vector path of the hot loops, chosen once, when this module is imported.

cdef extern from "vnasfast/vector.h":
    enum:
        VNAS_VECTOR_PORTABLE
        VNAS_VECTOR_AVX2
    int best_vector "vnas_best_vector"() noexcept nogil

cdef int vector_path    # one of the above; only read after the import
