/**
 * The network of a cluster: a namespace for each node, joined by a switch in one more, to which this machine has a link of its own, so that
 * the API server, NodePorts and host ports are reached from outside as a real cluster's are.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { ip, runCommand } from '../../../src/lab/command.ts';
import { Netns } from '../../../src/sys/netns.ts';
import { hostAddress } from './names.ts';
import type { ClusterNames, NodeNames } from './names.ts';

const NETNS_DIRECTORY = '/run/netns';

const NODE_SETTINGS = {
  'ipv4/ip_forward': 1,
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': 0,
  // Answers of a Service between two pods of one bridge must meet kube-proxy's rules on their way back.
  'bridge/bridge-nf-call-iptables': 1,
};

export async function makeNetwork(cluster: ClusterNames, number: number, nodes: readonly NodeNames[]): Promise<void> {
  const { fabricNetns: fabric, hostLink } = cluster;
  // Nothing is behind it: what is sent there ends there.
  const gateway = `198.18.${number}.2`;
  await ip([`netns add ${fabric}`, ...nodes.map(({ netns }) => `netns add ${netns}`)]);
  await ip(['link set lo up', 'link add fabric0 type bridge', 'link set fabric0 up', `addr add ${gateway}/24 dev fabric0`], fabric);
  await ip([`link add ${hostLink} type veth peer name host netns ${fabric}`, `addr add ${hostAddress(number)}/24 dev ${hostLink}`, `link set ${hostLink} up`]);
  await ip(['link set host master fabric0', 'link set host up'], fabric);
  for (const node of nodes) {
    applySettings(node.netns);
    await ip([
      'link set lo up', `link add eth0 type veth peer name node${node.index} netns ${fabric}`, `addr add ${node.address}/24 dev eth0`, 'link set eth0 up',
      `route add default via ${gateway}`, ...nodes.filter((other) => other !== node).map((other) => `route add ${other.podCidr} via ${other.address}`),
    ], node.netns);
    await ip([`link set node${node.index} master fabric0`, `link set node${node.index} up`], fabric);
  }
}

/** Remove the cluster's namespaces; links, routes and rules go with them. */
export async function removeNetwork({ fabricNetns }: ClusterNames): Promise<void> {
  if (!existsSync(NETNS_DIRECTORY)) return;
  for (const name of readdirSync(NETNS_DIRECTORY)) {
    if (name === fabricNetns || name.startsWith(`${fabricNetns}-node`)) await runCommand('ip', ['netns', 'del', name]);
  }
}

/** Write kernel settings below /proc/sys/net, which shows the namespace of the thread that opens it. */
function applySettings(netns: string): void {
  using namespace = Netns.open(`${NETNS_DIRECTORY}/${netns}`);
  namespace.run(() => {
    for (const [name, value] of Object.entries(NODE_SETTINGS)) {
      const path = `/proc/sys/net/${name}`;
      if (existsSync(path)) writeFileSync(path, String(value));
    }
  });
}
