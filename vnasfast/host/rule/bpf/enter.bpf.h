/* How sockets come into the table of sockets. They leave it by themselves when they close.
 *
 *  - TCP: when a socket listens (sockops).
 *  - UDP has no such moment that a program may use. The first packet for an endpoint that the table lacks brings its socket in, before
 *    the kernel looks for it: the ingress program asks the kernel's own lookup for the socket that is bound to the VNAS's address, and
 *    enters it if it is the VNAS's. That needs no process of ours, and loses no packet.
 *  - TCP again: of several that share a port the table holds one. When one of them closes that is noted (sockops), and the next SYN
 *    brings in another as the first packet does over UDP. Connections pay nothing for that while no such note is there.
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

static __always_inline bool shares_port(const void *sk)
{
	const struct sock_common *common = plain(sk);

	return BPF_CORE_READ_BITFIELD_PROBED(common, skc_reuseport);
}

static __always_inline void note_lost(const struct endpoint *endpoint, __u8 how)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&lost_count, &first);

	if (count && !bpf_map_update_elem(&lost, endpoint, &how, BPF_NOEXIST))
		__sync_fetch_and_add(count, 1);
}

static __always_inline void forget_lost(const struct endpoint *endpoint)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&lost_count, &first);

	if (count && !bpf_map_delete_elem(&lost, endpoint))
		__sync_fetch_and_sub(count, 1);
}

/* The table has a socket there that does not end. */
static __always_inline void found_again(const struct endpoint *endpoint)
{
	__u8 *how = endpoint->protocol == IPPROTO_TCP ? bpf_map_lookup_elem(&lost, endpoint) : NULL;

	if (how && *how == LOST_ONCE)
		forget_lost(endpoint);
}

/* Do others wait where this listener, which is about to end, waits too? */
static __always_inline bool leaves_others(const void *sk)
{
	const struct sock *ending = plain(sk);
	const struct sock_reuseport *group = BPF_CORE_READ(ending, sk_reuseport_cb);

	return group && BPF_CORE_READ(group, num_socks) > 1;
}

