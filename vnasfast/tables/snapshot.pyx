"""Tables frozen into an image, and tables that lie in one."""

from libc.stdint cimport int32_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free
from libc.string cimport memcmp, memcpy, memset

cimport cython

from vnasfast.tables.addresses cimport AddressRow, SourceList
from vnasfast.tables.counts cimport CountRow, CountTable
from vnasfast.tables.image cimport IMAGE_PAGE, Image, image_copy, whole_image_pages
from vnasfast.tables.index cimport HashIndex, RowPool, Slot
from vnasfast.tables.interfaces cimport InterfaceNames
from vnasfast.tables.linux cimport LinuxBuckets, LinuxGroup, LinuxList, LinuxSocket, LinuxTable
from vnasfast.tables.plane cimport (
    VNAS_PLACES, VNAS_UNIT, Crowded, VnasIpv6Line, VnasLine, VnasLines, VnasPorts,
)
from vnasfast.tables.processes cimport ProcessRow
from vnasfast.tables.routes cimport RouteRow
from vnasfast.tables.sockets cimport N_PROTOCOLS, Endpoint, PortRow, SocketRow
from vnasfast.tables.tables cimport MachineTables, Tables, members_of, tables_free
from vnasfast.tables.usage cimport ROWS_BEFORE, Usage
from vnasfast.tables.vnases cimport VnasRow

from vnasfast.errors import FrozenError, InvalidValue, SnapshotError

cdef extern from *:
    """
    /* Finds damage, not malice. Each step can be undone, so that one word that changed always shows; four lanes, as each step
       waits for the one before it: a file of 63 MB is opened in 7 ms, where zlib's crc32 alone takes 27. */
    static uint64_t vnas_checksum(const unsigned char *bytes, size_t n_bytes)
    {
        uint64_t lanes[4] = {1, 2, 3, 4}, sum = 0;
        for (size_t at = 0; at + sizeof lanes <= n_bytes; at += sizeof lanes)
            for (int i = 0; i < 4; i++) {
                uint64_t lane = lanes[i] ^ vnas_load64(bytes + at + 8 * i);
                lanes[i] = (lane << 29 | lane >> 35) * UINT64_C(0x9E3779B97F4A7C15);
            }
        for (int i = 0; i < 4; i++)
            sum = (sum ^ lanes[i]) * UINT64_C(0xBF58476D1CE4E5B9) + (sum >> 32);
        return sum;
    }
    """
    uint64_t checksum "vnas_checksum"(const uint8_t* bytes, size_t n_bytes) noexcept nogil

cdef enum:
    # To be raised with every change of what the bytes mean; where only sizes change, `layout` tells.
    FORMAT = 7
    BYTE_ORDER = 0x01020304
    CHECKED_FROM = 32           # before it are what is compared itself, and the sum
    MOST_SECTIONS = 64
    ALIGNED = 64                # sections, to lines of the cache; those of a page and more to pages

cdef bytes MAGIC = b"\x89vnas\r\n\x1a"      # as PNG's: it shows where a file was taken for text
cdef const char* magic_bytes = MAGIC

cdef struct Section:
    uint64_t at
    uint64_t n_bytes

cdef struct Header:
    uint8_t[8] magic
    uint32_t byte_order
    uint32_t format
    uint64_t layout             # of the structs' sizes
    uint64_t checksum
    uint64_t n_bytes            # of the image
    Section text
    Section[MOST_SECTIONS] sections
    MachineTables tables

# An array of the tables: where they point to it from, and how long it is.
cdef struct Array:
    void** pointer
    size_t n_bytes

cdef struct Arrays:
    Array[MOST_SECTIONS] rows
    int n


# ---- which arrays there are -----------------------------------------------------------------------------------------

cdef void add(Arrays* arrays, void* pointer, size_t n_bytes) noexcept nogil:
    arrays.rows[arrays.n].pointer = <void**>pointer
    arrays.rows[arrays.n].n_bytes = n_bytes
    arrays.n += 1


