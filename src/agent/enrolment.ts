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
import { closeListeners, openListeners } from '../redirect/listeners.ts';
import type { PodListeners, Redirector } from '../redirect/redirector.ts';
import { Netns } from '../sys/netns.ts';
import type { Certificates } from './certificates.ts';
import type { PodNamespaces } from './pod-namespaces.ts';
import type { Workers } from './workers.ts';

const RETRY_MS = 1_000;
/** How often pods are looked at for a sandbox that was made anew, where namespaces are found by processes. */
const MOVED_MS = 5_000;
/** Phases of a pod whose processes have ended: there is nothing left to capture. */
const ENDED = new Set(['Succeeded', 'Failed']);

interface Member {
  readonly workload: Workload;
  /** Changes of these mean a new enrolment. */
  readonly key: string;
  readonly listeners: PodListeners;
}

export interface PodState {
  readonly id: string;
  readonly state: 'enrolled' | 'failed' | 'not enrolled';
  readonly reason: string;
}

export interface EnrolmentOptions {
  readonly node: string;
  readonly redirector: Redirector;
  readonly workers: Workers;
  readonly certificates: Certificates;
  /** Undefined: pods' annotations say where their namespaces are, and a pod without one is left out. */
  readonly namespaces: PodNamespaces | undefined;
  readonly log: Logger;
  /** A snapshot has been brought in line, but for so many pods that are tried again. */
  readonly onApplied: (pending: number) => void;
}

export class Enrolment {
  readonly #node: string;
  readonly #redirector: Redirector;
  readonly #workers: Workers;
  readonly #certificates: Certificates;
  readonly #namespaces: PodNamespaces | undefined;
  readonly #log: Logger;
  readonly #onApplied: (pending: number) => void;
  readonly #members = new Map<string, Member>();
  readonly #failures = new Map<string, string>();
  /** Pods without a process, and so without anything to capture. */
  readonly #absent = new Map<string, string>();
  #moved: NodeJS.Timeout | undefined;
  #snapshot: Snapshot | undefined;
  #retry: NodeJS.Timeout | undefined;

  constructor({ node, redirector, workers, certificates, namespaces, log, onApplied }: EnrolmentOptions) {
    this.#node = node;
    this.#redirector = redirector;
    this.#workers = workers;
    this.#certificates = certificates;
    this.#namespaces = namespaces;
    this.#log = log;
    this.#onApplied = onApplied;
    if (namespaces !== undefined) this.#moved = setInterval(() => this.#rejoinMoved(namespaces), MOVED_MS).unref();
  }

  /** Bring the set of enrolled pods in line with a snapshot that the workers have already been given. */
  apply(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    clearTimeout(this.#retry);
    const wanted = new Map(this.#located(snapshot.workloads.filter((workload) => this.#takesPart(workload))).map((workload) => [workload.id, workload]));
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
    return this.#failures;
  }

  get enrolled(): number {
    return this.#members.size;
  }

  /** Every pod of this node and what became of it. */
  states(): PodState[] {
    return (this.#snapshot?.workloads ?? []).filter((workload) => workload.node === this.#node).map((workload) => {
      const { id } = workload;
      if (this.#members.has(id)) return { id, state: 'enrolled', reason: workload.enrolReason };
      const failure = this.#failures.get(id);
      if (failure !== undefined) return { id, state: 'failed', reason: failure };
      return { id, state: 'not enrolled', reason: this.#absent.get(id) ?? workload.enrolReason };
    });
  }

  /** The listeners could not be served after all: close them, and try again. */
  refused(id: string, reason: string): void {
    this.#log.error({ pod: id, reason }, 'pod could not be enrolled; tried again in a moment');
    this.#leave(id);
    this.#failures.set(id, reason);
    const snapshot = this.#snapshot;
    if (snapshot !== undefined) this.#retry ??= setTimeout(() => this.apply(snapshot), RETRY_MS).unref();
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
    const located = this.#namespaces?.locate(workloads.filter(({ netnsPath }) => netnsPath === undefined));
    return workloads.flatMap((workload) => {
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
      listeners = openListeners(netns, exclusions);
      const identity = this.#identityOf(workload);
      this.#certificates.enrol({ id, identity, netnsPath });
      const originalDst = this.#redirector.enrol({ id, netnsPath, addresses: workload.addresses, exclusions }, listeners);
      this.#workers.enrol({ id, identity, baggage: baggageOf(workload), netnsPath, addresses: workload.addresses }, { ...listeners, originalDst });
      this.#members.set(id, { workload, key: keyOf(workload, identity), listeners });
      this.#failures.delete(id);
      this.#log.info({ pod: id, redirect: originalDst.kind === 'bpf' ? 'ebpf' : 'iptables', identity, addresses: workload.addresses }, 'pod enrolled');
    } catch (error) {
      this.#certificates.release(id);
      if (listeners !== undefined) closeListeners(listeners);
      this.#fail(id, error instanceof Error ? error.message : String(error));
    }
  }

  #fail(id: string, reason: string): void {
    if (this.#failures.get(id) !== reason) this.#log.error({ pod: id, reason }, 'pod could not be enrolled; tried again every second');
    this.#failures.set(id, reason);
  }

  #identityOf({ namespace, serviceAccount }: Workload): string {
    return formatSpiffeId({ trustDomain: this.#snapshot?.mesh.trustDomain ?? '', namespace, serviceAccount });
  }

  #leave(id: string): void {
    const member = this.#members.get(id);
    if (member === undefined) return;
    this.#members.delete(id);
    try {
      this.#redirector.release(id);
    } catch (error) {
      // A pod that is gone took its namespace, and all that was in it, along.
      this.#log.debug({ pod: id, error: String(error) }, 'release');
    }
    this.#workers.release(id);
    this.#certificates.release(id);
    closeListeners(member.listeners);
    this.#log.info({ pod: id }, 'pod released');
  }

  #exclusionsOf({ id, annotations }: Workload): Exclusions {
    const { exclusions, problems } = parseExclusions(annotations);
    for (const { annotation, message, remedy } of problems) this.#log.warn({ pod: id, annotation, remedy }, message);
    for (const reason of this.#redirector.unsupported(exclusions)) this.#log.warn({ pod: id, redirect: this.#redirector.kind }, reason);
    return exclusions;
  }
}

/** What a pod's enrolment was made from: when it differs, the pod is enrolled anew. */
function keyOf({ uid, netnsPath, addresses, annotations }: Workload, identity: string): string {
  return JSON.stringify([uid, netnsPath, addresses, identity, parseExclusions(annotations).exclusions]);
}

/** What servers of tunnels learn of a client besides its identity; the keys are ztunnel's. */
function baggageOf({ namespace, workloadName, name, canonicalName, canonicalRevision }: Workload): string {
  const entries = [
    ['k8s.namespace.name', namespace],
    [workloadName === name ? 'k8s.pod.name' : 'k8s.deployment.name', workloadName],
    ['service.name', canonicalName],
    ['service.version', canonicalRevision],
  ];
  return entries.map(([key, value = '']) => `${key}=${encodeURIComponent(value)}`).join(',');
}
