/** A lab that runs, for commands and for tests: bring one up from files, run programs in its pods, change its objects, take it down. */
import { spawn } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { runCommand, sleep } from './command.ts';
import type { Outcome } from './command.ts';
import { baseEnvironment, CHECKOUT, SUPERVISE } from './checkout.ts';
import { LAB_NUMBER_MAX } from './addresses.ts';
import { cleanLab, labNames, readState } from './clean.ts';
import type { LabState } from './clean.ts';
import { cgroupRoot } from './cgroup.ts';
import { ControlClient } from './control-client.ts';
import { parseDocuments, readSources } from './document.ts';
import type { SourceText } from './document.ts';
import { inPod } from './enter.ts';
import { expand, labName } from './expand.ts';
import { LabError } from './lab-error.ts';
import { LABS_DIRECTORY, LabPaths } from './names.ts';
import type { AgentAction, Applied, ContainerStatus, LabStatus, NodeStatus, PodStatus, ProcessAction, Progress } from './status.ts';
import type { World } from './world.ts';

const SUPERVISOR_START_MS = 20_000;
const POLL_MS = 25;
const DOWN_TIMEOUT_MS = 20_000;
export const UP_TIMEOUT_MS = 60_000;

export interface LabOptions {
  /** Instead of the Lab document's name. */
  name?: string;
  /** Start no agents. */
  noAgent?: boolean;
  /** How agents capture; otherwise as the Lab document says. */
  redirect?: 'auto' | 'iptables' | 'ebpf';
  /** Namespace of objects that name none; `default` otherwise. */
  namespace?: string;
  /** Leave the lab running when this process ends. False for tests: the lab then ends with its owner, however that ends. */
  keep?: boolean;
  /** Resolve once everything is made, without waiting until pods and agents are ready. */
  noWait?: boolean;
  /** How long to wait until all is ready. */
  timeoutMs?: number;
  /** Objects given as text, read after the files. */
  sources?: readonly SourceText[];
  onProgress?(progress: Progress): void;
}

export interface ObjectOptions {
  namespace?: string;
  /** Name shown in messages about the text. */
  file?: string;
}

export interface ExecOptions {
  container?: string;
  /** Added to the container's environment. */
  env?: Record<string, string>;
  input?: string;
}

export class Lab implements AsyncDisposable {
  readonly name: string;
  readonly paths: LabPaths;
  readonly #control: ControlClient;
  #unfollow: (() => void) | undefined;

  private constructor(name: string) {
    this.name = name;
    this.paths = new LabPaths(name);
    this.#control = new ControlClient(name);
  }

  /**
   * Bring a lab up from YAML files; resolves when every pod and agent is ready. Throws LabError for a mistake in the files,
   * and when something is not ready in time; with `keep`, what came up then stays to be looked at.
   */
  static async up(files: readonly string[], options: LabOptions = {}): Promise<Lab> {
    const sources = [...readSources(files), ...(options.sources ?? [])];
    const documents = parseDocuments(sources);
    const name = labName(documents, options.name);
    if (process.getuid?.() !== 0) throw new LabError('a lab makes network namespaces and cgroups: run it as root');
    cgroupRoot();
    await makeRoom(name);
    const number = freeNumber();
    const world = expand(documents, { ...expandOptions(name, options), number });
    await checkNeighbours(world);
    const lab = new Lab(name);
    claim(lab.paths, { ...stateOf(world, options), sources });
    try {
      await lab.#startSupervisor();
      await lab.#follow(options);
    } catch (error) {
      // A lab of the command line that is not ready in time stays, so that one can look why; anything else leaves nothing.
      if (!(error instanceof NotReadyError && options.keep === true)) await lab.down();
      throw error;
    }
    return lab;
  }

  /** A lab that runs already; the only one when no name is given. */
  static async open(name?: string): Promise<Lab> {
    const lab = new Lab(name ?? onlyName());
    await lab.status();
    return lab;
  }

  /** Names of the labs of this machine, with those that were left behind by a crash. */
  static async list(): Promise<{ name: string; running: boolean }[]> {
    return Promise.all(labNames().map(async (name) => ({ name, running: await new ControlClient(name).alive() })));
  }

