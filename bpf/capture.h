/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Structs and constants shared by the programs and src/sys/layout.ts (a test compares the two through BTF).
 * Addresses are 16 bytes in network order, IPv4 as v4-mapped IPv6, so that one map serves both families.
 */
#pragma once
#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* From <sys/socket.h> and <netinet/in.h>, which -target bpf cannot include. */
#define AF_INET 2
#define SOCK_STREAM 1
#define IPPROTO_TCP 6

#define RANGES_MAX 16

/* The agent's own sockets, never captured: to the network, and to the application with the client's address. */
#define MARK_OUTBOUND 0x539
#define MARK_INBOUND 0x111
#define MARK_MASK 0xfff

struct address {
	__u8 bytes[16];
};

struct endpoint {
	struct address address;
	__u32 port; /* host order */
	__u32 pad;
};

/* One end of a TCP handshake inside a pod: the same key seen from the application's and from the listener's side. */
struct handshake {
	__u64 netns;
	struct address source;
	__u32 source_port;
	__u32 pad;
};

struct range {
	__u32 from;
	__u32 to; /* inclusive */
};

/* Connects made by these users (or groups) to these ports are left alone. */
struct owner_rule {
	struct range ids;
	struct range ports;
};

enum pod_flags {
	POD_INCLUDES_OUTBOUND_PORTS = 1, /* include_outbound_ports are captured whatever the address */
	POD_INCLUDES_OUTBOUND_CIDRS = 2, /* only addresses in list OUTBOUND_INCLUDE are captured */
	POD_INCLUDES_INBOUND_PORTS = 4,  /* only include_inbound_ports are captured */
};

/* What to capture of one enrolled pod. Counts say how many entries of an array are in use. */
struct pod {
	__u32 flags;
	__u32 outbound_port;
	__u32 exclude_outbound_ports_count;
	__u32 include_outbound_ports_count;
	__u32 exclude_inbound_ports_count;
	__u32 include_inbound_ports_count;
	__u32 uid_rules_count;
	__u32 gid_rules_count;
	__u32 exclude_interfaces_count;
	__u32 pad;
	struct range exclude_outbound_ports[RANGES_MAX];
	struct range include_outbound_ports[RANGES_MAX];
	struct range exclude_inbound_ports[RANGES_MAX];
	struct range include_inbound_ports[RANGES_MAX];
	struct owner_rule uid_rules[RANGES_MAX];
	struct owner_rule gid_rules[RANGES_MAX];
	__u32 exclude_interfaces[RANGES_MAX];
};

enum cidr_list {
	CIDR_OUTBOUND_EXCLUDE = 0, /* destination; the pod's own addresses are in it */
	CIDR_OUTBOUND_INCLUDE = 1, /* destination */
	CIDR_INBOUND_EXCLUDE = 2,  /* source */
};

/* Key of the longest-prefix map; prefix_bits counts from `netns`, so 96 bits and the prefix of the v6 form of the address. */
struct cidr {
	__u32 prefix_bits;
	__u32 list; /* big-endian or not does not matter: it is matched whole */
	__u64 netns;
	struct address address;
};

enum counter {
	COUNTER_HANDSHAKES_FULL = 0,  /* map `handshakes` full: a captured connection lost its destination */
	COUNTER_STORAGE_FAILED = 1,   /* no socket storage: the connection was left uncaptured, or lost its destination */
	COUNTER_DEVICE_BOUND = 2,     /* socket bound to a device: left alone, as 127.0.0.1 cannot be reached from it */
	COUNTER_LISTENER_MISSING = 3, /* inbound connection refused because the agent's listener is gone */
	COUNTERS = 4,
};

static __always_inline bool is_v4_mapped(const struct address *a)
{
	const __u32 *words = (const __u32 *)a->bytes;

	return words[0] == 0 && words[1] == 0 && words[2] == bpf_htonl(0xffff);
}

static __always_inline struct address from_words(__u32 w0, __u32 w1, __u32 w2, __u32 w3)
{
	struct address a;
	__u32 *words = (__u32 *)a.bytes;

	words[0] = w0;
	words[1] = w1;
	words[2] = w2;
	words[3] = w3;
	return a;
}

static __always_inline struct address v4_mapped(__u32 ip4)
{
	return from_words(0, 0, bpf_htonl(0xffff), ip4);
}

/*
 * One address of a context that has a field for each family. The macro reads all fields before it chooses: a choice made
 * first is compiled to one load through a chosen pointer, which the verifier refuses on a context.
 */
#define CONTEXT_ADDRESS(ctx, ip4, ip6)                                                                       \
	({                                                                                                  \
		volatile typeof(*(ctx)) *c = (ctx);                                                         \
		__u32 v4 = c->ip4, w0 = c->ip6[0], w1 = c->ip6[1], w2 = c->ip6[2], w3 = c->ip6[3];          \
		c->family == AF_INET ? v4_mapped(v4) : from_words(w0, w1, w2, w3);                          \
	})

/* Loopback, and the unspecified address, which connect(2) takes for loopback. */
static __always_inline bool is_loopback(const struct address *a)
{
	const __u32 *words = (const __u32 *)a->bytes;

	if (is_v4_mapped(a))
		return a->bytes[12] == 127 || words[3] == 0;
	return words[0] == 0 && words[1] == 0 && words[2] == 0 && (words[3] == bpf_htonl(1) || words[3] == 0);
}

static __always_inline bool in_ranges(const struct range *ranges, __u32 count, __u32 value)
{
	for (__u32 i = 0; i < RANGES_MAX; i++) {
		if (i >= count)
			return false;
		if (value >= ranges[i].from && value <= ranges[i].to)
			return true;
	}
	return false;
}
