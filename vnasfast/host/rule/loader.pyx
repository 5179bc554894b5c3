"""libbpf, as far as the rule needs it: load the programs, pin, link, run iterators, read and write maps."""

import contextlib
import os

from libc.errno cimport errno, ENOENT
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, strlen

from vnasfast.errors import RuleError

cdef extern from "loader.h" nogil:
    char said[]
    void keep_what_is_said()
    int attach_ingress_c "attach_ingress"(int ifindex, int program)
    int detach_ingress_c "detach_ingress"(int ifindex)
    void remove_ingress_c "remove_ingress"(int ifindex)
    int test_run_c "test_run"(
        int program, void* context, unsigned int size, int repeat, unsigned int* answer, unsigned int* nanoseconds
    )

cdef extern from "<bpf/libbpf.h>" nogil:
    struct bpf_object:
        pass
    struct bpf_program:
        pass
    struct bpf_map:
        pass
    bpf_object* bpf_object__open_file(const char* path, const void* options)
    int bpf_object__load(bpf_object* o)
    void bpf_object__close(bpf_object* o)
    bpf_program* bpf_object__next_program(const bpf_object* o, bpf_program* program)
    bpf_map* bpf_object__next_map(const bpf_object* o, const bpf_map* m)
    const char* bpf_program__name(const bpf_program* program)
    int bpf_program__pin(bpf_program* program, const char* path)
    const char* bpf_map__name(const bpf_map* m)
    int bpf_map__set_pin_path(bpf_map* m, const char* path)
    int bpf_map__set_initial_value(bpf_map* m, const void* data, size_t size)
    bint bpf_map__is_internal(const bpf_map* m)
    int libbpf_num_possible_cpus()

cdef extern from "<bpf/bpf.h>" nogil:
    struct bpf_map_info:
        uint32_t type
        uint32_t key_size
        uint32_t value_size
        uint32_t max_entries
    int bpf_obj_get(const char* path)
    int bpf_obj_pin(int fd, const char* path)
    int bpf_obj_get_info_by_fd(int fd, void* info, uint32_t* size)
    int bpf_map_update_elem(int fd, const void* key, const void* value, uint64_t flags)
    int bpf_map_lookup_elem(int fd, const void* key, void* value)
    int bpf_map_delete_elem(int fd, const void* key)
    int bpf_map_get_next_key(int fd, const void* key, void* next_key)
    int bpf_link_create(int program, int target, int attach_type, const void* options)
    int bpf_link_update(int link, int program, const void* options)
    int bpf_iter_create(int link)

cdef enum:
    BPF_TRACE_ITER = 28
    PERCPU_ARRAY = 6
    SOCKHASH = 18


cdef object fail(int code, str doing):
    """The error for what libbpf or the kernel refused."""
    cdef str log = said[:strlen(said)].decode(errors="replace").strip()
    return RuleError(abs(code), f"{doing}: {os.strerror(abs(code))}", log)


def load(path, maps, programs, *, netns_cookie, loopback6):
    keep_what_is_said()
    cdef bpf_object* opened = bpf_object__open_file(os.fsencode(path), NULL)
    if opened == NULL:
        raise fail(errno, f"can't read {os.fspath(path)}")
    cdef bpf_program* program = NULL
    cdef bpf_map* table = NULL
    cdef bytes constants = int(netns_cookie).to_bytes(8, "little") + loopback6
    cdef bytes place
    cdef int error
    try:
        while True:
            table = bpf_object__next_map(opened, table)
            if table == NULL:
                break
            name = bpf_map__name(table).decode()
            error = 0
            if name.endswith(".config"):
                error = bpf_map__set_initial_value(table, <char*>constants, len(constants))
            elif not bpf_map__is_internal(table):
                place = os.fsencode(os.path.join(maps, name))
                error = bpf_map__set_pin_path(table, place)
            if error:
                raise fail(error, f"can't prepare the map {name}")
        with nogil:
            error = bpf_object__load(opened)
        if error:
            raise fail(error, "the kernel refuses the programs")
        while True:
            program = bpf_object__next_program(opened, program)
            if program == NULL:
                return
            name = bpf_program__name(program).decode()
            place = os.fsencode(os.path.join(programs, name))
            error = bpf_program__pin(program, place)
            if error:
                raise fail(error, f"can't pin {os.fsdecode(place)}")
    finally:
        bpf_object__close(opened)


cdef int opened_pin(path) except -1:
    keep_what_is_said()
    cdef int fd = bpf_obj_get(os.fsencode(path))
    if fd < 0:
        raise fail(fd, f"can't open {os.fspath(path)}")
    return fd


def link(program, int target, int attach_type, pin):
    cdef int program_fd = opened_pin(program)
    cdef int made = -1
    cdef int error
    try:
        made = bpf_link_create(program_fd, target, attach_type, NULL)
        if made < 0:
            raise fail(made, f"can't attach {os.path.basename(program)}")
        error = bpf_obj_pin(made, os.fsencode(pin))
        if error:
            raise fail(error, f"can't pin {os.fspath(pin)}")
    finally:
        os.close(program_fd)
        if made >= 0:
            os.close(made)