/* Listeners begin and end. A listener's connections inherit that their changes of state are told; there is nothing to do for them. */
SEC("sockops")
int vnas_listen(struct bpf_sock_ops *ctx)
{
	struct endpoint endpoint = {.protocol = IPPROTO_TCP};
	struct bpf_sock *sk = ctx->sk;
	struct member *member;
	bool ends, others = false, told = false;
	__u32 families;

	ends = ctx->op == BPF_SOCK_OPS_STATE_CB && ctx->args[0] == TCP_LISTEN;
	if ((!ends && ctx->op != BPF_SOCK_OPS_TCP_LISTEN_CB) || !sk)
		return 1;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	if (!member || !endpoint_of(sk, member, &endpoint, &families))
		return 1;
	member->ends = ends;
	if (ends)
		others = leaves_others(sk);
	else
		told = shares_port(sk);
	note_specific(&endpoint);
	for (__u32 family = FAMILY4; family <= FAMILY6; family++) {
		if (!(families & family))
			continue;
		endpoint.family = family;
		if (ends) {
			if (others)
				note_lost(&endpoint, LOST_ONCE);
			else
				forget_lost(&endpoint);
		} else if (bpf_sock_hash_update(ctx, &sockets, &endpoint, BPF_ANY)) { /* it is full */
			note_lost(&endpoint, LOST_ONCE);
			told = true;
		}
	}
	if (told)
		bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
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

/* Is a socket of the VNAS found at `local` by the kernel that waits for what is being looked for? Then it is entered, unless it ends. */
static __always_inline bool enter_from(struct __sk_buff *skb, const struct endpoint *wanted, const struct address *local,
				       const struct address *remote, __be16 remote_port, bool *ends)
{
	struct endpoint endpoint = *wanted;
	struct bpf_sock *sk;
	struct member *member;
	__u32 families = 0, waits;
	bool found;

	sk = ask(skb, wanted->protocol, local, remote, wanted->port, remote_port);
	if (!sk)
		return false;
	waits = wanted->protocol == IPPROTO_TCP ? TCP_LISTEN : TCP_CLOSE;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	__builtin_memset(&endpoint.address, 0, sizeof(endpoint.address));
	found = sk->state == waits && member && member->vnas == wanted->vnas && endpoint_of(sk, member, &endpoint, &families) &&
		families & wanted->family && (is_zero(&endpoint.address) || same(&endpoint.address, &wanted->address));
	*ends = found && member->ends;
	if (found && !*ends) {
		note_specific(&endpoint);
		if (!bpf_map_update_elem(&sockets, &endpoint, sk, BPF_ANY))
			found_again(&endpoint);
		else if (wanted->protocol == IPPROTO_TCP)
			note_lost(&endpoint, LOST_ONCE);
	}
	bpf_sk_release(sk);
	return found;
}

struct ports {
	__be16 remote, local;
};

/* By TCP's flags: SYN without ACK. */
static __always_inline bool asks_for_listener(__u8 flags)
{
	return (flags & 0x12) == 2;
}

/* Is a TCP socket lost that should get this? Says in `wanted` where it waits. */
static __always_inline bool find_lost(struct endpoint *wanted)
{
	struct member *member;
	struct bpf_sock *sk;
	bool there;

	if (!bpf_map_lookup_elem(&lost, wanted)) {
		__builtin_memset(&wanted->address, 0, sizeof(wanted->address));
		if (!bpf_map_lookup_elem(&lost, wanted))
			return false;
	}
	sk = waiting(wanted);
	if (!sk)
		return true;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	there = member && !member->ends;
	bpf_sk_release(sk);
	if (there)
		found_again(wanted);
	return !there;
}

/* Does the table lack the UDP socket that should get this, if there is one? */
static __always_inline bool lacks(struct endpoint *wanted)
{
	bool specific = has_specifics(wanted->vnas);
	struct bpf_sock *sk = specific ? waiting(wanted) : NULL;

	if (!sk && !(specific && bpf_map_lookup_elem(&bound, wanted))) {
		__builtin_memset(&wanted->address, 0, sizeof(wanted->address));
		sk = waiting(wanted);
	}
	if (!sk)
		return true;
	bpf_sk_release(sk);
	return false;
}

/* Copy what lies so many bytes behind the start of the IP header. With Ethernet's headers it is read where it lies: the call that reads
 * it on all interfaces takes 80 ns here, as much as the rest of what is done for most packets. */
static __always_inline bool read(struct __sk_buff *skb, bool ethernet, __u32 offset, void *into, __u32 size)
{
	const void *from = (const void *)(long)skb->data + ETHERNET_HEADER + offset;

	if (ethernet && from + size <= (const void *)(long)skb->data_end) {
		__builtin_memcpy(into, __builtin_assume_aligned(from, 4), size); /* as it is to the processor; else clang reads bytes */
		return true;
	}
	return !bpf_skb_load_bytes_relative(skb, offset, into, size, BPF_HDR_START_NET);
}

static __always_inline bool tcp_is_lost(void)
{
	__u32 first = 0;
	__u64 *count = bpf_map_lookup_elem(&lost_count, &first);

	return count && *count;
}

static __always_inline int enter(struct __sk_buff *skb, bool ethernet)
{
	struct address local, remote, zero = {};
	struct endpoint endpoint = {}, marked;
	struct owner *owner;
	struct ports ports;
	struct vnas *vnas;
	__u32 slot, offset, first = 0, *busy;
	__u8 protocol, flags;
	bool ends = false;

	if (skb->protocol == bpf_htons(0x0800)) {
		__u8 start[20];

		if (!read(skb, ethernet, 0, start, sizeof(start)))
			return -1;
		protocol = start[9];
		offset = (start[0] & 15) * 4;
		if ((start[6] & 0x1f) | start[7]) /* a later fragment has no ports */
			return -1;
		remote = ipv4(*(__be32 *)(start + 12));
		local = ipv4(*(__be32 *)(start + 16));
		endpoint.family = FAMILY4;
	} else if (skb->protocol == bpf_htons(0x86dd)) {
		__u32 start[10];

		if (!read(skb, ethernet, 0, start, sizeof(start)))
			return -1;
		protocol = ((__u8 *)start)[6];
		offset = 40;
		__builtin_memcpy(&remote, start + 2, sizeof(remote));
		__builtin_memcpy(&local, start + 6, sizeof(local));
		endpoint.family = FAMILY6;
	} else {
		return -1;
	}
	if (protocol == IPPROTO_TCP) {
		if (!tcp_is_lost() || !read(skb, ethernet, offset + 13, &flags, 1) || !asks_for_listener(flags))
			return -1;
	} else if (protocol != IPPROTO_UDP) {
		return -1;
	}
	if (!read(skb, ethernet, offset, &ports, sizeof(ports)))
		return -1;
	owner = bpf_map_lookup_elem(&addresses, &local);
	slot = owner ? owner->vnas : loopback_owner(&local);
	if (!slot)
		return -1;

	endpoint.vnas = slot;
	endpoint.port = bpf_ntohs(ports.local);
	endpoint.protocol = protocol;
	endpoint.address = local;
	marked = endpoint;
	if (protocol == IPPROTO_TCP ? !find_lost(&marked) : !lacks(&marked))
		return -1;
	vnas = bpf_map_lookup_elem(&vnases, &slot);
	busy = bpf_map_lookup_elem(&asking, &first);
	if (!vnas || !busy)
		return -1;
	if (protocol == IPPROTO_TCP) { /* else the kernel finds what is left of an earlier connection */
		remote = zero;
		ports.remote = 0;
	}
	*busy = 1;
	/* bound to the address itself, or to nothing; then what ANY becomes, and ANY of a dual-stack socket */
	if (!enter_from(skb, &endpoint, &local, &remote, ports.remote, &ends) &&
	    !enter_from(skb, &endpoint, endpoint.family == FAMILY4 ? &vnas->any4 : &vnas->any6, &zero, 0, &ends) &&
	    !enter_from(skb, &endpoint, endpoint.family == FAMILY4 ? &vnas->any6 : &vnas->any4, &zero, 0, &ends) &&
	    protocol == IPPROTO_TCP)
		forget_lost(&marked); /* the last of them has ended too */
	*busy = 0;
	/* Others wait, but the kernel still finds the one that ends. The peer, not being refused, sends its SYN again. */
	if (ends)
		return DROP;
	return -1; /* whatever else looks at the packet shall */
}

SEC("tc")
int vnas_enter(struct __sk_buff *skb)
{
	return enter(skb, false);
}

SEC("tc")
int vnas_enter_eth(struct __sk_buff *skb)
{
	const __u8 *ip = (const __u8 *)(long)skb->data + ETHERNET_HEADER;

	/* most packets; said first, as reading what only the others need takes a third of the whole */
	if (ip + 10 <= (const __u8 *)(long)skb->data_end && !tcp_is_lost() &&
	    ((skb->protocol == bpf_htons(0x0800) && ip[9] == IPPROTO_TCP) ||
	     (skb->protocol == bpf_htons(0x86dd) && ip[6] == IPPROTO_TCP)))
		return -1;
	return enter(skb, true);
}

/* Will sockops be told when this listener ends? */
static __always_inline bool is_told(const void *sk)
{
	const struct tcp_sock *tcp = plain(sk);

	return BPF_CORE_READ(tcp, bpf_sock_ops_cb_flags) & BPF_SOCK_OPS_STATE_CB_FLAG;
}

static __always_inline void enter_found(struct sock *sk, __u8 protocol)
{
	struct endpoint endpoint = {.protocol = protocol};
	struct member *member, made = {};
	__u32 families;
	bool untold;

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
	note_specific(&endpoint);
	untold = protocol == IPPROTO_TCP && shares_port(sk) && !is_told(sk);
	for (__u32 family = FAMILY4; family <= FAMILY6; family++) {
		if (!(families & family))
			continue;
		endpoint.family = family;
		if (untold)
			note_lost(&endpoint, LOST_ALWAYS);
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

/* Over files, not over TCP's sockets: among these are requests for connections, which Linux 6.18's iterator takes references to that they
 * can't give yet ("refcount_t: addition on 0; use-after-free", while clients connect). */
SEC("iter/task_file")
int vnas_enter_tcp(struct bpf_iter__task_file *ctx)
{
	struct file *file = ctx->file;
	struct socket *socket;
	struct sock *sk;
	__u16 family;

	barrier_var(file); /* else it is read again after the check */
	socket = file ? bpf_sock_from_file(file) : NULL;
	sk = socket ? socket->sk : NULL;
	if (!sk)
		return 0;
	family = BPF_CORE_READ(sk, __sk_common.skc_family);
	if ((family == AF_INET || family == AF_INET6) && BPF_CORE_READ(sk, sk_protocol) == IPPROTO_TCP &&
	    BPF_CORE_READ(sk, __sk_common.skc_state) == TCP_LISTEN)
		enter_found(sk, IPPROTO_TCP);
	return 0;
}
