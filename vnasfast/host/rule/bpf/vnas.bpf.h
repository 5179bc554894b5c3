/* The tables that programs and user space share, pinned while VNASs are up. loader.pyx and state.py know these layouts. */
#pragma once

#include "kernel.bpf.h"

#define FAMILY4 1 /* bits of member.any: the families that an ANY socket receives */
#define FAMILY6 2

/* An address in network order; IPv4 as ::ffff:a.b.c.d, so that both families share the tables. */
struct address {
	__be32 word[4];
};

struct owner {
	__u32 vnas;      /* slot: a small number of each VNAS's own, see struct vnas */
	__u32 interface; /* ifindex; for user space */
	__u32 order;     /* of registration; for user space */
	__u32 added;     /* 1: brought up by vnasfast, and taken down with it; for user space */
};

/* What a VNAS's processes are given. `any` is what a bind to ANY becomes: an address that belongs to the VNAS alone, so that
 * identical binds of several VNASs coexist, and the kernel itself refuses the second of one VNAS. It is the first address of the
 * VNAS rather than a loopback address: a socket that is bound to ANY and then connects has to leave from a real address. Without
 * an address in the family it is the VNAS's own loopback address. */
struct vnas {
	__u32 id;
	__u32 several;             /* FAMILY4, FAMILY6: more than one address, now or before, so UDP answers need `asked` */
	struct address any4, any6; /* all zero: none */
	struct address source4, source6;
};

/* What is known of a socket of a VNAS, from socket() on. */
struct member {
	__u32 vnas;
	__u16 any;  /* FAMILY4 | FAMILY6 while the process believes it is bound to ANY */
	__u16 ends; /* a listener that is about to leave the table of sockets */
};

/* Who waits on an address and port of a VNAS. */
struct endpoint {
	__u32 vnas;
	__u16 port; /* host order */
	__u8 protocol;
	__u8 family;            /* of the packet, FAMILY4 or FAMILY6 */
	struct address address; /* all zero: ANY */
};

struct question {
	__u32 vnas;
	__u16 port;        /* host order */
	__be16 remote_port;
	struct address remote;
};

struct counts {
	__u64 tcp;         /* connections delivered to a socket */
	__u64 udp;         /* datagrams delivered to a socket that is not connected */
	__u64 no_socket;   /* for the VNAS, but none of its sockets waits */
	__u64 refused;     /* binds and sends from an address that is not the VNAS's */
};

/* The loopback addresses of the VNAS in slot s: 127.128.0.0 + 256 s + h stands for 127.0.0.h. h = 0 is ANY without an address,
 * h = 255 any other loopback address. For IPv6 `loopback6` with the slot as its last word stands for ::1. */
#define LOOPBACK4 0x7f800000
#define MOST_SLOTS 0x7fff

/* What user space sets before it loads the programs. */
const volatile struct {
	__u64 netns; /* the cookie of the network namespace that is ruled; sockets of others are left as they are */
	struct address loopback6;
} config SEC(".rodata.config") = {};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct address);
	__type(value, struct owner);
} addresses SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, MOST_SLOTS);
	__type(key, __u32);
	__type(value, struct vnas);
} vnases SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, __u32);
} cgroups SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 1 << 18);
	__type(key, struct endpoint);
	__type(value, __u64);
} sockets SEC(".maps");

/* Where UDP sockets were bound to one address: these must be looked for, even if the table has one on ANY. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct endpoint);
	__type(value, __u8);
} bound SEC(".maps");

/* The VNASs of which a socket has been bound to one address. In those of the others nobody looks for such a socket, which would cost a
 * lookup by 28 bytes, in cold cache lines. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MOST_SLOTS + 1);
	__type(key, __u32);
	__type(value, __u8);
} specifics SEC(".maps");

/* Where a TCP socket may wait that the table of sockets lacks. It holds one of those that share a port, and loses it when that closes. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 16);
	__type(key, struct endpoint);
	__type(value, __u8);
} lost SEC(".maps");

#define LOST_ONCE 1   /* until one is entered; sockops tells the next time */
#define LOST_ALWAYS 2 /* while one waits: it listened before sockops was there to be told of its end */

