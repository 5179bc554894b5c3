# Timestamps: ticks of an interface to nanoseconds and to decimal text, exactly.

from libc.stdint cimport INT64_MAX, INT64_MIN, UINT64_MAX, int64_t, uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    typedef __int128 vnasfast_int128;
    typedef unsigned __int128 vnasfast_uint128;
    """
    ctypedef long long int128 "vnasfast_int128"
    ctypedef unsigned long long uint128 "vnasfast_uint128"

# How an interface counts time: in ticks of 10**-exponent or 2**-exponent seconds.
cdef struct TimeUnit:
    uint64_t per_second     # ticks in a second; 0: more than an uint64 counts, so that all ticks are fractions
    uint64_t tick_ns        # nanoseconds in a tick; 0: not a whole number
    int64_t offset_seconds  # to be added to every time
    uint8_t exponent
    bint binary

cdef enum:
    TIME_TEXT_BYTES = 48    # room enough for any text of time_format


cdef inline int64_t time_ns(const TimeUnit* unit, uint64_t ticks) noexcept nogil:
    """Nanoseconds since the epoch, rounded down, held at the ends of int64. Any thread."""
    cdef int128 ns
    cdef uint128 fine
    cdef int i
    if unit.tick_ns:
        ns = <int128>ticks * <int128>unit.tick_ns
    elif unit.per_second:
        # By whole seconds first: a product of ticks and 10**9 is too wide for a fast division.
        ns = <int128>(ticks // unit.per_second) * 1000000000
        ns += <int128>(<uint128>(ticks % unit.per_second) * 1000000000 // unit.per_second)
    else:
        fine = <uint128>ticks * 1000000000
        if unit.binary:
            fine >>= unit.exponent
        else:
            for i in range(unit.exponent):
                fine //= 10
        ns = <int128>fine
    ns += <int128>unit.offset_seconds * 1000000000
    if ns > INT64_MAX:
        return INT64_MAX
    if ns < INT64_MIN:
        return INT64_MIN
    return <int64_t>ns


cdef inline bint time_is_simple(const TimeUnit* unit) noexcept nogil:
    """Whether a time is a product and a sum: offsets of less than a century, and whole nanoseconds."""
    cdef int64_t century = <int64_t>3000000000
    return unit.tick_ns and -century < unit.offset_seconds and unit.offset_seconds < century


cdef inline uint64_t time_most(const TimeUnit* unit) noexcept nogil:
    """The ticks up to which no step of a simple time leaves int64."""
    return (<uint64_t>6000000000000000000) // unit.tick_ns


cdef inline void times_ns(const TimeUnit* unit, const uint64_t* ticks, size_t n, int64_t* times) noexcept nogil:
    """time_ns of many ticks of one interface. Any thread."""
    cdef size_t i
    cdef int64_t offset
    cdef uint64_t most
    cdef uint64_t beyond = 0
    if time_is_simple(unit):
        offset = unit.offset_seconds * 1000000000
        most = time_most(unit)
        for i in range(n):
            beyond |= ticks[i] > most
            times[i] = <int64_t>(ticks[i] * unit.tick_ns) + offset
        if not beyond:
            return
    for i in range(n):
        times[i] = time_ns(unit, ticks[i])


cdef inline char* write_digits(char* end, uint64_t value, int n) noexcept nogil:
    """Write `value` in at least `n` digits that end before `end`; the first one's place."""
    while value or n > 0:
        end -= 1
        end[0] = <char>(c'0' + value % 10)
        value //= 10
        n -= 1
    return end


cdef inline int time_format(const TimeUnit* unit, uint64_t ticks, char* text) noexcept nogil:
    """Write seconds since the epoch, such as 1700000000.123456, into `text` of TIME_TEXT_BYTES bytes.

    Gives the number of bytes, with no zero after them; 0 for what is left to Interface.format_time: a binary unit,
    more than 19 digits, seconds beyond an uint64. Any thread.
    """
    cdef char scratch[TIME_TEXT_BYTES]
    cdef char* end = scratch + TIME_TEXT_BYTES
    cdef char* start = end
    cdef uint64_t fraction, whole
    cdef int128 seconds
    cdef int n
    if unit.binary or not unit.per_second:
        return 0
    seconds = <int128>(ticks // unit.per_second) + unit.offset_seconds
    fraction = ticks % unit.per_second
    cdef bint negative = seconds < 0
    if negative:
        # The fraction counts upwards: -5 s and 0.25 s are -4.75 s.
        if fraction:
            seconds += 1
            fraction = unit.per_second - fraction
        seconds = -seconds
    if seconds > <int128>UINT64_MAX:
        return 0
    whole = <uint64_t>seconds
    if unit.exponent:
        start = write_digits(start, fraction, unit.exponent)
        start -= 1
        start[0] = c'.'
    start = write_digits(start, whole, 1)
    if negative:
        start -= 1
        start[0] = c'-'
    n = <int>(end - start)
    memcpy(text, start, n)
    return n
