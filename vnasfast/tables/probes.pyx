"""What the tables' memory looks like: for tests and benchmarks that want a certain one."""

cimport cython
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from vnasfast.tables.family cimport is_ipv4
from vnasfast.tables.hashing cimport load64
from vnasfast.tables.index cimport index_longest_probe
from vnasfast.tables.lines cimport log2_lines_of
from vnasfast.tables.plane cimport VNAS_IPV6_SLOTS, VNAS_LINE_SLOTS, VnasIpv6Line, VnasLines, ipv4_hash, ipv6_hash
from vnasfast.tables.tables cimport MachineTables, Tables

from vnasfast.errors import InvalidValue


@cython.critical_section
def probe_lengths(Tables tables not None):
    """Map each hash index to the slots looked at for its worst key, which an attacker would want to be many.

    Returns
    -------
    dict of str to int
    """
    cdef const MachineTables* c = &tables.c
    return {
        "processes": index_longest_probe(&c.processes.index),
        "vnases": index_longest_probe(&c.vnases.index),
        "addresses": index_longest_probe(&c.addresses.index),
        "source lists": index_longest_probe(&c.addresses.source_index),
        "address owners": index_longest_probe(&c.addresses.owners.index),
        "endpoints": index_longest_probe(&c.sockets.endpoint_index),
        "loopback owners": index_longest_probe(&c.sockets.loopback_owners.index),
        "specific": index_longest_probe(&c.sockets.specific.index),
        "routes": index_longest_probe(&c.routes.index),
    }


def crowded_out(Tables tables not None):
    """Count the addresses, IPv4 and IPv6, that found no room in their lines of the data plane: the control plane answers for them.

    Returns
    -------
    tuple of (int, int)
    """
    return tables.c.plane.n_elsewhere[0], tables.c.plane.n_elsewhere[1]


def overflowing_lines(Tables tables not None):
    """Count the lines of addresses, IPv4 and IPv6, that had no room for one: it lies in a line beside, or the control plane answers.

    Returns
    -------
    tuple of (int, int)
    """
    cdef const VnasLines* ipv4 = tables.c.plane.c.ipv4
    cdef const VnasLines* ipv6 = tables.c.plane.c.ipv6
    cdef const VnasIpv6Line* ipv6_lines = <const VnasIpv6Line*>ipv6.lines
    cdef size_t i
    return (
        sum([ipv4.lines[i].values[VNAS_LINE_SLOTS] != 0 for i in range(<size_t>1 << log2_lines_of(ipv4))]),
        sum([ipv6_lines[i].values[VNAS_IPV6_SLOTS] != 0 for i in range(<size_t>1 << log2_lines_of(ipv6))]),
    )


def line_hash(Tables tables not None, const uint8_t[::1] address not None, uint16_t vlan):
    """Give the hash of an address: its upper bits number the line of the data plane that it belongs in.

    Parameters
    ----------
    tables : Tables
    address : bytes-like of 16 bytes
        An IPv4 address as the IPv6 one that it is mapped to.
    vlan : int

    Returns
    -------
    int
        32 bits.
    """
    cdef uint64_t hi, lo
    if address.shape[0] != 16:
        raise InvalidValue(f"an address has 16 bytes, not {address.shape[0]}")
    hi, lo = load64(&address[0]), load64(&address[8])
    if is_ipv4(hi, lo):
        return ipv4_hash(&tables.c.plane.c, <uint32_t>(lo >> 32), vlan)
    return ipv6_hash(&tables.c.plane.c, hi, lo, vlan)


def spare_answers(Tables tables not None, uint64_t n):
    """Let arrays have so few answers in all, that ports of small machines too go to lines and back; tests want that.

    Parameters
    ----------
    tables : Tables
    n : int
        Answers: a port has an array where it adds up to no more, or where 1 in 8 VNASs has the port.
    """
    tables.c.plane.free_answers = n


def answers_elsewhere(Tables tables not None):
    """Count what the data plane keeps outside of arrays: answers in lines, those without room there, and units of blocks.

    Returns
    -------
    tuple of (int, int, int)
    """
    return tables.c.plane.sparse.n, tables.c.plane.sparse.n_crowded, tables.c.plane.n_units


def random_bytes(Tables tables not None):
    """Count the bytes of the data plane that dispatch reads at random, which says by which loops keys are looked up.

    Returns
    -------
    int
    """
    return tables.c.plane.c.bytes
