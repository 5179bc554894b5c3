/* Connections and datagrams out of a VNAS: they leave from its address, and loopback stays within it. */
#pragma once

#include "bind.bpf.h"

struct in_addr4 {
	__u16 family;
	__be16 port;
	__be32 ip;
	__u8 zero[8];
};

struct in_addr6 {
	__u16 family;
	__be16 port;
	__be32 flow;
	struct address address;
	__u32 scope;
};

SEC("cgroup/connect4")
int vnas_connect4(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct in_addr4 source = {.family = AF_INET};
	struct vnas *vnas;
	__be32 ip;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	ip = ctx->user_ip4;
	if (is_loopback4(ip) || !ip) { /* a connection to ANY is one to loopback */
		ctx->user_ip4 = own_loopback4(slot, ip ? ip : bpf_htonl(0x7f000001));
		source.ip = own_loopback4(slot, bpf_htonl(0x7f000001));
	} else {
		vnas = bpf_map_lookup_elem(&vnases, &slot);
		if (!vnas || !vnas->source4.word[3])
			return refuse(slot, EADDRNOTAVAIL);
		source.ip = vnas->source4.word[3];
	}
	if (ctx->sk->src_ip4)
		return 1; /* bound, which was looked at then */
	if (!ctx->sk->src_port)
		return bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)) ? refuse(slot, EADDRNOTAVAIL) : 1;
	/* It has sent already, so it has a port, and its source can't be set any more: the kernel would take another's. */
	return is_loopback4(ctx->user_ip4) ? 1 : refuse(slot, EADDRNOTAVAIL);
}

SEC("cgroup/connect6")
int vnas_connect6(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct in_addr6 source = {.family = AF_INET6};
	struct address to, own;
	struct vnas *vnas;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	to = user_address6(ctx);
	if (is_ipv4(&to) && (is_loopback4(to.word[3]) || !to.word[3])) {
		ctx->user_ip6[3] = own_loopback4(slot, to.word[3] ? to.word[3] : bpf_htonl(0x7f000001));
		source.address = ipv4(own_loopback4(slot, bpf_htonl(0x7f000001)));
	} else if (is_loopback6(&to) || is_zero(&to)) {
		own = own_loopback6(slot);
		set_user_address6(ctx, &own);
		source.address = own;
	} else {
		vnas = bpf_map_lookup_elem(&vnases, &slot);
		if (!vnas)
			return refuse(slot, EADDRNOTAVAIL);
		source.address = is_ipv4(&to) ? vnas->source4 : vnas->source6;
		if (is_zero(&source.address))
			return refuse(slot, EADDRNOTAVAIL);
	}
	if (ctx->sk->src_ip6[0] | ctx->sk->src_ip6[1] | ctx->sk->src_ip6[2] | ctx->sk->src_ip6[3])
		return 1;
	if (!ctx->sk->src_port)
		return bpf_bind(ctx, (struct sockaddr *)&source, sizeof(source)) ? refuse(slot, EADDRNOTAVAIL) : 1;
	return loopback_owner(&source.address) ? 1 : refuse(slot, EADDRNOTAVAIL);
}

/* The source of a datagram to `to`: that which it came to, if this answers; else the VNAS's. */
static __always_inline void choose_source(struct bpf_sock_addr *ctx, struct vnas *vnas, __u32 slot, __u32 family,
					  const struct address *to, struct address *source)
{
	struct question question = {.vnas = slot, .port = ctx->sk->src_port, .remote = *to};
	struct address *found;

	*source = family == FAMILY4 ? vnas->source4 : vnas->source6;
	if (!(vnas->several & family))
		return;
	question.remote_port = ctx->user_port;
	found = bpf_map_lookup_elem(&asked, &question);
	if (found && owns(slot, found))
		*source = *found;
}

