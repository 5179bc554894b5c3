/* The kernel's own listener lookup, bpf_skc_lookup_tcp, timed by BPF_PROG_TEST_RUN: net of the same program without it.
 *
 * usage: kernel_lookup PROGRAM.bpf.o FOLDER PASSES
 *
 * A kernel that knows no VNAS can't have ANY sockets of several servers on one port: each socket listens on each address
 * of its VNAS instead. They listen in a network namespace of this process, where nothing else is, and are held by child
 * processes, since one process may not have that many files open. The figures contain the kernel's reference counts.
 */

#define _GNU_SOURCE
#include "kernel_lookup.h"
#include "work.h"
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum { FRAME_BYTES = 64, SPARE_FILES = 100 };

static void fail(const char *what)
{
    fprintf(stderr, "kernel_lookup: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void listen_on(const Address *address, uint16_t port)
{
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
    int one = 1, listener = socket(AF_INET, SOCK_STREAM, 0);
    memcpy(&name.sin_addr, address->address, 4);
    if (listener < 0 || setsockopt(listener, IPPROTO_IP, IP_FREEBIND, &one, sizeof one) != 0 ||
        bind(listener, (struct sockaddr *)&name, sizeof name) != 0 || listen(listener, 1) != 0)
        fail("can't listen");
}

/* Listen with sockets first to last - 1 in a child process that ends with this one. */
static void listen_in_child(const Packets *packets, size_t first, size_t last)
{
    static int ends_with_parent[2] = {-1, -1};
    int ready[2];
    char byte = 0;
    if ((ends_with_parent[0] < 0 && pipe(ends_with_parent) != 0) || pipe(ready) != 0)
        fail("pipe");
    pid_t child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0) {
        close(ends_with_parent[1]);
        for (size_t i = first; i < last; i++)
            for (size_t j = 0; j < packets->n_addresses; j++)
                if (packets->addresses[j].vnas == packets->sockets[i].vnas)
                    listen_on(&packets->addresses[j], packets->sockets[i].port);
        if (write(ready[1], &byte, 1) != 1)
            fail("write");
        _exit(read(ends_with_parent[0], &byte, 1) != 0);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1)
        exit(1);  /* the child said why */
    close(ready[0]);
}

static void listen_all(const Packets *packets)
{
    struct rlimit files;
    if (getrlimit(RLIMIT_NOFILE, &files) != 0)
        fail("getrlimit");
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    size_t together = 0, most = 1;  /* addresses of one VNAS lie together */
    for (size_t i = 0; i < packets->n_addresses; i++) {
        together = i > 0 && packets->addresses[i].vnas == packets->addresses[i - 1].vnas ? together + 1 : 1;
        most = together > most ? together : most;
    }
    size_t of_child = (files.rlim_cur - SPARE_FILES) / most;
    for (size_t first = 0; first < packets->n_sockets; first += of_child)
        listen_in_child(packets, first, first + of_child < packets->n_sockets ? first + of_child : packets->n_sockets);
}

/* Nanoseconds per run of a program. That on the wall is the kernel's own figure, which leaves out the time in which it
 * let others run: it offers that between any two packets, so that a busy machine would drown the difference of two. */
static Sample measure_program(int program, size_t n, size_t passes)
{
    static uint8_t frame[FRAME_BYTES];
    size_t n_parts = 0, part = n < PART ? n : PART, most = (passes + 1) * n / part;
    double *wall = calloc(most, sizeof *wall), *cpu = calloc(most, sizeof *cpu);
    if (wall == NULL || cpu == NULL)
        fail("calloc");
    for (size_t start = 0; start < (passes + 1) * n; start += part) {
        LIBBPF_OPTS(bpf_test_run_opts, options, .data_in = frame, .data_size_in = sizeof frame, .repeat = (int)part);
        double begin = now(CLOCK_THREAD_CPUTIME_ID);
        if (bpf_prog_test_run_opts(program, &options) != 0)
            fail("BPF_PROG_TEST_RUN");
        if (start < n)
            continue;  /* the pass that warms the caches */
        cpu[n_parts] = (now(CLOCK_THREAD_CPUTIME_ID) - begin) / part;
        wall[n_parts++] = options.duration;
    }
    Sample sample = {median(wall, n_parts), median(cpu, n_parts)};
    free(wall);
    free(cpu);
    return sample;
}

static int quiet(enum libbpf_print_level level, const char *format, va_list arguments)
{
    return level == LIBBPF_WARN ? vfprintf(stderr, format, arguments) : 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: kernel_lookup PROGRAM.bpf.o FOLDER PASSES\n");
        return 2;
    }
    Packets packets = packets_of(argv[2]);
    size_t n = 1, passes = strtoull(argv[3], NULL, 10);
    while (2 * n <= packets.n_keys && 2 * n <= MOST_PACKETS)
        n *= 2;
    if (unshare(CLONE_NEWNET) != 0)
        fail("no network namespace of its own (root is needed)");
    libbpf_set_print(quiet);
    struct bpf_object *object = bpf_object__open_file(argv[1], NULL);
    if (object == NULL || bpf_object__load(object) != 0)
        fail("BPF is not allowed here");
    int map = bpf_map__fd(bpf_object__next_map(object, NULL));
    int look_up = bpf_program__fd(bpf_object__find_program_by_name(object, "look_up"));
    int without = bpf_program__fd(bpf_object__find_program_by_name(object, "without"));
    listen_all(&packets);
    struct kernel_packets *shared = calloc(1, sizeof *shared);
    if (shared == NULL)
        fail("calloc");
    shared->last = n - 1;
    for (size_t i = 0; i < n; i++) {
        const Key *key = &packets.keys[i];
        shared->packets[i] = (struct kernel_packet){ipv4(key->destination), htons(key->destination_port), key->source_port};
    }
    uint32_t zero = 0;
    if (bpf_map_update_elem(map, &zero, shared, BPF_ANY) != 0)
        fail("BPF map");
    Sample net = measure_program(look_up, n, passes);
    if (bpf_map_lookup_elem(map, &zero, shared) != 0)
        fail("BPF map");
    size_t expected = 0;
    for (size_t i = 0; i < n; i++)
        expected += packets.expected[i] >= 0;
    size_t wrong = llabs((long long)(expected * (passes + 1)) - (long long)shared->found);
    Sample empty = measure_program(without, n, passes);
    printf("%.4f %.4f %zu\n", net.wall - empty.wall, net.cpu - empty.cpu, wrong);
    return 0;
}
