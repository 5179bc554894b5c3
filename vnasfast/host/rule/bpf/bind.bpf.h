/* bind(), and what getsockname() and getpeername() say afterwards. */
#pragma once

#include "members.bpf.h"

/* Processes of a VNAS may bind the ports below 1024 of their own addresses, as on a machine of their own. */
#define ALLOW (1 | 2 /* without CAP_NET_BIND_SERVICE */)

/* May the VNAS use this address, which is neither ANY nor loopback? */
static __always_inline bool owns(__u32 slot, const struct address *address)
{
	struct owner *owner = bpf_map_lookup_elem(&addresses, address);

	return owner && owner->vnas == slot;
}

static __always_inline bool is_group(const struct address *address)
{
	if (is_ipv4(address))
		return bpf_ntohl(address->word[3]) >> 28 == 14 || address->word[3] == 0xffffffff;
	return bpf_ntohl(address->word[0]) >> 24 == 0xff;
}

/* Allow a bind to one address, and note it. */
static __always_inline int allow_bound(struct bpf_sock_addr *ctx, __u32 slot, const struct address *address)
{
	struct endpoint endpoint = {.vnas = slot, .protocol = IPPROTO_UDP, .address = *address};
	__u8 noted = 1;

	note_specific(&endpoint);
	if (ctx->protocol == IPPROTO_UDP) {
		endpoint.port = bpf_ntohs(ctx->user_port);
		endpoint.family = is_ipv4(address) ? FAMILY4 : FAMILY6;
		bpf_map_update_elem(&bound, &endpoint, &noted, BPF_ANY);
	}
	return ALLOW;
}

SEC("cgroup/bind4")
int vnas_bind4(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct address address;
	struct vnas *vnas;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	address = ipv4(ctx->user_ip4);
	member->any = 0;
	if (!address.word[3]) {
		vnas = bpf_map_lookup_elem(&vnases, &slot);
		if (!vnas)
			return refuse(slot, EADDRNOTAVAIL);
		ctx->user_ip4 = vnas->any4.word[3];
		member->any = FAMILY4;
		return ALLOW;
	}
	if (is_loopback4(address.word[3])) {
		if (bpf_ntohl(address.word[3]) - 0x7f000001 > 253) /* 127.0.0.1 to 127.0.0.254 */
			return refuse(slot, EADDRNOTAVAIL);
		address.word[3] = own_loopback4(slot, address.word[3]);
		ctx->user_ip4 = address.word[3];
		return allow_bound(ctx, slot, &address);
	}
	if (!is_group(&address) && !owns(slot, &address))
		return refuse(slot, EADDRNOTAVAIL);
	return allow_bound(ctx, slot, &address);
}

static __always_inline struct address user_address6(struct bpf_sock_addr *ctx)
{
	struct address address = {
		.word = {ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]}};

	return address;
}

static __always_inline void set_user_address6(struct bpf_sock_addr *ctx, const struct address *address)
{
	ctx->user_ip6[0] = address->word[0];
	ctx->user_ip6[1] = address->word[1];
	ctx->user_ip6[2] = address->word[2];
	ctx->user_ip6[3] = address->word[3];
}

static __always_inline bool is_loopback6(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[2] && address->word[3] == bpf_htonl(1);
}

SEC("cgroup/bind6")
int vnas_bind6(struct bpf_sock_addr *ctx)
{
	struct member *member = member_of(ctx);
	struct address address, own;
	struct vnas *vnas;
	bool v6only;
	__u32 slot;

	if (!member)
		return 1;
	slot = member->vnas;
	address = user_address6(ctx);
	member->any = 0;
	if (is_zero(&address) || (is_ipv4(&address) && !address.word[3])) {
		vnas = bpf_map_lookup_elem(&vnases, &slot);
		if (!vnas)
			return refuse(slot, EADDRNOTAVAIL);
		/* A dual-stack socket becomes one of the mapped IPv4 address: the kernel would make it IPv6 only if it were bound to an
		 * IPv6 address. The dispatch program hands it both families. */
		v6only = is_zero(&address) && is_v6only(ctx->sk);
		own = v6only ? vnas->any6 : vnas->any4;
		member->any = v6only ? FAMILY6 : is_zero(&address) ? FAMILY4 | FAMILY6 : FAMILY4;
		set_user_address6(ctx, &own);
		return ALLOW;
	}
	if (is_loopback6(&address)) {
		own = own_loopback6(slot);
		set_user_address6(ctx, &own);
		return allow_bound(ctx, slot, &own);
	}
	if (is_ipv4(&address) && is_loopback4(address.word[3])) {
		if (bpf_ntohl(address.word[3]) - 0x7f000001 > 253)
			return refuse(slot, EADDRNOTAVAIL);
		address.word[3] = own_loopback4(slot, address.word[3]);
		ctx->user_ip6[3] = address.word[3];
		return allow_bound(ctx, slot, &address);
	}
	if (!is_group(&address) && !owns(slot, &address))
		return refuse(slot, EADDRNOTAVAIL);
	return allow_bound(ctx, slot, &address);
}

/* Is the socket still bound to ANY in its process's eyes? Once connected, the kernel names the address it is connected from. */
static __always_inline bool shows_any(struct bpf_sock_addr *ctx)
{
	struct member *member;

	if (!ctx->sk || (ctx->sk->state != TCP_CLOSE && ctx->sk->state != TCP_LISTEN))
		return false;
	member = bpf_sk_storage_get(&members, ctx->sk, NULL, 0);
	return member && member->any;
}

SEC("cgroup/getsockname4")
int vnas_getsockname4(struct bpf_sock_addr *ctx)
{
	struct address address = ipv4(ctx->user_ip4);

	ctx->user_ip4 = shows_any(ctx) ? 0 : public_name(&address).word[3];
	return 1;
}

SEC("cgroup/getsockname6")
int vnas_getsockname6(struct bpf_sock_addr *ctx)
{
	struct address address = user_address6(ctx), name = {};

	if (!shows_any(ctx))
		name = public_name(&address);
	set_user_address6(ctx, &name);
	return 1;
}

SEC("cgroup/getpeername4")
int vnas_getpeername4(struct bpf_sock_addr *ctx)
{
	struct address address = ipv4(ctx->user_ip4);

	ctx->user_ip4 = public_name(&address).word[3];
	return 1;
}

SEC("cgroup/getpeername6")
int vnas_getpeername6(struct bpf_sock_addr *ctx)
{
	struct address address = user_address6(ctx), name = public_name(&address);

	set_user_address6(ctx, &name);
	return 1;
}