/* How many are in `lost`: while there are none, the ingress program has nothing to do with TCP. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} lost_count SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct member);
} members SEC(".maps");

/* The address that a remote endpoint asked last: the answer leaves from there. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, struct question);
	__type(value, struct address);
} asked SEC(".maps");

/* An array, though it takes 1 MiB a CPU: a hash costs each connection 0.14 us more, as all its lines are cold by then. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, MOST_SLOTS + 1);
	__type(key, __u32);
	__type(value, struct counts);
} counters SEC(".maps");

/* Set while `enter` asks the kernel's own lookup, which the dispatch program must then leave alone. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} asking SEC(".maps");

#define COUNT(slot, outcome)                                                     \
	do {                                                                     \
		__u32 counted = (slot);                                          \
		struct counts *row = bpf_map_lookup_elem(&counters, &counted);   \
		if (row)                                                         \
			row->outcome++;                                          \
	} while (0)

static __always_inline struct address ipv4(__be32 ip)
{
	struct address address = {.word = {0, 0, bpf_htonl(0xffff), ip}};

	return address;
}

static __always_inline bool same(const struct address *one, const struct address *other)
{
	return one->word[0] == other->word[0] && one->word[1] == other->word[1] && one->word[2] == other->word[2] &&
	       one->word[3] == other->word[3];
}

static __always_inline bool is_ipv4(const struct address *address)
{
	return !address->word[0] && !address->word[1] && address->word[2] == bpf_htonl(0xffff);
}

static __always_inline bool is_zero(const struct address *address)
{
	return !address->word[0] && !address->word[1] && !address->word[2] && !address->word[3];
}

/* 127.0.0.0/8, of all VNASs and of none */
static __always_inline bool is_loopback4(__be32 ip)
{
	return bpf_ntohl(ip) >> 24 == 127;
}

/* Which VNAS's loopback address is this? 0: none's. */
static __always_inline __u32 loopback_owner(const struct address *address)
{
	if (is_ipv4(address)) {
		__u32 ip = bpf_ntohl(address->word[3]);

		return (ip & 0xff800000) == LOOPBACK4 ? ip >> 8 & MOST_SLOTS : 0;
	}
	if (address->word[0] == config.loopback6.word[0] && address->word[1] == config.loopback6.word[1] &&
	    address->word[2] == config.loopback6.word[2])
		return bpf_ntohl(address->word[3]);
	return 0;
}

/* A loopback address that the VNAS's processes can't have been told: the kernel took 127.0.0.1 itself for a socket of the VNAS that
 * had a port before it was connected, when no hook may set its address. Or somebody of no VNAS asks. */
static __always_inline bool is_foreign_loopback(__u32 slot, const struct address *address)
{
	return is_ipv4(address) && is_loopback4(address->word[3]) && loopback_owner(address) != slot;
}

/* The VNAS's own address for a loopback address that a process names. */
static __always_inline __be32 own_loopback4(__u32 slot, __be32 ip)
{
	__u32 host = bpf_ntohl(ip) & 0xffffff;
	struct address address = ipv4(ip);

	if (loopback_owner(&address) == slot) /* a mapped address passes the hooks of both families */
		return ip;
	return bpf_htonl(LOOPBACK4 | slot << 8 | (host < 255 ? host : 255));
}

static __always_inline struct address own_loopback6(__u32 slot)
{
	struct address address = {
		.word = {config.loopback6.word[0], config.loopback6.word[1], config.loopback6.word[2], bpf_htonl(slot)}};

	return address;
}

/* The loopback address that a process shall see for a VNAS's own; others stay. */
static __always_inline struct address public_name(const struct address *address)
{
	struct address name = *address;

	if (!loopback_owner(address))
		return name;
	if (is_ipv4(address)) {
		__u32 host = bpf_ntohl(address->word[3]) & 0xff;

		name.word[3] = bpf_htonl(0x7f000000 | (host % 255 ? host : 1));
	} else {
		name.word[0] = name.word[1] = name.word[2] = 0;
		name.word[3] = bpf_htonl(1);
	}
	return name;
}

static __always_inline bool has_specifics(__u32 slot)
{
	__u8 *specific = bpf_map_lookup_elem(&specifics, &slot);

	return specific && *specific;
}

/* Before a socket is bound to one address, or entered as one that is. */
static __always_inline void note_specific(const struct endpoint *endpoint)
{
	__u32 slot = endpoint->vnas;
	__u8 *specific = bpf_map_lookup_elem(&specifics, &slot);

	if (specific && !is_zero(&endpoint->address) && !*specific)
		*specific = 1;
}
