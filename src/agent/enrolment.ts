/**
 * Which pods of this node take part, and the steps by which they join and leave. A pod joins when a worker is ready to serve
 * it, and only then is its traffic captured; it leaves in the opposite order. Nothing of it is restarted.
 */
import { existsSync } from 'node:fs';
import type { Logger } from '../core/log.ts';
import { formatSpiffeId } from '../core/spiffe.ts';
import type { Snapshot, Workload } from '../mesh/snapshot.ts';
import { parseExclusions } from '../redirect/exclusions.ts';
import type { Exclusions } from '../redirect/exclusions.ts';
import { closeListeners, descriptorsOf, openListeners } from '../redirect/listeners.ts';
import type { Inherited } from '../redirect/listeners.ts';
import type { OriginalDst, PodListeners, Redirector } from '../redirect/redirector.ts';
import { Netns } from '../sys/netns.ts';
import { baggageOf } from './baggage.ts';
import type { Certificates } from './certificates.ts';
import type { Sandbox } from './cni-server.ts';
import type { SocketKeeper } from './keeper/socket-keeper.ts';
import { LeftListeners } from './left-listeners.ts';
import { openConnections } from './open-connections.ts';
import type { PodHistory } from './pod-history.ts';
import type { PodNamespaces } from './pod-namespaces.ts';
import type { Sandboxes } from './sandboxes.ts';
import type { Workers } from './workers.ts';

const RETRY_MS = 1_000;
/** Runtimes may tear a pod's network down some moments before its last process ends. */
const ENDING_MS = 5_000;
/** How often pods are looked at for a sandbox that was made anew, where namespaces are found by processes. */
const MOVED_MS = 5_000;
/** Phases of a pod whose processes have ended: there is nothing left to capture. */
export const ENDED: ReadonlySet<string> = new Set(['Succeeded', 'Failed']);

interface Member {
  readonly workload: Workload;
  /** Changes of these mean a new enrolment. */
  readonly key: string;
  readonly listeners: PodListeners;
  readonly originalDsts: readonly OriginalDst[];
}

/**
 * following: pods join and leave; held: another agent changes the capture, and nothing is done here; gone: that one serves, and
 * what is left here are connections.
 */
type Mode = 'following' | 'held' | 'gone';

const NO_LISTENERS: PodListeners = { outbound: [], inbound: [], hbone: [] };

export interface PodState {
  readonly id: string;
  readonly state: 'enrolled' | 'failed' | 'not enrolled';
  readonly reason: string;
}

/** Of pods that are captured before they start. */
export interface Starts {
  readonly history: PodHistory;
  readonly sandboxes: Sandboxes;
  /** Are pods of this namespace? */
  readonly includes: (namespace: string) => boolean;
  /** One that was not, although it should have been, has joined while it runs. */
  readonly onRepaired: () => void;
}

export interface EnrolmentOptions {
  readonly node: string;
  readonly redirector: Redirector;
  readonly workers: Workers;
  readonly certificates: Certificates;
  /** Undefined: connections are refused while no agent runs. */
  readonly keeper: SocketKeeper | undefined;
  /** Undefined: pods' annotations say where their namespaces are, and a pod without one is left out. */
  readonly namespaces: PodNamespaces | undefined;
  readonly log: Logger;
  /** What another agent has, or had, is to be taken over: nothing is done before {@link Enrolment.resume}. */
  readonly held: boolean;
  /** Undefined: no CNI plugin tells of pods before they start. */
  readonly starts: Starts | undefined;
  /** A snapshot has been brought in line, but for so many pods that are tried again. */
  readonly onApplied: (pending: number) => void;
}