SEC("cgroup/sendmsg4")
int vnas_sendmsg4(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct question question = {};
	struct address to, source, wish, *found;
	struct vnas *vnas;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	to = ipv4(ctx->user_ip4);
	question.vnas = slot;
	question.port = ctx->sk->src_port;
	question.remote = to;
	wish = ipv4(ctx->msg_src_ip4); /* what the socket is bound to, or the message asks for */
	vnas = bpf_map_lookup_elem(&vnases, &slot);
	if (!vnas)
		return refuse(slot, EADDRNOTAVAIL);
	if (is_loopback4(to.word[3]) || !to.word[3]) {
		if (is_foreign_loopback(slot, &to)) {
			question.remote_port = ctx->user_port;
			found = bpf_map_lookup_elem(&asked, &question);
			if (found && loopback_owner(found) == slot) { /* it asked from this very address */
				ctx->msg_src_ip4 = found->word[3];
				return 1;
			}
		}
		ctx->user_ip4 = own_loopback4(slot, to.word[3] ? to.word[3] : bpf_htonl(0x7f000001));
		if (ctx->sk->state == TCP_ESTABLISHED && ctx->sk->src_ip4 == wish.word[3] && is_loopback4(wish.word[3]))
			return 1; /* an IPv6 socket that is connected to a mapped address; its peer answers to this source */
		if (is_loopback4(wish.word[3]) && loopback_owner(&wish) != slot)
			ctx->msg_src_ip4 = own_loopback4(slot, wish.word[3]);
		else if (!wish.word[3] || member->any)
			ctx->msg_src_ip4 = own_loopback4(slot, bpf_htonl(0x7f000001));
		else if (loopback_owner(&wish) != slot && !owns(slot, &wish))
			return refuse(slot, EPERM);
		return 1;
	}
	if (wish.word[3] && !(member->any && same(&wish, &vnas->any4) && !chooses_source(ctx->sk, ctx->family))) {
		if (owns(slot, &wish))
			return 1;
		if (!member->any || ctx->sk->src_ip4 != wish.word[3])
			return refuse(slot, EPERM);
	}
	choose_source(ctx, vnas, slot, FAMILY4, &to, &source);
	if (!source.word[3])
		return refuse(slot, EADDRNOTAVAIL);
	ctx->msg_src_ip4 = source.word[3];
	return 1;
}

SEC("cgroup/sendmsg6")
int vnas_sendmsg6(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct address to, source, wish;
	struct vnas *vnas;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	to = user_address6(ctx);
	if (is_ipv4(&to)) /* the kernel goes on to sendmsg4 */
		return 1;
	wish.word[0] = ctx->msg_src_ip6[0];
	wish.word[1] = ctx->msg_src_ip6[1];
	wish.word[2] = ctx->msg_src_ip6[2];
	wish.word[3] = ctx->msg_src_ip6[3];
	vnas = bpf_map_lookup_elem(&vnases, &slot);
	if (!vnas)
		return refuse(slot, EADDRNOTAVAIL);
	if (is_loopback6(&to) || is_zero(&to)) {
		source = own_loopback6(slot);
		set_user_address6(ctx, &source);
		if (!is_zero(&wish) && !is_loopback6(&wish) && !member->any && loopback_owner(&wish) != slot &&
		    !owns(slot, &wish))
			return refuse(slot, EPERM);
	} else {
		if (!is_zero(&wish) && !(member->any && (same(&wish, &vnas->any6) || is_ipv4(&wish)) &&
					 !(chooses_source(ctx->sk, AF_INET6) && !is_ipv4(&wish)))) {
			if (owns(slot, &wish))
				return 1;
			return refuse(slot, EPERM);
		}
		choose_source(ctx, vnas, slot, FAMILY6, &to, &source);
		if (is_zero(&source))
			return refuse(slot, EADDRNOTAVAIL);
	}
	ctx->msg_src_ip6[0] = source.word[0];
	ctx->msg_src_ip6[1] = source.word[1];
	ctx->msg_src_ip6[2] = source.word[2];
	ctx->msg_src_ip6[3] = source.word[3];
	return 1;
}

SEC("cgroup/recvmsg4")
int vnas_recvmsg4(struct bpf_sock_addr *ctx)
{
	struct address from = ipv4(ctx->user_ip4);

	ctx->user_ip4 = public_name(&from).word[3];
	return 1;
}

SEC("cgroup/recvmsg6")
int vnas_recvmsg6(struct bpf_sock_addr *ctx)
{
	struct address from = user_address6(ctx), name = public_name(&from);

	set_user_address6(ctx, &name);
	return 1;
}

/* The kernel asks no sendmsg hook about a connected socket, which may still name a source by IP_PKTINFO: look at what leaves. */
SEC("cgroup_skb/egress")
int vnas_leave(struct __sk_buff *skb)
{
	const __u8 *header = (const __u8 *)(long)skb->data;
	struct bpf_sock *sk = skb->sk;
	struct address source;
	struct member *member;
	__be32 ip;

	if (header + 20 <= (const __u8 *)(long)skb->data_end &&
	    header[skb->protocol == bpf_htons(0x0800) ? 9 : 6] == IPPROTO_TCP)
		return 1;
	sk = sk ? bpf_sk_fullsock(sk) : NULL;
	if (!sk || sk->protocol != IPPROTO_UDP || sk->state != TCP_ESTABLISHED)
		return 1;
	member = bpf_sk_storage_get(&members, sk, NULL, 0);
	if (!member)
		return 1;
	if (skb->protocol == bpf_htons(0x0800)) {
		if (bpf_skb_load_bytes(skb, 12, &ip, sizeof(ip)))
			return 0;
		source = ipv4(ip);
		if (is_loopback4(ip))
			return 1;
	} else if (bpf_skb_load_bytes(skb, 8, &source, sizeof(source))) {
		return 0;
	}
	if (owns(member->vnas, &source) || loopback_owner(&source) == member->vnas)
		return 1;
	COUNT(member->vnas, refused);
	return 0;
}
