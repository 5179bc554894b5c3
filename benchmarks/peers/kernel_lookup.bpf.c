/* Two XDP programs that kernel_lookup.c runs: the kernel's listener lookup, and the same without the lookup. */

#include "kernel_lookup.h"
#include <bpf/bpf_helpers.h>
#include <linux/bpf.h>

struct kernel_packets shared;

static __always_inline int next(struct xdp_md *context, int lookup)
{
    struct bpf_sock_tuple tuple = {};
    __u32 i = shared.number++ & shared.last & (MOST_PACKETS - 1);
    const struct kernel_packet *packet = &shared.packets[i];
    tuple.ipv4.saddr = packet->destination;
    tuple.ipv4.daddr = packet->destination;
    tuple.ipv4.sport = packet->source_port;
    tuple.ipv4.dport = packet->destination_port;
    if (!lookup) {
        asm volatile("" : : "r"(&tuple) : "memory");
        return XDP_PASS;
    }
    struct bpf_sock *socket = bpf_skc_lookup_tcp(context, &tuple, sizeof tuple.ipv4, BPF_F_CURRENT_NETNS, 0);
    if (!socket)
        return XDP_PASS;
    if (socket->src_ip4 == packet->destination && socket->src_port == __builtin_bswap16(packet->destination_port))
        shared.found++;
    bpf_sk_release(socket);
    return XDP_PASS;
}

SEC("xdp")
int look_up(struct xdp_md *context)
{
    return next(context, 1);
}

SEC("xdp")
int without(struct xdp_md *context)
{
    return next(context, 0);
}

char licence[] SEC("license") = "GPL";
