/**
 * A worker thread: the data plane. It holds every enrolled pod of the node, accepts the connections of those that are its
 * own, and compiles the tables of all of them from each snapshot. It decides nothing about who is enrolled.
 */
import { existsSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../core/clock.ts';
import type { Timer } from '../core/clock.ts';
import { HANDED_OVER_IDLE_MS } from '../core/limits.ts';
import type { LogLevel } from '../core/log-level.ts';
import { systemRandom } from '../core/random.ts';
import { applyChange } from '../mesh/change.ts';
import type { SnapshotChange } from '../mesh/change.ts';
import { carry, compile, workloadClass } from '../mesh/compile/compile.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Table } from '../mesh/table.ts';
import { workloadIndexOf } from '../mesh/workload-index.ts';
import type { WorkloadIndex } from '../mesh/workload-index.ts';
import { Buffers } from '../proxy/buffers.ts';
import type { DataPlane } from '../proxy/dataplane.ts';
import { Authenticator } from '../proxy/jwt/authenticator.ts';
import { JwksStore } from '../proxy/jwt/jwks-store.ts';
import type { OriginalDestination } from '../proxy/listener.ts';
import { Pod } from '../proxy/pod.ts';
import { Identities } from '../proxy/tls/identities.ts';
import { openOriginalDst } from '../redirect/original-dst.ts';
import type { OriginalDstLookup } from '../redirect/original-dst.ts';
import type { OriginalDst } from '../redirect/redirector.ts';
import { familyOf } from '../sys/sockaddr.ts';
import type { Address } from '../sys/sockaddr.ts';
import { dup } from '../sys/socket.ts';
import { WorkerTelemetry } from '../telemetry/worker-telemetry.ts';
import { NetnsDialer } from './dialer.ts';
import { forwardingLogger } from './forward-log.ts';
import { LeavingPods } from './leaving-pods.ts';
import type { ServedPod } from './leaving-pods.ts';
import { resolveName } from './names.ts';
import { PodSockets } from './pod-sockets.ts';
import type { EnrolledPod, FromWorker, ServedGateway, ToWorker } from './protocol.ts';
import { WorkerGateways } from './worker-gateways.ts';

export interface WorkerSettings {
  readonly name: string;
  readonly logLevel: LogLevel;
  readonly accessLog: 'off' | 'text' | 'json' | undefined;
}

const DRAIN_POLL_MS = 50;
/** How often connections that were kept at a hand-over are looked at for those that have become idle. */
const IDLE_POLL_MS = 1_000;

interface Held extends ServedPod<Pod> {
  /** What the pod was enrolled with, but for its listeners. */
  readonly facts: string;
}

class DataPlaneWorker {
  readonly #settings: WorkerSettings;
  readonly #log;
  readonly #pods = new Map<string, Held>();
  readonly #leaving = new LeavingPods<Pod>(systemClock);
  readonly #workloads = new Map<string, Pod>();
  readonly #lookups = new Map<string, OriginalDstLookup>();
  readonly #identities = new Identities();
  readonly #jwks = new JwksStore(systemClock, {
    want: (targets) => say({ type: 'jwks-wanted', targets }),
    refresh: (key) => say({ type: 'jwks-refresh', key }),
  });
  #nodeAddresses: ReadonlySet<string> = new Set();
  /** Of the pod of any node that has an address, its UID. */
  readonly #podAt = (address: string): string | undefined => this.#workloadIndex?.at(address)?.uid;
  readonly #telemetry: WorkerTelemetry;
  readonly #dataplane: DataPlane;
  readonly #gateways: WorkerGateways;
  #snapshot: Snapshot | undefined;
  #workloadIndex: WorkloadIndex | undefined;
  /** One table per workload class of the present snapshot. */
  #tables = new Map<string, Table>();
  #draining = false;
  #idlePoll: Timer | undefined;
  /** Pods that another agent accepts for. */
  readonly #handedOver = new Set<string>();

  constructor(settings: WorkerSettings) {
    this.#settings = settings;
    this.#log = forwardingLogger(settings.logLevel, (line) => say({ type: 'log', line }));
    this.#telemetry = new WorkerTelemetry(systemClock, this.#log);
    this.#dataplane = {
      clock: systemClock,
      random: systemRandom,
      log: this.#log,
      telemetry: this.#telemetry,
      dialer: new NetnsDialer(),
      identities: this.#identities,
      authenticator: new Authenticator(this.#jwks, systemClock),
      buffers: new Buffers(),
      resolve: resolveName,
      nodeAddresses: () => this.#nodeAddresses,
      workloads: this.#workloads,
      draining: () => this.#draining,
    };
    this.#gateways = new WorkerGateways(this.#dataplane, this.#podAt);
  }

  handle(message: ToWorker): void {
    switch (message.type) {
      case 'snapshot':
        this.#take(message.snapshot);
        return;
      case 'change':
        this.#change(message.change);
        return;
      case 'enrol':
        void this.#enrol(message.pod);
        return;
      case 'release':
        this.#release(message.id, () => say({ type: 'answer', call: message.call, value: undefined }));
        return;
      case 'certificate':
        this.#leaving.keep(message.certificate.identity);
        this.#identities.set(message.certificate);
        return;
      case 'forget':
        this.#leaving.whenGone(message.identity, () => this.#identities.forget(message.identity));
        return;
      case 'gateway':
        void this.#serveGateway(message.gateway);
        return;
      case 'forget-gateway':
        this.#gateways.forget(message.workload);
        return;
      case 'credential':
        this.#gateways.credential(message.source, message.credential);
        return;
      case 'node-addresses':
        this.#nodeAddresses = new Set(message.addresses);
        return;
      case 'jwks':
        this.#jwks.set(message.key, message.state);
        return;
      case 'collect':
        say({ type: 'answer', call: message.call, value: this.#telemetry.collect() });
        return;
      case 'describe':
        say({ type: 'answer', call: message.call, value: this.#pods.get(message.id)?.pod.describe() ?? this.#gateways.describe(message.id) });
        return;
      case 'hand-over':
        this.#handOver();
        return;
      case 'take-back':
        this.#idlePoll?.cancel();
        this.#draining = false;
        return;
      case 'drain':
        this.#drain(message.deadlineMs, message.accepting);
    }
  }

  #change(change: SnapshotChange): void {
    const before = this.#snapshot;
    // The worker ends, and the one in its place is given everything.
    if (before === undefined) throw new Error('a change came before there was anything to change');
    const after = applyChange(before, change);
    carry(before, after);
    this.#take(after);
  }

  /** A table that does not compile never replaces the one before it. */
  #take(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#workloadIndex = workloadIndexOf(snapshot);
    this.#tables = new Map();
    this.#telemetry.use(snapshot, this.#settings.accessLog);
    for (const pod of this.#present) {
      const table = this.#tableOf(pod.id);
      if (table !== undefined) pod.update(table);
    }
    this.#gateways.take(snapshot);
    this.#useJwks();
    // A pod that is gone answers nothing, and its address may be another's now: tunnels to it end, and what was in them is tried elsewhere.
    for (const pod of this.#present) pod.retainTunnels(this.#podAt);
    say({ type: 'applied', version: snapshot.version });
  }

  #tableOf(id: string): Table | undefined {
    const snapshot = this.#snapshot;
    const workload = this.#workloadIndex?.get(id);
    if (snapshot === undefined || workload === undefined) return undefined;
    const name = workloadClass(snapshot, workload);
    const known = this.#tables.get(name);
    if (known !== undefined) return known;
    try {
      const table = compile(snapshot, workload);
      this.#tables.set(name, table);
      return table;
    } catch (error) {
      this.#log.error({ err: error, workload: id, version: snapshot.version }, 'the configuration does not compile; the table before it stays');
      return undefined;
    }
  }

  async #enrol({ listeners, ...facts }: EnrolledPod): Promise<void> {
    const { id } = facts;
    try {
      const pod = this.#takenBack(facts) ?? this.#newPod(facts);
      if (listeners !== undefined) {
        const lookups = this.#lookupsOf(listeners.originalDsts);
        for (const fd of listeners.outbound) await pod.listen(dup(fd), 'outbound', outbound(lookups));
        for (const fd of listeners.inbound) await pod.listen(dup(fd), 'inbound', inbound(lookups));
        for (const fd of listeners.hbone) await pod.listenForTunnels(dup(fd));
      }
      say({ type: 'enrolled', id });
    } catch (error) {
      say({ type: 'failed', id, message: error instanceof Error ? error.message : String(error) });
    }
  }

  /** A pod that was handed over and is here again: the connections that it has here go on. */
  #takenBack(facts: Omit<EnrolledPod, 'listeners'>): Pod | undefined {
    const held = this.#handedOver.delete(facts.id) ? this.#pods.get(facts.id) : undefined;
    return held?.facts === JSON.stringify(facts) ? held.pod : undefined;
  }

  #newPod(facts: Omit<EnrolledPod, 'listeners'>): Pod {
    const { id, netnsPath } = facts;
    this.#release(id, () => undefined);
    const table = this.#tableOf(id);
    if (table === undefined) throw new Error('no configuration for this pod');
    const sockets = new PodSockets(netnsPath);
    const pod = new Pod({ ...facts, table, sockets, dataplane: this.#dataplane });
    pod.retainTunnels(this.#podAt);
    this.#pods.set(id, { pod, sockets, facts: JSON.stringify(facts) });
    this.#workloads.set(id, pod);
    this.#useJwks();
    return pod;
  }

  async #serveGateway(gateway: ServedGateway): Promise<void> {
    try {
      await this.#gateways.serve(gateway);
      this.#useJwks();
    } catch (error) {
      this.#log.error({ gateway: gateway.workload, error: error instanceof Error ? error.message : String(error) }, 'a gateway cannot be served');
    }
  }

  /** Those that leave are served still. */
  get #present(): Pod[] {
    return [...[...this.#pods.values()].map(({ pod }) => pod), ...this.#leaving.pods];
  }

  #useJwks(): void {
    this.#jwks.use([...this.#tables.values(), ...this.#gateways.tables]);
  }

  #release(id: string, left: () => void): void {
    const served = this.#pods.get(id);
    if (served === undefined) {
      left();
      return;
    }
    this.#pods.delete(id);
    this.#workloads.delete(id);
    this.#leaving.add(served, left);
  }

  /** The first one must be there. Those of an earlier agent go with its programs, and nobody waits for them by then. */
  #lookupsOf([own, ...earlier]: readonly OriginalDst[]): OriginalDstLookup[] {
    if (own === undefined) return [];
    const present = earlier.filter((descriptor) => descriptor.kind === 'conntrack' || existsSync(descriptor.mapPath));
    return [own, ...present].map((descriptor) => this.#lookup(descriptor));
  }

  /** One lookup per backend serves all pods. */
  #lookup(descriptor: OriginalDst): OriginalDstLookup {
    const key = JSON.stringify(descriptor);
    const known = this.#lookups.get(key) ?? openOriginalDst(descriptor);
    this.#lookups.set(key, known);
    return known;
  }

  /** A client that is about to ask must not find its connection closed: idle ones are kept until that has become improbable. */
  #handOver(): void {
    this.#draining = true;
    for (const id of this.#pods.keys()) this.#handedOver.add(id);
    const letGo = (): void => {
      for (const pod of this.#present) pod.drain(HANDED_OVER_IDLE_MS);
      this.#gateways.drain(HANDED_OVER_IDLE_MS);
      this.#idlePoll = systemClock.after(IDLE_POLL_MS, letGo);
    };
    letGo();
    say({ type: 'handed-over' });
  }

  #drain(deadlineMs: number, accepting: boolean): void {
    const stopAccepting = (): void => {
      for (const pod of this.#present) pod.drain();
      this.#gateways.drain();
    };
    if (!this.#draining && !accepting) stopAccepting();
    this.#draining = true;
    const endMs = systemClock.nowMs() + deadlineMs;
    const poll = (): void => {
      const left = this.#present.reduce((sum, pod) => sum + pod.openConnections, this.#gateways.openConnections);
      if (left > 0 && systemClock.nowMs() < endMs) {
        systemClock.after(DRAIN_POLL_MS, poll);
        return;
      }
      this.#telemetry.flush();
      if (accepting) stopAccepting();
      say({ type: 'drained', left });
    };
    poll();
  }
}

function outbound(lookups: readonly OriginalDstLookup[]): OriginalDestination {
  return ({ fd, localAddress }) => firstOf(lookups, (lookup) => lookup.outbound(fd, familyOf(localAddress)));
}

function inbound(lookups: readonly OriginalDstLookup[]): OriginalDestination {
  return ({ fd, localAddress, localPort }) => firstOf(lookups, (lookup) => lookup.inbound(fd, familyOf(localAddress), localAddress, localPort));
}

function firstOf(lookups: readonly OriginalDstLookup[], ask: (lookup: OriginalDstLookup) => Address | undefined): Address | undefined {
  for (const lookup of lookups) {
    const found = ask(lookup);
    if (found !== undefined) return found;
  }
  return undefined;
}

function say(message: FromWorker): void {
  parentPort?.postMessage(message);
}

const worker = new DataPlaneWorker(workerData as WorkerSettings);
parentPort?.on('message', (message: ToWorker) => worker.handle(message));
