/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All maps. They are weak so that every program may include this file and the linker keeps one of each; they are pinned
 * under /sys/fs/bpf/orlop/<node>/maps, so that they outlive an agent and its successor finds them.
 */
#pragma once
#include "capture.h"

#define MAP(name) name SEC(".maps") __weak

/* netns cookie -> what to capture there. Written by the agent, read by connect, sockops and sk_lookup. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u64);
	__type(value, struct pod);
} MAP(pods);

/* Address of a pod -> its netns cookie, because sk_lookup programs may not ask for the cookie. Written by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct address);
	__type(value, __u64);
} MAP(pod_addresses);

/* Address of a pod -> its inbound listener of that family. Written by the agent; the kernel drops a socket that closes. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 16384);
	__type(key, struct address);
	__type(value, __u64);
} MAP(listeners);

/* Address ranges included and excluded. Written by the agent, read by connect and sk_lookup. The value has no meaning. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct cidr);
	__type(value, __u8);
} MAP(cidrs);

/*
 * The application's socket -> whom it meant to reach. Written by connect; read by sockops and getpeername. Socket storage
 * rather than an LRU: it lives exactly as long as its socket, so no load can evict the destination of a live connection.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} MAP(meant);

/*
 * The agent's accepted socket -> where the client meant to go. Written by sockops when the handshake ends, so it is there
 * while the connection still waits in the backlog; read by the agent with the socket's fd as key.
 */
struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct endpoint);
} MAP(accepted);

/*
 * Carries a destination from the one socket to the other, for the moments between the two ends of a handshake. An entry
 * goes when the listener's end is established, or else when the client's socket closes; a full map is counted.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 65536);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct handshake);
	__type(value, struct endpoint);
} MAP(handshakes);

/* enum counter -> how often. Written by the programs, read by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNTERS);
	__type(key, __u32);
	__type(value, __u64);
} MAP(counters);

static __always_inline void count(__u32 counter)
{
	__u64 *value = bpf_map_lookup_elem(&counters, &counter);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline bool in_cidrs(__u64 netns, __u32 list, const struct address *address)
{
	struct cidr key = { .prefix_bits = 8 * (sizeof(struct cidr) - sizeof(__u32)), .list = list, .netns = netns, .address = *address };

	return bpf_map_lookup_elem(&cidrs, &key) != NULL;
}
