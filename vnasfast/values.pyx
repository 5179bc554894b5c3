"""What people write for addresses, ports and protocols, checked, and as the tables keep it."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memset

from vnasfast.errors import InvalidValue
from vnasfast.parse.text import PORT_PROTOCOLS, address_bytes, address_of, protocol_name, protocol_number

#: The largest PID, VNAS ID and socket ID.
MOST = 2**31 - 1

PROTOCOLS = {protocol_name(number): number for number in PORT_PROTOCOLS}

cdef dict NUMBERS = PROTOCOLS
cdef bytes ANY = bytes(16)
cdef bytes MAPPED = bytes(10) + b"\xff\xff"


cdef object IPADDRESS = None


cdef object ipaddress():
    """The module of that name, whose import takes 2 ms and which a table file of plain addresses does without."""
    global IPADDRESS
    if IPADDRESS is None:
        import ipaddress as module
        IPADDRESS = module
    return IPADDRESS


cdef bytes mapped(uint32_t address):
    """The 16 bytes of an IPv4 address."""
    cdef uint8_t[16] octets
    cdef int i
    memset(octets, 0, 10)
    octets[10] = octets[11] = 0xff
    for i in range(4):
        octets[12 + i] = <uint8_t>(address >> (24 - 8 * i))
    return PyBytes_FromStringAndSize(<const char*>octets, 16)


cdef bint is_plain_ipv4(str text, uint32_t* address) except -1:
    """Read four numbers from 0 to 255 with dots between, written as `ipaddress` wants them; what else there is, it says."""
    cdef Py_ssize_t n, i
    cdef const char* digits = PyUnicode_AsUTF8AndSize(text, &n)
    cdef uint32_t number = 0, found = 0
    cdef int n_digits = 0, n_numbers = 0
    if n < 7 or n > 15:
        return False
    for i in range(n + 1):
        if i == n or digits[i] == c".":
            if n_digits == 0 or number > 255:
                return False
            found = found << 8 | number
            n_numbers += 1
            number = n_digits = 0
        elif c"0" <= digits[i] <= c"9" and (n_digits == 0 or number != 0):      # 010 may have meant 8
            number = 10 * number + <uint32_t>(digits[i] - c"0")
            n_digits += 1
            if n_digits > 3:
                return False
        else:
            return False
    address[0] = found
    return n_numbers == 4


def packed_address(address):
    """Return 16 bytes of an address, IPv4 mapped; "ANY" is ``::``."""
    cdef uint32_t number
    # Many times faster than through address_bytes, which reads whatever ipaddress does.
    if type(address) is str and is_plain_ipv4(address, &number):
        return mapped(number)
    if isinstance(address, str) and address.upper() == "ANY":
        return ANY
    if type(address) is ipaddress().IPv4Address:
        return mapped(int(address))
    if not isinstance(address, (str, ipaddress().IPv4Address, ipaddress().IPv6Address)) or not address:
        raise InvalidValue(f"{address!r} is no address: write it like 192.0.2.1 or 2001:db8::1")
    if isinstance(address, ipaddress().IPv6Address) and address.scope_id is None:
        return address.packed
    return address_bytes(address)


def unpacked_address(bytes packed not None):
    """Return the address of 16 bytes."""
    cdef const uint8_t* octets = packed
    if len(packed) == 16 and memcmp(octets, <const char*>MAPPED, 12) == 0:
        return ipaddress().IPv4Address(<uint32_t>octets[12] << 24 | <uint32_t>octets[13] << 16 | <uint32_t>octets[14] << 8 | octets[15])
    return address_of(packed) or ipaddress().IPv6Address(0)


def packed_network(network):
    """Return the masked 16 bytes and the prefix length of a network, IPv4 mapped; (None, 0) for "default"."""
    if network is None or network == "default":
        return None, 0
    try:
        known = isinstance(network, (ipaddress().IPv4Network, ipaddress().IPv6Network))
        parsed = network if known else ipaddress().ip_network(str(network))
    except ValueError as error:
        raise InvalidValue(f"{network!r} is no network ({error}): write it like 192.0.2.0/24, or default") from None
    packed = packed_address(parsed.network_address)
    return packed, parsed.prefixlen + (96 if parsed.version == 4 else 0)


def unpacked_network(packed, length):
    """Return the network of 16 bytes and a prefix length; None for the default."""
    if packed is None:
        return None
    address = unpacked_address(packed)
    if address.version == 4 and length >= 96:
        return ipaddress().IPv4Network((address, length - 96))
    return ipaddress().IPv6Network((packed, length))


def transport_number(protocol):
    """Return the IP protocol number of a transport protocol, given by name or number."""
    number = NUMBERS.get(protocol) if type(protocol) is str else None     # most are
    if number is not None:
        return number
    try:
        number = protocol_number(protocol if isinstance(protocol, str) else checked(protocol, "protocol", 0, 255))
    except InvalidValue:
        number = -1
    if number not in PORT_PROTOCOLS:
        raise InvalidValue(f"{protocol!r} is no transport protocol: it must be one of {', '.join(PROTOCOLS)}")
    return number


cpdef checked(value, what, low, high):
    """Return an integer within bounds."""
    if type(value) is int and low <= value <= high:     # most are
        return value
    index = getattr(value, "__index__", None)
    if index is None or isinstance(value, bool) or not low <= index() <= high:
        raise InvalidValue(f"{value!r} is no {what}: it must be an integer from {low} to {high}")
    return int(index())


def checked_pid(pid):
    """Return a PID."""
    return checked(pid, "PID", 1, MOST)
