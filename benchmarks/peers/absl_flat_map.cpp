/* absl::flat_hash_map with its own hash of a 64-bit key, in two steps:
 * (VLAN, address) -> VNAS, then (protocol, port, VNAS) -> socket.
 *
 * usage: absl_flat_map find|prefetch FOLDER PASSES
 *
 * find: one packet after the other. prefetch: each step for 32 packets at once, their slots prefetched before.
 */

#include "work.h"
#include <absl/container/flat_hash_map.h>

enum { BATCH = 32 };

struct Tables {
    Packets packets;
    absl::flat_hash_map<uint64_t, uint32_t> vnases;
    absl::flat_hash_map<uint64_t, int32_t> sockets;
};

static void find(void *context, size_t start, size_t end)
{
    const Tables &tables = *static_cast<const Tables *>(context);
    for (size_t i = start; i < end; i++) {
        const Key &key = tables.packets.keys[i];
        int32_t answer = NO_SOCKET;
        auto vnas = tables.vnases.find(address_word(key.vlan, key.destination));
        if (vnas != tables.vnases.end()) {
            auto socket = tables.sockets.find(socket_word(key.protocol, key.destination_port, vnas->second));
            if (socket != tables.sockets.end())
                answer = socket->second;
        }
        tables.packets.answers[i] = answer;
    }
}

static void prefetch(void *context, size_t first, size_t last)
{
    const Tables &tables = *static_cast<const Tables *>(context);
    for (size_t start = first; start < last; start += BATCH) {
        const Key *keys = tables.packets.keys + start;
        int32_t *answers = tables.packets.answers + start;
        size_t n = start + BATCH < last ? BATCH : last - start, n_found = 0;
        uint64_t words[BATCH];
        uint8_t found[BATCH];
        for (size_t i = 0; i < n; i++) {
            words[i] = address_word(keys[i].vlan, keys[i].destination);
            tables.vnases.prefetch(words[i]);
        }
        for (size_t i = 0; i < n; i++) {
            auto vnas = tables.vnases.find(words[i]);
            answers[i] = NO_SOCKET;
            if (vnas == tables.vnases.end())
                continue;
            words[n_found] = socket_word(keys[i].protocol, keys[i].destination_port, vnas->second);
            tables.sockets.prefetch(words[n_found]);
            found[n_found++] = (uint8_t)i;
        }
        for (size_t i = 0; i < n_found; i++) {
            auto socket = tables.sockets.find(words[i]);
            if (socket != tables.sockets.end())
                answers[found[i]] = socket->second;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: absl_flat_map find|prefetch FOLDER PASSES\n");
        return 2;
    }
    Tables tables{packets_of(argv[2]), {}, {}};
    const Packets &packets = tables.packets;
    tables.vnases.reserve(packets.n_addresses);
    for (size_t i = 0; i < packets.n_addresses; i++)
        tables.vnases.emplace(address_word(packets.addresses[i].vlan, packets.addresses[i].address),
                              packets.addresses[i].vnas);
    tables.sockets.reserve(packets.n_sockets);
    for (size_t i = 0; i < packets.n_sockets; i++)
        tables.sockets.emplace(socket_word(packets.sockets[i].protocol, packets.sockets[i].port, packets.sockets[i].vnas),
                               packets.sockets[i].socket);
    return report(&tables.packets, strcmp(argv[1], "find") == 0 ? find : prefetch, &tables, strtoull(argv[3], NULL, 10));
}
