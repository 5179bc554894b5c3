"""Table files as they nearly always are: TOML read many times faster than by a library that reads all of it, and its rows
as columns, whose different values are checked once each.

Only lines of these kinds are read; any other makes :func:`read_plain` give up, and the library decides::

    # a comment
    key = 80            # also true, false, "text without a backslash"
    [[table]]           # one of several rows
    [[table.inner]]     # one of several rows in the last row of a table

A value becomes a number as soon as its text came before: no Python object is made of a row or of a value in it.
"""

cimport cython
from cpython.bytearray cimport PyByteArray_AS_STRING, PyByteArray_Resize
from cpython.unicode cimport PyUnicode_AsUTF8AndSize, PyUnicode_DecodeUTF8
from libc.stdint cimport INT32_MAX, int32_t
from libc.string cimport memchr, memcmp, memcpy, memset

from vnasfast.tablefile.lines cimport Piece, is_bare, is_same, past_blanks, past_line, past_name, past_value

from sys import byteorder

cdef enum:
    MOST_DIGITS = 18        # more may be more than an int64
    MOST_KEYS = 20          # of a table; sockets have 17 at most
    ROW_BYTES = 4 * MOST_KEYS   # int32
    RECENT = 256


# The text of a value that came before.
cdef struct Known:
    Piece text
    int32_t number


cdef inline str word(Piece name):
    return PyUnicode_DecodeUTF8(name.start, name.n, NULL)


# ---- values --------------------------------------------------------------------------------------------------------------


cdef object number_of(const char* at, const char* stop):
    """An integer without sign, without underscores, in decimal and without a leading zero; None: something else."""
    cdef long long value = 0
    if stop == at or stop - at > MOST_DIGITS or (at[0] == c'0' and stop - at > 1):
        return None
    while at < stop:
        if not c'0' <= at[0] <= c'9':
            return None
        value = 10 * value + (at[0] - c'0')
        at += 1
    return value


cdef object value_of(Piece text):
    """The value that a text stands for; None: this reader can't tell."""
    cdef Py_ssize_t i
    if text.start[0] == c'"':
        for i in range(1, text.n - 1):
            # Escapes, line ends and control characters.
            if text.start[i] == c'\\' or (0 <= text.start[i] < 0x20 and text.start[i] != c'\t') or text.start[i] == 0x7F:
                return None
        return PyUnicode_DecodeUTF8(text.start + 1, text.n - 2, NULL)
    if text.n == 4 and memcmp(text.start, "true", 4) == 0:
        return True
    if text.n == 5 and memcmp(text.start, "false", 5) == 0:
        return False
    return number_of(text.start, text.start + text.n)


@cython.final
cdef class Values:
    """The different values of a file, by number: the same few stand in very many lines."""

    cdef list values        # number → value; also the PlainRows that a row has
    cdef dict numbers       # its text, or its type and itself → number
    cdef Known[RECENT] recent       # by a hash: most are found here, without a bytes object, in a third of the time
    cdef bytearray places   # scratch of `columns`: int32 by number + 1, all -1

    def __cinit__(self):
        self.values = []
        self.numbers = {}
        self.clear_places()

    cdef int clear_places(self) except -1:
        self.places = bytearray(b"\xff" * (sizeof(int32_t) * (len(self.values) + 1)))
        return 0

    cdef int32_t number(self, Piece text) except -2:
        """The number of the value that a text stands for; -1: this reader can't tell."""
        cdef Known* known
        cdef unsigned int slot = 0
        cdef Py_ssize_t i
        for i in range(text.n):
            slot = 31 * slot + <unsigned char>text.start[i]
        known = &self.recent[slot % RECENT]
        if known.text.start == NULL or not is_same(&known.text, &text):
            key = text.start[:text.n]
            number = self.numbers.get(key)
            if number is None:
                value = value_of(text)
                if value is None:
                    return -1
                number = self.numbers[key] = len(self.values)
                self.values.append(value)
            known.text = text
            known.number = number
        return known.number

    cdef int32_t number_of_object(self, object value) except -1:
        """The number of a value that the library read; those without a hash have each their own."""
        cdef int32_t number = <int32_t>len(self.values)
        try:
            number = self.numbers.setdefault((type(value), value), number)      # True is no 1
        except TypeError:
            pass
        if number == len(self.values):
            self.values.append(value)
        return number


# ---- rows ----------------------------------------------------------------------------------------------------------------


