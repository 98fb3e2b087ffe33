/** The agent of one node while the lab runs: a process inside the node's network namespace, in a cgroup of its own. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Netns } from '../sys/netns.ts';
import { makeCgroup } from './cgroup.ts';
import { sleep } from './command.ts';
import { baseEnvironment, CHECKOUT, ORLOP } from './checkout.ts';
import { withResolver } from './enter.ts';
import { KeptAgent } from './kept-agent.ts';
import { LabError } from './lab-error.ts';
import { NETNS_DIRECTORY } from './names.ts';
import type { LabPaths } from './names.ts';
import { attemptProbe } from './probe.ts';
import type { AgentAction, AgentStatus } from './status.ts';
import type { LabNode, Probe, World } from './world.ts';

const HEALTH_PORT = 15021;
const POLL_MS = 100;
/** Longer than the agent's own drain (DRAIN_DEADLINE_MS), so that it removes its rules itself. */
const STOP_GRACE_MS = 8_000;

/** Within it the next agent must serve. */
const UPGRADE_MS = 60_000;
/** Longer than an agent that was taken over from drains at most. */
const UPGRADED_GRACE_MS = 660_000;

const HEALTH: Omit<Probe, 'path'> = {
  kind: 'httpGet', port: HEALTH_PORT, headers: {}, initialDelayMs: 0, periodMs: POLL_MS, timeoutMs: 1000, successThreshold: 1, failureThreshold: 1,
};

export class NodeAgent {
  readonly node: LabNode;
  readonly #netns: Netns;
  readonly #make: (instance: string) => KeptAgent;
  #process: KeptAgent;
  /** Agents so far that were made to take over, so that each has a name of its own. */
  #upgrades = 0;
  /** Agents that were taken over from, while they finish their connections. */
  readonly #leaving = new Set<KeptAgent>();
  readonly #runDirectory: string;
  readonly #logPath: string;
  #stopped = false;
  #ready = false;
  #timer: NodeJS.Timeout | undefined;

  constructor(options: { world: World; paths: LabPaths; node: LabNode; caArgs: readonly string[]; onChange(): void }) {
    const { world, paths, node, caArgs } = options;
    this.node = node;
    this.#netns = Netns.open(`${NETNS_DIRECTORY}/${node.netns}`);
    this.#runDirectory = `${paths.root}/${node.name}`;
    this.#logPath = paths.agentLog(node.name);
    mkdirSync(`${this.#runDirectory}/keepers`, { recursive: true });
    mkdirSync(dirname(paths.nodeResolver(node.name)), { recursive: true });
    writeFileSync(paths.nodeResolver(node.name), `nameserver ${node.bridge.ipv4}\n`);
    const argv = [
      ORLOP, 'agent', '--config', paths.config, '--node', node.name, '--run-dir', this.#runDirectory, '--redirect', world.agent.redirect, ...caArgs, ...world.agent.args,
    ];
    this.#make = (instance) => {
      const process: KeptAgent = new KeptAgent({
        agent: {
          argv: withResolver(paths.nodeResolver(node.name), [...argv, '--instance', instance]),
          env: baseEnvironment(),
          cwd: CHECKOUT,
          logPath: this.#logPath,
          netns: this.#netns,
          onChange: () => {
            // It has begun or ended: whatever it answered before, it was another process.
            if (process === this.#process) this.#ready = false;
            options.onChange();
          },
        },
        cgroup: makeCgroup(world.name, `agent-${node.name}`),
        keeperPath: `${this.#runDirectory}/keepers/${instance}.sock`,
      });
      return process;
    };
    this.#process = this.#make(this.#instance);
  }

  start(): void {
    this.#stopped = false;
    this.#process.start();
    this.#poll();
  }

  get status(): AgentStatus {
    const { running, restarts, pid } = this.#process;
    return {
      enabled: true, running, ready: running && this.#ready, restarts, ...(pid !== undefined && { pid }), runDirectory: this.#runDirectory, logPath: this.#logPath,
    };
  }

  async act(action: AgentAction): Promise<void> {
    if (action === 'kill') this.#process.signal('SIGKILL');
    if (action === 'stop' || action === 'restart') await this.stop();
    if (action === 'restart' || (action === 'start' && this.#stopped)) this.start();
    if (action === 'upgrade') await this.#upgrade();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ready = false;
    clearTimeout(this.#timer);
    await Promise.all([...this.#leaving, this.#process].map(async (process) => process.stop(STOP_GRACE_MS)));
  }

  get #instance(): string {
    return `${this.node.name}-${this.#upgrades}`;
  }

  /** As a DaemonSet with maxSurge does it: the next agent starts, and when it is ready, the one before is asked to end. */
  async #upgrade(): Promise<void> {
    const before = this.#process;
    this.#upgrades += 1;
    this.#ready = false;
    this.#process = this.#make(this.#instance);
    this.#process.start();
    const endMs = Date.now() + UPGRADE_MS;
    while (!this.#ready) {
      if (Date.now() > endMs) throw new LabError(`the next agent of ${this.node.name} was not ready within ${UPGRADE_MS / 1000} s; see ${this.#logPath}`);
      await sleep(POLL_MS);
    }
    this.#leaving.add(before);
    void before.stop(UPGRADED_GRACE_MS).finally(() => this.#leaving.delete(before));
  }

  close(): void {
    this.#netns.close();
  }

  #poll(): void {
    this.#timer = setTimeout(() => {
      void this.#look();
    }, POLL_MS);
  }

  async #look(): Promise<void> {
    const instance = this.#instance;
    const ready = await attemptProbe({ ...HEALTH, path: `/healthz/ready?instance=${instance}` }, this.#netns, '127.0.0.1') && instance === this.#instance;
    if (this.#stopped) return;
    this.#ready = ready;
    this.#poll();
  }
}