  async status(): Promise<LabStatus> {
    return await this.#control.call('GET', '/status') as LabStatus;
  }

  async pods(): Promise<PodStatus[]> {
    return (await this.status()).pods;
  }

  /** A pod by `namespace/name`, by name, by the name of its Deployment (its first pod), or by an unambiguous beginning of its name. */
  async pod(wanted: string): Promise<PodStatus> {
    return findPod(await this.pods(), wanted);
  }

  async node(name: string): Promise<NodeStatus> {
    const { nodes } = await this.status();
    const node = nodes.find((one) => one.name === name);
    if (node === undefined) throw new LabError(`no node "${name}" in lab ${this.name}; there are ${nodes.map((one) => one.name).join(', ')}`);
    return node;
  }

  /** Run a program inside a pod to its end. A code other than 0 is a result, not an error. */
  async exec(pod: string, argv: readonly string[], options: ExecOptions = {}): Promise<Outcome> {
    const [command = '', ...args] = await this.execArgv(pod, argv, options);
    return runCommand(command, args, options.input);
  }

  /** The command line of the host that runs `argv` inside a pod, for callers that start it themselves. */
  async execArgv(wanted: string, argv: readonly string[], options: ExecOptions = {}): Promise<string[]> {
    const pod = await this.pod(wanted);
    const container = findContainer(pod, options.container);
    const env = Object.entries({ ...container.env, ...options.env }).map(([key, value]) => `${key}=${value}`);
    return inPod(pod.place, ['env', '-i', ...env, ...argv], { ...container, cwd: CHECKOUT });
  }

  /** Paths of a pod's log files, or of an agent's (`agent/NODE`). */
  async logPaths(wanted: string): Promise<string[]> {
    if (wanted.startsWith('agent/')) return [(await this.node(wanted.slice('agent/'.length))).agent.logPath];
    return (await this.pod(wanted)).containers.map(({ logPath }) => logPath);
  }

  /** What a pod's containers have written so far. */
  async logs(wanted: string): Promise<string> {
    return (await this.logPaths(wanted)).map((path) => (existsSync(path) ? readFileSync(path, 'utf8') : '')).join('');
  }

  /** Add or replace objects from YAML text: mesh resources, Namespaces, Services; annotations of Pods and Deployments that run. */
  async apply(yaml: string, options: ObjectOptions = {}): Promise<Applied[]> {
    return await this.#control.call('POST', '/apply', { body: yaml, query: { ...options } }) as Applied[];
  }

  /** Remove the objects that YAML text names. */
  async delete(yaml: string, options: ObjectOptions = {}): Promise<Applied[]> {
    return await this.#control.call('POST', '/delete', { body: yaml, query: { ...options } }) as Applied[];
  }

  /** The agent of a node, to be looked at and disturbed. */
  agent(node: string): { status(): Promise<NodeStatus['agent']>; act(action: AgentAction): Promise<void> } {
    return {
      status: async () => (await this.node(node)).agent,
      act: async (action) => {
        await this.#control.call('POST', '/agent', { query: { node, action } });
      },
    };
  }

  /** The CA that the agents share, to be disturbed. */
  async control(action: ProcessAction): Promise<void> {
    await this.#control.call('POST', '/control', { query: { action } });
  }

  /** Poll until `condition` holds for the lab's status; throws LabError when it does not in time. */
  async until(condition: (status: LabStatus) => boolean, options: { what: string; timeoutMs?: number }): Promise<LabStatus> {
    const deadline = Date.now() + (options.timeoutMs ?? UP_TIMEOUT_MS);
    for (;;) {
      const status = await this.status();
      if (condition(status)) return status;
      if (Date.now() > deadline) throw new LabError(`lab ${this.name}: not in time: ${options.what}`);
      await sleep(POLL_MS);
    }
  }

