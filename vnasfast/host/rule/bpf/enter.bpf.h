/* How sockets come into the table of sockets. They leave it by themselves when they close.
 *
 *  - TCP: when a socket listens (sockops).
 *  - UDP has no such moment that a program may use. The first packet for an endpoint that the table lacks brings its socket in, before
 *    the kernel looks for it: the ingress program asks the kernel's own lookup for the socket that is bound to the VNAS's address, and
 *    enters it if it is the VNAS's. That needs no process of ours, and loses no packet. It also brings in TCP sockets that the
 *    table lost: of several that share a port the table holds one, and the next takes its place when it closes.
 *  - All that are there: the iterators, which user space runs when it takes over sockets (up, reload, attach, check). */
#pragma once

#include "dispatch.bpf.h"
#include "members.bpf.h"

/* The endpoint of a bound socket, but for the family. */
static __always_inline bool endpoint_of(const void *sk, struct member *member, struct endpoint *endpoint, __u32 *families)
{
	const struct sock_common *common = plain(sk);
	__u16 family = BPF_CORE_READ(common, skc_family);
	struct address address = {};

	endpoint->vnas = member->vnas;
	endpoint->port = BPF_CORE_READ(common, skc_num);
	if (!endpoint->port)
		return false;
	if (member->any) {
		*families = member->any;
		return true;
	}
	if (family == AF_INET) {
		__be32 ip = BPF_CORE_READ(common, skc_rcv_saddr);

		if (ip)
			address = ipv4(ip);
	} else {
		BPF_CORE_READ_INTO(&address, common, skc_v6_rcv_saddr);
	}
	endpoint->address = address;
	if (is_zero(&address)) /* bound by listen() or by sending, where no hook could change the address */
		*families = family == AF_INET ? FAMILY4 : is_v6only(sk) ? FAMILY6 : FAMILY4 | FAMILY6;
	else
		*families = is_ipv4(&address) ? FAMILY4 : FAMILY6;
	return true;
}

SEC("sockops")
int vnas_listen(struct bpf_sock_ops *ctx)
{
	struct endpoint endpoint = {.protocol = IPPROTO_TCP};
	struct bpf_sock *sk = ctx->sk;
	struct member *member;
	__u32 families;

	if (ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB || !sk)
		return 1;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	if (!member || !endpoint_of(sk, member, &endpoint, &families))
		return 1;
	if (families & FAMILY4) {
		endpoint.family = FAMILY4;
		bpf_sock_hash_update(ctx, &sockets, &endpoint, BPF_ANY);
	}
	if (families & FAMILY6) {
		endpoint.family = FAMILY6;
		bpf_sock_hash_update(ctx, &sockets, &endpoint, BPF_ANY);
	}
	return 1;
}

static __always_inline struct bpf_sock *ask(struct __sk_buff *skb, __u8 protocol, const struct address *local,
					    const struct address *remote, __u16 port, __be16 remote_port)
{
	struct bpf_sock_tuple tuple = {};
	__u32 size;

	if (is_ipv4(local)) {
		tuple.ipv4.saddr = is_ipv4(remote) ? remote->word[3] : 0;
		tuple.ipv4.sport = remote_port;
		tuple.ipv4.daddr = local->word[3];
		tuple.ipv4.dport = bpf_htons(port);
		size = sizeof(tuple.ipv4);
	} else {
		__builtin_memcpy(tuple.ipv6.saddr, remote, sizeof(*remote));
		tuple.ipv6.sport = remote_port;
		__builtin_memcpy(tuple.ipv6.daddr, local, sizeof(*local));
		tuple.ipv6.dport = bpf_htons(port);
		size = sizeof(tuple.ipv6);
	}
	if (protocol == IPPROTO_TCP)
		return bpf_sk_lookup_tcp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
	return bpf_sk_lookup_udp(skb, &tuple, size, BPF_F_CURRENT_NETNS, 0);
}

/* Enter the socket that the kernel finds at `local`, if it is the VNAS's and waits for what is being looked for. */
static __always_inline bool enter_from(struct __sk_buff *skb, const struct endpoint *wanted, const struct address *local,
				       const struct address *remote, __be16 remote_port)
{
	struct endpoint endpoint = *wanted;
	struct bpf_sock *sk;
	struct member *member;
	__u32 families = 0, waits;
	bool entered = false;

	sk = ask(skb, wanted->protocol, local, remote, wanted->port, remote_port);
	if (!sk)
		return false;
	waits = wanted->protocol == IPPROTO_TCP ? TCP_LISTEN : TCP_CLOSE;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	__builtin_memset(&endpoint.address, 0, sizeof(endpoint.address));
	if (sk->state == waits && member && member->vnas == wanted->vnas && endpoint_of(sk, member, &endpoint, &families) &&
	    families & wanted->family && (is_zero(&endpoint.address) || same(&endpoint.address, &wanted->address)))
		entered = !bpf_map_update_elem(&sockets, &endpoint, sk, BPF_ANY);
	bpf_sk_release(sk);
	return entered;
}

struct ports {
	__be16 remote, local;
};

/* By TCP's flags: SYN without ACK. */
static __always_inline bool asks_for_listener(__u8 flags)
{
	return (flags & 0x12) == 2;
}