@cython.final
cdef class PlainRows:
    """The rows of a table, as the numbers of their values."""

    cdef Values values
    cdef list names                 # of the keys
    cdef Piece[MOST_KEYS] keys      # the same, in what is read
    cdef int n_keys
    cdef int expected               # the key that comes next, if this row is as those before it
    cdef bytearray numbers          # int32 of shape (rows, MOST_KEYS); -1: the row has no such key
    cdef Py_ssize_t n

    def __cinit__(self, Values values not None):
        self.values = values
        self.names = []
        self.numbers = bytearray()

    cdef int add_row(self) except -1:
        if (self.n + 1) * ROW_BYTES > len(self.numbers):
            PyByteArray_Resize(self.numbers, 2 * (self.n + 1) * ROW_BYTES)
        memset(PyByteArray_AS_STRING(self.numbers) + self.n * ROW_BYTES, 0xFF, ROW_BYTES)
        self.n += 1
        self.expected = 0
        return 0

    cdef int32_t* last(self, Piece key) except? NULL:
        """The number of the value that the last row has for a key; NULL: the table has too many keys."""
        cdef int i = self.expected
        if i == self.n_keys or not is_same(&self.keys[i], &key):
            i = 0
            while i < self.n_keys and not is_same(&self.keys[i], &key):
                i += 1
            if i == MOST_KEYS:
                return NULL
            if i == self.n_keys:
                self.names.append(word(key))
                self.keys[i] = key
                self.n_keys += 1
        self.expected = i + 1
        return <int32_t*>PyByteArray_AS_STRING(self.numbers) + (self.n - 1) * MOST_KEYS + i

    def columns(self, dict keys not None):
        """Read the rows a column at a time, each different value once.

        Parameters
        ----------
        keys : dict of str to Key
            How each value is read.

        Returns
        -------
        dict of str to Column, or None
            None if a row has a mistake.
        """
        cdef dict columns = {}
        if any([name not in keys for name in self.names]):
            return None
        for name, key in keys.items():
            column = column_of(self, self.names.index(name) if name in self.names else -1, key)
            if column is None:
                return None
            columns[name] = column
        return columns

    def rows(self, dict keys not None):
        """Read the rows as dicts, which have all keys; None if one has a mistake: see `columns`."""
        cdef dict columns = self.columns(keys)
        cdef list rows = [{} for _ in range(self.n)]
        cdef const int32_t* places
        cdef Column column
        cdef Py_ssize_t row
        if columns is None:
            return None
        for name, column in columns.items():
            places = <const int32_t*>PyByteArray_AS_STRING(column.places)
            for row in range(self.n):
                (<dict>rows[row])[name] = column.values[places[row]]
        return rows


def rows_of_dicts(list rows not None):
    """Make the same of rows that the library has read.

    Parameters
    ----------
    rows : list

    Returns
    -------
    PlainRows or None
        None if these are no dicts, or have too many keys.
    """
    cdef Values values = Values()
    cdef PlainRows plain = PlainRows(values)
    cdef Piece key
    cdef int32_t* number
    for row in rows:
        if type(row) is not dict:
            return None
        plain.add_row()
        for name, value in (<dict>row).items():
            key.start = PyUnicode_AsUTF8AndSize(name, &key.n)
            number = plain.last(key)
            if number == NULL:
                return None
            number[0] = values.number_of_object(value)
    values.clear_places()
    return plain


@cython.final
cdef class Column:
    """What the rows of a table have for a key.

    Attributes
    ----------
    values : list
        One for each different text.
    """

    cdef readonly list values
    cdef Py_ssize_t n
    cdef bytearray places       # int32 of shape (rows,): which of the values

    def __cinit__(self, PlainRows rows not None):
        self.n = rows.n
        self.places = bytearray(sizeof(int32_t) * rows.n)

    def packed(self, Py_ssize_t size):
        """Return the value of each row, one behind the other.

        Parameters
        ----------
        size : int
            Bytes of each: of an integer without sign, in the machine's order, or as many as each value has.

        Returns
        -------
        memoryview
            Of bytes.
        """
        cdef const int32_t* places = <const int32_t*>PyByteArray_AS_STRING(self.places)
        cdef bytes each = b"".join([
            value if type(value) is bytes else value.to_bytes(size, byteorder) for value in self.values
        ])
        cdef bytearray packed = bytearray(size * self.n)
        cdef const char* source = each
        cdef char* target = PyByteArray_AS_STRING(packed)
        cdef Py_ssize_t row
        for row in range(self.n):
            memcpy(target + row * size, source + places[row] * size, size)
        return memoryview(packed)


