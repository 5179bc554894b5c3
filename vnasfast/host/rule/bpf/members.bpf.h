/* Which VNAS does a socket belong to? That of the process that made it, by the process's cgroup; children inherit both. */
#pragma once

#include "vnas.bpf.h"

#define MOST_LEVELS 16 /* of cgroups above a VNAS's */

/* The slot of the innermost cgroup that is a VNAS's, of the process that runs now. 0: of none. */
static __always_inline __u32 slot_of_current(void)
{
	__u32 slot = 0;

	for (int level = 1; level <= MOST_LEVELS; level++) {
		__u64 id = bpf_get_current_ancestor_cgroup_id(level);
		__u32 *found;

		if (!id)
			break;
		found = bpf_map_lookup_elem(&cgroups, &id);
		if (found)
			slot = *found;
	}
	return slot;
}

/* The same for a socket that was there before the programs. */
static __always_inline __u32 slot_of_sock(struct sock *sk)
{
	struct cgroup *cgroup = BPF_CORE_READ(sk, sk_cgrp_data.cgroup);

	for (int level = 0; level <= MOST_LEVELS && cgroup; level++) {
		__u64 id = BPF_CORE_READ(cgroup, kn, id);
		__u32 *found = bpf_map_lookup_elem(&cgroups, &id);
		struct cgroup_subsys_state *parent;

		if (found)
			return *found;
		parent = BPF_CORE_READ(cgroup, self.parent);
		cgroup = parent ? BPF_CORE_READ(parent, cgroup) : NULL;
	}
	return 0;
}

/* The socket's address as a number: the verifier lets nobody calculate with a pointer to a socket, which reading its fields needs. */
static __always_inline const void *plain(const void *sk)
{
	const void *address = NULL;

	bpf_probe_read_kernel(&address, sizeof(address), &sk);
	return address;
}

static __always_inline bool is_v6only(const void *sk)
{
	const struct sock_common *common = plain(sk);

	return BPF_CORE_READ_BITFIELD_PROBED(common, skc_ipv6only);
}

/* Does the socket ask for the address of what it receives (IP_PKTINFO), and so may choose that of its answers? */
static __always_inline bool chooses_source(const void *sk, __u32 family)
{
	const struct inet_sock *inet = plain(sk);

	if (family == AF_INET6) {
		const struct ipv6_pinfo *info = BPF_CORE_READ(inet, pinet6);

		if (BPF_CORE_READ_BITFIELD_PROBED(info, rxopt.bits.rxinfo))
			return true;
	}
	if (bpf_core_field_exists(inet->cmsg_flags))
		return BPF_CORE_READ(inet, cmsg_flags) & 1;
	return BPF_CORE_READ(inet, inet_flags) & 1;
}

/* What is known of the socket; NULL: it belongs to no VNAS, and is left as it is. */
static __always_inline struct member *member_of(struct bpf_sock_addr *ctx)
{
	struct member *member, made = {};

	if (!ctx->sk)
		return NULL;
	member = bpf_sk_storage_get(&members, ctx->sk, NULL, 0);
	if (member)
		return member;
	if (bpf_get_netns_cookie(ctx) != config.netns)
		return NULL;
	made.vnas = slot_of_current(); /* made before its cgroup became a VNAS */
	if (!made.vnas)
		return NULL;
	return bpf_sk_storage_get(&members, ctx->sk, &made, BPF_SK_STORAGE_GET_F_CREATE);
}

static __always_inline int refuse(__u32 slot, int error)
{
	COUNT(slot, refused);
	bpf_set_retval(-error);
	return 0;
}

/* A socket is a member from socket() on. Raw sockets that carry a transport's packets would receive those of all VNASs. */
SEC("cgroup/sock_create")
int vnas_create(struct bpf_sock *ctx)
{
	struct member made = {};
	struct member *member;

	if (bpf_get_netns_cookie(ctx) != config.netns)
		return 1;
	made.vnas = slot_of_current();
	if (!made.vnas)
		return 1;
	if (ctx->type == 3 /* SOCK_RAW */ && ctx->protocol != IPPROTO_ICMP && ctx->protocol != IPPROTO_ICMPV6)
		return refuse(made.vnas, EPERM);
	member = bpf_sk_storage_get(&members, ctx, &made, BPF_SK_STORAGE_GET_F_CREATE);
	return member ? 1 : 0; /* without memory no socket rather than one that is nobody's */
}
