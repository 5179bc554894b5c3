"""All tables of one machine together: what ServerMachine changes and dispatch reads."""

cimport cython
from libc.stdint cimport INT32_MAX, int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from vnasfast.tables.addresses cimport (
    AddressRow, address_add, address_find, address_free, address_init, address_owned, address_remove, source_find,
)
from vnasfast.tables.family cimport family_of, is_any, is_loopback
from vnasfast.tables.hashing cimport hash_seed, load64
from vnasfast.tables.interfaces cimport InterfaceNames
from vnasfast.tables.linux_lists cimport linux_free, linux_remove
from vnasfast.tables.locks cimport (
    mutex_lock, pthread_mutex_destroy, pthread_mutex_init, pthread_mutex_unlock, pthread_rwlock_destroy, pthread_rwlock_unlock,
    rwlock_init, rwlock_wrlock,
)
from vnasfast.tables.plane cimport plane_free, plane_init
from vnasfast.tables.ports cimport ports_reserve_vnas
from vnasfast.tables.readers cimport atomic_store
from vnasfast.tables.processes cimport process_add, process_find, process_free, process_init, process_remove
from vnasfast.tables.routes cimport route_add, route_find, route_free, route_init, route_interface, route_remove
from vnasfast.tables.sockets cimport (
    SocketRow, protocol_number, socket_add, socket_free, socket_in_use, socket_init, socket_remove, socket_usage, usage_enlarge,
    usage_room,
)
from vnasfast.tables.tally cimport tallies_add_to, tallies_free, tallies_move
from vnasfast.tables.usage cimport Usage, usage_add
from vnasfast.tables.vnases cimport vnas_acquire, vnas_find, vnas_free, vnas_init, vnas_release

from vnasfast.errors import AddressInUse, AddressNotAvailable, InvalidValue, NoSuchProcess, NoSuchSocket, ProcessExists


cdef bytes address_bytes(uint64_t hi, uint64_t lo):
    cdef uint64_t[2] words
    words[0] = hi
    words[1] = lo
    return (<char*>words)[:16]


cdef inline const uint8_t* octets(bytes address) except NULL:
    """The 16 bytes of an address. A memory view of them would take 1,500 instructions."""
    if len(address) != 16:
        raise InvalidValue(f"an address has 16 bytes here, not {len(address)}")
    return <const uint8_t*><const char*>address


cdef void tables_free(MachineTables* tables) noexcept nogil:
    linux_free(&tables.as_linux)
    plane_free(&tables.plane)
    route_free(&tables.routes)
    socket_free(&tables.sockets)
    address_free(&tables.addresses)
    process_free(&tables.processes)
    vnas_free(&tables.vnases)


