/* The source's steps 2 to 4, where the kernel asks for the socket of a new connection or datagram. */
#pragma once

#include "vnas.bpf.h"

/* The socket that waits there; to be released. One that was connected since waits for its peer only. */
static __always_inline struct bpf_sock *waiting(const struct endpoint *endpoint)
{
	struct bpf_sock *sk = bpf_map_lookup_elem(&sockets, endpoint);

	if (!sk || endpoint->protocol == IPPROTO_TCP || sk->state == TCP_CLOSE)
		return sk;
	bpf_sk_release(sk);
	return NULL;
}

/* Read an address of the packet. Both families' fields are read, since the verifier wants them at constant offsets, and the compiler
 * would join reads in two branches into one at a variable offset. */
#define ADDRESS(ctx, side, into)                                                                         \
	do {                                                                                             \
		__be32 ip4 = *(volatile __be32 *)&(ctx)->side##_ip4;                                      \
		__be32 a = *(volatile __be32 *)&(ctx)->side##_ip6[0];                                     \
		__be32 b = *(volatile __be32 *)&(ctx)->side##_ip6[1];                                     \
		__be32 c = *(volatile __be32 *)&(ctx)->side##_ip6[2];                                     \
		__be32 d = *(volatile __be32 *)&(ctx)->side##_ip6[3];                                     \
		struct address six = {.word = {a, b, c, d}};                                             \
		(into) = (ctx)->family == AF_INET ? ipv4(ip4) : six;                                     \
	} while (0)

SEC("sk_lookup")
int vnas_dispatch(struct bpf_sk_lookup *ctx)
{
	struct address local, zero = {};
	struct endpoint endpoint = {};
	struct owner *owner;
	struct bpf_sock *sk;
	__u32 slot, first = 0, *busy;
	long error;

	ADDRESS(ctx, local, local);
	owner = bpf_map_lookup_elem(&addresses, &local);
	slot = owner ? owner->vnas : loopback_owner(&local);
	if (!slot)
		return SK_PASS; /* of no VNAS: as without us */
	busy = bpf_map_lookup_elem(&asking, &first);
	if (busy && *busy)
		return SK_PASS;

	endpoint.vnas = slot;
	endpoint.port = ctx->local_port;
	endpoint.protocol = ctx->protocol;
	endpoint.family = ctx->family == AF_INET ? FAMILY4 : FAMILY6;
	endpoint.address = local;
	sk = has_specifics(slot) ? waiting(&endpoint) : NULL;
	if (!sk) {
		endpoint.address = zero;
		sk = waiting(&endpoint);
	}
	if (!sk) {
		COUNT(slot, no_socket);
		return SK_DROP;
	}
	/* Sockets that share the port share its bound address too, so the kernel's choice stays within the VNAS. */
	error = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	if (error)
		return SK_DROP;
	if (ctx->protocol == IPPROTO_TCP) {
		COUNT(slot, tcp);
	} else {
		struct vnas *vnas = bpf_map_lookup_elem(&vnases, &slot);
		struct question question = {.vnas = slot, .port = ctx->local_port, .remote_port = ctx->remote_port};

		ADDRESS(ctx, remote, question.remote);
		if ((vnas && vnas->several & endpoint.family) || is_foreign_loopback(slot, &question.remote)) {
			struct address *before = bpf_map_lookup_elem(&asked, &question);

			if (!before || !same(before, &local)) /* a lookup costs a third of an update */
				bpf_map_update_elem(&asked, &question, &local, BPF_ANY);
		}
		COUNT(slot, udp);
	}
	return SK_PASS;
}