def relink(pin, program):
    cdef int program_fd = opened_pin(program)
    cdef int link_fd = -1
    cdef int error
    try:
        link_fd = opened_pin(pin)
        error = bpf_link_update(link_fd, program_fd, NULL)
        if error:
            raise fail(error, f"can't put {os.path.basename(program)} in the place of the old")
    finally:
        os.close(program_fd)
        if link_fd >= 0:
            os.close(link_fd)


def iterate(program):
    cdef int program_fd = opened_pin(program)
    cdef int link_fd = -1
    cdef int reader
    try:
        link_fd = bpf_link_create(program_fd, 0, BPF_TRACE_ITER, NULL)
        if link_fd < 0:
            raise fail(link_fd, f"can't run {os.path.basename(program)}")
        reader = bpf_iter_create(link_fd)
        if reader < 0:
            raise fail(reader, f"can't run {os.path.basename(program)}")
        try:
            while True:
                with contextlib.suppress(BlockingIOError):  # after a million of which none was ours; it goes on
                    if not os.read(reader, 4096):
                        break
        finally:
            os.close(reader)
    finally:
        os.close(program_fd)
        if link_fd >= 0:
            os.close(link_fd)


def attach_ingress(program, int ifindex):
    cdef int program_fd = opened_pin(program)
    cdef int error
    try:
        error = attach_ingress_c(ifindex, program_fd)
        if error < 0:
            raise fail(error, f"can't attach to the ingress of interface {ifindex}")
        return error == 1
    finally:
        os.close(program_fd)


def detach_ingress(int ifindex):
    keep_what_is_said()
    return detach_ingress_c(ifindex) == 0


def remove_ingress(int ifindex):
    keep_what_is_said()
    remove_ingress_c(ifindex)


def test_run(program, bytes context, int repeat):
    cdef int program_fd = opened_pin(program)
    cdef unsigned int answer = 0
    cdef unsigned int nanoseconds = 0
    cdef char* start = context
    cdef unsigned int size = len(context)
    cdef int error
    try:
        with nogil:
            error = test_run_c(program_fd, start, size, repeat, &answer, &nanoseconds)
        if error:
            raise fail(error, f"can't run {os.path.basename(program)}")
        return answer, nanoseconds
    finally:
        os.close(program_fd)


cdef class Map:
    """A pinned map: bytes to bytes."""

    cdef int fd
    cdef uint32_t key_size
    cdef uint32_t value_size
    cdef readonly uint32_t max_entries

    def __cinit__(self):
        self.fd = -1

    def __init__(self, path):
        cdef bpf_map_info info
        cdef uint32_t size = sizeof(info)
        self.fd = opened_pin(path)
        cdef int error = bpf_obj_get_info_by_fd(self.fd, &info, &size)
        if error:
            raise fail(error, f"can't read {os.fspath(path)}")
        self.key_size = info.key_size
        self.value_size = info.value_size
        self.max_entries = info.max_entries
        if info.type == PERCPU_ARRAY:
            self.value_size *= <uint32_t>libbpf_num_possible_cpus()

    def __dealloc__(self):
        if self.fd >= 0:
            os.close(self.fd)

    @property
    def zero(self):
        return bytes(self.value_size)

    def get(self, bytes key):
        cdef bytes value = bytes(self.value_size)
        self.check(key)
        cdef int error = bpf_map_lookup_elem(self.fd, <char*>key, <char*>value)
        if error == -ENOENT:
            return None
        if error:
            raise fail(error, "can't read a map")
        return value

    def set(self, bytes key, bytes value):
        self.check(key)
        if <uint32_t>len(value) != self.value_size:
            raise ValueError(f"{len(value)} bytes, not {self.value_size}")
        cdef int error = bpf_map_update_elem(self.fd, <char*>key, <char*>value, 0)
        if error:
            raise fail(error, "can't change a map")

    def delete(self, bytes key):
        self.check(key)
        cdef int error = bpf_map_delete_elem(self.fd, <char*>key)
        if error and error != -ENOENT:
            raise fail(error, "can't change a map")
        return error == 0

    def keys(self):
        cdef bytes last
        cdef bytes following = bytes(self.key_size)
        found = []
        cdef int error = bpf_map_get_next_key(self.fd, NULL, <char*>following)
        while error == 0:
            last = following
            found.append(last)
            following = bytes(self.key_size)
            error = bpf_map_get_next_key(self.fd, <char*>last, <char*>following)
        if error != -ENOENT:
            raise fail(error, "can't read a map")
        return found

    def items(self):
        pairs = [(key, self.get(key)) for key in self.keys()]
        return [(key, value) for key, value in pairs if value is not None]

    cdef int check(self, bytes key) except -1:
        if <uint32_t>len(key) != self.key_size:
            raise ValueError(f"{len(key)} bytes, not {self.key_size}")
        return 0