cdef class Tables:
    """The tables as compact arrays. Addresses are 16 bytes here, IPv4 mapped; ServerMachine speaks of them as people do.

    Parameters
    ----------
    seed : int
        64 bits; seeds every hash.
    """

    def __cinit__(self, uint64_t seed):
        memset(&self.c, 0, sizeof(self.c))
        rwlock_init(&self.changing)
        pthread_mutex_init(&self.counting, NULL)
        self.c.seed = hash_seed(seed)
        vnas_init(&self.c.vnases)
        process_init(&self.c.processes)
        address_init(&self.c.addresses)
        socket_init(&self.c.sockets)
        route_init(&self.c.routes)
        plane_init(&self.c.plane, seed)
        process_add(&self.c.processes, &self.c.seed, 1, -1, vnas_acquire(&self.c.vnases, &self.c.seed, 0))
        self.next_pid = 2
        self.interfaces = InterfaceNames()

    def __dealloc__(self):
        tables_free(&self.c)
        tallies_free(self.tallies)
        pthread_mutex_destroy(&self.counting)
        pthread_rwlock_destroy(&self.changing)

    # ---- processes --------------------------------------------------------------------------------------------------

    cdef int32_t process_row(self, int32_t pid) except -1:
        cdef int32_t row = process_find(&self.c.processes, &self.c.seed, pid)
        if row < 0:
            raise NoSuchProcess(f"no process has PID {pid}: start it with fork or vnas_start")
        return row

    @cython.critical_section
    def start(self, int32_t parent, vnas_id, pid):
        """Start a process: in the parent's VNAS when ``vnas_id`` is None (fork), else in that VNAS (vnas_start); its PID.

        Parameters
        ----------
        parent : int
        vnas_id : int or None
        pid : int or None
            None takes the next free PID.
        """
        cdef int32_t parent_row = self.process_row(parent)
        cdef int32_t id_of_vnas, vnas, number
        if vnas_id is None:
            id_of_vnas = self.c.vnases.rows[self.c.processes.rows[parent_row].vnas].id
        else:
            id_of_vnas = vnas_id
        if pid is None:
            while process_find(&self.c.processes, &self.c.seed, self.next_pid) >= 0:
                self.next_pid = self.next_pid + 1 if self.next_pid < INT32_MAX else 2
            number = self.next_pid
        else:
            number = pid
            if process_find(&self.c.processes, &self.c.seed, number) >= 0:
                raise ProcessExists(f"PID {number} is taken: give another, or none to have a free one chosen")
        rwlock_wrlock(&self.changing)
        try:
            vnas = vnas_acquire(&self.c.vnases, &self.c.seed, id_of_vnas)
            try:
                ports_reserve_vnas(&self.c.sockets, &self.c.plane, &self.c.processes, vnas)
                process_add(&self.c.processes, &self.c.seed, number, parent_row, vnas)
            except MemoryError:
                vnas_release(&self.c.vnases, &self.c.seed, vnas)
                raise
        finally:
            pthread_rwlock_unlock(&self.changing)
        if pid is None:
            self.next_pid = number + 1 if number < INT32_MAX else 2
        return number

    @cython.critical_section
    def exit(self, int32_t pid):
        """Remove a process, close its sockets, give its children to process 1."""
        cdef int32_t row = self.process_row(pid)
        cdef int32_t vnas = self.c.processes.rows[row].vnas
        if row == 0:
            raise InvalidValue("process 1 can't exit: it is the parent of last resort")
        rwlock_wrlock(&self.changing)
        while self.c.processes.rows[row].first_socket >= 0:
            self.drop_socket(self.c.processes.rows[row].first_socket)
        process_remove(&self.c.processes, &self.c.seed, row)
        vnas_release(&self.c.vnases, &self.c.seed, vnas)
        pthread_rwlock_unlock(&self.changing)

    # ---- interface addresses ----------------------------------------------------------------------------------------

    @cython.critical_section
    def validate(self, int32_t pid, bytes address not None, str interface not None, uint16_t vlan):
        """Register (VLAN, address) for the VNAS of a process; False when it is registered already."""
        cdef int32_t number = self.interfaces.acquire(interface)    # first: what runs Python may let other threads change things
        cdef int32_t row = process_find(&self.c.processes, &self.c.seed, pid)
        cdef uint64_t hi = load64(octets(address)), lo = load64(octets(address) + 8)
        cdef int32_t vnas
        if row < 0 or address_find(&self.c.addresses, &self.c.seed, hi, lo, vlan) >= 0:
            self.interfaces.release(number)
            self.process_row(pid)
            return False
        vnas = self.c.processes.rows[row].vnas
        rwlock_wrlock(&self.changing)
        try:
            address_add(&self.c.addresses, &self.c.plane, &self.c.seed, hi, lo, vlan, vnas, number)
            self.c.vnases.rows[vnas].n_users += 1
        except MemoryError:
            self.interfaces.release(number)
            raise
        finally:
            pthread_rwlock_unlock(&self.changing)
        return True

    @cython.critical_section
    def invalidate(self, int32_t pid, bytes address not None, uint16_t vlan):
        """Take (VLAN, address) away if it is registered with the process's VNAS; else False."""
        cdef int32_t vnas = self.c.processes.rows[self.process_row(pid)].vnas
        cdef int32_t row = address_find(&self.c.addresses, &self.c.seed, load64(octets(address)), load64(octets(address) + 8), vlan)
        cdef int32_t number
        if row < 0 or self.c.addresses.rows[row].vnas != vnas:
            return False
        number = self.c.addresses.rows[row].interface
        rwlock_wrlock(&self.changing)
        address_remove(&self.c.addresses, &self.c.plane, &self.c.seed, row)
        vnas_release(&self.c.vnases, &self.c.seed, vnas)
        pthread_rwlock_unlock(&self.changing)
        self.interfaces.release(number)
        return True

    # ---- sockets ----------------------------------------------------------------------------------------------------

    cdef int32_t bind_row(self, int32_t process, uint32_t number, uint16_t port, uint64_t hi, uint64_t lo, bint v6only,
                          bint sharing, bint freebind) except -1:
        """Register a socket of a process row; the caller holds `changing`."""
        cdef int32_t vnas = self.c.processes.rows[process].vnas
        cdef int32_t socket, following
        if not is_any(hi, lo):
            v6only = False      # a specific address has one family
            if (not freebind and not is_loopback(hi, lo)
                    and not address_owned(&self.c.addresses, &self.c.seed, hi, lo, vnas)):
                return REFUSED_ADDRESS
        if socket_in_use(&self.c.sockets, &self.c.plane, &self.c.seed, number, port, hi, lo, sharing, vnas):
            return REFUSED_IN_USE
        if usage_room(&self.c.sockets) <= <size_t>self.c.sockets.pool.n_rows:
            mutex_lock(&self.counting)      # the counters move
            try:
                usage_enlarge(&self.c.sockets, self.c.sockets.pool.n_rows + 1)
            finally:
                pthread_mutex_unlock(&self.counting)
        socket = socket_add(&self.c.sockets, &self.c.plane, &self.c.seed, &self.c.processes, number, port, hi, lo, v6only, sharing,
                            vnas, process)
        following = self.c.processes.rows[process].first_socket
        self.c.sockets.rows[socket].previous_of_process = -1
        self.c.sockets.rows[socket].next_of_process = following
        if following >= 0:
            self.c.sockets.rows[following].previous_of_process = socket
        self.c.processes.rows[process].first_socket = socket
        return socket

    cdef int refuse(self, int32_t refused, int32_t process, uint16_t port) except -1:
        """Raise what `bind_row` could not."""
        cdef int32_t vnas = self.c.vnases.rows[self.c.processes.rows[process].vnas].id
        if refused == REFUSED_ADDRESS:
            raise AddressNotAvailable(f"the address does not belong to VNAS {vnas} of process"
                                      f" {self.c.processes.rows[process].pid}: validate it first, or bind with freebind")
        raise AddressInUse(f"VNAS {vnas} has a socket on this address, protocol and port {port}: close it, or let both"
                           " ask for port sharing")

    @cython.critical_section
    def bind(self, int32_t pid, uint8_t protocol, uint16_t port, bytes address not None, bint v6only, bint sharing,
             bint freebind):
        """Register a socket; its ID. The arguments' values have been checked."""
        cdef int32_t process = self.process_row(pid)
        cdef uint64_t hi = load64(octets(address)), lo = load64(octets(address) + 8)
        cdef int32_t socket
        rwlock_wrlock(&self.changing)
        try:
            socket = self.bind_row(process, protocol_number(protocol), port, hi, lo, v6only, sharing, freebind)
        finally:
            pthread_rwlock_unlock(&self.changing)
        if socket < 0:
            self.refuse(socket, process, port)
        return socket

    cdef void settle_tallies(self) noexcept nogil:
        tallies_add_to(self.tallies, self.c.sockets.usage, self.c.outcomes)

    cdef int drop_socket(self, int32_t socket) except -1:
        """Close a socket; what it counted goes to its process and VNAS. The caller holds `changing`."""
        cdef SocketRow* row = &self.c.sockets.rows[socket]
        cdef int32_t process = row.process, vnas = self.c.processes.rows[process].vnas
        cdef Usage usage
        cdef int32_t device = linux_remove(&self.c.as_linux, &self.c.seed, socket)
        if device >= 0:
            self.interfaces.release(device)
        if row.previous_of_process >= 0:
            self.c.sockets.rows[row.previous_of_process].next_of_process = row.next_of_process
        else:
            self.c.processes.rows[process].first_socket = row.next_of_process
        if row.next_of_process >= 0:
            self.c.sockets.rows[row.next_of_process].previous_of_process = row.previous_of_process
        socket_remove(&self.c.sockets, &self.c.plane, &self.c.seed, &self.c.processes, socket, vnas)
        # After the data plane has lost it: whoever dispatched to it began before, and sees by `n_closed` that it may not count to it any
        # more. Said before, it let those dispatch to it who knew of this close, and then count to the next socket of this number.
        mutex_lock(&self.counting)
        self.closed[self.n_closed % CLOSED] = socket
        atomic_store(self.n_closed, self.n_closed + 1)
        tallies_move(self.tallies, socket, &self.c.sockets.usage[socket])
        usage = socket_usage(&self.c.sockets, socket)
        if usage.packets != 0:
            usage_add(&self.c.processes.closed[process], &usage)
            usage_add(&self.c.vnases.closed[vnas], &usage)
            memset(&self.c.sockets.usage[socket], 0, sizeof(Usage))
            self.c.sockets.packed.counts[socket] = 0
        pthread_mutex_unlock(&self.counting)
        return 0

    @cython.critical_section
    def close(self, int32_t socket):
        """Close a socket."""
        self.close_one(socket)

    cdef int close_one(self, int32_t socket) except -1:
        self.check_open(socket)
        rwlock_wrlock(&self.changing)
        self.drop_socket(socket)
        pthread_rwlock_unlock(&self.changing)
        return 0

    cdef bint is_open(self, int32_t socket) noexcept:
        return 0 <= socket < self.c.sockets.pool.n_rows and self.c.sockets.rows[socket].order != 0

    cdef int check_open(self, int32_t socket) except -1:
        if not self.is_open(socket):
            raise NoSuchSocket(f"socket {socket} is not open")
        return 0

    # ---- routes -----------------------------------------------------------------------------------------------------

    @cython.critical_section
    def set_route(self, const uint8_t[::1] network, int32_t length, str interface not None):
        """Route a network (None: the default) to an interface, in place of the interface it had."""
        cdef int32_t number = self.interfaces.acquire(interface)
        cdef int32_t row, replaced = -1
        cdef uint64_t hi, lo
        rwlock_wrlock(&self.changing)
        try:
            if network is None:
                replaced = self.c.routes.default_interface
                self.c.routes.default_interface = number
            else:
                hi = load64(&network[0])
                lo = load64(&network[8])
                row = route_find(&self.c.routes, &self.c.seed, hi, lo, length)
                if row >= 0:
                    replaced = self.c.routes.rows[row].interface
                    self.c.routes.rows[row].interface = number
                else:
                    route_add(&self.c.routes, &self.c.seed, hi, lo, length, number)
        except MemoryError:
            replaced = number
            raise
        finally:
            pthread_rwlock_unlock(&self.changing)
            if replaced >= 0:
                self.interfaces.release(replaced)

    @cython.critical_section
    def remove_route(self, const uint8_t[::1] network, int32_t length):
        """Remove the route of a network (None: the default); False when there is none."""
        cdef int32_t row = -1, number
        if network is None:
            number = self.c.routes.default_interface
        else:
            row = route_find(&self.c.routes, &self.c.seed, load64(&network[0]), load64(&network[8]), length)
            number = self.c.routes.rows[row].interface if row >= 0 else -1
        if number < 0:
            return False
        rwlock_wrlock(&self.changing)
        if network is None:
            self.c.routes.default_interface = -1
        else:
            route_remove(&self.c.routes, &self.c.seed, row)
        pthread_rwlock_unlock(&self.changing)
        self.interfaces.release(number)
        return True

    @cython.critical_section
    def source_address(self, int32_t pid, bytes destination not None):
        """Choose the source address of a packet from a process to a destination.

        Returns
        -------
        bytes
            16 bytes.
        """
        cdef int32_t vnas = self.c.processes.rows[self.process_row(pid)].vnas
        cdef uint64_t hi = load64(octets(destination)), lo = load64(octets(destination) + 8)
        cdef int32_t interface = route_interface(&self.c.routes, &self.c.seed, hi, lo)
        cdef int32_t source
        cdef const AddressRow* row
        if interface < 0:
            raise AddressNotAvailable("no route leads to the destination: set one, or a default")
        source = source_find(&self.c.addresses, &self.c.seed, vnas, interface, family_of(hi, lo))
        if source < 0:
            raise AddressNotAvailable(
                f"VNAS {self.c.vnases.rows[vnas].id} has no address of the destination's family on interface"
                f" {self.interfaces.name(interface)}, to which the destination is routed"
            )
        row = &self.c.addresses.rows[self.c.addresses.sources[source].first]
        return address_bytes(row.hi, row.lo)

    @cython.critical_section
    def owns(self, int32_t vnas_id, bytes address not None):
        """Tell whether an address is available to a VNAS without freebind."""
        cdef uint64_t hi = load64(octets(address)), lo = load64(octets(address) + 8)
        cdef int32_t vnas = vnas_find(&self.c.vnases, &self.c.seed, vnas_id)
        return is_any(hi, lo) or is_loopback(hi, lo) or (
            vnas >= 0 and address_owned(&self.c.addresses, &self.c.seed, hi, lo, vnas)
        )
