/**
 * The composition of one node: configuration → enrolment → workers, with metrics, readiness and admin beside them. Everything
 * is put together here, in the order in which it starts, and taken apart in the opposite order.
 */
import { mkdirSync } from 'node:fs';
import type { Server } from 'node:http';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { systemClock } from '../core/clock.ts';
import { DRAIN_DEADLINE_MS } from '../core/limits.ts';
import { createLogger } from '../core/log.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import { certificateRoutes } from './certificate-routes.ts';
import { Certificates } from './certificates.ts';
import type { CaAddress } from './certificates.ts';
import type { ConfigSource } from '../kube/config-source.ts';
import { openConfig } from '../kube/open-config.ts';
import type { ConfigPlace } from '../kube/open-config.ts';
import { DEFAULT_MESH_CONFIG } from '../mesh/snapshot.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { openRedirector } from '../redirect/detect.ts';
import type { RedirectMode } from '../redirect/detect.ts';
import { Reconciler } from '../redirect/reconciler.ts';
import type { Redirector } from '../redirect/redirector.ts';
import { selfTest } from '../sys/self-test.ts';
import { serveOnPort, serveOnSocket } from '../telemetry/http-endpoints.ts';
import { NodeMetrics } from '../telemetry/node-metrics.ts';
import { adminRoutes } from './admin.ts';
import { Enrolment } from './enrolment.ts';
import { anywhere, notTheNode } from './fetch-guard.ts';
import { Jwks } from './jwks.ts';
import { PodNamespaces } from './pod-namespaces.ts';
import { policyRoutes } from './policy-routes.ts';
import { Workers } from './workers.ts';

export interface AgentOptions {
  readonly config: ConfigPlace;
  readonly node: string;
  readonly runDirectory: string;
  readonly redirect: RedirectMode;
  /** Worker threads; undefined: one per four cores. */
  readonly concurrency: number | undefined;
  /** Undefined: as MeshConfig says. */
  readonly accessLog: 'off' | 'text' | 'json' | undefined;
  readonly logLevel: LogLevel;
  readonly metricsPort: number;
  readonly readyPort: number;
  /** Leave capture in force at the end: pods' new connections then wait for the next agent instead of going out unmeshed. */
  readonly keepRedirect: boolean;
  /** The mesh's CA; undefined: the agent is its own. */
  readonly ca: CaAddress | undefined;
  /** Key sets of issuers may be fetched from the node itself and its link too. */
  readonly allowLocalJwks: boolean;
  /** Of workloads' certificates. */
  readonly certificateLifetimeMs: number;
}

const CORES_PER_WORKER = 4;
/** How long what an earlier agent left stays in force for the sake of a pod that cannot be enrolled yet. */
const SWEEP_DEADLINE_MS = 10_000;
const BPF_OBJECT = join(import.meta.dirname, '../../bpf/capture.bpf.o');

export class Agent {
  readonly #options: AgentOptions;
  readonly #log: Logger;
  readonly #metrics: NodeMetrics;
  readonly #config: ConfigSource;
  readonly #redirector: Redirector;
  readonly #reconciler: Reconciler;
  readonly #workers: Workers;
  readonly #enrolment: Enrolment;
  readonly #certificates: Certificates;
  readonly #jwks: Jwks;
  readonly #servers: Server[] = [];
  #appliedVersion = -1;
  #appliedDigest = '';
  readonly #digests = new Map<number, string>();
  #swept = false;
  readonly #startedMs = performance.now();
  #stopping = false;

