/* DPDK's rte_hash_lookup_bulk_data in bulks of 32, in two steps:
 * (VLAN, address) -> VNAS, then (protocol, port, VNAS) -> socket.
 *
 * usage: dpdk_hash KEY_BYTES FOLDER PASSES
 *
 * Keys are of 8 or 16 bytes; the longer are compared by rte_hash's own vector code, the shorter by memcmp.
 */

#include "work.h"
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <rte_hash_crc.h>
#include <rte_memory.h>

enum { BULK = 32, MOST_WORDS = 2 };

typedef struct {
    Packets packets;
    struct rte_hash *vnases, *sockets;
    size_t words;  /* in a key */
} Tables;

/* Without this, EAL takes --no-huge memory from a memory file, which has no huge pages unless the administrator says so.
 * When there is none, it takes anonymous memory, which may be asked for them as all the other peers' is. */
int memfd_create(const char *name, unsigned flags);
int memfd_create(const char *name, unsigned flags)
{
    (void)name;
    (void)flags;
    return -1;
}

static int ask_for_huge_pages(const struct rte_memseg_list *list, void *unused)
{
    (void)unused;
    madvise(list->base_va, list->len, MADV_HUGEPAGE);
    return 0;
}

static void look_up(void *context, size_t first, size_t last)
{
    const Tables *tables = context;
    size_t words = tables->words;
    uint64_t keys[BULK * MOST_WORDS] = {0};
    const void *pointers[BULK];
    void *data[BULK] = {0};
    uint8_t found[BULK];
    for (size_t i = 0; i < BULK; i++)
        pointers[i] = keys + i * words;
    for (size_t start = first; start < last; start += BULK) {
        const Key *packets = tables->packets.keys + start;
        int32_t *answers = tables->packets.answers + start;
        uint32_t n = start + BULK < last ? BULK : last - start, n_found = 0;
        uint64_t hits = 0;
        for (size_t i = 0; i < n; i++) {
            keys[i * words] = address_word(packets[i].vlan, packets[i].destination);
            answers[i] = NO_SOCKET;
        }
        rte_hash_lookup_bulk_data(tables->vnases, pointers, n, &hits, data);
        for (; hits != 0; hits &= hits - 1) {
            size_t i = __builtin_ctzll(hits);
            keys[n_found * words] =
                socket_word(packets[i].protocol, packets[i].destination_port, (uint32_t)(uintptr_t)data[i]);
            found[n_found++] = i;
        }
        if (n_found == 0)
            continue;
        rte_hash_lookup_bulk_data(tables->sockets, pointers, n_found, &hits, data);
        for (; hits != 0; hits &= hits - 1) {
            size_t i = __builtin_ctzll(hits);
            answers[found[i]] = (int32_t)(uintptr_t)data[i];
        }
    }
}

static struct rte_hash *new_table(const char *name, size_t n, size_t words)
{
    struct rte_hash_parameters parameters = {
        .name = name,
        .entries = n + n / 4 + 8,
        .key_len = words * 8,
        .hash_func = rte_hash_crc,
        .socket_id = SOCKET_ID_ANY,
    };
    struct rte_hash *table = rte_hash_create(&parameters);
    if (table == NULL) {
        fprintf(stderr, "dpdk_hash: no table for %zu entries: %s\n", n, rte_strerror(rte_errno));
        exit(1);
    }
    return table;
}

static void add(struct rte_hash *table, uint64_t word, uint32_t value)
{
    uint64_t key[MOST_WORDS] = {word};
    if (rte_hash_add_key_data(table, key, (void *)(uintptr_t)value) != 0) {
        fprintf(stderr, "dpdk_hash: a table is full\n");
        exit(1);
    }
}

int main(int argc, char **argv)
{
    Tables tables = {0};
    tables.words = argc == 4 ? strtoull(argv[1], NULL, 10) / 8 : 0;
    if (tables.words != 1 && tables.words != 2) {
        fprintf(stderr, "usage: dpdk_hash 8|16 FOLDER PASSES\n");
        return 2;
    }
    tables.packets = packets_of(argv[2]);
    const Packets *packets = &tables.packets;
    char megabytes[32];
    snprintf(megabytes, sizeof megabytes, "%zu", 64 + ((packets->n_addresses + packets->n_sockets) * 100 >> 20));
    char *arguments[] = {argv[0], "--no-huge", "-m", megabytes, "--no-pci", "--no-telemetry", "--no-shconf",
                         "--log-level", "error", NULL};
    if (rte_eal_init(sizeof arguments / sizeof *arguments - 1, arguments) < 0) {
        fprintf(stderr, "dpdk_hash: EAL does not start: %s\n", rte_strerror(rte_errno));
        return 1;
    }
    rte_memseg_list_walk(ask_for_huge_pages, NULL);
    tables.vnases = new_table("vnases", packets->n_addresses, tables.words);
    tables.sockets = new_table("sockets", packets->n_sockets, tables.words);
    for (size_t i = 0; i < packets->n_addresses; i++)
        add(tables.vnases, address_word(packets->addresses[i].vlan, packets->addresses[i].address),
            packets->addresses[i].vnas);
    for (size_t i = 0; i < packets->n_sockets; i++)
        add(tables.sockets, socket_word(packets->sockets[i].protocol, packets->sockets[i].port, packets->sockets[i].vnas),
            (uint32_t)packets->sockets[i].socket);
    return report(&tables.packets, look_up, &tables, strtoull(argv[3], NULL, 10));
}
