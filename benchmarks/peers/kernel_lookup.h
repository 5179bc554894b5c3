/* What kernel_lookup.c and its BPF programs share: the one map, in which the programs' global variable lies. */

#include <linux/types.h>

enum { MOST_PACKETS = 1 << 20 };

struct kernel_packet {
    __u32 destination;       /* network byte order */
    __u16 destination_port;  /* network byte order */
    __u16 source_port;
};

struct kernel_packets {
    __u64 number;  /* of the next packet */
    __u64 found;   /* packets whose listener has their address and port */
    __u32 last;    /* the number of packets less one: a power of two less one */
    __u32 unused;
    struct kernel_packet packets[MOST_PACKETS];
};
