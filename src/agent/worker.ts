/**
 * A worker thread: the data plane. It holds every enrolled pod of the node, accepts the connections of those that are its
 * own, and compiles the tables of all of them from each snapshot. It decides nothing about who is enrolled.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '../core/clock.ts';
import type { LogLevel } from '../core/log-level.ts';
import { systemRandom } from '../core/random.ts';
import { compile, workloadClass } from '../mesh/compile/compile.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import type { Table } from '../mesh/table.ts';
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
import { dup } from '../sys/socket.ts';
import { WorkerTelemetry } from '../telemetry/worker-telemetry.ts';
import { NetnsDialer } from './dialer.ts';
import { forwardingLogger } from './forward-log.ts';
import { resolveName } from './names.ts';
import { NodeAddresses } from './node-addresses.ts';
import { PodSockets } from './pod-sockets.ts';
import type { EnrolledPod, FromWorker, ToWorker } from './protocol.ts';

export interface WorkerSettings {
  readonly name: string;
  readonly logLevel: LogLevel;
  readonly accessLog: 'off' | 'text' | 'json' | undefined;
}

const DRAIN_POLL_MS = 50;

interface Held {
  readonly pod: Pod;
  readonly sockets: PodSockets;
}

class DataPlaneWorker {
  readonly #settings: WorkerSettings;
  readonly #log;
  readonly #pods = new Map<string, Held>();
  readonly #workloads = new Map<string, Pod>();
  readonly #lookups = new Map<string, OriginalDstLookup>();
  readonly #identities = new Identities();
  readonly #jwks = new JwksStore(systemClock, {
    want: (targets) => say({ type: 'jwks-wanted', targets }),
    refresh: (key) => say({ type: 'jwks-refresh', key }),
  });
  readonly #nodeAddresses = new NodeAddresses(systemClock);
  /** Pods of all nodes (`uid`), by address. */
  readonly #podsByAddress = new Map<string, string>();
  readonly #podAt = (address: string): string | undefined => this.#podsByAddress.get(address);
  readonly #telemetry: WorkerTelemetry;
  readonly #dataplane: DataPlane;
  #snapshot: Snapshot | undefined;
  /** One table per workload class of the present snapshot. */
  #tables = new Map<string, Table>();
  #draining = false;

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
      nodeAddresses: () => this.#nodeAddresses.present,
      workloads: this.#workloads,
      draining: () => this.#draining,
    };
  }

  handle(message: ToWorker): void {
    switch (message.type) {
      case 'snapshot':
        this.#take(message.snapshot);
        return;
      case 'enrol':
        void this.#enrol(message.pod);
        return;
      case 'release':
        this.#release(message.id);
        return;
      case 'certificate':
        this.#identities.set(message.certificate);
        return;
      case 'forget':
        this.#identities.forget(message.identity);
        return;
      case 'jwks':
        this.#jwks.set(message.key, message.state);
        return;
      case 'collect':
        say({ type: 'answer', call: message.call, value: this.#telemetry.collect() });
        return;
      case 'describe':
        say({ type: 'answer', call: message.call, value: this.#pods.get(message.id)?.pod.describe() });
        return;
      case 'drain':
        this.#drain(message.deadlineMs);
    }
  }

  /** A table that does not compile never replaces the one before it. */
  #take(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#tables = new Map();
    this.#telemetry.use(snapshot, this.#settings.accessLog);
    for (const { pod } of this.#pods.values()) {
      const table = this.#tableOf(pod.id);
      if (table !== undefined) pod.update(table);
    }
    this.#jwks.use(this.#tables.values());
    this.#endTunnels(snapshot);
    say({ type: 'applied', version: snapshot.version });
  }

  /** A pod that is gone answers nothing, and its address may be another's now: tunnels to it end, and what was in them is tried elsewhere. */
  #endTunnels({ workloads }: Snapshot): void {
    this.#podsByAddress.clear();
    for (const { uid, addresses, phase } of workloads) {
      // One that has ended gives its address back while its object is still there.
      if (phase !== 'Succeeded' && phase !== 'Failed') for (const address of addresses) this.#podsByAddress.set(address, uid);
    }
    for (const { pod } of this.#pods.values()) pod.retainTunnels(this.#podAt);
  }

  #tableOf(id: string): Table | undefined {
    const snapshot = this.#snapshot;
    const workload = snapshot?.workloads.find((one) => one.id === id);
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

  async #enrol({ id, identity, baggage, netnsPath, addresses, listeners }: EnrolledPod): Promise<void> {
    try {
      this.#release(id);
      const table = this.#tableOf(id);
      if (table === undefined) throw new Error('no configuration for this pod');
      const sockets = new PodSockets(netnsPath);
      const pod = new Pod({ id, identity, baggage, addresses, table, sockets, dataplane: this.#dataplane });
      pod.retainTunnels(this.#podAt);
      this.#pods.set(id, { pod, sockets });
      this.#workloads.set(id, pod);
      this.#jwks.use(this.#tables.values());
      if (listeners !== undefined) {
        const lookup = this.#lookup(listeners.originalDst);
        for (const fd of listeners.outbound) await pod.listen(dup(fd), 'outbound', outbound(lookup));
        for (const fd of listeners.inbound) await pod.listen(dup(fd), 'inbound', inbound(lookup));
        for (const fd of listeners.hbone) await pod.listenForTunnels(dup(fd));
      }
      say({ type: 'enrolled', id });
    } catch (error) {
      say({ type: 'failed', id, message: error instanceof Error ? error.message : String(error) });
    }
  }

  #release(id: string): void {
    const held = this.#pods.get(id);
    if (held === undefined) return;
    this.#pods.delete(id);
    this.#workloads.delete(id);
    held.pod.close();
    held.sockets.close();
  }

  /** One lookup per backend serves all pods. */
  #lookup(descriptor: OriginalDst): OriginalDstLookup {
    const key = JSON.stringify(descriptor);
    const known = this.#lookups.get(key) ?? openOriginalDst(descriptor);
    this.#lookups.set(key, known);
    return known;
  }

  #drain(deadlineMs: number): void {
    this.#draining = true;
    for (const { pod } of this.#pods.values()) pod.drain();
    const endMs = systemClock.nowMs() + deadlineMs;
    const poll = (): void => {
      const left = [...this.#pods.values()].reduce((sum, { pod }) => sum + pod.openConnections, 0);
      if (left > 0 && systemClock.nowMs() < endMs) {
        systemClock.after(DRAIN_POLL_MS, poll);
        return;
      }
      this.#telemetry.flush();
      say({ type: 'drained', left });
    };
    poll();
  }
}

function outbound(lookup: OriginalDstLookup): OriginalDestination {
  return ({ fd, localAddress }) => lookup.outbound(fd, familyOf(localAddress));
}

function inbound(lookup: OriginalDstLookup): OriginalDestination {
  return ({ fd, localAddress, localPort }) => lookup.inbound(fd, familyOf(localAddress), localAddress, localPort);
}

function say(message: FromWorker): void {
  parentPort?.postMessage(message);
}

const worker = new DataPlaneWorker(workerData as WorkerSettings);
parentPort?.on('message', (message: ToWorker) => worker.handle(message));
