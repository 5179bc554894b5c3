# The domain's C words. dtypes.py says the same to numpy; a test holds the two together.

from libc.stdint cimport int8_t, int32_t, uint8_t, uint16_t, uint32_t, uint64_t

# A row of the socket table; negative values are an Outcome.
ctypedef int32_t SocketId

# Why a packet reached no socket. Negative, so that one int32 says either the socket or the reason.
cdef enum:     # Outcome
    DELIVERED = 0
    NO_VNAS = -1
    NO_PORT = -2
    NO_SOCKET = -3
    UNKNOWN_SOURCE = -4
    NOT_IP = -5
    NO_TRANSPORT = -6
    LATER_FRAGMENT = -7
    TRUNCATED = -8
    MALFORMED = -9

# FlowKey.status of a frame whose ports are known; any other status is the Outcome that parsing ended with.
cdef enum:     # KeyStatus
    WHOLE = 0             # not a fragment
    FIRST_FRAGMENT = 1    # carries the ports of all its fragments
    FOLLOWS_FIRST = 2     # a later fragment, its ports taken from its first fragment

# What dispatch needs of a packet. 48 bytes, no padding.
cdef struct FlowKey:
    uint8_t destination[16]     # network byte order; IPv4 as ::ffff:a.b.c.d; all zero: the frame shows no address
    uint8_t source[16]
    uint16_t destination_port   # host byte order; 0 unless status >= 0
    uint16_t source_port
    uint16_t vlan               # the outermost VLAN ID that is not 0; 0: untagged
    uint8_t protocol            # IP protocol number, after IPv6 extension headers
    int8_t status               # KeyStatus, or the Outcome of parsing
    int32_t source_pid          # the process that sent a loopback packet; 0: not given
    uint32_t fragment_id        # of a fragment; else 0

# The same of an IPv4 packet, in a third of the memory: for those that are no fragments, and whose sender's process is not given.
# 16 bytes, no padding.
cdef struct FlowKeyIpv4:
    uint8_t destination[4]      # network byte order
    uint8_t source[4]
    uint16_t destination_port   # host byte order
    uint16_t source_port
    uint16_t vlan
    uint8_t protocol
    int8_t status               # WHOLE, or the Outcome of parsing

# What one walk over a capture leaves for the next stage: `n` frames inside `base`, one array a column.
cdef struct FrameBlock:
    const uint8_t* base         # valid until the capture is read again
    size_t n
    size_t capacity
    uint64_t* offsets             # from base to the frame's first byte
    uint32_t* lengths           # bytes captured
    uint32_t* wire_lengths      # bytes on the wire
    uint64_t* ticks   # since the epoch, in units of the interface's resolution, before its offset
    uint16_t* interfaces        # row of the capture's interface list