cdef void add_pool(Arrays* arrays, RowPool* pool, void* rows, size_t row_bytes) noexcept nogil:
    add(arrays, rows, <size_t>pool.n_rows * row_bytes)
    add(arrays, &pool.free_rows, <size_t>pool.n_free * sizeof(int32_t))


cdef void add_indexed(Arrays* arrays, HashIndex* index, RowPool* pool, void* rows, size_t row_bytes) noexcept nogil:
    add(arrays, &index.slots, (<size_t>index.mask + 1) * sizeof(Slot))
    add_pool(arrays, pool, rows, row_bytes)


cdef void add_counts(Arrays* arrays, CountTable* table) noexcept nogil:
    add_indexed(arrays, &table.index, &table.pool, &table.rows, sizeof(CountRow))


cdef void add_lines(Arrays* arrays, VnasLines** lines) noexcept nogil:
    """Its header is part of the array: as long as there is no array its length is not known."""
    add(arrays, lines, sizeof(VnasLines) + (sizeof(VnasLine) << (32 - lines[0].shift)) if lines[0] != NULL else 0)


cdef void add_buckets(Arrays* arrays, LinuxBuckets* buckets, bint there) noexcept nogil:
    add(arrays, &buckets.heads, (<size_t>buckets.mask + 1) * sizeof(int32_t) if there else 0)


cdef void add_linux(Arrays* arrays, LinuxTable* table) noexcept nogil:
    """Empty under another policy."""
    add(arrays, &table.sockets, <size_t>table.capacity * sizeof(LinuxSocket))
    add_buckets(arrays, &table.list_buckets, table.kernel != 0)
    add_pool(arrays, &table.list_pool, &table.lists, sizeof(LinuxList))
    add_buckets(arrays, &table.connection_buckets, table.kernel != 0)
    add_pool(arrays, &table.group_pool, &table.groups, sizeof(LinuxGroup))
    add(arrays, &table.arena, <size_t>table.arena_used * sizeof(int32_t))


cdef void list_arrays(MachineTables* c, VnasPorts* ports, Arrays* arrays) noexcept nogil:
    """List all that an image has sections for, by the tables' own counts. The directories, mostly zero, come last."""
    arrays.n = 0
    add_indexed(arrays, &c.vnases.index, &c.vnases.pool, &c.vnases.rows, sizeof(VnasRow))
    add_indexed(arrays, &c.processes.index, &c.processes.pool, &c.processes.rows, sizeof(ProcessRow))
    add_indexed(arrays, &c.addresses.index, &c.addresses.pool, &c.addresses.rows, sizeof(AddressRow))
    add_indexed(arrays, &c.addresses.source_index, &c.addresses.source_pool, &c.addresses.sources, sizeof(SourceList))
    add_counts(arrays, &c.addresses.owners)
    add_pool(arrays, &c.sockets.port_pool, &c.sockets.ports, sizeof(PortRow))
    add_indexed(arrays, &c.sockets.endpoint_index, &c.sockets.endpoint_pool, &c.sockets.endpoints, sizeof(Endpoint))
    add_pool(arrays, &c.sockets.pool, &c.sockets.rows, sizeof(SocketRow))
    add_counts(arrays, &c.sockets.loopback_owners)
    add_counts(arrays, &c.sockets.specific)
    add_indexed(arrays, &c.routes.index, &c.routes.pool, &c.routes.rows, sizeof(RouteRow))
    add_lines(arrays, &c.plane.c.ipv4)
    add_lines(arrays, &c.plane.c.ipv6)
    add_lines(arrays, &c.plane.c.sparse)
    add(arrays, &c.plane.sparse.crowded, <size_t>c.plane.sparse.n_crowded * sizeof(Crowded))
    add(arrays, &c.plane.c.blocks, <size_t>c.plane.n_units * VNAS_UNIT * sizeof(int32_t))
    add(arrays, &c.plane.free_slots, <size_t>c.plane.n_free_slots * sizeof(uint32_t))
    add(arrays, &ports.answers, <size_t>c.plane.n_slots * c.plane.width * sizeof(int32_t))
    add(arrays, &ports.directory, 2 * VNAS_PLACES * sizeof(uint32_t))
    add(arrays, &c.sockets.directory, (N_PROTOCOLS << 16) * sizeof(int32_t))
    add_linux(arrays, &c.as_linux)


