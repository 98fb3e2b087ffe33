// SPDX-License-Identifier: Apache-2.0
/*
 * cgroup/getpeername4 and getpeername6: the application sees whom it meant to reach, not 127.0.0.1. Drivers that compare
 * the peer with the server they were told of (JDBC, Ceph) fail without this.
 */
#include "maps.h"

SEC("cgroup/getpeername4")
int getpeername4(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *to = sk ? bpf_sk_storage_get(&meant, sk, NULL, 0) : NULL;

	if (to) {
		ctx->user_ip4 = ((__u32 *)to->address.bytes)[3];
		ctx->user_port = bpf_htons(to->port);
	}
	return 1;
}

SEC("cgroup/getpeername6")
int getpeername6(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct endpoint *to = sk ? bpf_sk_storage_get(&meant, sk, NULL, 0) : NULL;

	if (to) {
		__u32 *words = (__u32 *)to->address.bytes;

		ctx->user_ip6[0] = words[0];
		ctx->user_ip6[1] = words[1];
		ctx->user_ip6[2] = words[2];
		ctx->user_ip6[3] = words[3];
		ctx->user_port = bpf_htons(to->port);
	}
	return 1;
}

char LICENSE[] SEC("license") __weak = "GPL";