  /** Stop everything and remove every trace, whatever state the lab is in. */
  async down(): Promise<void> {
    const pid = await this.#control.call('POST', '/down').then((answer) => (answer as { pid: number }).pid, () => undefined);
    if (pid !== undefined) await untilGone(pid, DOWN_TIMEOUT_MS);
    this.#unfollow?.();
    await cleanLab(this.name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.down();
  }

  /** Take down the lab of this name, running or left behind. Throws LabError when there is none. */
  static async downByName(name?: string): Promise<string> {
    const found = name ?? onlyName();
    if (!labNames().includes(found)) throw new LabError(`there is no lab "${found}"`);
    await new Lab(found).down();
    return found;
  }

  async #startSupervisor(): Promise<void> {
    mkdirSync(this.paths.logs, { recursive: true });
    const log = openSync(this.paths.supervisorLog, 'a');
    const child = spawn(process.execPath, [SUPERVISE, this.name], { detached: true, stdio: ['ignore', log, log], env: baseEnvironment(), cwd: CHECKOUT });
    closeSync(log);
    child.unref();
    const deadline = Date.now() + SUPERVISOR_START_MS;
    while (!await this.#control.alive()) {
      if (child.exitCode !== null || Date.now() > deadline) throw new LabError(`the lab's supervisor did not start: ${lastLines(this.paths.supervisorLog)}`);
      await sleep(POLL_MS);
    }
  }

  /** Watch the lab come up, and stay its follower when it is tied to this process. */
  async #follow(options: LabOptions): Promise<void> {
    const done = Promise.withResolvers<undefined>();
    let waiting: Extract<Progress, { event: 'waiting' }> | undefined;
    const following = await this.#control.follow((progress) => {
      options.onProgress?.(progress);
      if (progress.event === 'waiting') waiting = progress;
      if (progress.event === 'failed') done.reject(new LabError(`lab ${this.name} did not come up: ${progress.message}`));
      if (progress.event === 'up' || (progress.event === 'waiting' && options.noWait === true)) done.resolve(undefined);
    });
    this.#unfollow = following.close;
    following.onEnd(() => {
      done.reject(new LabError(`the supervisor of lab ${this.name} is gone: ${lastLines(this.paths.supervisorLog)}`));
    });
    const timer = setTimeout(() => {
      void this.#whyNotReady(waiting).then(done.reject, done.reject);
    }, options.timeoutMs ?? UP_TIMEOUT_MS);
    try {
      await done.promise;
    } finally {
      clearTimeout(timer);
      if (options.keep === true) following.close();
    }
  }

  async #whyNotReady(waiting: Extract<Progress, { event: 'waiting' }> | undefined): Promise<NotReadyError> {
    const names = [...(waiting?.pods ?? []), ...(waiting?.agents ?? []).map((node) => `agent/${node}`)];
    const reasons = await Promise.all(names.slice(0, 3).map(async (name) => {
      const [path] = await this.logPaths(name);
      return `\n--- ${name}:\n${path === undefined ? '' : lastLines(path)}`;
    }));
    return new NotReadyError(`not ready in time: ${names.join(', ')}${reasons.join('')}`);
  }
}

/** Everything was made, but some pod or agent is not ready. */
export class NotReadyError extends LabError {}

/** The pod that a user means; see Lab.pod. */
export function findPod(pods: readonly PodStatus[], wanted: string): PodStatus {
  const [namespace, name] = wanted.includes('/') ? wanted.split('/') : [undefined, wanted];
  const candidates = pods.filter((pod) => namespace === undefined || pod.namespace === namespace);
  const exact = candidates.filter((pod) => pod.name === name);
  if (exact.length === 1) return exact[0] as PodStatus;
  const ofDeployment = candidates.find((pod) => exact.length === 0 && pod.deployment === name);
  if (ofDeployment !== undefined) return ofDeployment;
  const found = exact.length > 0 ? exact : candidates.filter((pod) => pod.name.startsWith(`${name ?? ''}-`));
  if (found.length === 1) return found[0] as PodStatus;
  const list = (found.length > 0 ? found : pods).map((pod) => `${pod.namespace}/${pod.name}`).join(', ');
  throw new LabError(found.length > 0 ? `"${wanted}" may be ${list}; name one of them` : `no pod "${wanted}"; there are ${list}`);
}

