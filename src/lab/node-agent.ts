/** The agent of one node while the lab runs: a process inside the node's network namespace, in a cgroup of its own. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { Netns } from '../sys/netns.ts';
import { makeCgroup } from './cgroup.ts';
import { baseEnvironment, CHECKOUT, ORLOP } from './checkout.ts';
import { inCgroup, withResolver } from './enter.ts';
import { NETNS_DIRECTORY } from './names.ts';
import type { LabPaths } from './names.ts';
import { attemptProbe } from './probe.ts';
import type { AgentAction, AgentStatus } from './status.ts';
import { Supervised } from './supervised.ts';
import type { LabNode, Probe, World } from './world.ts';

const HEALTH_PORT = 15021;
const POLL_MS = 100;
/** Longer than the agent's own drain (DRAIN_DEADLINE_MS), so that it removes its rules itself. */
const STOP_GRACE_MS = 8_000;

const HEALTH: Probe = {
  kind: 'httpGet', port: HEALTH_PORT, path: '/healthz/ready', headers: {}, initialDelayMs: 0, periodMs: POLL_MS, timeoutMs: 1000, successThreshold: 1, failureThreshold: 1,
};

export class NodeAgent {
  readonly node: LabNode;
  readonly #netns: Netns;
  readonly #process: Supervised;
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
    mkdirSync(this.#runDirectory, { recursive: true });
    mkdirSync(dirname(paths.nodeResolver(node.name)), { recursive: true });
    writeFileSync(paths.nodeResolver(node.name), `nameserver ${node.bridge.ipv4}\n`);
    const argv = [
      ORLOP, 'agent', '--config', paths.config, '--node', node.name, '--run-dir', this.#runDirectory, '--redirect', world.agent.redirect, ...caArgs, ...world.agent.args,
    ];
    this.#process = new Supervised({
      argv: inCgroup(makeCgroup(world.name, `agent-${node.name}`), withResolver(paths.nodeResolver(node.name), argv)),
      env: baseEnvironment(),
      cwd: CHECKOUT,
      logPath: this.#logPath,
      netns: this.#netns,
      onChange: () => {
        // It has begun or ended: whatever it answered before, it was another process.
        this.#ready = false;
        options.onChange();
      },
    });
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
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    this.#ready = false;
    clearTimeout(this.#timer);
    await this.#process.stop(STOP_GRACE_MS);
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
    const ready = await attemptProbe(HEALTH, this.#netns, '127.0.0.1');
    if (this.#stopped) return;
    this.#ready = ready;
    this.#poll();
  }
}
