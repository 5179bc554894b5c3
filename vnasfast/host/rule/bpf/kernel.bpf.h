/* What the programs read of the kernel's own structures. Only the named fields matter: libbpf finds where each lies in
 * the running kernel (CO-RE), so that one object runs on all kernels and no vmlinux.h is needed to compile it. */
#pragma once

#include <linux/bpf.h>
#include <linux/in.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_ICMPV6 58
#define EPERM 1
#define EADDRNOTAVAIL 99
#define TCP_ESTABLISHED 1
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define ETHERNET_HEADER 14
#define DROP 2 /* TC_ACT_SHOT */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct kernfs_node {
	__u64 id;
};

struct cgroup;

struct cgroup_subsys_state {
	struct cgroup *cgroup;
	struct cgroup_subsys_state *parent;
};

struct cgroup {
	struct cgroup_subsys_state self;
	struct kernfs_node *kn;
};

struct sock_cgroup_data {
	struct cgroup *cgroup;
};

struct in6_addr {
	union {
		__be32 u6_addr32[4];
	} in6_u;
};

struct net {
	__u64 net_cookie;
};

typedef struct {
	struct net *net;
} possible_net_t;

struct sock_common {
	__be32 skc_rcv_saddr;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	unsigned char skc_reuseport : 1;
	unsigned char skc_ipv6only : 1;
	possible_net_t skc_net;
	struct in6_addr skc_v6_rcv_saddr;
};

struct sock_reuseport {
	__u16 num_socks;
};

struct sock {
	struct sock_common __sk_common;
	__u16 sk_protocol;
	struct sock_reuseport *sk_reuseport_cb;
	struct sock_cgroup_data sk_cgrp_data;
};

struct tcp_sock {
	__u8 bpf_sock_ops_cb_flags;
};

struct ipv6_pinfo {
	union {
		struct {
			__u16 srcrt : 1, osrcrt : 1, rxinfo : 1;
		} bits;
	} rxopt;
};

struct inet_sock {
	struct sock sk;
	struct ipv6_pinfo *pinet6;
	unsigned long inet_flags; /* since 6.6; the lowest bit is IP_PKTINFO, as in cmsg_flags before */
	__u8 cmsg_flags;
};

struct udp_sock {
	struct inet_sock inet;
};

struct bpf_iter_meta;

struct bpf_iter__udp {
	struct bpf_iter_meta *meta;
	struct udp_sock *udp_sk;
};

struct socket {
	struct sock *sk;
};

struct file;
struct task_struct;

struct bpf_iter__task_file {
	struct bpf_iter_meta *meta;
	struct task_struct *task;
	__u32 fd;
	struct file *file;
};

#pragma clang attribute pop
