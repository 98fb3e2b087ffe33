/**
 * What a mesh could leave behind, written down so that before and after can be compared: on each node and in each of its pods' network
 * namespaces rules, routes, settings, listeners and BPF programs; on each node files; in the cluster every object with its labels and annotations.
 */
import { runCommand } from '../../../src/lab/command.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { ClusterError } from '../cluster/cluster-error.ts';
import type { KubeNode } from '../cluster/node.ts';

/** Lines by where they are true. */
export type Fingerprint = ReadonlyMap<string, readonly string[]>;

/**
 * Prints lines `PLACE<tab>TEXT`. Left out: counters of rules; settings that are the kernel's own measurements; the tables of kube-proxy, which
 * follow every Service, and lose what is gone only with the next change; white space of CNI's configuration; and empty directories that pods had mounted.
 */
const NODE_SCRIPT = String.raw`
set -u
say() { sed "s|^|$1\t|"; }
rules() { sed -E 's/counter packets [0-9]+ bytes [0-9]+/counter/; s/\[[0-9]+:[0-9]+\]//; /^#/d'; }
look() {
  place=$1; shift
  "$@" nft list tables | grep -v ' kube-proxy$' | while read -r table; do "$@" nft --stateless list "$table" | rules; done | say "$place: nftables"
  for tool in iptables-legacy-save ip6tables-legacy-save; do "$@" $tool 2>/dev/null | rules | say "$place: $tool"; done
  for family in -4 -6; do
    "$@" ip $family rule | say "$place: rules"
    "$@" ip $family route show table all | say "$place: routes"
  done
  "$@" ip -oneline link | say "$place: links"
  "$@" ss -Hltn | awk '{ print $4 }' | say "$place: listeners"
  "$@" sysctl --all --pattern '^net\.' 2>/dev/null | grep -Ev '^net\.netfilter\.nf_conntrack_(count|buckets|max)|\.(base_reachable_time|fib_notify|stable_secret)' | say "$place: settings"
}
look node
for netns in /run/netns/*; do look "pod $(basename "$netns")" nsenter --net="$netns"; done
for file in /etc/cni/net.d/*; do echo "$file $(tr -d '[:space:]' < "$file")"; done | say 'node: CNI'
find /opt/cni/bin -type f -exec sha256sum {} + -o -type l -print | say 'node: CNI'
find /run/orlop /var/lib/orlop /sys/fs/bpf -mindepth 1 2>/dev/null | say 'node: files'
bpftool cgroup tree "$(findmnt --noheadings --first-only --types cgroup2 --output TARGET)" 2>/dev/null | grep -E '^[0-9]+ ' | awk '{ print $2, $3, $4, $5 }' | say 'node: BPF programs'
bpftool --json link list | tr '{' '\n' | grep -E '"type":"netns"' | grep -oE '"netns_ino":[0-9]+' | cut -d: -f2 | grep -Fxf <(stat --dereference --format=%i /run/netns/* /proc/1/ns/net) | say 'node: BPF links'
`;

/** Those that come and go by themselves. */
const UNSTEADY_KINDS = /^(?:events|leases|componentstatuses|endpoints)(?:\.|$)/;
const UNSTEADY_ANNOTATIONS = ['endpoints.kubernetes.io/last-change-trigger-time'];

interface ApiObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; labels?: Record<string, string>; annotations?: Record<string, string>; finalizers?: string[] };
  spec?: { taints?: unknown };
}

export async function takeFingerprint(cluster: Cluster): Promise<Fingerprint> {
  const places = new Map<string, string[]>();
  const note = (place: string, line: string): void => {
    places.set(place, [...places.get(place) ?? [], line]);
  };
  await Promise.all(cluster.nodes.map(async (node) => {
    for (const line of await lookAtNode(node)) {
      const tab = line.indexOf('\t');
      note(`${node.name} ${line.slice(0, tab)}`, line.slice(tab + 1));
    }
  }));
  for (const line of await apiObjects(cluster)) note('cluster: objects', line);
  return places;
}

async function lookAtNode(node: KubeNode): Promise<string[]> {
  const [command = '', ...args] = node.argv(['bash', '-c', NODE_SCRIPT]);
  const { stdout, stderr } = await runCommand(command, args);
  if (!stdout.includes('node: settings')) throw new ClusterError(`${node.name} cannot be looked at: ${stderr.trim()}`);
  return stdout.trimEnd().split('\n');
}

async function apiObjects(cluster: Cluster): Promise<string[]> {
  const kinds = (await cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name'])).trim().split('\n').filter((kind) => !UNSTEADY_KINDS.test(kind));
  const { items } = JSON.parse(await cluster.kubectl(['get', kinds.join(','), '--all-namespaces', '-o', 'json'])) as { items: ApiObject[] };
  return items.map(({ apiVersion, kind, metadata, spec }) => {
    const annotations = Object.fromEntries(Object.entries(metadata.annotations ?? {}).filter(([name]) => !UNSTEADY_ANNOTATIONS.includes(name)));
    const rest = JSON.stringify({ labels: metadata.labels, annotations, finalizers: metadata.finalizers, taints: spec?.taints });
    return `${apiVersion} ${kind} ${metadata.namespace === undefined ? '' : `${metadata.namespace}/`}${metadata.name} ${rest}`;
  });
}

/** What one has and the other has not, a line each: `+` for what came, `-` for what went. */
export function differences(before: Fingerprint, after: Fingerprint): string[] {
  const found: string[] = [];
  for (const place of new Set([...before.keys(), ...after.keys()])) {
    const [was, is] = [before.get(place) ?? [], after.get(place) ?? []];
    for (const line of is) if (!was.includes(line)) found.push(`+ ${place}: ${line}`);
    for (const line of was) if (!is.includes(line)) found.push(`- ${place}: ${line}`);
  }
  return found;
}

/** How many lines of each kind came. */
export function additions(before: Fingerprint, after: Fingerprint): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [place, lines] of after) {
    const kind = place.slice(place.lastIndexOf(': ') + 2);
    const added = lines.filter((line) => before.get(place)?.includes(line) !== true).length;
    if (added > 0) counts.set(kind, (counts.get(kind) ?? 0) + added);
  }
  return counts;
}

/** How many lines were compared. */
export function size(fingerprint: Fingerprint): number {
  return [...fingerprint.values()].reduce((sum, lines) => sum + lines.length, 0);
}
