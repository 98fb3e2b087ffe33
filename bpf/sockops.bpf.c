// SPDX-License-Identifier: Apache-2.0
/*
 * sockops: hand the destination from the application's socket to the one the agent will accept.
 *
 * On loopback the client becomes established first (tcp_finish_connect calls the hook before it sends the final ACK), the
 * listener's child on that ACK. So the entry put into `handshakes` by the first is always there for the second.
 */
#include "maps.h"

#define TCP_CLOSE 7

/* The application's end is established: its source port is known now. */
static __always_inline void client_established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *to = sk ? bpf_sk_storage_get(&meant, sk, NULL, 0) : NULL;
	struct handshake key = {};

	if (!to)
		return;
	key.netns = bpf_get_netns_cookie(ctx);
	key.source = CONTEXT_ADDRESS(ctx, local_ip4, local_ip6);
	key.source_port = ctx->local_port;
	if (bpf_map_update_elem(&handshakes, &key, to, BPF_ANY)) {
		count(COUNTER_HANDSHAKES_FULL);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

static __always_inline void listener_established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct handshake key = {};
	struct endpoint *to, *kept;
	struct pod *pod;

	key.netns = bpf_get_netns_cookie(ctx);
	pod = bpf_map_lookup_elem(&pods, &key.netns);
	if (!pod || !sk || ctx->local_port != pod->outbound_port)
		return;
	key.source = CONTEXT_ADDRESS(ctx, remote_ip4, remote_ip6);
	key.source_port = bpf_ntohl(ctx->remote_port);
	to = bpf_map_lookup_elem(&handshakes, &key);
	if (!to)
		return;
	kept = bpf_sk_storage_get(&accepted, sk, NULL, BPF_SK_STORAGE_GET_F_CREATE);
	if (kept)
		*kept = *to;
	else
		count(COUNTER_STORAGE_FAILED);
	bpf_map_delete_elem(&handshakes, &key);
}

/* A client that closes before the listener took note of it leaves its entry behind. */
static __always_inline void client_closed(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct handshake key = {};

	if (!sk || !bpf_sk_storage_get(&meant, sk, NULL, 0))
		return;
	key.netns = bpf_get_netns_cookie(ctx);
	key.source = CONTEXT_ADDRESS(ctx, local_ip4, local_ip6);
	key.source_port = ctx->local_port;
	bpf_map_delete_elem(&handshakes, &key);
}

SEC("sockops")
int socket_ops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		client_established(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		listener_established(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == TCP_CLOSE)
			client_closed(ctx);
		break;
	}
	return 1;
}

char LICENSE[] SEC("license") __weak = "GPL";
