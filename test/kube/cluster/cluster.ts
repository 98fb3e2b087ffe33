/** A Kubernetes cluster on this machine, made for a test and gone with it: real programs, and nodes made of namespaces. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CoreV1Api, Health, KubeConfig } from '@kubernetes/client-node';
import { runCommand, sleep } from '../../../src/lab/command.ts';
import type { Outcome } from '../../../src/lab/command.ts';
import { ClusterError } from './cluster-error.ts';
import { Component } from './component.ts';
import { controlPlaneComponent, hostGroups, programsOf } from './control-plane.ts';
import type { Program } from './control-plane.ts';
import { dnsObjects, nodeObjects } from './first-objects.ts';
import { writeBaseImages } from './images.ts';
import { Keeper } from './keeper.ts';
import { writeKeys } from './keys.ts';
import type { Subject } from './keys.ts';
import { apiServerAddress, claim, clusterNames, ClusterNames, readState } from './names.ts';
import type { ClusterState, Ports } from './names.ts';
import { makeNetwork } from './network.ts';
import { KubeNode } from './node.ts';
import { sweep } from './sweep.ts';

const READY_TIMEOUT_MS = 60_000;
const POLL_MS = 50;
const NODE_PORTS: Ports = { apiServer: 6443, etcd: 2379, etcdPeer: 2380 };

/** What can be disturbed: a program of the control plane, `dns`, or `kubelet/NODE`, `containerd/NODE`, `kube-proxy/NODE`. */
export type ComponentName = Program | 'dns' | `${'kubelet' | 'containerd' | 'kube-proxy'}/${string}`;

export interface ClusterOptions {
  /** Ten small letters and digits at most; each name is up once. */
  name?: string;
  /** Without nodes there are only etcd and an API server: Nodes and Pods are objects that the test writes. */
  nodes: 0 | 2;
  /** Leave it running when this process ends; `make kube-down` removes it. */
  keep?: boolean;
  /** Told of each step. */
  onProgress?: (text: string) => void;
}

export interface PodOptions {
  namespace?: string;
  container?: string;
}

export class Cluster {
  readonly name: string;
  /** In the order of their names, NAME-node1 and NAME-node2. */
  readonly nodes: readonly KubeNode[];
  /** Path of a file for an administrator. */
  readonly kubeconfig: string;
  readonly #names: ClusterNames;
  readonly #state: ClusterState;
  #client: KubeConfig | undefined;
  #keeper: Keeper | undefined;

  private constructor(names: ClusterNames, state: ClusterState) {
    this.name = names.name;
    this.nodes = Array.from({ length: state.nodeCount }, (_, index) => new KubeNode(names, state, index + 1));
    this.kubeconfig = names.kubeconfig;
    this.#names = names;
    this.#state = state;
  }

  /** Bring a cluster up; resolves when its nodes are ready and pods can be made. Throws ClusterError, and leaves nothing then. */
  static async up(options: ClusterOptions): Promise<Cluster> {
    const progress = options.onProgress ?? (() => undefined);
    if (process.getuid?.() !== 0) throw new ClusterError('a test cluster needs root (namespaces, cgroups, mounts)');
    const names = new ClusterNames(options.name ?? 'kube');
    const home = await build(progress);
    await makeRoom(names);
    const ports = options.nodes === 0 ? await freePorts() : NODE_PORTS;
    const cluster = new Cluster(names, claim(names, {
      name: names.name, nodeCount: options.nodes, home, ports, ...(options.keep !== true && { ownerPid: process.pid }),
    }));
    if (options.keep !== true) cluster.#keeper = Keeper.start(names);
    try {
      await cluster.#bringUp(progress);
    } catch (error) {
      if (options.keep !== true) await cluster.down();
      throw error;
    }
    return cluster;
  }

  /** The cluster of this name that runs, left by whoever brought it up with `keep`. */
  static open(name = 'kube'): Cluster {
    const state = readState(name);
    if (state === undefined) throw new ClusterError(`no cluster "${name}" is up; bring it up with make kube-up`);
    return new Cluster(new ClusterNames(name), state);
  }

  /** Directory of kubectl and Kubernetes' other programs. */
  get programs(): string {
    return `${this.#state.home}/bin`;
  }

  /** Configuration for clients of @kubernetes/client-node, as an administrator. */
  get client(): KubeConfig {
    if (this.#client === undefined) {
      this.#client = new KubeConfig();
      this.#client.loadFromFile(this.kubeconfig);
    }
    return this.#client;
  }

