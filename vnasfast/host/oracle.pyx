"""Ask the running kernel who would get a packet, without a packet.

A sock_diag query for one exact address pair (not a dump) makes the kernel run the lookup that a packet would: connected
sockets, listeners, port sharing by hash, sk_lookup programs. It knows no packet, so a port-sharing group with a program of its own
is asked by hash; no VRF; and no firewall, route or multicast is looked at.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.errno cimport EAGAIN, EINTR, ENOBUFS, ENOENT, errno
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset, strerror
from posix.fcntl cimport O_CLOEXEC, O_RDONLY, open
from posix.unistd cimport close

from vnasfast.typedefs cimport FlowKey

import os
import threading

from vnasfast.errors import InvalidValue, OracleError

cdef extern from * nogil:
    """
    #define _GNU_SOURCE 1
    #include <arpa/inet.h>
    #include <linux/inet_diag.h>
    #include <linux/netlink.h>
    #include <linux/sock_diag.h>
    #include <netinet/in.h>
    #include <sched.h>
    #include <sys/socket.h>

    /* One query as the kernel takes it, many to a datagram. */
    struct vnas_query {
        struct nlmsghdr header;
        struct inet_diag_req_v2 request;
    };
    """
    struct nlmsghdr:
        uint32_t nlmsg_len
        uint16_t nlmsg_type
        uint16_t nlmsg_flags
        uint32_t nlmsg_seq
    struct nlmsgerr:
        int error
    struct inet_diag_sockid:
        uint16_t idiag_sport
        uint16_t idiag_dport
        uint32_t idiag_src[4]
        uint32_t idiag_dst[4]
        uint32_t idiag_if
        uint32_t idiag_cookie[2]
    struct inet_diag_req_v2:
        uint8_t sdiag_family
        uint8_t sdiag_protocol
        inet_diag_sockid id
    struct inet_diag_msg:
        uint8_t idiag_family
        uint8_t idiag_state
        inet_diag_sockid id
        uint32_t idiag_uid
        uint32_t idiag_inode
    ctypedef struct Query "struct vnas_query":
        nlmsghdr header
        inet_diag_req_v2 request
    struct iovec:
        void* iov_base
        size_t iov_len
    struct msghdr:
        iovec* msg_iov
        size_t msg_iovlen
    struct mmsghdr:
        msghdr msg_hdr
        unsigned int msg_len
    uint16_t htons(uint16_t value)
    int c_socket "socket"(int family, int kind, int protocol)
    int setsockopt(int file, int level, int option, const void* value, uint32_t length)
    int getsockopt(int file, int level, int option, void* value, uint32_t* length)
    ssize_t send(int file, const void* content, size_t n_bytes, int flags)
    ssize_t recv(int file, void* content, size_t n_bytes, int flags)
    int recvmmsg(int file, mmsghdr* messages, unsigned int n, int flags, void* timeout)
    int c_setns "setns"(int file, int kind)
    int AF_INET, AF_INET6, AF_NETLINK, CLONE_NEWNET, IPPROTO_TCP, IPPROTO_UDP, MSG_DONTWAIT, NETLINK_CAP_ACK, NETLINK_SOCK_DIAG
    int NLMSG_DONE, NLMSG_ERROR, NLM_F_DUMP, NLM_F_REQUEST, SOCK_CLOEXEC, SOCK_DIAG_BY_FAMILY, SOCK_RAW, SOL_NETLINK, SOL_SOCKET
    int SO_RCVBUF, SO_RCVBUFFORCE

cdef enum:
    QUERIES = 128           # to a datagram; their answers take 1.3 KiB each of the receive buffer that every user may have
    ANSWER_BYTES = 512      # read of an answer, which is longer only by attributes that are not looked at
    HEADER = 16             # bytes of nlmsghdr, aligned
    CHUNK = 64 * QUERIES    # between two looks for Ctrl-C
    LOST = 1000             # an errno of our own: an answer did not come

cdef struct Answer:
    uint64_t cookie
    uint32_t inode
    uint32_t uid
    uint32_t interface
    uint16_t port
    uint8_t family
    uint8_t state


cdef inline bint is_mapped(const uint8_t* address) noexcept nogil:
    cdef int i
    for i in range(10):
        if address[i] != 0:
            return False
    return address[10] == 0xFF and address[11] == 0xFF


cdef inline void put_address(uint32_t* words, const uint8_t* address, bint ipv4) noexcept nogil:
    memset(words, 0, 16)
    if ipv4:
        memcpy(words, address + 12, 4)
    else:
        memcpy(words, address, 16)


cdef void query_of(const FlowKey* key, uint32_t interface, uint32_t sequence, Query* query) noexcept nogil:
    cdef inet_diag_sockid* id = &query.request.id
    cdef bint ipv4 = is_mapped(key.destination)
    memset(query, 0, sizeof(Query))
    query.header.nlmsg_len = sizeof(Query)
    query.header.nlmsg_type = SOCK_DIAG_BY_FAMILY
    query.header.nlmsg_flags = NLM_F_REQUEST
    query.header.nlmsg_seq = sequence
    query.request.sdiag_family = AF_INET if ipv4 else AF_INET6
    query.request.sdiag_protocol = key.protocol
    id.idiag_if = interface
    id.idiag_cookie[0] = id.idiag_cookie[1] = 0xFFFFFFFF
    # TCP is asked with the socket's own side as the source, UDP with the packet's.
    if key.protocol == IPPROTO_TCP:
        put_address(id.idiag_src, key.destination, ipv4)
        put_address(id.idiag_dst, key.source, ipv4)
        id.idiag_sport = htons(key.destination_port)
        id.idiag_dport = htons(key.source_port)
    else:
        put_address(id.idiag_src, key.source, ipv4)
        put_address(id.idiag_dst, key.destination, ipv4)
        id.idiag_sport = htons(key.source_port)
        id.idiag_dport = htons(key.destination_port)


cdef int read_answer(const uint8_t* message, Answer* answer) noexcept nogil:
    """Take one answer; its errno where it is an error other than "nobody", else 0."""
    cdef const nlmsghdr* header = <const nlmsghdr*>message
    cdef const inet_diag_msg* found = <const inet_diag_msg*>(message + HEADER)
    memset(answer, 0, sizeof(Answer))
    if header.nlmsg_type == NLMSG_ERROR:
        return 0 if (<const nlmsgerr*>(message + HEADER)).error == -ENOENT else -(<const nlmsgerr*>(message + HEADER)).error
    answer.cookie = <uint64_t>found.id.idiag_cookie[1] << 32 | found.id.idiag_cookie[0]
    answer.inode = found.idiag_inode
    answer.uid = found.idiag_uid
    answer.interface = found.id.idiag_if
    answer.port = htons(found.id.idiag_sport)
    answer.family = found.idiag_family
    answer.state = found.idiag_state
    return 0


cdef int ask_some(int file, const FlowKey* keys, const uint32_t* interfaces, bint one_interface, size_t n, uint32_t first,
                  Answer* answers) noexcept nogil:
    """Ask at most QUERIES in one datagram, and read as many answers, in whatever order; an errno, or 0.

    The kernel has answered all when send returns, so there is nothing to wait for.
    """
    cdef Query[QUERIES] queries
    cdef uint8_t[QUERIES][ANSWER_BYTES] room
    cdef iovec[QUERIES] parts
    cdef mmsghdr[QUERIES] messages
    cdef size_t i, left = n
    cdef uint32_t place
    cdef int got, error, first_error = 0
    for i in range(n):
        query_of(&keys[i], interfaces[0 if one_interface else i], first + <uint32_t>i, &queries[i])
    while send(file, queries, n * sizeof(Query), 0) < 0:
        if errno != EINTR:
            return errno
    memset(messages, 0, sizeof(messages))
    for i in range(n):
        parts[i].iov_base = room[i]
        parts[i].iov_len = ANSWER_BYTES
        messages[i].msg_hdr.msg_iov = &parts[i]
        messages[i].msg_hdr.msg_iovlen = 1
    while left > 0:
        got = recvmmsg(file, messages, <unsigned int>left, MSG_DONTWAIT, NULL)
        if got < 0 and errno == EINTR:
            continue
        if got < 0:
            return LOST if errno == EAGAIN or errno == ENOBUFS else errno
        for i in range(<size_t>got):
            place = (<nlmsghdr*>room[i]).nlmsg_seq - first
            if place >= n:      # of a query before, which ended with an error
                continue
            left -= 1
            error = read_answer(room[i], &answers[place])
            first_error = first_error or error
    return first_error


cdef int diag_socket() except -1:
    """Open a netlink socket for sock_diag."""
    cdef int file = c_socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    cdef int on = 1, wanted = 1 << 20
    if file < 0:
        raise OracleError(errno, f"the kernel can't be asked (netlink sock_diag: {strerror(errno).decode()}): it needs"
                                 " CONFIG_INET_DIAG, and a sandbox must allow AF_NETLINK sockets")
    setsockopt(file, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on))      # "nobody" then comes without the query
    if setsockopt(file, SOL_SOCKET, SO_RCVBUFFORCE, &wanted, sizeof(wanted)) < 0:
        setsockopt(file, SOL_SOCKET, SO_RCVBUF, &wanted, sizeof(wanted))
    return file


cdef int diag_socket_in(bytes path) except -1:
    """Open it in another network namespace; this thread is back in its own before anything else runs."""
    cdef int own, other, file, failed
    other = open(path, O_RDONLY | O_CLOEXEC)
    if other < 0:
        raise OracleError(errno, f"no network namespace {path.decode(errors='replace')}: {strerror(errno).decode()}")
    own = open(b"/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)
    if own >= 0 and os.path.sameopenfile(own, other):    # to stay takes no right
        close(own)
        close(other)
        return diag_socket()
    if own < 0 or c_setns(other, CLONE_NEWNET) < 0:
        failed = errno
        close(other)
        if own >= 0:
            close(own)
        raise OracleError(failed, f"can't enter the network namespace {path.decode(errors='replace')}"
                                  f" ({strerror(failed).decode()}): that takes CAP_SYS_ADMIN over it")
    try:
        file = diag_socket()
    finally:
        failed = c_setns(own, CLONE_NEWNET)
        close(own)
        close(other)
        if failed < 0:
            raise OracleError(errno, f"this thread can't return to its network namespace: {strerror(errno).decode()}")
    return file


cdef int check_protocol(int file, int protocol) except -1:
    """Ask for a list of no sockets: the only answer that tells "nobody" from "no such protocol"."""
    cdef Query query
    cdef FlowKey key
    cdef uint8_t[8192] room
    cdef int error = 0
    cdef nlmsghdr* header = <nlmsghdr*>room
    memset(&key, 0, sizeof(key))
    key.protocol = <uint8_t>protocol
    key.destination[10] = key.destination[11] = 0xFF
    query_of(&key, 0, 0, &query)
    query.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP
    if send(file, &query, sizeof(query), 0) < 0:
        error = errno
    while error == 0:
        if recv(file, room, sizeof(room), 0) < 0:
            error = errno if errno != EINTR else 0
        elif header.nlmsg_type == NLMSG_ERROR:
            error = -(<nlmsgerr*>(room + HEADER)).error
        elif header.nlmsg_type == NLMSG_DONE:
            error = -(<int*>(room + HEADER))[0]
            break
    if error != 0:
        name = "TCP" if protocol == IPPROTO_TCP else "UDP"
        raise OracleError(error, f"the kernel can't be asked about {name} ({strerror(error).decode()}): it needs"
                                 f" CONFIG_INET_{name if name == 'UDP' else 'TCP'}_DIAG (modprobe {name.lower()}_diag)")
    return 0


cdef class Oracle:
    """The running kernel, asked who would get a packet. Needs no privilege, but to enter another network namespace.

    Also a context manager. Several threads may ask; they take turns.

    Parameters
    ----------
    netns : int, str or path-like, optional
        Whose sockets are asked about: the network namespace of a process, by PID, or a file such as ``/run/netns/blue``. Default:
        the calling thread's.

    Raises
    ------
    OracleError
        There is no such namespace, it may not be entered, or the kernel has no sock_diag for TCP and UDP.
    """

    cdef int file
    cdef uint32_t sequence
    cdef object lock

    def __cinit__(self):
        self.file = -1

    def __init__(self, netns=None):
        cdef int file
        if self.file >= 0:
            raise InvalidValue("an Oracle is opened once: make another")
        self.lock = threading.Lock()
        if netns is None:
            file = diag_socket()
        else:
            file = diag_socket_in(os.fsencode(f"/proc/{netns}/ns/net" if isinstance(netns, int) else netns))
        try:
            check_protocol(file, IPPROTO_TCP)
            check_protocol(file, IPPROTO_UDP)
        except BaseException:
            close(file)
            raise
        self.file = file

    def __dealloc__(self):
        if self.file >= 0:
            close(self.file)

    def close(self):
        """Close it; asking is an error then."""
        with self.lock:
            if self.file >= 0:
                close(self.file)
            self.file = -1

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    def ask_batch(self, keys, *, interfaces=0):
        """Ask who would get each of many packets.

        Parameters
        ----------
        keys : ndarray of FLOW_KEY, shape (n,)
            Of TCP and UDP packets; their VLANs and source processes are not looked at. No source: 0.0.0.0 or ::.
        interfaces : int or array of uint32, shape (n,), optional
            The index of the device that each comes in on; 0: none, which no bound socket matches.

        Returns
        -------
        ndarray of ANSWER, shape (n,)
            Cookie 0 means nobody.

        Raises
        ------
        InvalidValue
            An array has the wrong dtype or shape, or a key is of another protocol.
        OracleError
            The kernel refuses; or it is closed.
        """
        from numpy import empty

        from vnasfast.columns import column, key_array
        from vnasfast.dtypes import FLOW_KEY
        from vnasfast.host.answers import ANSWER

        cdef const FlowKey[::1] key_view = key_array(keys, FLOW_KEY)
        cdef Py_ssize_t n = key_view.shape[0], i, start, end, size
        cdef bint one_interface = isinstance(interfaces, int)
        cdef const uint32_t[::1] interface_view = column([interfaces] if one_interface else interfaces, "uint32", "interfaces",
                                                         1 if one_interface else n)
        cdef int error = 0
        cdef int file
        answers = empty(n, ANSWER)
        cdef Answer[::1] answer_view = answers
        for i in range(n):
            if key_view[i].status < 0 or (key_view[i].protocol != IPPROTO_TCP and key_view[i].protocol != IPPROTO_UDP):
                raise InvalidValue(f"keys[{i}] is of protocol {key_view[i].protocol}, status {key_view[i].status}: the kernel"
                                   " can be asked about TCP and UDP packets whose ports are known")
        start = 0
        with self.lock:
            if self.file < 0:
                raise OracleError(9, "this Oracle is closed: make another")
            while start < n:
                end = min(n, start + CHUNK)
                with nogil:
                    while start < end and error == 0:
                        size = min(end - start, <Py_ssize_t>QUERIES)
                        error = ask_some(self.file, &key_view[start], &interface_view[0 if one_interface else start],
                                         one_interface, size, self.sequence, &answer_view[start])
                        self.sequence += QUERIES
                        start += size
                if error != 0:
                    raise self.refusal(error)
                PyErr_CheckSignals()
        return answers

    cdef object refusal(self, int error):
        if error == LOST:
            return OracleError(ENOBUFS, "answers of the kernel were lost, as its buffer for them was full: raise"
                                        " net.core.rmem_max to 425984 or more")
        return OracleError(error, f"the kernel refuses to say who would get a packet: {strerror(error).decode()}")

    def ask(self, protocol, local, local_port, remote, remote_port, *, interface=0):
        """Ask who would get one packet.

        Parameters
        ----------
        protocol : str or int
            tcp or udp.
        local, remote : str, bytes or ipaddress object
            The packet's destination and source address.
        local_port, remote_port : int
        interface : int, optional
            The index of the device that it comes in on; 0: none.

        Returns
        -------
        Answer or None
            None: nobody.
        """
        from vnasfast.host.answers import Answer as Found
        from vnasfast.parse.keys import flow_keys

        keys = flow_keys(destination=local, destination_port=local_port, source=remote, source_port=remote_port,
                         protocol=protocol)
        answer = self.ask_batch(keys, interfaces=interface)[0]
        return Found(*answer.item()) if answer["cookie"] else None