cdef uint64_t layout_of_structs():
    cdef uint64_t layout = 0
    for size in (sizeof(Header), sizeof(Slot), sizeof(VnasRow), sizeof(ProcessRow), sizeof(AddressRow), sizeof(SourceList),
                 sizeof(CountRow), sizeof(PortRow), sizeof(Endpoint), sizeof(SocketRow), sizeof(RouteRow), sizeof(VnasLines),
                 sizeof(VnasLine), sizeof(VnasIpv6Line), sizeof(Crowded), VNAS_PLACES, sizeof(LinuxSocket), sizeof(LinuxList),
                 sizeof(LinuxGroup)):
        layout = layout * 1_000_003 + <uint64_t>size
    return layout

cdef uint64_t LAYOUT = layout_of_structs()


# ---- freezing -------------------------------------------------------------------------------------------------------

cdef uint64_t take_section(uint64_t* end, Section* section, size_t n_bytes) noexcept nogil:
    """Put a section behind those before it; returns where it begins."""
    cdef uint64_t alignment = IMAGE_PAGE if n_bytes >= IMAGE_PAGE else ALIGNED
    section.at = (end[0] + alignment - 1) & ~(alignment - 1)
    section.n_bytes = n_bytes
    end[0] = section.at + n_bytes
    return section.at


cdef void forget_memory(MachineTables* c) noexcept nogil:
    """Take out of copied tables what only means something where they came from."""
    cdef VnasPorts ports
    cdef Arrays arrays
    cdef int i
    c.plane.c.ipv4 = c.plane.c.ipv6 = c.plane.c.sparse = NULL
    list_arrays(c, &ports, &arrays)
    for i in range(arrays.n):
        arrays.rows[i].pointer[0] = NULL
    c.plane.c.ports = NULL
    memset(&c.plane.next_lines, 0, sizeof(c.plane.next_lines))
    memset(&c.plane.next_sparse, 0, sizeof(c.plane.next_sparse))
    memset(&c.plane.next_ports, 0, sizeof(c.plane.next_ports))
    c.plane.c.address_changes = c.plane.c.sparse_changes = 0
    memset(&c.plane.readers, 0, sizeof(c.plane.readers))
    c.sockets.usage = c.vnases.closed = c.processes.closed = NULL
    c.sockets.usage_bytes = c.vnases.closed_bytes = c.processes.closed_bytes = 0
    memset(&c.sockets.packed, 0, sizeof(c.sockets.packed))
    memset(&c.outcomes, 0, sizeof(c.outcomes))
    c.image = NULL


cdef size_t count_members(const MachineTables* c) noexcept nogil:
    cdef size_t n = 0
    cdef int32_t row
    for row in range(c.sockets.endpoint_pool.n_rows):
        if c.sockets.endpoints[row].members != NULL:
            n += c.sockets.endpoints[row].n_members
    return n


cdef void freeze_members(const MachineTables* c, uint8_t* image, Endpoint* endpoints, uint64_t at) noexcept nogil:
    """Copy members to an image, and have the endpoints, which were copied there, name them by where in it they lie."""
    cdef Endpoint* endpoint
    cdef int32_t row
    for row in range(c.sockets.endpoint_pool.n_rows):
        endpoint = &endpoints[row]
        if endpoint.members != NULL:
            memcpy(image + at, members_of(c, endpoint), endpoint.n_members * sizeof(int32_t))
            endpoint.members = <int32_t*><size_t>at
            endpoint.capacity = endpoint.n_members
            at += endpoint.n_members * sizeof(int32_t)


