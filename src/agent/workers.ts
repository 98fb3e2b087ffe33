/**
 * The worker threads of an agent. Each enrolled pod belongs to one of them, the least loaded when it came. A worker that dies
 * is replaced and told everything again; meanwhile its pods' clients wait in the backlog, because the main thread holds the
 * listening sockets.
 */
import { Worker } from 'node:worker_threads';
import type { WorkloadCertificate } from '../certs/certificate.ts';
import type { Credential } from '../certs/credential.ts';
import type { Logger } from '../core/log.ts';
import { changeBetween } from '../mesh/change.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { JwksState, JwksTarget } from '../proxy/jwt/jwks-source.ts';
import type { WorkerCounts } from '../telemetry/worker-telemetry.ts';
import type { ForwardedLine } from './forward-log.ts';
import type { EnrolledPod, FromWorker, PodSockets, ServedGateway, ToWorker } from './protocol.ts';
import type { WorkerSettings } from './worker.ts';

/** Heap of one worker; the agent's own limit is the sum. Beyond it the worker is ended and replaced, not the agent. */
const WORKER_HEAP_MIB = 512;
const YOUNG_GENERATION_MIB = 3;
/** A worker that dies again at once is replaced more and more slowly. */
const RESTART_DELAY_MS = 50;
const RESTART_DELAY_MAX_MS = 5_000;
const HEALTHY_AFTER_MS = 10_000;
const ANSWER_TIMEOUT_MS = 5_000;

