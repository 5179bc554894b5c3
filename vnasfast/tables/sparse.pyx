"""Answers of ports that few VNASs have."""

from libc.stdint cimport int32_t, uint32_t, uint64_t
from libc.stdlib cimport free, realloc
from libc.string cimport memset

from vnasfast.tables.lines cimport lines_bytes, lines_piece, log2_lines_of, new_lines
from vnasfast.tables.plane cimport (
    VNAS_ASK, VNAS_FIRST_OWNER, VNAS_LINE_SLOTS, VNAS_SPARSE, VNAS_SPARSE_MOVED, Answers, Crowded, NextAnswers, Plane, VnasLine,
    VnasLines, plane_has_owner, plane_measure, plane_settle, sparse_hash, sparse_key, sparse_line,
)
from vnasfast.tables.publish cimport begin_change, end_change, store_pointer, store_word
from vnasfast.tables.readers cimport readers_reserve, readers_retire

cdef enum:
    MOST_LINES_LOG2 = 26
    LINE_LOAD_TWICE = 7     # answers for each line on average, when a larger table is begun: 3.5 of 7, in pairs of lines
    LINE_FULL = 5           # and when it has to be done. It is done before, at 4, if the answers come one by one.


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


cdef int find_answer(VnasLines* table, uint64_t hash, VnasLine** line) noexcept nogil:
    """Find the line of an answer, and its place there; -1: in none."""
    cdef uint32_t number = sparse_line(table, hash)
    cdef int i
    line[0] = &table.lines[number]
    i = place_in_line(line[0], sparse_key(hash))
    if i < 0 and line[0].values[VNAS_LINE_SLOTS] != 0:
        i = place_in_line(&table.lines[number ^ 1], sparse_key(hash) | VNAS_SPARSE_MOVED)
        if i >= 0:
            line[0] = &table.lines[number ^ 1]
    return i


cdef int32_t crowded_find(const Answers* answers, uint64_t hash) noexcept nogil:
    cdef uint32_t i
    for i in range(answers.n_crowded):
        if answers.crowded[i].hash == hash:
            return <int32_t>i
    return -1


cdef int32_t crowded_of_line(const VnasLines* table, const Answers* answers, uint32_t number) noexcept nogil:
    """Find an answer that has no room in this line and the other of its pair, or -1."""
    cdef uint32_t i
    for i in range(answers.n_crowded):
        if sparse_line(table, answers.crowded[i].hash) == number:
            return <int32_t>i
    return -1


cdef void crowded_remove(Answers* answers, int32_t i) noexcept nogil:
    answers.n_crowded -= 1
    answers.crowded[i] = answers.crowded[answers.n_crowded]


# ---- changes of a table, which readers see, or which is being filled ------------------------------------------------

cdef inline void change_place(Plane* plane, const VnasLines* table, VnasLine* line, int i, uint32_t key,
                              uint32_t stored) noexcept nogil:
    """Put an answer into a place, or none."""
    cdef bint seen = table == plane.c.sparse
    if seen:        # a reader may have seen another key there, and look at its value now; the port may have moved, or closed
        begin_change(plane.c.sparse_changes)
    store_word(line.values[i], stored)
    store_word(line.keys[i], key)
    if seen:
        end_change(plane.c.sparse_changes)


cdef void say_where(VnasLines* table, const Answers* answers, uint32_t number) noexcept nogil:
    """Have a line say where its answers are that are not in it."""
    cdef uint32_t said = 0
    if crowded_of_line(table, answers, number) >= 0:
        said = <uint32_t>VNAS_ASK
    elif moved_here(&table.lines[number ^ 1]) >= 0:
        said = <uint32_t>VNAS_SPARSE
    store_word(table.lines[number].values[VNAS_LINE_SLOTS], said)


cdef void place_answer(Plane* plane, VnasLines* table, Answers* answers, uint64_t hash, int32_t stored) noexcept nogil:
    """Put an answer that is nowhere yet into its line, or the other of the pair, or beside them."""
    cdef uint32_t number = sparse_line(table, hash)
    cdef VnasLine* line = &table.lines[number]
    cdef VnasLine* other = &table.lines[number ^ 1]
    cdef int i = place_in_line(line, 0)
    if i >= 0:
        change_place(plane, table, line, i, sparse_key(hash), <uint32_t>stored)
        answers.n += 1
        return
    i = place_in_line(other, 0)
    if i >= 0:
        change_place(plane, table, other, i, sparse_key(hash) | VNAS_SPARSE_MOVED, <uint32_t>stored)
        answers.n += 1
    else:
        answers.crowded[answers.n_crowded].hash = hash
        answers.crowded[answers.n_crowded].stored = stored
        answers.n_crowded += 1
    say_where(table, answers, number)