function findContainer(pod: PodStatus, name: string | undefined): ContainerStatus {
  const container = name === undefined ? pod.containers[0] : pod.containers.find((one) => one.name === name);
  if (container === undefined) throw new LabError(`no container "${name ?? ''}" in pod ${pod.name}; there are ${pod.containers.map((one) => one.name).join(', ')}`);
  return container;
}

function expandOptions(name: string, options: LabOptions): LabState['options'] {
  return {
    name,
    noAgent: options.noAgent === true,
    ...(options.namespace !== undefined && { namespace: options.namespace }),
    ...(options.redirect !== undefined && { redirect: options.redirect }),
  };
}

function stateOf(world: World, options: LabOptions): Omit<LabState, 'sources'> {
  return {
    name: world.name, number: world.number, nodes: world.nodes.map((node) => node.name), agents: world.agent.enabled,
    creatorPid: process.pid, tied: options.keep !== true, options: expandOptions(world.name, options),
  };
}

/** See that no lab of this name runs, and sweep what a killed one has left. */
async function makeRoom(name: string): Promise<void> {
  if (await new ControlClient(name).alive()) throw new LabError(`lab ${name} is up already; take it down with orlop lab down ${name}, or give this one another --name`);
  const creator = readState(name)?.creatorPid;
  if (creator !== undefined && creator !== process.pid && isOrlop(creator) && !existsSync(new LabPaths(name).control)) {
    throw new LabError(`lab ${name} is being brought up by process ${creator}; wait for it`);
  }
  await cleanLab(name);
}

/** Does the process live, and run this program? A process id alone may have passed to another. */
function isOrlop(pid: number): boolean {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('node');
  } catch {
    return false;
  }
}

/** Agents pin BPF objects by their node's name, so two labs with agents may not share one. */
async function checkNeighbours(world: World): Promise<void> {
  if (!world.agent.enabled) return;
  for (const other of labNames()) {
    const state = readState(other);
    if (state === undefined || !state.agents || !await new ControlClient(other).alive()) continue;
    const shared = world.nodes.find((node) => state.nodes.includes(node.name));
    if (shared !== undefined) throw new LabError(`lab ${other} has an agent on a node "${shared.name}" too; rename the node, take that lab down, or use --no-agent`);
  }
}

/** Write the state before anything is made, so that whatever follows can be found and removed. */
function claim(paths: LabPaths, state: LabState): void {
  mkdirSync(LABS_DIRECTORY, { recursive: true, mode: 0o755 });
  try {
    mkdirSync(paths.root);
  } catch (error) {
    throw new LabError(`lab ${state.name} is being brought up by another process (${(error as NodeJS.ErrnoException).code ?? ''}); wait for it`);
  }
  writeFileSync(paths.state, JSON.stringify(state));
}

/** The lowest number no other lab has. Labs share no network: a number twice would only be confusing to read. */
function freeNumber(): number {
  const taken = new Set(labNames().map((name) => readState(name)?.number));
  for (let number = 1; number <= LAB_NUMBER_MAX; number += 1) if (!taken.has(number)) return number;
  throw new LabError(`there are ${LAB_NUMBER_MAX} labs on this machine; take one down`);
}

function onlyName(): string {
  const names = labNames();
  if (names.length === 1) return names[0] as string;
  throw new LabError(names.length === 0 ? 'no lab is up; bring one up with orlop lab up FILE' : `several labs are up (${names.join(', ')}); name one with --name`);
}

/** Wait for a process that was asked to end, and end it when it does not: two may not remove the same things at once. */
async function untilGone(pid: number, timeoutMs: number): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (existsSync(`/proc/${pid}`)) {
    if (Date.now() > deadline) {
      // The id cannot have passed to another process: it is looked at all the time.
      process.kill(pid, 'SIGKILL');
      return;
    }
    await sleep(POLL_MS);
  }
}

function lastLines(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8').trimEnd().split('\n').slice(-8).join('\n') : '';
}