/** Beside this file, in the form this file itself runs in. */
const WORKER = new URL(import.meta.filename.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

export interface WorkersOptions {
  readonly count: number;
  readonly settings: Omit<WorkerSettings, 'name'>;
  readonly log: Logger;
  /** The program of the threads. */
  readonly entry?: URL;
  /** A pod's listeners accept, or why they do not. */
  readonly onEnrolled: (id: string, failure: string | undefined) => void;
  /** Every worker has the tables of this snapshot in force. */
  readonly onApplied: (version: number) => void;
  /** A worker needs these key sets and no others. */
  readonly onJwksWanted: (worker: string, targets: readonly JwksTarget[]) => void;
  /** A token names a key that is not among those of this key set. */
  readonly onJwksRefresh: (key: string) => void;
  /** A worker died; its metrics are as last collected. */
  readonly onRestart: (name: string) => void;
}

interface Membership {
  readonly pod: Omit<EnrolledPod, 'listeners'>;
  /** Undefined when another agent has them. */
  readonly sockets: PodSockets | undefined;
  readonly owner: number;
}

export class Workers {
  readonly #options: WorkersOptions;
  readonly #threads: Thread[] = [];
  readonly #pods = new Map<string, Membership>();
  readonly #gateways = new Map<string, { readonly gateway: ServedGateway; readonly owner: number }>();
  readonly #certificates = new Map<string, WorkloadCertificate>();
  readonly #credentials = new Map<string, Credential>();
  #snapshot: Snapshot | undefined;
  #nodeAddresses: readonly string[] = [];
  #closing = false;

  constructor(options: WorkersOptions) {
    this.#options = options;
    for (let i = 0; i < options.count; i += 1) this.#threads.push(this.#thread(i, 0));
  }

  /** Give all workers a new configuration. */
  apply(snapshot: Snapshot): void {
    const before = this.#snapshot;
    this.#snapshot = snapshot;
    const message: ToWorker = before === undefined ? { type: 'snapshot', snapshot } : { type: 'change', change: changeBetween(before, snapshot) };
    for (const thread of this.#threads) thread.say(message);
  }

  /** A pod joins: one worker accepts its connections, all know it. */
  enrol(pod: Omit<EnrolledPod, 'listeners'>, sockets: PodSockets): void {
    const { id } = pod;
    const membership = { pod, sockets, owner: this.#pods.get(id)?.owner ?? this.#leastLoaded(this.#pods) };
    this.#pods.set(id, membership);
    for (const thread of this.#threads) thread.say({ type: 'enrol', pod: podFor(thread.index, membership) });
  }

  /** Give all workers a certificate that is new, and those that come later too. */
  certify(certificate: WorkloadCertificate): void {
    this.#certificates.set(certificate.identity, certificate);
    for (const thread of this.#threads) thread.say({ type: 'certificate', certificate });
  }

  /** No pod has the identity any more. */
  forget(identity: string): void {
    if (!this.#certificates.delete(identity)) return;
    for (const thread of this.#threads) thread.say({ type: 'forget', identity });
  }

  /** Give all workers the node's addresses, and those that come later too. */
  useNodeAddresses(addresses: readonly string[]): void {
    this.#nodeAddresses = addresses;
    for (const thread of this.#threads) thread.say({ type: 'node-addresses', addresses });
  }

  /** Give all workers the keys of an issuer. */
  publishJwks(key: string, state: JwksState): void {
    for (const thread of this.#threads) thread.say({ type: 'jwks', key, state });
  }

  /** A pod leaves; resolves when the last connection that was captured has ended. */
  async release(id: string): Promise<void> {
    if (!this.#pods.delete(id)) return;
    await Promise.all(this.#threads.map(async (thread) => thread.release(id)));
  }

  /** A gateway begins, or has other sockets: one worker accepts its connections. */
  serve(gateway: ServedGateway): void {
    const owner = this.#gateways.get(gateway.workload)?.owner ?? this.#leastLoaded(this.#gateways);
    this.#gateways.set(gateway.workload, { gateway, owner });
    this.#threads[owner]?.say({ type: 'gateway', gateway });
  }

  forgetGateway(workload: string): void {
    const owner = this.#gateways.get(workload)?.owner;
    if (owner !== undefined) this.#threads[owner]?.say({ type: 'forget-gateway', workload });
    this.#gateways.delete(workload);
  }

  /** Give all workers what gateways show and trust; undefined: there is none any more. */
  credential(source: string, credential: Credential | undefined): void {
    if (credential === undefined) this.#credentials.delete(source);
    else this.#credentials.set(source, credential);
    for (const thread of this.#threads) thread.say({ type: 'credential', source, credential });
  }

  /** The counts of every worker that answers, by its name. */
  async collect(): Promise<Map<string, WorkerCounts>> {
    const answers = await Promise.all(this.#threads.map(async (thread) => [thread.name, await thread.ask((call) => ({ type: 'collect', call }))] as const));
    return new Map(answers.filter((answer): answer is [string, WorkerCounts] => answer[1] !== undefined));
  }

  /** What the pod's own worker says of it. */
  async describe(id: string): Promise<unknown> {
    const owner = (this.#pods.get(id) ?? this.#gateways.get(id))?.owner;
    return owner === undefined ? undefined : this.#threads[owner]?.ask((call) => ({ type: 'describe', call, id }));
  }

  /** Another agent accepts the pods' connections: resolves when these workers do not any more. What they have is finished. */
  async handOver(): Promise<void> {
    this.#closing = true;
    // The listening sockets are about to be closed here.
    for (const [id, { pod, owner }] of this.#pods) this.#pods.set(id, { pod, owner, sockets: undefined });
    for (const [workload, { gateway, owner }] of this.#gateways) this.#gateways.set(workload, { gateway: { ...gateway, sockets: [] }, owner });
    await Promise.all(this.#threads.map(async (thread) => thread.handOver()));
  }

  /** Be ready for pods to be enrolled again. */
  takeBack(): void {
    this.#closing = false;
    this.#threads.forEach((thread, index) => {
      if (thread.dead) this.#replace(index, 0);
      else thread.say({ type: 'take-back' });
    });
  }

  /**
   * Finish; resolves with the number of connections that were still open at the deadline. `accepting`: take new ones to the end, as they
   * would find nobody else.
   */
  async drain(deadlineMs: number, { accepting }: { readonly accepting: boolean } = { accepting: false }): Promise<number> {
    this.#closing = true;
    const left = await Promise.all(this.#threads.map(async (thread) => thread.drain(deadlineMs, accepting)));
    return left.reduce((sum, count) => sum + count, 0);
  }

  async close(): Promise<void> {
    this.#closing = true;
    await Promise.all(this.#threads.map(async (thread) => thread.end()));
  }

  #thread(index: number, delayMs: number): Thread {
    const { settings, log, entry = WORKER, onEnrolled, onJwksWanted, onJwksRefresh, onRestart } = this.#options;
    const name = `worker-${index}`;
    return new Thread(index, entry, { ...settings, name }, {
      enrolled: (id, failure) => {
        if (this.#pods.get(id)?.owner === index) onEnrolled(id, failure);
      },
      applied: () => this.#checkApplied(),
      jwksWanted: (targets) => onJwksWanted(name, targets),
      jwksRefresh: onJwksRefresh,
      said: ({ level, fields, message }) => log[level]({ worker: name, ...fields }, message),
      died: (reason, lifeMs) => {
        if (this.#closing) return;
        const nextMs = lifeMs > HEALTHY_AFTER_MS ? RESTART_DELAY_MS : Math.min(RESTART_DELAY_MAX_MS, Math.max(RESTART_DELAY_MS, delayMs * 2));
        log.error({ worker: name, reason, restartInMs: nextMs }, 'a worker died; its pods wait in the backlog until it is back');
        onRestart(name);
        setTimeout(() => this.#replace(index, nextMs), nextMs).unref();
      },
    });
  }

  #replace(index: number, delayMs: number): void {
    if (this.#closing) return;
    const thread = this.#thread(index, delayMs);
    this.#threads[index] = thread;
    thread.say({ type: 'node-addresses', addresses: this.#nodeAddresses });
    if (this.#snapshot !== undefined) thread.say({ type: 'snapshot', snapshot: this.#snapshot });
    for (const certificate of this.#certificates.values()) thread.say({ type: 'certificate', certificate });
    for (const [source, credential] of this.#credentials) thread.say({ type: 'credential', source, credential });
    for (const membership of this.#pods.values()) thread.say({ type: 'enrol', pod: podFor(index, membership) });
    for (const { gateway, owner } of this.#gateways.values()) if (owner === index) thread.say({ type: 'gateway', gateway });
  }

  #checkApplied(): void {
    const versions = this.#threads.map((thread) => thread.appliedVersion);
    this.#options.onApplied(Math.min(...versions));
  }

  #leastLoaded(members: ReadonlyMap<string, { readonly owner: number }>): number {
    const load = this.#threads.map(() => 0);
    for (const { owner } of members.values()) load[owner] = (load[owner] ?? 0) + 1;
    return load.indexOf(Math.min(...load));
  }
}

function podFor(index: number, { pod, sockets, owner }: Membership): EnrolledPod {
  return { ...pod, listeners: owner === index ? sockets : undefined };
}

interface ThreadEvents {
  enrolled(id: string, failure: string | undefined): void;
  applied(): void;
  jwksWanted(targets: readonly JwksTarget[]): void;
  jwksRefresh(key: string): void;
  died(reason: string, lifeMs: number): void;
  said(line: ForwardedLine): void;
}

/** One thread, from its start to its death. */
class Thread {
  readonly index: number;
  readonly name: string;
  appliedVersion = -1;
  readonly #worker: Worker;
  readonly #events: ThreadEvents;
  readonly #calls = new Map<number, (value: unknown) => void>();
  #nextCall = 1;
  #drained: ((left: number) => void) | undefined;
  #handedOver: (() => void) | undefined;
  #dead = false;

  constructor(index: number, entry: URL, settings: WorkerSettings, events: ThreadEvents) {
    this.index = index;
    this.name = settings.name;
    this.#events = events;
    const startedMs = performance.now();
    this.#worker = new Worker(entry, {
      workerData: settings,
      name: settings.name,
      resourceLimits: { maxOldGenerationSizeMb: WORKER_HEAP_MIB, maxYoungGenerationSizeMb: YOUNG_GENERATION_MIB },
    });
    let reason = 'exited';
    this.#worker.on('message', (message: FromWorker) => this.#hear(message));
    this.#worker.on('error', (error: Error) => (reason = error.message));
    this.#worker.on('exit', () => {
      this.#dead = true;
      for (const answer of this.#calls.values()) answer(undefined);
      this.#calls.clear();
      this.#drained?.(0);
      this.#handedOver?.();
      events.died(reason, performance.now() - startedMs);
    });
  }

  get dead(): boolean {
    return this.#dead;
  }

  say(message: ToWorker): void {
    if (!this.#dead) this.#worker.postMessage(message);
  }

  /** Undefined when the worker is dead or does not answer in time. */
  async ask(question: (call: number) => ToWorker): Promise<unknown> {
    if (this.#dead) return undefined;
    const call = this.#nextCall++;
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#answer(call, undefined), ANSWER_TIMEOUT_MS);
      this.#calls.set(call, (value) => {
        clearTimeout(timer);
        resolve(value);
      });
      this.say(question(call));
    });
  }

  async release(id: string): Promise<void> {
    if (this.#dead) return;
    const call = this.#nextCall++;
    await new Promise((resolve) => {
      this.#calls.set(call, resolve);
      this.say({ type: 'release', id, call });
    });
  }

  async handOver(): Promise<void> {
    if (this.#dead) return;
    await new Promise<void>((resolve) => {
      this.#handedOver = resolve;
      this.say({ type: 'hand-over' });
    });
  }

  async drain(deadlineMs: number, accepting: boolean): Promise<number> {
    if (this.#dead) return 0;
    return new Promise((resolve) => {
      this.#drained = resolve;
      this.say({ type: 'drain', deadlineMs, accepting });
    });
  }

  async end(): Promise<void> {
    await this.#worker.terminate();
  }

  #hear(message: FromWorker): void {
    switch (message.type) {
      case 'log':
        this.#events.said(message.line);
        return;
      case 'applied':
        this.appliedVersion = message.version;
        this.#events.applied();
        return;
      case 'enrolled':
        this.#events.enrolled(message.id, undefined);
        return;
      case 'failed':
        this.#events.enrolled(message.id, message.message);
        return;
      case 'jwks-wanted':
        this.#events.jwksWanted(message.targets);
        return;
      case 'jwks-refresh':
        this.#events.jwksRefresh(message.key);
        return;
      case 'answer':
        this.#answer(message.call, message.value);
        return;
      case 'handed-over':
        this.#handedOver?.();
        return;
      case 'drained':
        this.#drained?.(message.left);
        this.#drained = undefined;
    }
  }

  #answer(call: number, value: unknown): void {
    const answer = this.#calls.get(call);
    this.#calls.delete(call);
    answer?.(value);
  }
}
