"""Answers of ports that few VNASs have."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport realloc

from vnasfast.tables.lines cimport lines_bytes, lines_piece, log2_lines_of, new_lines
from vnasfast.tables.plane cimport (
    VNAS_ASK, VNAS_FIRST_OWNER, VNAS_LINE_SLOTS, VNAS_SPARSE, VNAS_SPARSE_MOVED, Crowded, Plane, VnasLine, VnasLines,
    plane_has_owner, plane_measure, plane_settle, sparse_hash, sparse_key, sparse_line,
)
from vnasfast.tables.publish cimport begin_change, end_change, store_pointer, store_word
from vnasfast.tables.readers cimport readers_reserve, readers_retire

cdef enum:
    MOST_LINES_LOG2 = 26
    LINE_LOAD_TWICE = 7     # answers for each line at the most, on average: 3.5 of 7, in pairs of lines


cdef inline uint64_t hash_of(const Plane* plane, uint32_t place, int32_t vnas) noexcept nogil:
    return sparse_hash(&plane.c, place, VNAS_FIRST_OWNER + <uint32_t>vnas)


cdef inline int place_in_line(const VnasLine* line, uint32_t key) noexcept nogil:
    """Find a key; 0, which no key is, finds room. -1: it is not there."""
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] == key:
            return i
    return -1


cdef inline int moved_here(const VnasLine* line) noexcept nogil:
    """Find an answer that belongs to the other line of the pair, or -1."""
    cdef int i
    for i in range(VNAS_LINE_SLOTS):
        if line.keys[i] & VNAS_SPARSE_MOVED:
            return i
    return -1


cdef int find_answer(const Plane* plane, uint64_t hash, VnasLine** line) noexcept nogil:
    """Find the line of an answer, and its place there; -1: in none."""
    cdef uint32_t number = sparse_line(plane.c.sparse, hash)
    cdef int i
    line[0] = &plane.c.sparse.lines[number]
    i = place_in_line(line[0], sparse_key(hash))
    if i < 0 and line[0].values[VNAS_LINE_SLOTS] != 0:
        i = place_in_line(&plane.c.sparse.lines[number ^ 1], sparse_key(hash) | VNAS_SPARSE_MOVED)
        if i >= 0:
            line[0] = &plane.c.sparse.lines[number ^ 1]
    return i


cdef int32_t crowded_find(const Plane* plane, uint64_t hash) noexcept nogil:
    cdef uint32_t i
    for i in range(plane.n_crowded):
        if plane.crowded[i].hash == hash:
            return <int32_t>i
    return -1


cdef int32_t crowded_of_line(const Plane* plane, uint32_t number) noexcept nogil:
    """Find an answer that has no room in this line and the other of its pair, or -1."""
    cdef uint32_t i
    for i in range(plane.n_crowded):
        if sparse_line(plane.c.sparse, plane.crowded[i].hash) == number:
            return <int32_t>i
    return -1


cdef void crowded_remove(Plane* plane, int32_t i) noexcept nogil:
    plane.n_crowded -= 1
    plane.crowded[i] = plane.crowded[plane.n_crowded]


cdef void fill_place(Plane* plane, VnasLine* line, int i, uint32_t key, uint32_t stored) noexcept nogil:
    begin_change(plane.c.sparse_changes)      # a reader may have seen another key there, and look at its value now
    store_word(line.values[i], stored)
    store_word(line.keys[i], key)
    end_change(plane.c.sparse_changes)
    plane.n_sparse += 1


cdef void empty_place(Plane* plane, VnasLine* line, int i) noexcept nogil:
    begin_change(plane.c.sparse_changes)      # the port's answers may be elsewhere by now, or the port closed
    store_word(line.values[i], 0)
    store_word(line.keys[i], 0)
    end_change(plane.c.sparse_changes)
    plane.n_sparse -= 1


cdef void place_answer(Plane* plane, uint64_t hash, int32_t stored) noexcept nogil:
    """Put an answer that is nowhere yet into its line, or the other of the pair, or beside them."""
    cdef uint32_t number = sparse_line(plane.c.sparse, hash)
    cdef VnasLine* line = &plane.c.sparse.lines[number]
    cdef VnasLine* other = &plane.c.sparse.lines[number ^ 1]
    cdef int i = place_in_line(line, 0)
    if i >= 0:
        fill_place(plane, line, i, sparse_key(hash), <uint32_t>stored)
        return
    i = place_in_line(other, 0)
    if i >= 0:
        fill_place(plane, other, i, sparse_key(hash) | VNAS_SPARSE_MOVED, <uint32_t>stored)
    else:
        plane.crowded[plane.n_crowded].hash = hash
        plane.crowded[plane.n_crowded].stored = stored
        plane.n_crowded += 1
    say_where(plane, number)


cdef void say_where(Plane* plane, uint32_t number) noexcept nogil:
    """Have a line say where its answers are that are not in it."""
    cdef uint32_t said = 0
    if crowded_of_line(plane, number) >= 0:
        said = <uint32_t>VNAS_ASK
    elif moved_here(&plane.c.sparse.lines[number ^ 1]) >= 0:
        said = <uint32_t>VNAS_SPARSE
    store_word(plane.c.sparse.lines[number].values[VNAS_LINE_SLOTS], said)


cdef void use_room(Plane* plane, uint32_t number) noexcept nogil:
    """Room was made in a line or in the other of its pair: let one of its answers in that is not where it belongs."""
    cdef VnasLine* line = &plane.c.sparse.lines[number]
    cdef VnasLine* other = &plane.c.sparse.lines[number ^ 1]
    cdef int32_t crowded
    cdef Crowded let_in
    cdef int i, room
    if line.values[VNAS_LINE_SLOTS] == 0:
        return
    room = place_in_line(line, 0)
    crowded = crowded_of_line(plane, number)
    i = moved_here(other)
    if crowded >= 0 and (room >= 0 or place_in_line(other, 0) >= 0):
        let_in = plane.crowded[crowded]
        crowded_remove(plane, crowded)
        place_answer(plane, let_in.hash, let_in.stored)
    elif room >= 0 and i >= 0:
        fill_place(plane, line, room, other.keys[i] & ~<uint32_t>VNAS_SPARSE_MOVED, other.values[i])
        empty_place(plane, other, i)
    say_where(plane, number)


cdef void sparse_put(Plane* plane, uint32_t place, int32_t vnas, int32_t stored) noexcept nogil:
    """Say what is stored for a port and a VNAS; 0 takes it away."""
    cdef uint64_t hash
    cdef uint32_t number
    cdef VnasLine* line
    cdef int32_t crowded
    cdef int i
    if plane.asks or not plane_has_owner(vnas):
        return
    hash = hash_of(plane, place, vnas)
    i = find_answer(plane, hash, &line)
    if i >= 0:
        if stored != 0:
            store_word(line.values[i], <uint32_t>stored)
            return
        empty_place(plane, line, i)
        number = <uint32_t>(line - plane.c.sparse.lines)
        use_room(plane, number)
        use_room(plane, number ^ 1)
        return
    crowded = crowded_find(plane, hash) if line.values[VNAS_LINE_SLOTS] != 0 else -1
    if crowded < 0:
        if stored != 0:
            place_answer(plane, hash, stored)
    elif stored != 0:
        plane.crowded[crowded].stored = stored
    else:
        crowded_remove(plane, crowded)
        say_where(plane, sparse_line(plane.c.sparse, hash))


cdef int32_t sparse_get(const Plane* plane, uint32_t place, int32_t vnas) noexcept nogil:
    cdef uint64_t hash
    cdef VnasLine* line
    cdef int32_t crowded
    cdef int i
    if plane.asks or not plane_has_owner(vnas):
        return VNAS_ASK
    hash = hash_of(plane, place, vnas)
    i = find_answer(plane, hash, &line)
    if i >= 0:
        return <int32_t>line.values[i]
    crowded = crowded_find(plane, hash) if line.values[VNAS_LINE_SLOTS] != 0 else -1
    return plane.crowded[crowded].stored if crowded >= 0 else 0


cdef int reserve_crowded(Plane* plane, uint32_t n) except -1:
    cdef void* memory
    if n > plane.crowded_capacity:
        memory = realloc(plane.crowded, 2 * n * sizeof(Crowded))
        if memory == NULL:
            raise MemoryError(f"no memory for {2 * n} answers that found no room in their line")
        plane.crowded = <Crowded*>memory
        plane.crowded_capacity = 2 * n
    return 0


cdef inline uint64_t hash_in(const VnasLines* table, uint32_t number, uint32_t key) noexcept nogil:
    """Give the hash of an answer by the line that it lies in and its key there."""
    cdef uint32_t below = 40 - log2_lines_of(table)
    if key & VNAS_SPARSE_MOVED:
        number ^= 1
    return <uint64_t>number << below | (key >> 2 & ((<uint64_t>1 << below) - 1))


cdef bint put_unseen(VnasLines* table, uint64_t hash, uint32_t stored) noexcept nogil:
    """Put an answer into lines that nobody reads yet; False, and its line says so, if there is no room."""
    cdef uint32_t number = sparse_line(table, hash), key = sparse_key(hash)
    cdef VnasLine* line = &table.lines[number]
    cdef int i = place_in_line(line, 0)
    if i < 0:
        line.values[VNAS_LINE_SLOTS] = <uint32_t>VNAS_SPARSE
        i = place_in_line(&table.lines[number ^ 1], 0)
        if i < 0:
            line.values[VNAS_LINE_SLOTS] = <uint32_t>VNAS_ASK
            return False
        line = &table.lines[number ^ 1]
        key |= VNAS_SPARSE_MOVED
    line.keys[i] = key
    line.values[i] = stored
    return True


cdef int sparse_reserve(Plane* plane, uint32_t n) except -1:
    cdef VnasLines* old = plane.c.sparse
    cdef uint64_t answers = <uint64_t>plane.n_sparse + plane.n_crowded + n
    cdef uint32_t log2_lines = log2_lines_of(old)
    cdef uint32_t number, n_crowded = 0
    cdef VnasLines* lines
    cdef int i
    if plane.asks:
        return 0
    reserve_crowded(plane, plane.n_crowded + n)
    while 2 * answers > <uint64_t>LINE_LOAD_TWICE << log2_lines and log2_lines < MOST_LINES_LOG2:
        log2_lines += 1
    if log2_lines == log2_lines_of(old):
        return 0
    readers_reserve(&plane.readers, 4 + plane.n_slots)
    lines = new_lines(log2_lines)
    for number in range(<uint32_t>1 << log2_lines_of(old)):
        for i in range(VNAS_LINE_SLOTS):
            if old.lines[number].keys[i] != 0:      # a line's answers, at most 14, get pairs of lines of their own: there is room
                put_unseen(lines, hash_in(old, number, old.lines[number].keys[i]), old.lines[number].values[i])
    for number in range(plane.n_crowded):
        if put_unseen(lines, plane.crowded[number].hash, <uint32_t>plane.crowded[number].stored):
            plane.n_sparse += 1
        else:
            plane.crowded[n_crowded] = plane.crowded[number]
            n_crowded += 1
    plane.n_crowded = n_crowded
    store_pointer(plane.c.sparse, lines)
    readers_retire(&plane.readers, old, lines_bytes(old), lines_piece(old))
    plane_settle(plane)
    plane_measure(plane)
    return 0


cdef int sparse_check(const Plane* plane) except -1:
    cdef const VnasLines* table = plane.c.sparse
    cdef const VnasLine* line
    cdef uint32_t number, n = 0, said
    cdef int i
    assert plane.c.sparse_changes % 2 == 0, "sparse ports: a change was begun and not ended"
    hashes = {plane.crowded[number].hash for number in range(plane.n_crowded)}
    assert len(hashes) == plane.n_crowded, "sparse ports: an answer is crowded out twice"
    for number in range(<uint32_t>1 << log2_lines_of(table)):
        line = &table.lines[number]
        for i in range(VNAS_LINE_SLOTS):
            assert (line.keys[i] == 0) == (line.values[i] == 0), "sparse ports: a key without an answer, or an answer without a key"
            if line.keys[i] != 0:
                n += 1
                assert hash_in(table, number, line.keys[i]) not in hashes, "sparse ports: an answer is found twice"
                hashes.add(hash_in(table, number, line.keys[i]))
        said = <uint32_t>VNAS_SPARSE if moved_here(&table.lines[number ^ 1]) >= 0 else 0
        if plane.n_crowded > 0 and crowded_of_line(plane, number) >= 0:
            said = <uint32_t>VNAS_ASK
        assert line.values[VNAS_LINE_SLOTS] == said, "sparse ports: a line says wrongly where its answers are"
        assert said == 0 or place_in_line(line, 0) < 0, "sparse ports: an answer is not in its line, which has room"
    assert n == plane.n_sparse, "sparse ports: the answers are miscounted"
    return 0