export class Enrolment {
  readonly #node: string;
  readonly #redirector: Redirector;
  readonly #workers: Workers;
  readonly #certificates: Certificates;
  readonly #keeper: SocketKeeper | undefined;
  readonly #namespaces: PodNamespaces | undefined;
  readonly #log: Logger;
  readonly #starts: Starts | undefined;
  readonly #onApplied: (pending: number) => void;
  /** Pods whose sandbox has just been torn down, and until when its last processes may be about. */
  readonly #ending = new Map<string, number>();
  readonly #members = new Map<string, Member>();
  readonly #failures = new Map<string, string>();
  /** Members whose worker has not said yet that it serves them. */
  readonly #unserved = new Set<string>();
  #mode: Mode;
  #inherited: Inherited = () => undefined;
  readonly #left = new LeftListeners();
  #earlierDsts: readonly OriginalDst[] = [];
  /** Pods without a process, and so without anything to capture. */
  readonly #absent = new Map<string, string>();
  #moved: NodeJS.Timeout | undefined;
  #snapshot: Snapshot | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor({ node, redirector, workers, certificates, keeper, namespaces, log, held, starts, onApplied }: EnrolmentOptions) {
    this.#node = node;
    this.#redirector = redirector;
    this.#workers = workers;
    this.#certificates = certificates;
    this.#keeper = keeper;
    this.#namespaces = namespaces;
    this.#log = log;
    this.#starts = starts;
    this.#onApplied = onApplied;
    this.#mode = held ? 'held' : 'following';
    if (namespaces !== undefined) this.#moved = setInterval(() => this.#rejoinMoved(namespaces), MOVED_MS).unref();
  }

  /** Bring the set of enrolled pods in line with a snapshot that the workers have already been given. */
  apply(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    clearTimeout(this.#retry);
    this.#retry = undefined;
    if (this.#mode === 'held') return;
    if (this.#mode === 'gone') {
      this.#forgetAllBut(new Set(snapshot.workloads.map(({ id }) => id)));
      return;
    }
    const own = snapshot.workloads.filter(({ node }) => node === this.#node).map((workload) => this.#starts?.sandboxes.complete(workload) ?? workload);
    this.#starts?.sandboxes.retain(own);
    this.#starts?.history.see(own);
    const wanted = new Map(this.#located(own.filter((workload) => this.#takesPart(workload))).map((workload) => [workload.id, workload]));
    for (const [id, member] of this.#members) {
      const workload = wanted.get(id);
      if (workload === undefined || keyOf(workload, this.#identityOf(workload)) !== member.key) this.#leave(id);
    }
    for (const id of this.#failures.keys()) if (!wanted.has(id)) this.#failures.delete(id);
    for (const workload of wanted.values()) if (!this.#members.has(workload.id)) this.#join(workload);
    if (this.#failures.size + this.#absent.size > 0) this.#retry = setTimeout(() => this.apply(snapshot), RETRY_MS).unref();
    this.#onApplied(this.#failures.size);
    this.#namespaces?.releaseAllBut(wanted);
  }

  /** Pods that should be enrolled and are not yet, with the reason. */
  get pending(): ReadonlyMap<string, string> {
    return new Map([...[...this.#unserved].map((id) => [id, 'its worker does not serve it yet'] as const), ...this.#failures]);
  }

  /** SPIFFE ids of the pods of this node that will be enrolled. */
  identitiesIn(snapshot: Snapshot): Set<string> {
    return new Set(snapshot.workloads.filter((workload) => this.#takesPart(workload)).map((workload) => identityOf(workload, snapshot)));
  }

  /** From now on nobody joins or leaves: another agent begins to change the capture. What there is, for it to take over. */
  hold(): { pods: readonly string[]; fds: readonly number[]; originalDsts: readonly OriginalDst[] } {
    this.#mode = 'held';
    const members = [...this.#members.values()];
    const fds = members.flatMap(({ listeners }) => descriptorsOf(listeners));
    const originalDsts = new Map(members.flatMap((member) => member.originalDsts).map((descriptor) => [JSON.stringify(descriptor), descriptor]));
    return { pods: [...this.#members.keys()], fds, originalDsts: [...originalDsts.values()] };
  }

  /** Follow the configuration, from the newest on; with what an agent before has passed on. */
  resume(inherited: Inherited = () => undefined, earlierDsts: readonly OriginalDst[] = []): void {
    this.#inherited = inherited;
    this.#earlierDsts = earlierDsts;
    this.#starts?.history.reload();
    this.#starts?.sandboxes.reload();
    const identities = this.#mode === 'gone' ? [...this.#members.values()].map(({ workload }) => this.#identityOf(workload)) : [];
    const kept = this.#certificates.keep(identities);
    // Without listeners of their own they are to be enrolled again, over whatever the other agent has left.
    if (this.#mode === 'gone') this.#members.clear();
    this.#mode = 'following';
    if (this.#snapshot !== undefined) this.apply(this.#snapshot);
    kept();
  }

  /** Another agent serves the pods: close this one's copies of their listening sockets, and touch the capture no more. */
  letGo(): void {
    this.#mode = 'gone';
    clearInterval(this.#moved);
    this.#left.close();
    for (const [id, member] of this.#members) {
      this.#keeper?.forget(id);
      closeListeners(member.listeners);
      this.#members.set(id, { ...member, listeners: NO_LISTENERS });
    }
  }

  /** The pod's listeners accept. */
  served(id: string): void {
    this.#unserved.delete(id);
    this.#starts?.sandboxes.served(id);
  }

  /**
   * A pod is about to start. It is enrolled as soon as it is in the configuration; resolves when it is served. Rejects with why it is not when
   * `signal` is aborted: then its network is not used.
   */
  async admit(sandbox: Sandbox, signal: AbortSignal): Promise<void> {
    const { id } = sandbox;
    if (this.#mode === 'following') {
      // Another sandbox of the same pod has no process any more.
      this.#leave(id);
      this.#namespaces?.release(id);
    }
    this.#ending.delete(id);
    const served = this.#starts?.sandboxes.add(sandbox);
    if (this.#snapshot !== undefined) this.apply(this.#snapshot);
    const aborted = Promise.withResolvers<never>();
    const abort = (): void => aborted.reject(new Error(this.#whyNotServed(id)));
    signal.addEventListener('abort', abort);
    if (signal.aborted) abort();
    try {
      await Promise.race([served, aborted.promise]);
    } catch (error) {
      this.dismiss(sandbox);
      throw error;
    } finally {
      signal.removeEventListener('abort', abort);
    }
  }

  /** A sandbox is torn down; its pod's processes have ended. */
  dismiss(sandbox: Pick<Sandbox, 'id' | 'containerId'>): void {
    const { id } = sandbox;
    if (this.#starts?.sandboxes.remove(sandbox) !== true) return;
    this.#ending.set(id, performance.now() + ENDING_MS);
    if (this.#mode !== 'following') return;
    this.#leave(id);
    this.#failures.delete(id);
    this.#namespaces?.release(id);
  }

  #whyNotServed(id: string): string {
    return this.pending.get(id) ?? this.#absent.get(id) ?? (this.#mode === 'following' ? 'the configuration in force does not have it yet' : 'the agent is being replaced');
  }

  /** Pods join and leave here, and with no other agent. */
  get isFollowing(): boolean {
    return this.#mode === 'following';
  }

  get enrolled(): number {
    return this.#members.size;
  }

  /** Every pod of this node and what became of it. */
  states(): PodState[] {
    return (this.#snapshot?.workloads ?? []).filter((workload) => workload.node === this.#node).map((workload) => {
      const { id, phase } = workload;
      if (this.#members.has(id)) return { id, state: 'enrolled', reason: workload.enrolReason };
      const failure = this.#failures.get(id);
      if (failure !== undefined) return { id, state: 'failed', reason: failure };
      return { id, state: 'not enrolled', reason: this.#absent.get(id) ?? (ENDED.has(phase) ? `it has ended (${phase})` : workload.enrolReason) };
    });
  }

  /** The listeners could not be served after all: close them, and try again. */
  refused(id: string, reason: string): void {
    this.#log.error({ pod: id, reason }, 'pod could not be enrolled; tried again in a moment');
    this.#leave(id);
    this.#failures.set(id, reason);
    const snapshot = this.#snapshot;
    if (snapshot !== undefined && this.#mode === 'following') this.#retry ??= setTimeout(() => this.apply(snapshot), RETRY_MS).unref();
  }

  /** The network namespaces of these pods, as far as they are found; for the length of the call. */
  namespacesOf(workloads: readonly Workload[]): string[] {
    const located = this.#namespaces?.locate(workloads.filter(({ netnsPath, hostNetwork, addresses }) => netnsPath === undefined && !hostNetwork && addresses.length > 0));
    return workloads.flatMap(({ id, netnsPath }) => {
      const found = located?.get(id);
      return netnsPath ?? (found !== undefined && 'path' in found ? found.path : []);
    });
  }

  /** Close the main thread's copies of all listening sockets. */
  closeListeners(): void {
    clearInterval(this.#moved);
    this.#left.close();
    for (const { listeners } of this.#members.values()) closeListeners(listeners);
    this.#members.clear();
  }

  #takesPart(workload: Workload): boolean {
    const { node, enrolled, netnsPath, phase, addresses } = workload;
    return node === this.#node && enrolled && (netnsPath !== undefined || this.#namespaces !== undefined) && !ENDED.has(phase) && addresses.length > 0;
  }

  /** With their network namespaces; those without a process are left out until they have one. */
  #located(workloads: readonly Workload[]): Workload[] {
    this.#absent.clear();
    const nowMs = performance.now();
    for (const [id, untilMs] of this.#ending) if (untilMs <= nowMs) this.#ending.delete(id);
    const located = this.#namespaces?.locate(
      workloads.filter(({ id, netnsPath }) => netnsPath === undefined && !this.#ending.has(id)),
      (workload) => this.#starts?.sandboxes.of(workload)?.netnsPath,
    );
    return workloads.flatMap((workload) => {
      if (this.#ending.has(workload.id)) {
        this.#absent.set(workload.id, 'its sandbox has just ended');
        return [];
      }
      const found = located?.get(workload.id);
      if (found === undefined) return [workload];
      if ('path' in found) return [{ ...workload, netnsPath: found.path }];
      if (found.absent) {
        this.#absent.set(workload.id, found.reason);
        return [];
      }
      this.#fail(workload.id, found.reason);
      return [workload];
    });
  }

  #rejoinMoved(namespaces: PodNamespaces): void {
    if (this.#mode !== 'following') return;
    const moved = namespaces.releaseMoved([...this.#members.values()].map(({ workload }) => workload));
    for (const id of moved) {
      this.#log.info({ pod: id }, 'the pod has a new sandbox; it is enrolled anew');
      this.#leave(id);
    }
    if (moved.length > 0 && this.#snapshot !== undefined) this.apply(this.#snapshot);
  }

  #join(workload: Workload): void {
    const { id, netnsPath } = workload;
    // Why it has none has been told.
    if (netnsPath === undefined) return;
    let listeners: PodListeners | undefined;
    try {
      if (!existsSync(netnsPath)) throw new Error(`its network namespace ${netnsPath} does not exist`);
      const exclusions = this.#exclusionsOf(workload);
      using netns = Netns.open(netnsPath);
      listeners = openListeners(netns, exclusions, (place) => this.#inherited(place) ?? this.#left.claim(place));
      const identity = this.#identityOf(workload);
      const earlier = this.#isLate(workload) ? openConnections(netns) : undefined;
      this.#certificates.enrol({ id, identity, netnsPath });
      const originalDst = this.#redirector.enrol({ id, netnsPath, addresses: workload.addresses, exclusions }, listeners);
      const originalDsts = [originalDst, ...this.#earlierDsts.filter((descriptor) => JSON.stringify(descriptor) !== JSON.stringify(originalDst))];
      this.#unserved.add(id);
      this.#workers.enrol({ id, identity, baggage: baggageOf(workload), netnsPath, addresses: workload.addresses }, { ...listeners, originalDsts });
      this.#members.set(id, { workload, key: keyOf(workload, identity), listeners, originalDsts });
      this.#keeper?.keep(id, descriptorsOf(listeners));
      this.#failures.delete(id);
      this.#log.info({ pod: id, redirect: originalDst.kind === 'bpf' ? 'ebpf' : 'iptables', identity, addresses: workload.addresses }, 'pod enrolled');
      if (earlier !== undefined) this.#tellRepair(id, earlier);
      this.#starts?.history.captured(workload);
    } catch (error) {
      this.#certificates.release(id);
      this.#keeper?.forget(id);
      // Clients may wait in them: the next attempt takes them over.
      if (listeners !== undefined) this.#left.add(listeners);
      this.#fail(id, error instanceof Error ? error.message : String(error));
    }
  }

  /** Should it have been captured before it started? */
  #isLate(workload: Workload): boolean {
    const starts = this.#starts;
    return starts?.includes(workload.namespace) === true && starts.sandboxes.of(workload) === undefined && starts.history.isLate(workload);
  }

  #tellRepair(id: string, connections: number): void {
    this.#log.warn({ pod: id, connections }, 'the pod had come up outside the mesh, and has been joined now; connections that it had before stay outside until they end');
    this.#starts?.onRepaired();
  }

  #fail(id: string, reason: string): void {
    if (this.#failures.get(id) !== reason) this.#log.error({ pod: id, reason }, 'pod could not be enrolled; tried again every second');
    this.#failures.set(id, reason);
  }

  #identityOf(workload: Workload): string {
    return identityOf(workload, this.#snapshot);
  }

  /** Another agent has released pods that are not there any more; here their network namespaces must not be held open. */
  #forgetAllBut(present: ReadonlySet<string>): void {
    for (const id of this.#members.keys()) {
      if (present.has(id)) continue;
      this.#members.delete(id);
      void this.#workers.release(id);
      this.#certificates.release(id);
    }
  }

  #leave(id: string): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    this.#members.delete(id);
    this.#unserved.delete(id);
    this.#keeper?.forget(id);
    const served = this.#workers.release(id);
    try {
      this.#redirector.release(id, served);
    } catch (error) {
      // A pod that is gone took its namespace, and all that was in it, along.
      this.#log.debug({ pod: id, error: String(error) }, 'release');
    }
    this.#certificates.release(id);
    this.#left.add(member.listeners);
    this.#log.info({ pod: id }, 'pod released');
  }

  #exclusionsOf({ id, annotations }: Workload): Exclusions {
    const { exclusions, problems } = parseExclusions(annotations);
    for (const { annotation, message, remedy } of problems) this.#log.warn({ pod: id, annotation, remedy }, message);
    for (const reason of this.#redirector.unsupported(exclusions)) this.#log.warn({ pod: id, redirect: this.#redirector.kind }, reason);
    return exclusions;
  }
}

function identityOf({ namespace, serviceAccount }: Workload, snapshot: Snapshot | undefined): string {
  return formatSpiffeId({ trustDomain: snapshot?.mesh.trustDomain ?? '', namespace, serviceAccount });
}

/** What a pod's enrolment was made from: when it differs, the pod is enrolled anew. */
function keyOf({ uid, netnsPath, addresses, annotations }: Workload, identity: string): string {
  // The runtime and the API server list the addresses in different orders.
  return JSON.stringify([uid, netnsPath, [...addresses].sort(), identity, parseExclusions(annotations).exclusions]);
}