SEC("tc")
int vnas_enter(struct __sk_buff *skb)
{
	struct address local, remote, zero = {};
	struct endpoint endpoint = {};
	struct owner *owner;
	struct ports ports;
	struct bpf_sock *sk;
	struct vnas *vnas;
	__u32 slot, offset, first = 0, *busy;
	__u8 protocol;

	if (skb->protocol == bpf_htons(0x0800)) {
		__u8 start[34] = {}; /* with the flags of TCP, so that most packets take one call */

		if (bpf_skb_load_bytes_relative(skb, 0, start, sizeof(start), BPF_HDR_START_NET) &&
		    bpf_skb_load_bytes_relative(skb, 0, start, 20, BPF_HDR_START_NET))
			return -1;
		if (start[9] == IPPROTO_TCP && start[0] == 0x45 && !asks_for_listener(start[33]))
			return -1;
		protocol = start[9];
		offset = (start[0] & 15) * 4;
		if ((start[6] & 0x1f) | start[7]) /* a later fragment has no ports */
			return -1;
		remote = ipv4(*(__be32 *)(start + 12));
		local = ipv4(*(__be32 *)(start + 16));
		endpoint.family = FAMILY4;
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		__u32 start[14] = {};

		if (bpf_skb_load_bytes_relative(skb, 0, start, sizeof(start), BPF_HDR_START_NET) &&
		    bpf_skb_load_bytes_relative(skb, 0, start, 40, BPF_HDR_START_NET))
			return -1;
		protocol = ((__u8 *)start)[6];
		offset = 40;
		if (protocol == IPPROTO_TCP && !asks_for_listener(((__u8 *)start)[53]))
			return -1;
		__builtin_memcpy(&remote, start + 2, sizeof(remote));
		__builtin_memcpy(&local, start + 6, sizeof(local));
		endpoint.family = FAMILY6;
	} else {
		return -1;
	}
	if (protocol == IPPROTO_TCP) {
		__u8 flags;

		if (bpf_skb_load_bytes_relative(skb, offset + 13, &flags, 1, BPF_HDR_START_NET) || !asks_for_listener(flags))
			return -1;
	} else if (protocol != IPPROTO_UDP) {
		return -1;
	}
	if (bpf_skb_load_bytes_relative(skb, offset, &ports, sizeof(ports), BPF_HDR_START_NET))
		return -1;
	owner = bpf_map_lookup_elem(&addresses, &local);
	slot = owner ? owner->vnas : loopback_owner(&local);
	if (!slot)
		return -1;

	endpoint.vnas = slot;
	endpoint.port = bpf_ntohs(ports.local);
	endpoint.protocol = protocol;
	endpoint.address = local;
	sk = waiting(&endpoint);
	if (!sk && !(protocol == IPPROTO_UDP && bpf_map_lookup_elem(&bound, &endpoint))) {
		endpoint.address = zero;
		sk = waiting(&endpoint);
	}
	if (sk) {
		bpf_sk_release(sk);
		return -1;
	}
	vnas = bpf_map_lookup_elem(&vnases, &slot);
	busy = bpf_map_lookup_elem(&asking, &first);
	if (!vnas || !busy)
		return -1;
	endpoint.address = local;
	*busy = 1;
	/* bound to the address itself, or to nothing; then what ANY becomes, and ANY of a dual-stack socket */
	if (!enter_from(skb, &endpoint, &local, &remote, ports.remote) &&
	    !enter_from(skb, &endpoint, endpoint.family == FAMILY4 ? &vnas->any4 : &vnas->any6, &zero, 0))
		enter_from(skb, &endpoint, endpoint.family == FAMILY4 ? &vnas->any6 : &vnas->any4, &zero, 0);
	*busy = 0;
	return -1; /* whatever else looks at the packet shall */
}

static __always_inline void enter_found(struct sock *sk, __u8 protocol)
{
	struct endpoint endpoint = {.protocol = protocol};
	struct member *member, made = {};
	__u32 families;

	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	if (!member) {
		if (BPF_CORE_READ(sk, __sk_common.skc_net.net, net_cookie) != config.netns)
			return;
		made.vnas = slot_of_sock(sk);
		if (!made.vnas)
			return;
		member = bpf_sk_storage_get(&members, sk, &made, BPF_SK_STORAGE_GET_F_CREATE);
		if (!member)
			return;
	}
	if (!endpoint_of(sk, member, &endpoint, &families))
		return;
	if (families & FAMILY4) {
		endpoint.family = FAMILY4;
		bpf_map_update_elem(&sockets, &endpoint, sk, BPF_ANY);
	}
	if (families & FAMILY6) {
		endpoint.family = FAMILY6;
		bpf_map_update_elem(&sockets, &endpoint, sk, BPF_ANY);
	}
}

SEC("iter/udp")
int vnas_enter_udp(struct bpf_iter__udp *ctx)
{
	struct udp_sock *udp = ctx->udp_sk;

	if (udp && BPF_CORE_READ(udp, inet.sk.__sk_common.skc_state) == TCP_CLOSE)
		enter_found((struct sock *)udp, IPPROTO_UDP);
	return 0;
}

SEC("iter/tcp")
int vnas_enter_tcp(struct bpf_iter__tcp *ctx)
{
	struct sock_common *common = ctx->sk_common;

	if (common && BPF_CORE_READ(common, skc_state) == TCP_LISTEN)
		enter_found((struct sock *)common, IPPROTO_TCP);
	return 0;
}
