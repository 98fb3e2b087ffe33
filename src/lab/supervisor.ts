/** The process behind a lab: it makes the nodes, runs pods and agents, answers DNS, keeps Services and the config directory true. */
import { mkdirSync } from 'node:fs';
import { podEnvironment } from './checkout.ts';
import { ConfigDirectory } from './config-directory.ts';
import { DnsServer } from './dns-server.ts';
import { parseDocuments } from './document.ts';
import type { SourceDocument } from './document.ts';
import { expand } from './expand.ts';
import { LabError } from './lab-error.ts';
import { LiveObjects } from './live-objects.ts';
import { generatedObjects } from './manifests.ts';
import { LabPaths, NETNS_DIRECTORY } from './names.ts';
import { applyServiceRules, makeNodes } from './network.ts';
import { MeshControl } from './mesh-control.ts';
import { NodeAgent } from './node-agent.ts';
import { RunningPod } from './running-pod.ts';
import type { LabState } from './clean.ts';
import type { AgentAction, Applied, LabStatus, NodeStatus, PodStatus, ProcessAction, Progress } from './status.ts';
import { podKey } from './world.ts';
import type { World } from './world.ts';
import { Zone } from './zone.ts';

/** Changes this close together are written as one: pods of a lab become ready in bursts. */
const SETTLE_MS = 20;
/** Pods made at a time: each takes a few short processes. */
const PODS_AT_ONCE = 4;

export class Supervisor {
  readonly world: World;
  readonly paths: LabPaths;
  #progress: (progress: Progress) => void = () => undefined;
  readonly #documents: SourceDocument[];
  readonly #objects: LiveObjects;
  readonly #pods: RunningPod[] = [];
  readonly #agents: NodeAgent[] = [];
  #control: MeshControl | undefined;
  readonly #dns: DnsServer[] = [];
  #zone: Zone;
  #settling: NodeJS.Timeout | undefined;
  #writing: Promise<void> = Promise.resolve();
  #starting: Promise<void> = Promise.resolve();
  #stopping = false;

