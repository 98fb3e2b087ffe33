/**
 * Nodes and pods on one machine, for tests: a network namespace per node with a bridge, a namespace per pod behind it, the
 * nodes joined by a bridge in the root namespace. Everything has IPv4 and IPv6, and a name with this process's pid, so that
 * runs never collide and whatever a killed run left behind is swept by the next.
 *
 *   root: bridge ── uplink of node 1 (10.77.0.1, fd77::1) ── bridge 10.77.1.254 ── pods 10.77.1.1, 10.77.1.2 …
 *              └─── uplink of node 2 (10.77.0.2, fd77::2) ── bridge 10.77.2.254 ── pods 10.77.2.1 …
 */
import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync } from 'node:fs';
import { Netns } from '../../src/sys/netns.ts';

const PREFIX = 'olt';
const NETNS_DIRECTORY = '/run/netns';

export interface Host {
  readonly name: string;
  readonly netns: Netns;
  readonly netnsPath: string;
  readonly ipv4: string;
  readonly ipv6: string;
}

export interface ClusterNode extends Host {
  readonly index: number;
  readonly pods: Host[];
}

let clusters = 0;

export class Cluster implements AsyncDisposable {
  readonly nodes: ClusterNode[] = [];
  readonly #tag: string;
  readonly #bridge: string;
  readonly #children: ChildProcess[] = [];

  private constructor(tag: string) {
    this.#tag = tag;
    this.#bridge = `${tag}br`;
    ip([`link add ${this.#bridge} type bridge`, `link set ${this.#bridge} up`]);
  }

  /** A cluster with so many nodes and no pods yet. Dispose of it (`await using`) to remove every trace. */
  static create(options: { nodes: number }): Cluster {
    sweep();
    clusters += 1;
    const cluster = new Cluster(`${PREFIX}${process.pid.toString(36)}${clusters.toString(36)}`);
    for (let index = 1; index <= options.nodes; index += 1) cluster.#addNode(index);
    return cluster;
  }

  /** A pod on node `index` (from 1), its loopback up and a default route through the node. */
  addPod(index: number, label: string): Host {
    const node = this.nodes[index - 1];
    if (node === undefined) throw new Error(`the cluster has no node ${index}`);
    const number = node.pods.length + 1;
    const [ipv4, ipv6] = [`10.77.${index}.${number}`, `fd77:${index}::${number}`];
    const name = `${this.#tag}-${index}-${label}`;
    addNetns(name);
    ip([`link add p${number} netns ${node.name} type veth peer name eth0 netns ${name}`]);
    ip([`link set p${number} master cni0`, `link set p${number} up`], node.name);
    ip([
      `addr add ${ipv4}/24 dev eth0`, `addr add ${ipv6}/64 dev eth0 nodad`, 'link set eth0 up',
      `route add default via 10.77.${index}.254`, `-6 route add default via fd77:${index}::fe`,
    ], name);
    const pod = host(name, ipv4, ipv6);
    node.pods.push(pod);
    return pod;
  }

  /** Start a process inside a host; it ends with the cluster. */
  spawn(on: Host, command: string, args: readonly string[], options: { uid?: number; gid?: number } = {}): ChildProcess {
    const child = on.netns.run(() => spawn(command, args, { stdio: ['pipe', 'pipe', 'inherit'], ...options }));
    this.#children.push(child);
    return child;
  }

  /** Run a process inside a host to its end; returns its standard output, and throws when it fails. */
  exec(on: Host, command: string, args: readonly string[], options: { uid?: number; gid?: number; input?: string } = {}): string {
    const { status, stdout, stderr, error } = on.netns.run(() => spawnSync(command, args, { encoding: 'utf8', timeout: 20_000, ...options }));
    if (error !== undefined) throw error;
    if (status !== 0) throw new Error(`${command} ${args.join(' ')} in ${on.name}: ${stderr}`);
    return stdout;
  }

  removePod(pod: Host): void {
    pod.netns.close();
    for (const node of this.nodes) if (node.pods.includes(pod)) run('ip', ['netns', 'del', pod.name]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      const ended = once(child, 'exit');
      child.kill('SIGKILL');
      await ended;
    }
    for (const node of this.nodes) {
      for (const { netns } of [...node.pods, node]) netns.close();
    }
    removeNamed((name) => name.startsWith(this.#tag));
    run('ip', ['link', 'del', this.#bridge]);
  }

  #addNode(index: number): void {
    const name = `${this.#tag}-node${index}`;
    const uplink = `${this.#tag}n${index}`;
    addNetns(name);
    ip([`link add ${uplink} type veth peer name eth0 netns ${name}`, `link set ${uplink} master ${this.#bridge}`, `link set ${uplink} up`]);
    ip([
      'link add cni0 type bridge', 'link set cni0 up', `addr add 10.77.${index}.254/24 dev cni0`, `addr add fd77:${index}::fe/64 dev cni0 nodad`,
      `addr add 10.77.0.${index}/24 dev eth0`, `addr add fd77::${index}/64 dev eth0 nodad`, 'link set eth0 up',
    ], name);
    const node = { ...host(name, `10.77.${index}.254`, `fd77:${index}::fe`), index, pods: [] };
    node.netns.run(() => run('sysctl', ['-qw', 'net.ipv4.ip_forward=1', 'net.ipv6.conf.all.forwarding=1']));
    for (const other of this.nodes) {
      ip([`route add 10.77.${other.index}.0/24 via 10.77.0.${other.index}`, `-6 route add fd77:${other.index}::/64 via fd77::${other.index}`], name);
      ip([`route add 10.77.${index}.0/24 via 10.77.0.${index}`, `-6 route add fd77:${index}::/64 via fd77::${index}`], other.name);
    }
    this.nodes.push(node);
  }
}

function host(name: string, ipv4: string, ipv6: string): Host {
  const netnsPath = `${NETNS_DIRECTORY}/${name}`;
  return { name, netnsPath, netns: Netns.open(netnsPath), ipv4, ipv6 };
}

function addNetns(name: string): void {
  run('ip', ['netns', 'add', name]);
  ip(['link set lo up'], name);
}

/** Commands of ip(8), in one process. */
function ip(commands: readonly string[], netns?: string): void {
  for (const command of commands) run('ip', [...(netns === undefined ? [] : ['-n', netns]), ...command.split(' ')]);
}

function run(command: string, args: readonly string[]): void {
  const { status, stderr, error } = spawnSync(command, args, { encoding: 'utf8' });
  if (error !== undefined) throw error;
  if (status !== 0) throw new Error(`${command} ${args.join(' ')}: ${stderr.trim()}`);
}

function removeNamed(isOurs: (name: string) => boolean): void {
  if (!existsSync(NETNS_DIRECTORY)) return;
  for (const name of readdirSync(NETNS_DIRECTORY)) if (isOurs(name)) run('ip', ['netns', 'del', name]);
}

/** Remove what runs that were killed have left: names hold the pid of their process. */
function sweep(): void {
  const pattern = new RegExp(`^${PREFIX}([0-9a-z]+)[0-9a-z](?:-|br$)`);
  const isDead = (name: string): boolean => {
    const pid = pattern.exec(name)?.[1];
    return pid !== undefined && !existsSync(`/proc/${Number.parseInt(pid, 36)}`);
  };
  removeNamed(isDead);
  for (const link of readdirSync('/sys/class/net')) if (isDead(link)) run('ip', ['link', 'del', link]);
}