def freeze_tables(Tables tables not None, names):
    """Copy tables to an image.

    Parameters
    ----------
    tables : Tables
    names : mapping of int to str
        VNAS ID → name.

    Returns
    -------
    Image
    """
    from json import dumps

    cdef list pairs = list(names.items())
    cdef Image image = Image(IMAGE_PAGE)
    cdef Header header
    cdef list interfaces
    cdef Py_ssize_t n_interfaces = 0
    cdef int32_t* users
    cdef Header* made
    cdef uint64_t end
    cdef bytes text
    with cython.critical_section(tables):       # and no object is made in it
        interfaces = tables.interfaces.all_names()
        users = tables.interfaces.users(&n_interfaces)
        end = copy_tables(&tables.c, image, &header)
    try:
        if end == 0:
            raise MemoryError("no memory for a snapshot")
        text = dumps({"interfaces": [[name, users[i]] for i, name in enumerate(interfaces[:n_interfaces])],
                      "names": pairs}).encode()
    finally:
        free(users)
    take_section(&end, &header.text, len(text))
    header.n_bytes = whole_image_pages(end + ALIGNED)
    if not image.resize(header.n_bytes):
        raise MemoryError(f"no memory for a snapshot of {header.n_bytes} bytes")
    made = <Header*>image.base
    memcpy(made, &header, sizeof(Header))
    memcpy(image.base + header.text.at, <const char*>text, len(text))
    made.checksum = checksum(image.base + CHECKED_FROM, image.n_bytes - CHECKED_FROM)
    image.seal()
    return image


cdef uint64_t copy_tables(MachineTables* c, Image image, Header* header) noexcept nogil:
    """Copy tables to an image, and make its header, all but the text; where the arrays end, or 0 without memory."""
    cdef Section members
    cdef Arrays arrays
    cdef uint64_t end = sizeof(Header)
    cdef int i
    memset(header, 0, sizeof(Header))
    memcpy(header.magic, magic_bytes, sizeof(header.magic))
    header.byte_order = BYTE_ORDER
    header.format = FORMAT
    header.layout = LAYOUT
    list_arrays(c, c.plane.c.ports, &arrays)
    for i in range(arrays.n):
        take_section(&end, &header.sections[i], arrays.rows[i].n_bytes)
    take_section(&end, &members, count_members(c) * sizeof(int32_t))
    header.tables = c[0]
    forget_memory(&header.tables)
    if not image.resize(whole_image_pages(end)):
        return 0
    for i in range(arrays.n):
        image_copy(image.base + header.sections[i].at, <const uint8_t*>arrays.rows[i].pointer[0], arrays.rows[i].n_bytes)
        if arrays.rows[i].pointer == <void**>&c.sockets.endpoints:
            freeze_members(c, image.base, <Endpoint*>(image.base + header.sections[i].at), members.at)
    return end


# ---- tables in an image ---------------------------------------------------------------------------------------------

cdef int check_header(Image image, str name) except -1:
    """Hold that an image is one, is of this version, and is whole."""
    cdef const Header* header = <const Header*>image.base
    cdef uint64_t found
    cdef size_t size = image.n_bytes
    if memcmp(header, <const char*>MAGIC, min(size, <size_t>len(MAGIC))) != 0:
        raise SnapshotError(name, "this is no snapshot: one is written by machine.freeze().save(path)")
    if size < sizeof(Header):
        raise SnapshotError(name, f"it is cut short, to {size} bytes: copy it again")
    if header.byte_order != BYTE_ORDER:
        raise SnapshotError(name, "it was written by a machine of the other byte order: freeze the tables on this one")
    if header.format != FORMAT:
        raise SnapshotError(name, f"it has format {header.format}, and this vnasfast reads format {FORMAT}: freeze the tables again,"
                            " with this vnasfast")
    if header.layout != LAYOUT:
        raise SnapshotError(name, "it was written by a vnasfast whose tables are laid out otherwise: freeze the tables again, with"
                            " this vnasfast")
    if header.n_bytes != size:
        raise SnapshotError(name, f"it has {size} bytes and should have {header.n_bytes}: copy it again")
    with nogil:
        found = checksum(image.base + CHECKED_FROM, size - CHECKED_FROM)
    if found != header.checksum:
        raise SnapshotError(name, "it is damaged, its bytes have another checksum: copy it again, or freeze the tables again")
    return 0