  private constructor(options: AgentOptions, config: ConfigSource, certificates: Certificates, log: Logger) {
    this.#options = options;
    this.#log = log;
    this.#certificates = certificates;
    this.#metrics = new NodeMetrics();
    this.#config = config;
    const { redirector, reason } = openRedirector(options.redirect, { node: options.node, objectPath: BPF_OBJECT });
    log.info({ redirect: redirector.kind, reason }, 'capture');
    this.#redirector = redirector;
    const rule = options.allowLocalJwks ? anywhere : notTheNode;
    this.#jwks = new Jwks({
      clock: systemClock,
      random: systemRandom,
      log,
      // With an HTTPS client, which an agent without such rules does without.
      fetch: async (target, signal) => (await import('./jwks-fetch.ts')).fetchKeys(target, { rule, signal }),
      publish: (key, state) => this.#workers.publishJwks(key, state),
    });
    this.#workers = new Workers({
      count: options.concurrency ?? Math.max(1, Math.floor(availableParallelism() / CORES_PER_WORKER)),
      settings: { logLevel: options.logLevel, accessLog: options.accessLog },
      log,
      onEnrolled: (id, failure) => {
        if (failure !== undefined) this.#enrolment.refused(id, failure);
      },
      onApplied: (version) => {
        this.#appliedVersion = version;
        this.#appliedDigest = this.#digests.get(version) ?? '';
      },
      onJwksWanted: (worker, targets) => this.#jwks.want(worker, targets),
      onJwksRefresh: (key) => this.#jwks.refresh(key),
      onRestart: (name) => {
        this.#metrics.workerRestarted(name);
      },
    });
    certificates.tell(this.#workers);
    this.#enrolment = new Enrolment({
      node: options.node,
      redirector,
      workers: this.#workers,
      certificates,
      // In a directory, pods are as somebody wrote them, and the annotation is the only word there is.
      namespaces: 'directory' in options.config ? undefined : new PodNamespaces(),
      log,
      onApplied: (pending) => this.#sweep(pending),
    });
    this.#reconciler = new Reconciler(redirector, {
      onDrift: (drifts) => {
        this.#metrics.driftRepaired(drifts.length);
        for (const drift of drifts) log.warn(drift, 'capture had been changed by somebody else; repaired');
      },
      onError: (podId, error) => log.error({ pod: podId, error: String(error) }, 'capture could not be checked'),
    });
  }

  /** Start; resolves when the endpoints listen (readiness follows when everything is enrolled). */
  static async start(options: AgentOptions): Promise<Agent> {
    const log = createLogger('agent', options.logLevel);
    selfTest();
    // Others may pass through to the workload socket; the admin socket is for root alone.
    mkdirSync(options.runDirectory, { recursive: true, mode: 0o711 });
    const { ca, certificateLifetimeMs: lifetimeMs, runDirectory } = options;
    const config = await openConfig(options.config, { node: options.node, savedPath: join(runDirectory, 'objects.gz'), log });
    const { trustDomain } = config.snapshot.get()?.mesh ?? DEFAULT_MESH_CONFIG;
    const agent = new Agent(options, config, await Certificates.open({ ca, trustDomain, lifetimeMs, runDirectory, log }), log);
    await agent.#serve();
    agent.#config.snapshot.follow((snapshot) => {
      if (snapshot !== undefined) agent.#apply(snapshot);
    });
    const first = agent.#config.snapshot.get();
    if (first !== undefined) agent.#apply(first);
    return agent;
  }

  /**
   * Drain and end: readiness goes, listeners stop, exchanges finish within the deadline; then pods talk directly again, unless
   * capture is to be kept for the next agent.
   */
  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#config.close();
    this.#reconciler[Symbol.dispose]();
    this.#log.info('draining');
    // New connections are let go first, so that none is caught by a listener that no longer accepts; what is under way keeps
    // its translation and its way back until the drain is over.
    if (!this.#options.keepRedirect) for (const id of this.#redirector.podIds) this.#redirector.release(id);
    const left = await this.#workers.drain(DRAIN_DEADLINE_MS);
    if (left > 0) this.#log.warn({ connections: left, deadlineMs: DRAIN_DEADLINE_MS }, 'connections were still open at the end of the drain');
    await this.#workers.close();
    this.#redirector.close({ keep: this.#options.keepRedirect });
    this.#enrolment.closeListeners();
    this.#certificates.close();
    this.#jwks.close();
    for (const server of this.#servers) server.close();
    for (const server of this.#servers) server.closeAllConnections();
    this.#log.info('ended');
  }

  #apply(snapshot: Snapshot): void {
    if (this.#stopping) return;
    this.#digests.clear();
    this.#digests.set(snapshot.version, this.#config.digest);
    // What objects fall back to is a matter of this thread, and the larger half of a snapshot.
    this.#workers.apply({ ...snapshot, objects: {} });
    this.#enrolment.apply(snapshot);
    this.#metrics.configured(snapshot, this.#enrolment.enrolled);
  }

  /**
   * Once, what an earlier agent left of pods that are gone. Not before all others are captured anew: a pod that is still to be
   * enrolled would go unmeshed meanwhile. One that cannot be must not hold up the others for ever.
   */
  #sweep(pending: number): void {
    const snapshot = this.#config.snapshot.get();
    if (this.#swept || snapshot === undefined || (pending > 0 && performance.now() - this.#startedMs < SWEEP_DEADLINE_MS)) return;
    this.#swept = true;
    const unenrolled = snapshot.workloads.filter(({ node, enrolled }) => node === this.#options.node && !enrolled);
    this.#redirector.removeLeftovers(this.#enrolment.namespacesOf(unenrolled));
  }

  async #serve(): Promise<void> {
    const { metricsPort, readyPort, runDirectory } = this.#options;
    const metrics = async (): Promise<{ type: string; body: string }> => {
      this.#metrics.certified(this.#certificates.states());
      this.#metrics.followed(this.#config.stale === undefined);
      return { type: this.#metrics.contentType, body: await this.#metrics.render(await this.#workers.collect()) };
    };
    this.#servers.push(
      await serveOnPort({ '/metrics': metrics, '/stats/prometheus': metrics }, metricsPort, '::', '--metrics-port'),
      await serveOnPort({ '/healthz/ready': () => this.#readiness() }, readyPort, '::', '--ready-port'),
      await serveOnSocket(
        {
          '/metrics': metrics,
          ...certificateRoutes({ identities: () => this.#certificates.states(), pods: () => this.#certificates.pods() }),
          ...policyRoutes(() => this.#config.snapshot.get()),
          ...adminRoutes({
            snapshot: () => this.#config.snapshot.get(),
            digest: () => this.#appliedDigest,
            readiness: () => this.#readiness(),
            pods: () => this.#enrolment.states(),
            describe: async (id) => this.#workers.describe(id),
            setLevel: (level) => {
              this.#log.level = level;
            },
          }),
        },
        join(runDirectory, 'admin.sock'),
      ),
    );
  }

  #readiness(): { status: number; body: string } {
    const why = this.#notReady();
    if (why !== undefined) return { status: 503, body: `not ready: ${why}\n` };
    const { stale } = this.#config;
    return { status: 200, body: stale === undefined ? 'ready\n' : `ready, but degraded: ${stale}\n` };
  }

  #notReady(): string | undefined {
    if (this.#stopping) return 'the agent is ending';
    if (this.#appliedVersion < 0) return 'no configuration is in force yet';
    const [pending] = this.#enrolment.pending;
    return pending === undefined ? undefined : `pod ${pending[0]} is not enrolled: ${pending[1]}`;
  }
}
