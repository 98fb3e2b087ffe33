// SPDX-License-Identifier: Apache-2.0
/*
 * sk_lookup, attached to each enrolled pod's network namespace: a connection from outside goes to the agent's listener,
 * whatever port it was for. Nothing is rewritten, so its original destination is simply the local address.
 */
#include "maps.h"

#define LOOPBACK_IFINDEX 1

/* Tunnelled traffic between agents: the agent's own listener sits on this port of the pod. */
#define HBONE_PORT 15008

static __always_inline bool from_excluded_interface(const struct pod *pod, __u32 ifindex)
{
	for (__u32 i = 0; i < RANGES_MAX; i++) {
		if (i >= pod->exclude_interfaces_count)
			return false;
		if (pod->exclude_interfaces[i] == ifindex)
			return true;
	}
	return false;
}

/*
 * The pod's calls to itself travel over loopback, but seem to come in by the interface that has the address (__mkroute_output
 * keeps it in rt_iif). Their source tells: from outside, such a source is a martian, or at least gets no answer there.
 */
static __always_inline bool is_own(const struct address *source, __u64 netns)
{
	__u64 *owner = bpf_map_lookup_elem(&pod_addresses, source);

	return is_loopback(source) || (owner && *owner == netns);
}

static __always_inline bool wants(const struct pod *pod, __u64 netns, const struct address *source, struct bpf_sk_lookup *ctx)
{
	__u32 port = ctx->local_port;

	if (port == HBONE_PORT || from_excluded_interface(pod, ctx->ingress_ifindex))
		return false;
	if (in_cidrs(netns, CIDR_INBOUND_EXCLUDE, source))
		return false;
	if (in_ranges(pod->exclude_inbound_ports, pod->exclude_inbound_ports_count, port))
		return false;
	if (pod->flags & POD_INCLUDES_INBOUND_PORTS)
		return in_ranges(pod->include_inbound_ports, pod->include_inbound_ports_count, port);
	return true;
}

SEC("sk_lookup")
int inbound(struct bpf_sk_lookup *ctx)
{
	struct address local, remote;
	struct bpf_sock *sk;
	struct pod *pod;
	__u64 *netns;
	long error;

	/* The agent's connections to the application are bound to loopback. */
	if (ctx->protocol != IPPROTO_TCP || ctx->ingress_ifindex == LOOPBACK_IFINDEX)
		return SK_PASS;
	local = CONTEXT_ADDRESS(ctx, local_ip4, local_ip6);
	remote = CONTEXT_ADDRESS(ctx, remote_ip4, remote_ip6);
	netns = bpf_map_lookup_elem(&pod_addresses, &local);
	pod = netns ? bpf_map_lookup_elem(&pods, netns) : NULL;
	if (!pod || is_own(&remote, *netns) || !wants(pod, *netns, &remote, ctx))
		return SK_PASS;
	sk = bpf_map_lookup_elem(&listeners, &local);
	if (!sk) {
		/* Refused, as it would be by iptables: passing would let it around the mesh's policy. */
		count(COUNTER_LISTENER_MISSING);
		return SK_DROP;
	}
	/* To this very socket: an application may join its SO_REUSEPORT group if it runs as root, too. */
	error = bpf_sk_assign(ctx, sk, BPF_SK_LOOKUP_F_NO_REUSEPORT);
	bpf_sk_release(sk);
	return error ? SK_DROP : SK_PASS;
}

char LICENSE[] SEC("license") __weak = "GPL";