cdef Column column_of(PlainRows rows, int at, object key):
    """The column of the key that is there among those of the rows, -1: nowhere; None if a value has a mistake."""
    cdef const int32_t* numbers = <const int32_t*>PyByteArray_AS_STRING(rows.numbers)
    cdef int32_t* place_of = <int32_t*>PyByteArray_AS_STRING(rows.values.places) + 1
    cdef Column column = Column(rows)
    cdef int32_t* places = <int32_t*>PyByteArray_AS_STRING(column.places)
    cdef list different = []
    cdef int32_t number
    cdef Py_ssize_t row
    for row in range(rows.n):
        number = numbers[row * MOST_KEYS + at] if at >= 0 else -1
        if place_of[number] < 0:
            place_of[number] = <int32_t>len(different)
            different.append(number)
        places[row] = place_of[number]
    for number in different:
        place_of[number] = -1
    if key.default is ... and -1 in different:
        return None
    try:
        column.values = [key.default if number < 0 else key.read(rows.values.values[number]) for number in different]
    except (TypeError, ValueError):
        return None
    return column


# ---- the whole text ------------------------------------------------------------------------------------------------------


cdef PlainRows rows_of(dict whole, Values values, Piece header):
    """The rows to which a header adds one; None: this reader can't tell."""
    cdef const char* dot = <const char*>memchr(header.start, c'.', header.n)
    cdef const char* stop = header.start + header.n
    cdef Piece name = Piece(header.start, (stop if dot == NULL else dot) - header.start)
    cdef Piece inner
    cdef int32_t* number
    if name.n == 0:
        return None
    rows = whole.get(word(name))
    if dot == NULL:
        if rows is None:
            rows = whole[word(name)] = PlainRows(values)
    elif type(rows) is PlainRows:
        inner = Piece(dot + 1, stop - dot - 1)
        number = (<PlainRows>rows).last(inner) if inner.n > 0 else NULL
        if number == NULL:
            return None
        if number[0] < 0:
            number[0] = <int32_t>len(values.values)
            values.values.append(PlainRows(values))
        rows = values.values[number[0]]
    return rows if type(rows) is PlainRows else None


def read_plain(str text not None):
    """Read a table file's TOML, if it is as plain as nearly all are.

    Parameters
    ----------
    text : str

    Returns
    -------
    dict or None
        What ``tomli.loads`` would return, but that lists of tables are PlainRows; None where this reader can't tell.
    """
    cdef const char* at
    cdef const char* end
    cdef Piece name, found, header = Piece(NULL, 0)
    cdef PlainRows rows = None
    cdef Values values = Values()
    cdef dict whole = {}
    cdef int32_t number
    cdef int32_t* last
    cdef Py_ssize_t n
    try:
        at = PyUnicode_AsUTF8AndSize(text, &n)
    except UnicodeEncodeError:      # a lone surrogate
        return None
    if n > INT32_MAX:       # there may be more values than numbers
        return None
    end = at + n
    while at < end:
        at = past_blanks(at)
        if is_bare(at[0]):
            name.start = at
            at = past_name(at)
            name.n = at - name.start
            at = past_blanks(at)
            if at[0] != c'=':
                return None
            at = past_blanks(at + 1)
            found.start = at
            at = past_value(at, end)
            if at == NULL:
                return None
            found.n = at - found.start
            number = values.number(found)
            if number < 0:
                return None
            if rows is None:
                key = word(name)
                if key in whole:
                    return None
                whole[key] = values.values[number]
            else:
                last = rows.last(name)
                if last == NULL or last[0] >= 0:
                    return None
                last[0] = number
        elif at[0] == c'[' and at[1] == c'[':
            name.start = past_blanks(at + 2)
            at = past_name(name.start)
            if at[0] == c'.':
                at = past_name(at + 1)
            name.n = at - name.start
            at = past_blanks(at)
            if at[0] != c']' or at[1] != c']':
                return None
            at += 2
            if rows is None or not is_same(&header, &name):
                header = name
                rows = rows_of(whole, values, header)
                if rows is None:
                    return None
            rows.add_row()
        at = past_line(at, end)
        if at == NULL:
            return None
    values.clear_places()
    return whole
