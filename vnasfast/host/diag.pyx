"""All sockets of a network namespace, from sock_diag, without a Python object a socket.

One dump of the kernel's messages is parsed into rows as it arrives. A message is::

    nlmsghdr · inet_diag_msg (family, state, addresses, ports, device, UID, inode) · attributes

The kernel walks its hash tables from bucket to bucket and each bucket's chain from its head, so that rows of one
(address, port) come in the order in which a lookup meets them.
"""

import os

import numpy as np

from libc.errno cimport EINTR, ENOENT, ENOMEM, errno
from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy, memset

from vnasfast.host.rows cimport HostSocket

from vnasfast.host.rows import SOCKET

cdef extern from "<arpa/inet.h>" nogil:
    uint16_t ntohs(uint16_t port)

cdef extern from "<sys/socket.h>" nogil:
    ssize_t send(int fd, const void* buffer, size_t n, int flags)
    ssize_t recv(int fd, void* buffer, size_t n, int flags)
    int AF_INET
    int AF_INET6
    int MSG_TRUNC

cdef extern from "<linux/netlink.h>" nogil:
    cdef struct nlmsghdr:
        uint32_t nlmsg_len
        uint16_t nlmsg_type
        uint16_t nlmsg_flags
        uint32_t nlmsg_seq
        uint32_t nlmsg_pid
    cdef struct nlattr:
        uint16_t nla_len
        uint16_t nla_type
    int NLMSG_ERROR
    int NLMSG_DONE
    int NLM_F_REQUEST
    int NLM_F_DUMP
    int NLM_F_DUMP_INTR
    int NLA_TYPE_MASK

cdef extern from "<linux/sock_diag.h>" nogil:
    int SOCK_DIAG_BY_FAMILY

cdef extern from "<linux/inet_diag.h>" nogil:
    cdef struct inet_diag_sockid:
        uint16_t idiag_sport
        uint16_t idiag_dport
        uint32_t idiag_src[4]
        uint32_t idiag_dst[4]
        uint32_t idiag_if
        uint32_t idiag_cookie[2]
    cdef struct inet_diag_req_v2:
        uint8_t sdiag_family
        uint8_t sdiag_protocol
        uint8_t idiag_ext
        uint8_t pad
        uint32_t idiag_states
        inet_diag_sockid id
    cdef struct inet_diag_req:
        uint8_t idiag_family
        uint8_t idiag_src_len
        uint8_t idiag_dst_len
        uint8_t idiag_ext
        inet_diag_sockid id
        uint32_t idiag_states
        uint32_t idiag_dbs
    cdef struct inet_diag_msg:
        uint8_t idiag_family
        uint8_t idiag_state
        inet_diag_sockid id
        uint32_t idiag_uid
        uint32_t idiag_inode
    int TCPDIAG_GETSOCK
    int INET_DIAG_SKV6ONLY
    int INET_DIAG_CGROUP_ID
    int INET_DIAG_SOCKOPT

cdef enum:
    BUFFER = 1 << 18            # the kernel fills at most 32 KiB at a time
    EVERY_STATE = 0x1FFE        # the states 1 to 12; the kernel's pseudo state 13 is bound and receives nothing
    FREEBIND = 0x04             # bits of inet_diag_sockopt's first byte
    TRANSPARENT = 0x20
    TCP = 6

cdef struct Rows:
    HostSocket* rows
    size_t n
    size_t room

cdef struct OldRequest:
    nlmsghdr header
    inet_diag_req request

cdef struct Request:
    nlmsghdr header
    inet_diag_req_v2 request


cdef void _read_attribute(HostSocket* row, int kind, const uint8_t* value, size_t n) noexcept nogil:
    if kind == INET_DIAG_SKV6ONLY and n >= 1:
        row.v6only = value[0] != 0
    elif kind == INET_DIAG_CGROUP_ID and n >= 8:
        memcpy(&row.cgroup, value, 8)
    elif kind == INET_DIAG_SOCKOPT and n >= 1:
        row.freebind = (value[0] & FREEBIND) != 0
        row.transparent = (value[0] & TRANSPARENT) != 0


cdef void _read_socket(HostSocket* row, int protocol, int netns, const uint8_t* message, size_t n) noexcept nogil:
    """Read a message of at least sizeof(inet_diag_msg) bytes."""
    cdef inet_diag_msg socket
    cdef nlattr attribute
    cdef size_t at = (sizeof(inet_diag_msg) + 3) & ~<size_t>3
    memcpy(&socket, message, sizeof(socket))
    memset(row, 0, sizeof(row[0]))
    row.protocol, row.netns, row.state, row.uid = protocol, netns, socket.idiag_state, socket.idiag_uid
    row.family = 4 if socket.idiag_family == AF_INET else 6
    if row.family == 4:
        row.local[10] = row.local[11] = row.remote[10] = row.remote[11] = 0xFF
        memcpy(row.local + 12, socket.id.idiag_src, 4)
        memcpy(row.remote + 12, socket.id.idiag_dst, 4)
    else:
        memcpy(row.local, socket.id.idiag_src, 16)
        memcpy(row.remote, socket.id.idiag_dst, 16)
    row.local_port, row.remote_port = ntohs(socket.id.idiag_sport), ntohs(socket.id.idiag_dport)
    row.device = <int32_t>socket.id.idiag_if
    row.inode = socket.idiag_inode
    memcpy(&row.cookie, socket.id.idiag_cookie, 8)
    row.incoming_cpu = row.fd = row.reuseport = row.reuseaddr = -1
    while at + sizeof(attribute) <= n:
        memcpy(&attribute, message + at, sizeof(attribute))
        if attribute.nla_len < sizeof(attribute) or at + attribute.nla_len > n:
            break
        _read_attribute(row, attribute.nla_type & NLA_TYPE_MASK, message + at + sizeof(attribute),
                        attribute.nla_len - sizeof(attribute))
        at += (attribute.nla_len + 3) & ~<size_t>3


