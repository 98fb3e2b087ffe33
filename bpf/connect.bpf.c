// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup/connect4 and connect6: steer an application's connect(2) to the listener in its own pod, and remember where it
 * meant to go. A v4-mapped connect on an IPv6 socket (Java's default) comes through connect6.
 */
#include "maps.h"

static __always_inline bool is_agents(const struct bpf_sock *sk)
{
	__u32 mark = sk->mark & MARK_MASK;

	return mark == MARK_OUTBOUND || mark == MARK_INBOUND;
}

static __always_inline bool owner_excluded(const struct owner_rule *rules, __u32 rules_count, __u32 id, __u32 port)
{
	for (__u32 i = 0; i < RANGES_MAX; i++) {
		if (i >= rules_count)
			return false;
		if (id >= rules[i].ids.from && id <= rules[i].ids.to && port >= rules[i].ports.from && port <= rules[i].ports.to)
			return true;
	}
	return false;
}

/* The order of the iptables rules: exclusions, then ports that are always captured, then addresses. */
static __always_inline bool wants(const struct pod *pod, __u64 netns, const struct endpoint *to)
{
	__u64 ids = bpf_get_current_uid_gid();

	if (in_cidrs(netns, CIDR_OUTBOUND_EXCLUDE, &to->address))
		return false;
	if (in_ranges(pod->exclude_outbound_ports, pod->exclude_outbound_ports_count, to->port))
		return false;
	if (owner_excluded(pod->uid_rules, pod->uid_rules_count, (__u32)ids, to->port))
		return false;
	if (owner_excluded(pod->gid_rules, pod->gid_rules_count, ids >> 32, to->port))
		return false;
	if (pod->flags & POD_INCLUDES_OUTBOUND_PORTS &&
	    in_ranges(pod->include_outbound_ports, pod->include_outbound_ports_count, to->port))
		return true;
	if (pod->flags & POD_INCLUDES_OUTBOUND_CIDRS)
		return in_cidrs(netns, CIDR_OUTBOUND_INCLUDE, &to->address);
	return true;
}

/* Port to steer the connect to, or 0 to leave it alone. */
static __always_inline __u32 capture(struct bpf_sock_addr *ctx, const struct endpoint *to)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *kept;
	struct pod *pod;
	__u64 netns;

	if (ctx->type != SOCK_STREAM || ctx->protocol != IPPROTO_TCP || !sk || is_agents(sk))
		return 0;
	netns = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&pods, &netns);
	if (!pod)
		return 0;
	/* A socket may be connected again after a failure: what it meant the first time must not show through. */
	bpf_sk_storage_delete(&meant, sk);
	if (is_loopback(&to->address) || !wants(pod, netns, to))
		return 0;
	if (sk->bound_dev_if) {
		count(COUNTER_DEVICE_BOUND);
		return 0;
	}
	kept = bpf_sk_storage_get(&meant, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (!kept) {
		count(COUNTER_STORAGE_FAILED);
		return 0;
	}
	*kept = *to;
	return pod->outbound_port;
}

SEC("cgroup/connect4")
int connect4(struct bpf_sock_addr *ctx)
{
	struct endpoint to = { .address = v4_mapped(ctx->user_ip4), .port = bpf_ntohs(ctx->user_port) };
	__u32 port = capture(ctx, &to);

	if (port) {
		ctx->user_ip4 = bpf_htonl(0x7f000001);
		ctx->user_port = bpf_htons(port);
	}
	return 1;
}

SEC("cgroup/connect6")
int connect6(struct bpf_sock_addr *ctx)
{
	struct endpoint to = {
		.address = from_words(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]),
		.port = bpf_ntohs(ctx->user_port),
	};
	__u32 port = capture(ctx, &to);

	if (port) {
		/* The first three words of a v4-mapped address stay, so that the connect stays IPv4. */
		if (is_v4_mapped(&to.address)) {
			ctx->user_ip6[3] = bpf_htonl(0x7f000001);
		} else {
			ctx->user_ip6[0] = 0;
			ctx->user_ip6[1] = 0;
			ctx->user_ip6[2] = 0;
			ctx->user_ip6[3] = bpf_htonl(1);
		}
		ctx->user_port = bpf_htons(port);
	}
	return 1;
}

char LICENSE[] SEC("license") __weak = "GPL";
