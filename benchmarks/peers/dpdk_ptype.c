/* DPDK's rte_net_get_ptype over frames in memory: it parses only.
 *
 * usage: dpdk_ptype FOLDER PASSES
 *
 * The folder holds `frames`, one behind the other, their `starts` (8 bytes each) and `lengths` (4), and the `keys` they
 * were made of: that of IPv4 packets has the source's first byte, that of IPv6 packets is 0 there. An mbuf is set to each
 * frame in turn, so that no memory but the frames is gone through. Prints what the other peers print; a wrong answer is a
 * packet type that is not the key's.
 */

#include "work.h"
#include <rte_mbuf.h>
#include <rte_net.h>

typedef struct {
    const uint8_t *frames;
    const uint64_t *starts;
    const uint32_t *lengths;
    uint32_t *types;
    struct rte_mbuf mbuf;
} Parsing;

static void parse(void *context, size_t start, size_t end)
{
    Parsing *parsing = context;
    struct rte_net_hdr_lens lengths;
    for (size_t i = start; i < end; i++) {
        parsing->mbuf.buf_addr = (void *)(uintptr_t)(parsing->frames + parsing->starts[i]);
        parsing->mbuf.data_len = (uint16_t)parsing->lengths[i];
        parsing->mbuf.pkt_len = parsing->lengths[i];
        parsing->types[i] = rte_net_get_ptype(&parsing->mbuf, &lengths, RTE_PTYPE_ALL_MASK);
    }
}

static int is_right(uint32_t type, const Key *key)
{
    int vlan = (type & RTE_PTYPE_L2_MASK) == RTE_PTYPE_L2_ETHER_VLAN;
    uint32_t transport = key->protocol == 6 ? RTE_PTYPE_L4_TCP : RTE_PTYPE_L4_UDP;
    return vlan == (key->vlan != 0) && (key->source[0] != 0 ? RTE_ETH_IS_IPV4_HDR(type) : RTE_ETH_IS_IPV6_HDR(type)) &&
           (type & RTE_PTYPE_L4_MASK) == transport;
}

int main(int argc, char **argv)
{
    if (argc != 3) {
        fprintf(stderr, "usage: dpdk_ptype FOLDER PASSES\n");
        return 2;
    }
    Parsing parsing = {0};
    size_t n, n_keys, bytes;
    parsing.frames = rows_of(argv[1], "frames", 1, &bytes);
    parsing.starts = rows_of(argv[1], "starts", 8, &n);
    parsing.lengths = rows_of(argv[1], "lengths", 4, &n);
    const Key *keys = rows_of(argv[1], "keys", sizeof(Key), &n_keys);
    if (n != n_keys || n == 0) {
        fprintf(stderr, "dpdk_ptype: %zu frames of %zu keys\n", n, n_keys);
        return 1;
    }
    parsing.types = pages(n * 4);
    parsing.mbuf.nb_segs = 1;
    Sample sample = measure(parse, &parsing, n, strtoull(argv[2], NULL, 10));
    size_t wrong = 0;
    for (size_t i = 0; i < n; i++)
        wrong += !is_right(parsing.types[i], &keys[i]);
    printf("%.4f %.4f %zu\n", sample.wall, sample.cpu, wrong);
    return 0;
}
