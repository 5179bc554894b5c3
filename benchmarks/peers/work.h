/* What peers look up: addresses, sockets and packets that compare.py wrote, each array as a file of its rows. C and C++.
 *
 *     addresses   the ANY-address table, in order of registration
 *     sockets     the socket table: ANY sockets, one of each (protocol, port, VNAS)
 *     keys        parsed IPv4 packets, in the order in which they are to be dispatched
 *     expected    what each packet must be answered with: a socket, or a negative number
 *
 * All numbers are little-endian, IPv4 addresses in network byte order. Of a miss, a peer need not say why.
 */

#pragma once

#include "timing.h"
#include <unistd.h>

typedef struct {
    uint8_t destination[4], source[4];
    uint16_t destination_port, source_port, vlan;
    uint8_t protocol;
    int8_t status;
} Key;

typedef struct {
    uint8_t address[4];
    uint32_t vnas;
    uint16_t vlan, unused;
} Address;

typedef struct {
    uint32_t vnas;
    int32_t socket;
    uint16_t port;
    uint8_t protocol, unused;
} Socket;

typedef struct {
    const Address *addresses;
    const Socket *sockets;
    const Key *keys;
    const int32_t *expected;
    int32_t *answers;
    size_t n_addresses, n_sockets, n_keys;
    long resident_before;
} Packets;

enum { NO_SOCKET = -1 };

static inline const void *rows_of(const char *folder, const char *name, size_t row_bytes, size_t *n)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "rb");
    if (file == NULL || fseek(file, 0, SEEK_END) != 0) {
        perror(path);
        exit(1);
    }
    size_t bytes = (size_t)ftell(file);
    rewind(file);
    void *rows = pages(bytes + 1);
    if (fread(rows, 1, bytes, file) != bytes) {
        perror(path);
        exit(1);
    }
    fclose(file);
    *n = bytes / row_bytes;
    return rows;
}

/* The resident memory of this process, in bytes. */
static inline long resident(void)
{
    long total, in_memory = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%ld %ld", &total, &in_memory) != 2)
        exit(1);
    fclose(file);
    return in_memory * sysconf(_SC_PAGESIZE);
}

static inline Packets packets_of(const char *folder)
{
    Packets packets;
    size_t n_expected;
    packets.addresses = (const Address *)rows_of(folder, "addresses", sizeof(Address), &packets.n_addresses);
    packets.sockets = (const Socket *)rows_of(folder, "sockets", sizeof(Socket), &packets.n_sockets);
    packets.keys = (const Key *)rows_of(folder, "keys", sizeof(Key), &packets.n_keys);
    packets.expected = (const int32_t *)rows_of(folder, "expected", 4, &n_expected);
    if (n_expected != packets.n_keys || packets.n_keys == 0) {
        fprintf(stderr, "%s: %zu keys, %zu answers expected\n", folder, packets.n_keys, n_expected);
        exit(1);
    }
    packets.answers = (int32_t *)pages(packets.n_keys * 4);
    packets.resident_before = resident();
    return packets;
}

/* Measure, and print what compare.py reads: ns per packet by both clocks, wrong answers, bytes of tables a socket. */
static inline int report(Packets *packets, Work work, void *context, size_t passes)
{
    double bytes = (double)(resident() - packets->resident_before) / packets->n_sockets;
    Sample sample = measure(work, context, packets->n_keys, passes);
    size_t wrong = 0;
    for (size_t i = 0; i < packets->n_keys; i++) {
        int32_t answer = packets->answers[i], expected = packets->expected[i];
        wrong += expected < 0 ? answer >= 0 : answer != expected;
    }
    printf("%.4f %.4f %zu %.1f\n", sample.wall, sample.cpu, wrong, bytes);
    return 0;
}

static inline uint32_t ipv4(const uint8_t *address)
{
    uint32_t word;
    memcpy(&word, address, 4);
    return word;
}

/* The keys of the two steps, packed into one word each: what hash tables do best with. */
static inline uint64_t address_word(uint16_t vlan, const uint8_t *address)
{
    return (uint64_t)vlan << 32 | ipv4(address);
}

static inline uint64_t socket_word(uint8_t protocol, uint16_t port, uint32_t vnas)
{
    return (uint64_t)vnas << 32 | (uint32_t)protocol << 16 | port;
}

/* Both steps in one key. A VLAN ID has 12 bits; modulo 15 tells TCP, UDP, SCTP, DCCP and UDP-Lite apart. */
static inline uint64_t fused_word(uint16_t vlan, const uint8_t *address, uint8_t protocol, uint16_t port)
{
    return (uint64_t)ipv4(address) << 32 | (uint32_t)vlan << 20 | (uint32_t)(protocol % 15) << 16 | port;
}