  constructor(state: LabState) {
    this.#documents = parseDocuments(state.sources);
    this.world = expand(this.#documents, { ...state.options, number: state.number });
    this.paths = new LabPaths(state.name);
    mkdirSync(this.paths.logs, { recursive: true });
    this.#objects = new LiveObjects(this.world, new ConfigDirectory(this.paths.config));
    this.#zone = new Zone(this.world, new Set(), []);
  }

  /** Bring everything up, telling what is done; resolves when every pod and agent is ready. */
  async start(progress: (progress: Progress) => void): Promise<void> {
    this.#progress = progress;
    this.#starting = this.#bringUp();
    await this.#starting;
  }

  status(): LabStatus {
    return {
      name: this.world.name,
      pid: process.pid,
      configDirectory: this.paths.config,
      nodes: this.world.nodes.map((node) => this.#nodeStatus(node.name)),
      pods: this.#pods.map((pod) => this.#podStatus(pod)),
      services: this.world.services.map(({ namespace, name, clusterIPs, ports }) => ({ namespace, name, clusterIPs, ports: ports.map(({ port }) => port) })),
    };
  }

  /** Add or replace objects; agents see them at once. */
  async apply(text: string, options: { file: string; namespace?: string }): Promise<Applied[]> {
    const applied = this.#objects.apply(parseDocuments([{ file: options.file, text }]), options.namespace);
    await this.#flush();
    return applied;
  }

  /** Remove objects. */
  async remove(text: string, options: { file: string; namespace?: string }): Promise<Applied[]> {
    const removed = this.#objects.remove(parseDocuments([{ file: options.file, text }]), options.namespace);
    await this.#flush();
    return removed;
  }

  async actOnAgent(node: string, action: AgentAction): Promise<void> {
    const agent = this.#agents.find((one) => one.node.name === node);
    if (agent === undefined) {
      const names = this.#agents.map((one) => one.node.name).join(', ');
      throw new LabError(names === '' ? `the lab ${this.world.name} runs no agents; bring it up without --no-agent` : `no agent on "${node}"; there are agents on ${names}`);
    }
    await agent.act(action);
  }

  async actOnControl(action: ProcessAction): Promise<void> {
    if (this.#control === undefined) throw new LabError(`the lab ${this.world.name} runs no agents, and so no control; bring it up without --no-agent`);
    await this.#control.act(action);
  }

  /** End agents, then pods; the kernel objects are removed by cleanLab. */
  async stop(): Promise<void> {
    this.#stopping = true;
    // What is half made is finished first, or it would be made again behind the removal's back. Its failure was reported already.
    await this.#starting.catch(() => undefined);
    clearTimeout(this.#settling);
    await this.#writing;
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    await this.#control?.stop();
    await Promise.all(this.#pods.map((pod) => pod.stop()));
    await Promise.all(this.#dns.map((server) => server.close()));
    for (const agent of this.#agents) agent.close();
    this.#control?.close();
  }

  async #bringUp(): Promise<void> {
    const { world } = this;
    this.#step(`network: ${world.nodes.map((node) => `${node.name} ${node.address.ipv4}`).join(', ')}`);
    await makeNodes(world);
    if (world.agent.enabled) {
      this.#control = new MeshControl(world, this.paths);
      this.#control.start();
    }
    for (const node of world.nodes) {
      this.#dns.push(await DnsServer.start({ netnsPath: `${NETNS_DIRECTORY}/${node.netns}`, address: node.bridge.ipv4, zone: () => this.#zone }));
    }
    this.#step(`pods: ${world.pods.length} in ${new Set(world.pods.map((pod) => pod.namespace)).size} namespaces`);
    await this.#makePods();
    this.#objects.putUserObjects(this.#documents);
    await this.#publish();
    if (this.#stopping) return;
    if (world.agent.enabled) await this.#startAgents();
    if (this.#stopping) return;
    this.#step(`processes: ${world.pods.map((pod) => pod.name).join(', ')}`);
    for (const pod of this.#pods) pod.start();
    await this.#untilReady();
    await this.#flush();
  }

  async #makePods(): Promise<void> {
    const waiting = this.world.pods.map((pod, index) => ({ pod, index }));
    const worker = async (): Promise<void> => {
      for (let next = waiting.shift(); next !== undefined && !this.#stopping; next = waiting.shift()) {
        this.#pods.push(await RunningPod.create({ world: this.world, paths: this.paths, ...next, onChange: () => {
          this.#changed();
        } }));
      }
    };
    await Promise.all(Array.from({ length: PODS_AT_ONCE }, worker));
    const order = new Map(this.world.pods.map((pod, index) => [pod, index]));
    this.#pods.sort((a, b) => (order.get(a.pod) ?? 0) - (order.get(b.pod) ?? 0));
  }

  async #startAgents(): Promise<void> {
    const control = this.#control as MeshControl;
    await control.ready();
    if (this.#stopping) return;
    this.#step(`agents: one per node, redirect ${this.world.agent.redirect}`);
    for (const node of this.world.nodes) {
      const agent = new NodeAgent({ world: this.world, paths: this.paths, node, caArgs: control.agentArgs(node.name), onChange: () => undefined });
      this.#agents.push(agent);
      agent.start();
    }
  }

  async #untilReady(): Promise<void> {
    let before = '';
    while (!this.#stopping) {
      const pods = this.#pods.filter((pod) => !pod.ready).map(({ pod }) => podKey(pod));
      const agents = this.#agents.filter((agent) => !agent.status.ready).map(({ node }) => node.name);
      if (pods.length + agents.length === 0) return;
      const now = JSON.stringify([pods, agents]);
      if (now !== before) this.#progress({ event: 'waiting', pods, agents });
      before = now;
      await new Promise((resolve) => {
        setTimeout(resolve, SETTLE_MS);
      });
    }
  }

  #changed(): void {
    if (this.#stopping) return;
    this.#settling ??= setTimeout(() => {
      void this.#flush();
    }, SETTLE_MS);
  }

  /** Publish now, after whatever is being published. */
  async #flush(): Promise<void> {
    clearTimeout(this.#settling);
    this.#settling = undefined;
    this.#writing = this.#writing.then(() => this.#publish()).catch((error: unknown) => {
      process.stderr.write(`publishing failed: ${error instanceof Error ? error.stack ?? error.message : String(error)}\n`);
    });
    await this.#writing;
  }

  /** Make names, Services and the config directory say what is ready. */
  async #publish(): Promise<void> {
    const ready = new Set(this.#pods.filter((pod) => pod.ready).map(({ pod }) => podKey(pod)));
    this.#zone = new Zone(this.world, ready, this.#objects.extraHosts());
    this.#objects.directory.replaceGenerated(generatedObjects(this.world, ready));
    await applyServiceRules(this.world, ready);
  }

  #nodeStatus(name: string): NodeStatus {
    const node = this.world.nodes.find((one) => one.name === name) as World['nodes'][number];
    const agent = this.#agents.find((one) => one.node === node)?.status
      ?? { enabled: false, running: false, ready: false, restarts: 0, runDirectory: `${this.paths.root}/${name}`, logPath: this.paths.agentLog(name) };
    return { name, netnsPath: `${NETNS_DIRECTORY}/${node.netns}`, address: node.address, bridge: node.bridge, agent };
  }

  #podStatus({ pod, ready, containers, place }: RunningPod): PodStatus {
    const { namespace, name, labels, annotations, hostname, node, address, owner } = pod;
    return {
      namespace, name, labels, annotations, hostname, address, ready, place,
      ...(owner && { deployment: owner.deployment }),
      ...(node !== undefined && { node }),
      containers: containers.map((state, index) => {
        const container = pod.containers[index] as (typeof pod.containers)[number];
        const { runAsUser, runAsGroup, env } = container;
        return {
          ...state, logPath: this.paths.containerLog(namespace, name, state.name), env: podEnvironment(pod, env, this.paths.podScratch(namespace, name)),
          ...(runAsUser !== undefined && { runAsUser }), ...(runAsGroup !== undefined && { runAsGroup }),
        };
      }),
    };
  }

  #step(text: string): void {
    this.#progress({ event: 'step', text });
  }
}
