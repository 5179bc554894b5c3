"""Lines of plain TOML, of a text that ends with a NUL: there no name, number or row of blanks goes on."""

from libc.string cimport memchr, memcmp


# A piece of the text that is read.
cdef struct Piece:
    const char* start
    Py_ssize_t n


cdef inline bint is_same(const Piece* a, const Piece* b) noexcept nogil:
    return a.n == b.n and memcmp(a.start, b.start, a.n) == 0


cdef inline bint is_bare(char c) noexcept nogil:
    """Whether a name or a number may have this character."""
    return c'a' <= c <= c'z' or c'A' <= c <= c'Z' or c'0' <= c <= c'9' or c == c'_' or c == c'-'


cdef inline const char* past_blanks(const char* at) noexcept nogil:
    while at[0] == c' ' or at[0] == c'\t':
        at += 1
    return at


cdef inline const char* past_name(const char* at) noexcept nogil:
    while is_bare(at[0]):
        at += 1
    return at


cdef inline const char* past_value(const char* at, const char* end) noexcept nogil:
    """Where what may be a value ends; NULL if it is none."""
    cdef const char* quote
    if at[0] != c'"':
        return past_name(at)
    quote = <const char*>memchr(at + 1, c'"', end - at - 1)
    return quote + 1 if quote != NULL else NULL     # of three quotes, two are a value, after which the third can't stand


cdef inline const char* past_line(const char* at, const char* end) noexcept nogil:
    """Where the next line begins, if only blanks and a comment are left of this one; else NULL."""
    at = past_blanks(at)
    if at[0] == c'#':
        while at < end and at[0] != c'\n':
            # Control characters are forbidden in comments, except the tab.
            if (0 <= at[0] < 0x20 and at[0] != c'\t') or at[0] == 0x7F:
                return NULL
            at += 1
    if at == end:
        return at
    return at + 1 if at[0] == c'\n' else NULL