cdef void use_room(Plane* plane, VnasLines* table, Answers* answers, uint32_t number) noexcept nogil:
    """Room was made in a line or in the other of its pair: let one of its answers in that is not where it belongs."""
    cdef VnasLine* line = &table.lines[number]
    cdef VnasLine* other = &table.lines[number ^ 1]
    cdef int32_t crowded
    cdef Crowded let_in
    cdef int i, room
    if line.values[VNAS_LINE_SLOTS] == 0:
        return
    room = place_in_line(line, 0)
    crowded = crowded_of_line(table, answers, number)
    i = moved_here(other)
    if crowded >= 0 and (room >= 0 or place_in_line(other, 0) >= 0):
        let_in = answers.crowded[crowded]
        crowded_remove(answers, crowded)
        place_answer(plane, table, answers, let_in.hash, <int32_t>let_in.stored)
    elif room >= 0 and i >= 0:
        change_place(plane, table, line, room, other.keys[i] & ~<uint32_t>VNAS_SPARSE_MOVED, other.values[i])
        change_place(plane, table, other, i, 0, 0)
    say_where(table, answers, number)


cdef void put_answer(Plane* plane, VnasLines* table, Answers* answers, uint64_t hash, int32_t stored) noexcept nogil:
    cdef uint32_t number
    cdef VnasLine* line
    cdef int32_t crowded
    cdef int i = find_answer(table, hash, &line)
    if i >= 0:
        if stored != 0:
            store_word(line.values[i], <uint32_t>stored)
            return
        change_place(plane, table, line, i, 0, 0)
        answers.n -= 1
        number = <uint32_t>(line - table.lines)
        use_room(plane, table, answers, number)
        use_room(plane, table, answers, number ^ 1)
        return
    crowded = crowded_find(answers, hash) if line.values[VNAS_LINE_SLOTS] != 0 else -1
    if crowded < 0:
        if stored != 0:
            place_answer(plane, table, answers, hash, stored)
    elif stored != 0:
        answers.crowded[crowded].stored = stored
    else:
        crowded_remove(answers, crowded)
        say_where(table, answers, sparse_line(table, hash))


cdef int32_t get_answer(VnasLines* table, const Answers* answers, uint64_t hash) noexcept nogil:
    cdef VnasLine* line
    cdef int32_t crowded
    cdef int i = find_answer(table, hash, &line)
    if i >= 0:
        return <int32_t>line.values[i]
    crowded = crowded_find(answers, hash) if line.values[VNAS_LINE_SLOTS] != 0 else -1
    return <int32_t>answers.crowded[crowded].stored if crowded >= 0 else 0


# ---- a port's answers -----------------------------------------------------------------------------------------------

cdef void sparse_put(Plane* plane, uint32_t place, int32_t vnas, int32_t stored) noexcept nogil:
    """Say what is stored for a port and a VNAS; 0 takes it away."""
    cdef uint64_t hash
    cdef NextAnswers* following = &plane.next_sparse
    if plane.asks or not plane_has_owner(vnas):
        return
    hash = hash_of(plane, place, vnas)
    if following.lines != NULL and sparse_line(plane.c.sparse, hash) < following.filled:
        put_answer(plane, following.lines, &following.answers, hash, stored)
    put_answer(plane, plane.c.sparse, &plane.sparse, hash, stored)


cdef int32_t sparse_get(const Plane* plane, uint32_t place, int32_t vnas) noexcept nogil:
    if plane.asks or not plane_has_owner(vnas):
        return VNAS_ASK
    return get_answer(plane.c.sparse, &plane.sparse, hash_of(plane, place, vnas))


# ---- growth ---------------------------------------------------------------------------------------------------------

cdef int reserve_crowded(Answers* answers, uint32_t n) except -1:
    """Make room for n more that find no room in their line."""
    cdef void* memory
    n += answers.n_crowded
    if n > answers.crowded_capacity:
        memory = realloc(answers.crowded, 2 * n * sizeof(Crowded))
        if memory == NULL:
            raise MemoryError(f"no memory for {2 * n} answers that found no room in their line")
        answers.crowded = <Crowded*>memory
        answers.crowded_capacity = 2 * n
    return 0


cdef inline uint64_t hash_in(const VnasLines* table, uint32_t number, uint32_t key) noexcept nogil:
    """Give the hash of an answer by the line that it lies in and its key there."""
    cdef uint32_t below = 40 - log2_lines_of(table)
    if key & VNAS_SPARSE_MOVED:
        number ^= 1
    return <uint64_t>number << below | (key >> 2 & ((<uint64_t>1 << below) - 1))


cdef int begin_next(Plane* plane, uint64_t n) except -1:
    """Begin a larger table if n answers want one."""
    cdef uint32_t log2_lines = log2_lines_of(plane.c.sparse)
    if plane.next_sparse.lines != NULL:
        return 0
    while 2 * n > <uint64_t>LINE_LOAD_TWICE << log2_lines and log2_lines < MOST_LINES_LOG2:
        log2_lines += 1
    if log2_lines != log2_lines_of(plane.c.sparse):
        plane.next_sparse.lines = new_lines(log2_lines)
        plane.next_sparse.filled = 0
    return 0


