/* boost::unordered_flat_map with boost's own hash of a 64-bit key.
 *
 * usage: boost_flat_map two|one FOLDER PASSES
 *
 * two: (VLAN, address) -> VNAS, then (protocol, port, VNAS) -> socket.
 * one: (VLAN, address, protocol, port) -> socket; a socket is in the table once for each address of its VNAS.
 */

#include "work.h"
#include <boost/unordered/unordered_flat_map.hpp>
#include <vector>

struct Tables {
    Packets packets;
    boost::unordered_flat_map<uint64_t, uint32_t> vnases;
    boost::unordered_flat_map<uint64_t, int32_t> sockets;
};

static void two_steps(void *context, size_t start, size_t end)
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

static void one_step(void *context, size_t start, size_t end)
{
    const Tables &tables = *static_cast<const Tables *>(context);
    for (size_t i = start; i < end; i++) {
        const Key &key = tables.packets.keys[i];
        auto socket = tables.sockets.find(fused_word(key.vlan, key.destination, key.protocol, key.destination_port));
        tables.packets.answers[i] = socket != tables.sockets.end() ? socket->second : NO_SOCKET;
    }
}

static void fill_two(Tables &tables)
{
    const Packets &packets = tables.packets;
    tables.vnases.reserve(packets.n_addresses);
    for (size_t i = 0; i < packets.n_addresses; i++)
        tables.vnases.emplace(address_word(packets.addresses[i].vlan, packets.addresses[i].address),
                              packets.addresses[i].vnas);
    tables.sockets.reserve(packets.n_sockets);
    for (size_t i = 0; i < packets.n_sockets; i++)
        tables.sockets.emplace(socket_word(packets.sockets[i].protocol, packets.sockets[i].port, packets.sockets[i].vnas),
                               packets.sockets[i].socket);
}

static void fill_one(Tables &tables)
{
    const Packets &packets = tables.packets;
    boost::unordered_flat_map<uint32_t, std::vector<const Address *>> addresses_of;
    size_t n = 0;
    for (size_t i = 0; i < packets.n_addresses; i++)
        addresses_of[packets.addresses[i].vnas].push_back(&packets.addresses[i]);
    for (size_t i = 0; i < packets.n_sockets; i++)
        n += addresses_of[packets.sockets[i].vnas].size();
    tables.sockets.reserve(n);
    for (size_t i = 0; i < packets.n_sockets; i++) {
        const Socket &socket = packets.sockets[i];
        for (const Address *address : addresses_of[socket.vnas])
            tables.sockets.emplace(fused_word(address->vlan, address->address, socket.protocol, socket.port), socket.socket);
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: boost_flat_map two|one FOLDER PASSES\n");
        return 2;
    }
    bool two = strcmp(argv[1], "two") == 0;
    Tables tables{packets_of(argv[2]), {}, {}};
    two ? fill_two(tables) : fill_one(tables);
    return report(&tables.packets, two ? two_steps : one_step, &tables, strtoull(argv[3], NULL, 10));
}