  /** Run kubectl; returns its standard output. Throws with what it says when it fails. */
  async kubectl(args: readonly string[], input?: string): Promise<string> {
    const { code, stdout, stderr } = await this.tryKubectl(args, input);
    if (code !== 0) throw new ClusterError(`kubectl ${args.join(' ')}: ${stderr.trim()}`);
    return stdout;
  }

  async tryKubectl(args: readonly string[], input?: string): Promise<Outcome> {
    return runCommand(`${this.programs}/kubectl`, [`--kubeconfig=${this.kubeconfig}`, `--cache-dir=${this.#names.directory}/kubectl`, ...args], input);
  }

  /** Add or change objects, given as YAML or as plain data. */
  async apply(objects: string | readonly object[]): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], typeof objects === 'string' ? objects : JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects }));
  }

  /** Run a program in a pod (a name, or `deploy/NAME`). */
  async exec(pod: string, argv: readonly string[], options: PodOptions = {}): Promise<Outcome> {
    return this.tryKubectl(['exec', ...podFlags(options), pod, '--', ...argv]);
  }

  /** What a pod's container has written so far. */
  async logs(pod: string, options: PodOptions = {}): Promise<string> {
    return this.kubectl(['logs', ...podFlags(options), pod]);
  }

  /** Put an image archive (deploy/image/archive.ts, or `docker save`) on every node. */
  async loadImage(archivePath: string): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.loadImage(archivePath)));
  }

  /** End a program of the cluster (`stop`: asked to; `kill`: at once), or start it again. Resolves when it is gone, or was started. */
  async disturb(name: ComponentName, action: 'stop' | 'kill' | 'start'): Promise<void> {
    const component = this.#component(name);
    if (action === 'start') component.start();
    else await component.stop(action);
  }

  /** Poll until `check` resolves to something; throws when it does not in time. */
  async until<T>(what: string, check: () => Promise<T | undefined | false>, timeoutMs = READY_TIMEOUT_MS): Promise<T> {
    const deadline = Date.now() + timeoutMs;
    for (;;) {
      const found = await check();
      if (found !== undefined && found !== false) return found;
      if (Date.now() > deadline) throw new ClusterError(`cluster ${this.name}: not in ${timeoutMs / 1000} s: ${what}`);
      await sleep(POLL_MS);
    }
  }

  /** Where a component writes its log. */
  logPath(name: ComponentName): string {
    return this.#names.log(name);
  }

  /** End everything and remove every trace. */
  async down(): Promise<void> {
    await sweep(this.name);
    await this.#keeper?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  async #bringUp(progress: (text: string) => void): Promise<void> {
    progress(`keys${this.nodes.length === 0 ? '' : ` and network of ${this.nodes.length} nodes`}`);
    const nodeNames = this.nodes.map((node) => node.names);
    if (nodeNames.length > 0) await makeNetwork(this.#names, this.#state.number, nodeNames);
    await this.#writeKeys();
    await Promise.all(this.nodes.map(async (node) => node.make()));
    await Promise.all([this.#startControlPlane(progress), this.#startRuntimes(progress)]);
    if (this.nodes.length === 0) return;
    progress('nodes');
    await this.apply([...nodeObjects(nodeNames), ...dnsObjects(apiServerAddress(this.#state))]);
    for (const { name } of this.nodes) for (const program of ['kubelet', 'kube-proxy'] as const) this.#component(`${program}/${name}`).start();
    this.#component('dns').start();
    await this.#untilNodesReady();
  }

  async #writeKeys(): Promise<void> {
    const address = apiServerAddress(this.#state);
    const clients: Record<string, Subject> = {
      admin: { user: 'admin', group: 'system:masters' },
      'controller-manager': { user: 'system:kube-controller-manager' },
      scheduler: { user: 'system:kube-scheduler' },
      'kube-proxy': { user: 'system:kube-proxy' },
    };
    for (const { name } of this.nodes) clients[name] = { user: `system:node:${name}`, group: 'system:nodes' };
    await writeKeys({ directory: this.#names.keys, server: `https://${address}:${this.#state.ports.apiServer}`, addresses: [address], clients });
    copyFileSync(`${this.#names.keys}/admin.kubeconfig`, this.kubeconfig);
  }

  async #startControlPlane(progress: (text: string) => void): Promise<void> {
    progress('etcd and API server');
    this.#component('etcd').start();
    const apiServer = this.#component('apiserver');
    apiServer.start();
    const health = new Health(this.client);
    await apiServer.until(async () => health.readyz({}).catch(() => false), READY_TIMEOUT_MS);
    for (const program of programsOf(this.#state)) this.#component(program).start();
  }

  async #startRuntimes(progress: (text: string) => void): Promise<void> {
    if (this.nodes.length === 0) return;
    progress('containerd, with images for pods');
    const [archives] = await Promise.all([
      writeBaseImages(this.#state.home, `${this.#names.directory}/images`),
      ...this.nodes.map(async (node) => node.startContainerd()),
    ]);
    for (const archive of archives) await this.loadImage(archive);
  }

  async #untilNodesReady(): Promise<void> {
    const core = this.client.makeApiClient(CoreV1Api);
    const isReady = async (): Promise<boolean> => {
      const { items } = await core.listNode();
      const ready = items.filter(({ status }) => status?.conditions?.some(({ type, status: value }) => type === 'Ready' && value === 'True'));
      if (ready.length < this.nodes.length) return false;
      // No pod can be made before the controller manager has made its account.
      return core.readNamespacedServiceAccount({ name: 'default', namespace: 'default' }).then(() => true, () => false);
    };
    await this.until('nodes ready', isReady).catch((error: unknown) => {
      const ends = this.nodes.map(({ name }) => `--- kubelet/${name}:\n${this.#component(`kubelet/${name}`).lastLines()}`);
      throw new ClusterError(`${error instanceof Error ? error.message : String(error)}\n${ends.join('\n')}`);
    });
  }

  #component(name: ComponentName): Component {
    const [program, nodeName] = name.split('/') as [Program | 'dns' | 'kubelet' | 'containerd' | 'kube-proxy', string | undefined];
    if (program === 'kubelet' || program === 'containerd' || program === 'kube-proxy') {
      const node = this.nodes.find((one) => one.name === nodeName);
      if (node === undefined) throw new ClusterError(`no node "${nodeName ?? ''}"; there are ${this.nodes.map((one) => one.name).join(', ')}`);
      return node.component(program);
    }
    if (program !== 'dns') return controlPlaneComponent(program, this.#names, this.#state, this.nodes[0]);
    return new Component({
      name, argv: [process.execPath, join(import.meta.dirname, 'serve-dns.ts'), this.name], groups: hostGroups(this.#names), logPath: this.#names.log(name), pidPath: this.#names.pid(name),
    });
  }
}

/** Take down the cluster of this name; without one, all that were kept or left behind, but none that a running test holds. Returns their names. */
export async function takeDown(name?: string): Promise<string[]> {
  const found = name === undefined ? clusterNames().filter((one) => !isHeld(readState(one)?.ownerPid)) : [name];
  for (const one of found) await sweep(one);
  return found;
}

/** Does the process live, and run this program? A process id alone may have passed to another. */
function isHeld(ownerPid: number | undefined): boolean {
  try {
    return ownerPid !== undefined && readFileSync(`/proc/${ownerPid}/cmdline`, 'utf8').includes('node');
  } catch {
    return false;
  }
}

/** Build what a cluster is made of, unless it is in the cache; returns its directory. */
async function build(progress: (text: string) => void): Promise<string> {
  const child = spawn(join(import.meta.dirname, '../../../scripts/kube.sh'), { stdio: ['ignore', 'pipe', 'pipe'] });
  const said: string[] = [];
  createInterface(child.stderr).on('line', (line) => {
    said.push(line);
    progress(line.replace(/^kube\.sh: /, ''));
  });
  let home = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    home += text;
  });
  const [code] = await once(child, 'close') as [number | null];
  if (code !== 0) throw new ClusterError(`what the cluster is made of cannot be built:\n${said.slice(-10).join('\n')}`);
  return home.trim();
}

/** See that no cluster of this name runs, and sweep what a killed one has left. */
async function makeRoom(names: ClusterNames): Promise<void> {
  const state = readState(names.name);
  if (state !== undefined && (isHeld(state.ownerPid) || (state.ownerPid === undefined && isRunning(names, state)))) {
    throw new ClusterError(`a cluster "${names.name}" is up already; take it down with make kube-down, or give this one another name`);
  }
  await Keeper.untilGone(names);
  await sweep(names.name);
}

function isRunning(names: ClusterNames, state: ClusterState): boolean {
  return state.nodeCount === 0 ? controlPlaneComponent('etcd', names, state, undefined).running : new KubeNode(names, state, 1).running;
}

async function freePorts(): Promise<Ports> {
  const servers = await Promise.all(Array.from({ length: 3 }, async () => {
    const server = createServer().listen(0, '127.0.0.1');
    await once(server, 'listening');
    return server;
  }));
  const [apiServer = 0, etcd = 0, etcdPeer = 0] = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return { apiServer, etcd, etcdPeer };
}

function podFlags({ namespace, container }: PodOptions): string[] {
  return [...(namespace === undefined ? [] : ['-n', namespace]), ...(container === undefined ? [] : ['-c', container])];
}