cdef void fill_pair(Plane* plane) noexcept nogil:
    """Put the answers of a pair of lines into the larger table as well."""
    cdef VnasLines* old = plane.c.sparse
    cdef NextAnswers* following = &plane.next_sparse
    cdef uint32_t first = following.filled, number
    cdef const VnasLine* line
    cdef int i
    for number in range(first, first + 2):
        line = &old.lines[number]
        for i in range(VNAS_LINE_SLOTS):
            if line.keys[i] != 0:
                place_answer(plane, following.lines, &following.answers, hash_in(old, number, line.keys[i]), <int32_t>line.values[i])
    for number in range(plane.sparse.n_crowded):
        if sparse_line(old, plane.sparse.crowded[number].hash) | 1 == first + 1:
            place_answer(plane, following.lines, &following.answers, plane.sparse.crowded[number].hash,
                         <int32_t>plane.sparse.crowded[number].stored)
    following.filled += 2
    if following.filled >> log2_lines_of(old):
        use_next(plane)


cdef void use_next(Plane* plane) noexcept nogil:
    cdef VnasLines* old = plane.c.sparse
    store_pointer(plane.c.sparse, plane.next_sparse.lines)
    free(plane.sparse.crowded)
    plane.sparse = plane.next_sparse.answers
    memset(&plane.next_sparse, 0, sizeof(NextAnswers))
    readers_retire(&plane.readers, old, lines_bytes(old), lines_piece(old))
    plane_settle(plane)
    plane_measure(plane)


cdef int sparse_reserve(Plane* plane, uint32_t n) except -1:
    cdef NextAnswers* following = &plane.next_sparse
    cdef uint64_t answers = <uint64_t>plane.sparse.n + plane.sparse.n_crowded + n
    cdef uint32_t n_pairs = n // 2 + 1      # or more than LINE_FULL would come before it is done
    if plane.asks:
        return 0
    reserve_crowded(&plane.sparse, n)
    readers_reserve(&plane.readers, 4 + plane.n_slots)
    begin_next(plane, answers)
    while following.lines != NULL:
        reserve_crowded(&following.answers, n + 2 * VNAS_LINE_SLOTS + plane.sparse.n_crowded)
        if n_pairs == 0 and answers <= <uint64_t>LINE_FULL << log2_lines_of(plane.c.sparse):
            break
        n_pairs -= n_pairs != 0
        fill_pair(plane)
        begin_next(plane, answers)
    return 0


# ---- the check ------------------------------------------------------------------------------------------------------

cdef int check_table(VnasLines* table, const Answers* answers) except -1:
    cdef const VnasLine* line
    cdef uint32_t number, n = 0, said
    cdef int i
    hashes = {answers.crowded[number].hash for number in range(answers.n_crowded)}
    assert len(hashes) == answers.n_crowded, "sparse ports: an answer is crowded out twice"
    for number in range(<uint32_t>1 << log2_lines_of(table)):
        line = &table.lines[number]
        for i in range(VNAS_LINE_SLOTS):
            assert (line.keys[i] == 0) == (line.values[i] == 0), "sparse ports: a key without an answer, or an answer without a key"
            if line.keys[i] != 0:
                n += 1
                assert hash_in(table, number, line.keys[i]) not in hashes, "sparse ports: an answer is found twice"
                hashes.add(hash_in(table, number, line.keys[i]))
        said = <uint32_t>VNAS_SPARSE if moved_here(&table.lines[number ^ 1]) >= 0 else 0
        if answers.n_crowded > 0 and crowded_of_line(table, answers, number) >= 0:
            said = <uint32_t>VNAS_ASK
        assert line.values[VNAS_LINE_SLOTS] == said, "sparse ports: a line says wrongly where its answers are"
        assert said == 0 or place_in_line(line, 0) < 0, "sparse ports: an answer is not in its line, which has room"
    assert n == answers.n, "sparse ports: the answers are miscounted"
    return 0


cdef int sparse_check(const Plane* plane) except -1:
    cdef VnasLines* table = plane.c.sparse
    cdef const NextAnswers* following = &plane.next_sparse
    cdef uint32_t number, n = 0
    cdef uint64_t hash
    cdef int i
    assert plane.c.sparse_changes % 2 == 0, "sparse ports: a change was begun and not ended"
    check_table(table, &plane.sparse)
    if following.lines == NULL:
        return 0
    check_table(following.lines, &following.answers)
    for number in range(following.filled):
        for i in range(VNAS_LINE_SLOTS):
            if table.lines[number].keys[i] != 0:
                n += 1
                hash = hash_in(table, number, table.lines[number].keys[i])
                assert get_answer(following.lines, &following.answers, hash) == <int32_t>table.lines[number].values[i], (
                    "sparse ports: the larger table that is being filled has another answer")
    for number in range(plane.sparse.n_crowded):
        hash = plane.sparse.crowded[number].hash
        if sparse_line(table, hash) < following.filled:
            n += 1
            assert get_answer(following.lines, &following.answers, hash) == plane.sparse.crowded[number].stored, (
                "sparse ports: the larger table that is being filled has another answer")
    assert n == following.answers.n + following.answers.n_crowded, "sparse ports: the larger table has answers of nobody"
    return 0