cdef int _read_messages(Rows* rows, int protocol, int netns, const uint8_t* buffer, size_t n) noexcept nogil:
    """Read all messages of a buffer; 0: more will come, 1: that was all, else an errno as a negative number."""
    cdef nlmsghdr header
    cdef HostSocket* more
    cdef const uint8_t* body
    cdef size_t at = 0, room
    cdef int32_t problem
    while at + sizeof(header) <= n:
        memcpy(&header, buffer + at, sizeof(header))
        if header.nlmsg_len < sizeof(header) or at + header.nlmsg_len > n:
            break
        body, room = buffer + at + sizeof(header), header.nlmsg_len - sizeof(header)
        if header.nlmsg_type == NLMSG_ERROR or header.nlmsg_type == NLMSG_DONE:
            problem = 0
            if room >= 4:
                memcpy(&problem, body, 4)
            return problem if problem < 0 else 1
        if room >= sizeof(inet_diag_msg):
            if rows.n == rows.room:
                more = <HostSocket*>realloc(rows.rows, 2 * rows.room * sizeof(HostSocket))
                if more == NULL:
                    return -ENOMEM
                rows.rows, rows.room = more, 2 * rows.room
            _read_socket(&rows.rows[rows.n], protocol, netns, body, room)
            rows.n += 1
        at += (header.nlmsg_len + 3) & ~<size_t>3
    return 0


cdef int _ask(int netlink, int protocol, int family) noexcept nogil:
    """Ask for a dump; 0, or an errno as a negative number."""
    cdef OldRequest old
    cdef Request request
    cdef ssize_t sent
    if family == 0:
        memset(&old, 0, sizeof(old))
        old.header.nlmsg_len, old.header.nlmsg_type = sizeof(old), TCPDIAG_GETSOCK
        old.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP
        old.request.idiag_states = EVERY_STATE
        sent = send(netlink, &old, sizeof(old), 0)
    else:
        memset(&request, 0, sizeof(request))
        request.header.nlmsg_len, request.header.nlmsg_type = sizeof(request), SOCK_DIAG_BY_FAMILY
        request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP
        request.request.sdiag_family, request.request.sdiag_protocol = family, protocol
        request.request.idiag_states = EVERY_STATE
        sent = send(netlink, &request, sizeof(request), 0)
    return 0 if sent >= 0 else -errno


cdef int _dump(Rows* rows, int netlink, int protocol, int family, int netns, uint8_t* buffer) noexcept nogil:
    """Append all sockets of a protocol and family; 0, or an errno as a negative number."""
    cdef int done = _ask(netlink, protocol, family)
    cdef ssize_t n
    if done < 0:
        return done
    while done == 0:
        n = recv(netlink, buffer, BUFFER, MSG_TRUNC)
        if n < 0:
            if errno == EINTR:
                continue
            return -errno
        if n > BUFFER:
            return -ENOMEM
        done = _read_messages(rows, protocol, netns, buffer, n)
    return 0 if done > 0 else done


def dump_sockets(int netlink, protocols, int netns=0):
    """List the sockets of some protocols, in the order in which the kernel's lookup meets those of one address and port.

    Parameters
    ----------
    netlink : int
        A sock_diag socket (`open_netlink(4)`).
    protocols : iterable of int
        IP protocol numbers.
    netns : int, optional
        What the rows' field of that name is to hold.

    Returns
    -------
    rows : ndarray of SOCKET
    missing : list of int
        The protocols that this kernel has not, or does not list.

    Raises
    ------
    OSError
    """
    cdef Rows rows
    cdef uint8_t[::1] out
    cdef int protocol, family, done
    cdef uint8_t* buffer = <uint8_t*>malloc(BUFFER)
    rows.n, rows.room = 0, 1024
    rows.rows = <HostSocket*>malloc(rows.room * sizeof(HostSocket))
    missing = []
    try:
        if buffer == NULL or rows.rows == NULL:
            raise MemoryError
        for number in protocols:
            protocol = number
            # The old request lists both families of TCP at once, and so in the true order of a chain that they share.
            for family in [0] if protocol == TCP else [AF_INET, AF_INET6]:
                with nogil:
                    done = _dump(&rows, netlink, protocol, family, netns, buffer)
                if done == -ENOENT:
                    if protocol not in missing:
                        missing.append(protocol)
                elif done < 0:
                    raise OSError(-done, f"sock_diag: {os.strerror(-done)}")
        found = np.empty(rows.n, SOCKET)
        if rows.n:
            out = found.view(np.uint8)
            memcpy(&out[0], rows.rows, rows.n * sizeof(HostSocket))
        return found, missing
    finally:
        free(rows.rows)
        free(buffer)


def struct_size():
    """Give the bytes of the C struct of a row, for the test that holds the dtype to it."""
    return sizeof(HostSocket)
