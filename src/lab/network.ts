/**
 * The network of a lab: a namespace per node with a bridge for its pods, and one more, the fabric, that joins the nodes.
 * Pods have host routes (/32, /128) to their node's bridge, so that every packet between two pods passes the node's IP layer
 * and answers to a translated connection come back the way it went. Nothing is made in the machine's own namespace.
 */
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { Netns } from '../sys/netns.ts';
import { externalGateway, fabricAddress, podPrefixes } from './addresses.ts';
import { ip, mustRun, runCommand } from './command.ts';
import { isNetnsOf, NETNS_DIRECTORY } from './names.ts';
import { renderServiceRules } from './service-rules.ts';
import type { ReadyPods } from './endpoints.ts';
import type { LabNode, LabPod, World } from './world.ts';

const ROUTER_SETTINGS = {
  'ipv4/ip_forward': 1,
  'ipv6/conf/all/forwarding': 1,
  // Neighbours are reached through the bridge's own address on purpose; a redirect would tell pods to go around it.
  'ipv4/conf/all/send_redirects': 0,
  'ipv4/conf/default/send_redirects': 0,
  'ipv4/conf/all/rp_filter': 0,
  'ipv4/conf/default/rp_filter': 0,
  // Where br_netfilter is loaded, bridged frames would meet the rules for Services twice.
  'bridge/bridge-nf-call-iptables': 0,
  'bridge/bridge-nf-call-ip6tables': 0,
};

const POD_SETTINGS = {
  'ipv4/conf/all/accept_redirects': 0,
  'ipv6/conf/all/accept_redirects': 0,
  'ipv6/conf/default/accept_redirects': 0,
  // As container runtimes have it: a pod's processes may listen on 80 without privileges.
  'ipv4/ip_unprivileged_port_start': 0,
};

/** Make the fabric and the nodes. */
export async function makeNodes(world: World): Promise<void> {
  const { fabricNetns: fabric } = world;
  await ip([fabric, ...world.nodes.map((node) => node.netns)].map((name) => `netns add ${name}`));
  for (const name of [fabric, ...world.nodes.map((node) => node.netns)]) applySettings(name, ROUTER_SETTINGS);
  const [own, outside] = [fabricAddress(world.number), externalGateway(world.number)];
  await ip([
    'link set lo up',
    ...bridge('fabric0', `${own.ipv4}/24`, `${own.ipv6}/48`),
    ...bridge('external0', `${outside.ipv4}/32`, `${outside.ipv6}/128`),
  ], fabric);
  for (const node of world.nodes) await makeNode(world, node);
}

async function makeNode(world: World, node: LabNode): Promise<void> {
  const fabric = fabricAddress(world.number);
  await ip([
    'link set lo up',
    ...bridge('pods0', `${node.bridge.ipv4}/32`, `${node.bridge.ipv6}/128`),
    `link add eth0 type veth peer name node${node.number} netns ${world.fabricNetns}`,
    `addr add ${node.address.ipv4}/24 dev eth0`, `addr add ${node.address.ipv6}/48 dev eth0 nodad`, 'link set eth0 up',
    `route add default via ${fabric.ipv4}`, `route add default via ${fabric.ipv6}`,
  ], node.netns);
  const prefixes = podPrefixes(world.number, node.number);
  await ip([
    `link set node${node.number} master fabric0`, `link set node${node.number} up`,
    `route add ${prefixes.ipv4} via ${node.address.ipv4}`, `route add ${prefixes.ipv6} via ${node.address.ipv6}`,
  ], world.fabricNetns);
}

/** Make a pod's namespace, and join it to its node's bridge (an external host: to the fabric). */
export async function makePodNetwork(world: World, pod: LabPod, index: number): Promise<void> {
  const node = world.nodes.find((one) => one.name === pod.node);
  const gateway = node?.bridge ?? externalGateway(world.number);
  const home = node?.netns ?? world.fabricNetns;
  const link = `pod${index}`;
  await ip([`netns add ${pod.netns}`]);
  applySettings(pod.netns, POD_SETTINGS);
  const { ipv4, ipv6 } = pod.address;
  await ip([
    `link add ${link} type veth peer name eth0 netns ${pod.netns}`,
    `link set ${link} master ${node === undefined ? 'external0' : 'pods0'}`, `link set ${link} up`,
    `route add ${ipv4}/32 dev ${node === undefined ? 'external0' : 'pods0'}`, `route add ${ipv6}/128 dev ${node === undefined ? 'external0' : 'pods0'}`,
  ], home);
  await ip([
    'link set lo up', `addr add ${ipv4}/32 dev eth0`, `addr add ${ipv6}/128 dev eth0 nodad`, 'link set eth0 up',
    `route add ${gateway.ipv4}/32 dev eth0 scope link`, `route add default via ${gateway.ipv4}`,
    `route add ${gateway.ipv6}/128 dev eth0`, `route add default via ${gateway.ipv6}`,
  ], pod.netns);
}

/** Make Services reachable from every node, for the pods that are ready now. */
export async function applyServiceRules(world: World, ready: ReadyPods): Promise<void> {
  const rules = renderServiceRules(world, ready);
  await Promise.all(world.nodes.map((node) => mustRun('ip', ['netns', 'exec', node.netns, 'nft', '-f', '-'], rules)));
}

/** Remove every namespace of a lab; its links, routes and rules go with them. */
export async function removeNetwork(lab: string): Promise<void> {
  if (!existsSync(NETNS_DIRECTORY)) return;
  for (const name of readdirSync(NETNS_DIRECTORY)) {
    if (isNetnsOf(lab, name)) await runCommand('ip', ['netns', 'del', name]);
  }
}

function bridge(name: string, ...addresses: string[]): string[] {
  return [
    `link add ${name} type bridge`, `link set ${name} up`,
    ...addresses.map((address) => `addr add ${address} dev ${name}${address.includes(':') ? ' nodad' : ''}`),
  ];
}

/** Write kernel settings below /proc/sys/net, which shows the namespace of the thread that opens it. */
function applySettings(netns: string, settings: Record<string, number>): void {
  using namespace = Netns.open(`${NETNS_DIRECTORY}/${netns}`);
  namespace.run(() => {
    for (const [name, value] of Object.entries(settings)) {
      const path = `/proc/sys/net/${name}`;
      if (existsSync(path)) writeFileSync(path, String(value));
    }
  });
}