cdef bint place_arrays(MachineTables* c, VnasPorts* ports, Image image) noexcept nogil:
    """Point tables that were copied out of an image to their arrays in it; False if these can't be there."""
    cdef const Header* header = <const Header*>image.base
    cdef Arrays arrays
    cdef int i
    memset(ports, 0, sizeof(VnasPorts))
    c.plane.c.ports = ports
    list_arrays(c, ports, &arrays)
    for i in range(arrays.n):
        # What reads the first bytes of an array, however short it is, stays inside.
        if (header.sections[i].at % ALIGNED != 0 or header.sections[i].at > header.n_bytes - ALIGNED
                or header.sections[i].n_bytes > header.n_bytes - header.sections[i].at):
            return False
        arrays.rows[i].pointer[0] = image.base + header.sections[i].at
    if not (1 <= c.plane.c.ipv4.shift < 32 and 1 <= c.plane.c.ipv6.shift < 32 and 1 <= c.plane.c.sparse.shift < 32):
        return False
    list_arrays(c, ports, &arrays)
    for i in range(arrays.n):
        if arrays.rows[i].n_bytes != header.sections[i].n_bytes:
            return False
    return header.text.at <= header.n_bytes and header.text.n_bytes <= header.n_bytes - header.text.at


@cython.final
cdef class FrozenTables(Tables):
    """Tables that lie in an image. They answer, and count for themselves, and do not change."""

    def __dealloc__(self):
        if self.frozen:
            memset(&self.c, 0, sizeof(self.c))      # its arrays are the images' and not to be freed

    def start(self, *_):
        raise FrozenError("start a process")

    def exit(self, *_):
        raise FrozenError("end a process")

    def validate(self, *_):
        raise FrozenError("validate an address")

    def invalidate(self, *_):
        raise FrozenError("invalidate an address")

    def bind(self, *_):
        raise FrozenError("bind a socket")

    def close(self, *_):
        raise FrozenError("close a socket")

    def set_route(self, *_):
        raise FrozenError("set a route")

    def remove_route(self, *_):
        raise FrozenError("remove a route")


def open_tables(Image image not None, str name not None):
    """Take the tables of an image as they lie there.

    Parameters
    ----------
    image : Image
    name : str
        What messages call it.

    Returns
    -------
    FrozenTables

    Raises
    ------
    SnapshotError
    """
    import json

    cdef FrozenTables tables = FrozenTables.__new__(FrozenTables, 0)
    cdef const Header* header = <const Header*>image.base
    cdef MachineTables c
    cdef size_t n_counted
    check_header(image, name)
    c = header.tables
    if not place_arrays(&c, &tables.ports, image):
        raise SnapshotError(name, "its sections contradict each other: freeze the tables again")
    n_counted = <size_t>c.sockets.pool.n_rows + ROWS_BEFORE
    tables.counters = Image((<size_t>c.vnases.pool.n_rows + c.processes.pool.n_rows + n_counted) * sizeof(Usage)
                            + n_counted * sizeof(uint64_t))
    c.vnases.closed = <Usage*>tables.counters.base
    c.processes.closed = c.vnases.closed + c.vnases.pool.n_rows
    c.sockets.usage = c.processes.closed + c.processes.pool.n_rows + ROWS_BEFORE
    c.sockets.packed.counts = <uint64_t*>(c.sockets.usage + c.sockets.pool.n_rows) + ROWS_BEFORE
    c.image = image.base
    text = json.loads((<const char*>image.base)[header.text.at:header.text.at + header.text.n_bytes])
    tables.interfaces = InterfaceNames.of_state(text["interfaces"])
    tables.names = dict(text["names"])
    tables.image = image
    tables_free(&tables.c)
    tables.c = c
    tables.frozen = True
    return tables
