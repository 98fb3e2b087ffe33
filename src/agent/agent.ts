/**
 * The composition of one node: configuration → enrolment → workers, with metrics, readiness and admin beside them. Everything
 * is put together here, in the order in which it starts, and taken apart in the opposite order.
 */
import { mkdirSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../core/clock.ts';
import { DRAIN_DEADLINE_MS, HAND_OVER_DEADLINE_MS } from '../core/limits.ts';
import { createLogger } from '../core/log.ts';
import type { LogLevel } from '../core/log-level.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import { certificateRoutes } from './certificate-routes.ts';
import { Certificates } from './certificates.ts';
import type { CaAddress } from './certificates.ts';
import { Cni } from './cni.ts';
import type { CniSettings } from './cni.ts';
import type { ApiClient } from '../kube/api-client.ts';
import type { ConfigSource } from '../kube/config-source.ts';
import { connect, openConfig } from '../kube/open-config.ts';
import type { ConfigPlace } from '../kube/open-config.ts';
import { PodStatusWriter } from '../kube/pod-status.ts';
import { DEFAULT_MESH_CONFIG } from '../mesh/snapshot.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { openRedirector } from '../redirect/detect.ts';
import type { RedirectMode } from '../redirect/detect.ts';
import type { Inherited } from '../redirect/listeners.ts';
import { anyOriginalDst } from '../redirect/original-dst.ts';
import { Reconciler } from '../redirect/reconciler.ts';
import type { Redirector } from '../redirect/redirector.ts';
import { selfTest } from '../sys/self-test.ts';
import { NodeMetrics } from '../telemetry/node-metrics.ts';
import { adminRoutes } from './admin.ts';
import { Endpoints } from './endpoints.ts';
import type { EndpointRoutes } from './endpoints.ts';
import { Enrolment } from './enrolment.ts';
import { anywhere, notTheNode } from './fetch-guard.ts';
import { GatewayCredentials } from './gateway-credentials.ts';
import { gatewayRoutes } from './gateway-routes.ts';
import { Gateways } from './gateways.ts';
import { HandOver } from './hand-over/hand-over.ts';
import { Predecessor } from './hand-over/predecessor.ts';
import { Jwks } from './jwks.ts';
import { Keepers } from './keeper/keepers.ts';
import { NodeAddresses } from './node-addresses.ts';
import { NodeTaint } from './node-taint.ts';
import { OwnDaemonSet } from './own-daemonset.ts';
import type { ObjectName } from './own-daemonset.ts';
import { PlacedSockets } from './placed-sockets.ts';
import { PodNamespaces } from './pod-namespaces.ts';
import { podStatuses, releasedStatuses } from './pod-status.ts';
import { policyRoutes } from './policy-routes.ts';
import { Workers } from './workers.ts';

export interface AgentOptions {
  readonly config: ConfigPlace;
  readonly node: string;
  readonly runDirectory: string;
  /** Tells this agent from others that serve the node before and after it. */
  readonly instance: string;
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
  /** Socket of the keeper beside this agent; undefined: connections are refused while no agent runs. */
  readonly keeperPath: string | undefined;
  /** How long connections may go on here once another agent has taken over and this one is asked to end. */
  readonly handOverDrainMs: number;
  /** The mesh's CA; undefined: the agent is its own. */
  readonly ca: CaAddress | undefined;
  /** Key sets of issuers may be fetched from the node itself and its link too. */
  readonly allowLocalJwks: boolean;
  /** Of workloads' certificates. */
  readonly certificateLifetimeMs: number;
  /** Undefined: pods are captured some moments after they have started. */
  readonly cni: CniSettings | undefined;
  /** What this agent is a pod of, as far as it knows. */
  readonly daemonSet: ObjectName | undefined;
  /** Key of the taint that the node loses when the agent is ready. */
  readonly removeTaint: string | undefined;
}

const CORES_PER_WORKER = 4;
/** How long what an earlier agent left stays in force for the sake of a pod that cannot be enrolled yet. */
const SWEEP_DEADLINE_MS = 10_000;
/** For taking back what pods were told, while the drain goes on. */
const STATUS_DEADLINE_MS = 3_000;
/** For an agent that takes over to be done when this one is asked to end. */
const SUCCESSOR_PATIENCE_MS = 10_000;
/** For the ports of one that has died while it was taken over from. */
const PORTS_PATIENCE_MS = 2_000;
const SERVED_POLL_MS = 10;
const HAND_OVER_SOCKET = 'hand-over.sock';
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
  readonly #gateways: Gateways;
  readonly #gatewayCredentials: GatewayCredentials;
  readonly #cni: Cni | undefined;
  readonly #daemonSet: OwnDaemonSet | undefined;
  readonly #taint: NodeTaint | undefined;
  readonly #jwks: Jwks;
  readonly #nodeAddresses: NodeAddresses;
  /** Undefined where pods are as somebody wrote them in a directory. */
  readonly #statuses: PodStatusWriter | undefined;
  readonly #keepers: Keepers;
  readonly #endpoints: Endpoints;
  /** The agent that was taken over from, while it finishes its connections. */
  #predecessor: Predecessor | undefined;
  #handOver: HandOver | undefined;
  #appliedVersion = -1;
  #appliedDigest = '';
  readonly #digests = new Map<number, string>();
  #swept = false;
  readonly #startedMs = performance.now();
  #stopping = false;

  private constructor(options: AgentOptions, config: ConfigSource, certificates: Certificates, { client, statuses, keepers, predecessor, held, log }: { client: ApiClient | undefined; statuses: PodStatusWriter | undefined; keepers: Keepers; predecessor: Predecessor | undefined; held: boolean; log: Logger }) {
    this.#options = options;
    this.#log = log;
    this.#statuses = statuses;
    this.#keepers = keepers;
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
        if (failure === undefined) this.#enrolment.served(id);
        else this.#enrolment.refused(id, failure);
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
    this.#nodeAddresses = new NodeAddresses(systemClock, (addresses) => this.#workers.useNodeAddresses(addresses));
    const standalone = 'directory' in options.config;
    this.#gatewayCredentials = new GatewayCredentials({
      // The control plane of a mesh reads the directory too; an agent that is the mesh reads it itself.
      channel: certificates.channel,
      directory: certificates.channel === undefined && 'directory' in options.config ? options.config.directory : undefined,
      tell: (source, credential) => this.#workers.credential(source, credential),
      log,
    });
    this.#gateways = new Gateways({
      held,
      keeper: keepers.own,
      node: options.node,
      standalone,
      servers: this.#workers,
      identities: certificates,
      onSources: (sources) => this.#gatewayCredentials.want(sources),
      log,
    });
    this.#predecessor = predecessor;
    this.#endpoints = new Endpoints({ metricsPort: options.metricsPort, readyPort: options.readyPort, runDirectory: options.runDirectory, routes: this.#routes() });
    this.#enrolment = new Enrolment({
      held,
      keeper: keepers.own,
      node: options.node,
      redirector,
      workers: this.#workers,
      certificates,
      // In a directory, pods are as somebody wrote them, and the annotation is the only word there is.
      namespaces: 'directory' in options.config ? undefined : new PodNamespaces(),
      starts: options.cni === undefined ? undefined : Cni.starts(options.cni, { runDirectory: options.runDirectory, log, onRepaired: () => this.#metrics.podRepaired() }),
      log,
      onApplied: (pending) => {
        this.#sweep(pending);
        this.#tellPods();
      },
    });
    this.#daemonSet = client === undefined || options.daemonSet === undefined ? undefined : new OwnDaemonSet(client, { ...options.daemonSet, node: options.node }, log);
    this.#cni = options.cni === undefined || config.livePods === undefined ? undefined : new Cni({
      ...options.cni,
      runDirectory: options.runDirectory,
      pods: config.livePods,
      enrolment: this.#enrolment,
      certificates,
      log,
      onAnswered: (outcome) => this.#metrics.cniAnswered(outcome),
      onConfigRepaired: () => this.#metrics.cniRepaired(),
    });
    if (client !== undefined && options.removeTaint !== undefined) {
      this.#taint = new NodeTaint({ client, node: options.node, taint: options.removeTaint, log, isReady: () => this.#notReady() === undefined && this.#cni?.missing === undefined });
    }
    this.#reconciler = new Reconciler(redirector, {
      onDrift: (drifts) => {
        this.#metrics.driftRepaired(drifts.length);
        for (const drift of drifts) log.warn(drift, 'capture had been changed by somebody else; repaired');
      },
      onError: (podId, error) => log.error({ pod: podId, error: String(error) }, 'capture could not be checked'),
    });
  }

  /**
   * Start; resolves when the endpoints listen (readiness follows when everything is enrolled). Where another agent serves the node, that
   * is when everything of its has been taken over.
   */
  static async start(options: AgentOptions): Promise<Agent> {
    const log = createLogger('agent', options.logLevel);
    selfTest();
    // Others may pass through to the workload socket; the admin socket is for root alone.
    mkdirSync(options.runDirectory, { recursive: true, mode: 0o711 });
    const { ca, certificateLifetimeMs: lifetimeMs, runDirectory, instance } = options;
    const predecessor = await Predecessor.find({ path: join(runDirectory, HAND_OVER_SOCKET), instance, log });
    const config = await openConfig(options.config, { node: options.node, savedPath: join(runDirectory, 'objects.gz'), log });
    const { trustDomain } = config.snapshot.get()?.mesh ?? DEFAULT_MESH_CONFIG;
    const certificates = await Certificates.open({ ca, trustDomain, lifetimeMs, runDirectory, log });
    const client = 'directory' in options.config ? undefined : await connect(options.config);
    const statuses = client === undefined ? undefined : new PodStatusWriter({ client, node: options.node, clock: systemClock, random: systemRandom, log });
    const keepers = new Keepers({ path: options.keeperPath, log });
    const kept = predecessor === undefined ? await keepers.take() : new PlacedSockets([]);
    // What was kept beside this one is of no use to the one that serves.
    if (predecessor !== undefined) keepers.own?.settle();
    const agent = new Agent(options, config, certificates, { client, statuses, keepers, predecessor, held: predecessor !== undefined || kept.size > 0, log });
    if (predecessor === undefined) await agent.#answer();
    agent.#config.snapshot.follow((snapshot) => {
      if (snapshot !== undefined) agent.#apply(snapshot);
    });
    const first = agent.#config.snapshot.get();
    if (first !== undefined) agent.#apply(first);
    if (predecessor === undefined) await agent.#takeUp(kept);
    else await agent.#takeOver(predecessor);
    await agent.#offerHandOver();
    return agent;
  }

  /**
   * Drain and end. When another agent has taken over, what is open here is finished and nothing else touched. Otherwise readiness goes,
   * listeners stop, exchanges finish within the deadline; then pods talk directly again. Where another agent will follow, capture stays in
   * force instead, and pods are accepted for as long as possible.
   */
  async stop(): Promise<void> {
    if (this.#handOver !== undefined) await Promise.race([this.#handOver.settled(), sleep(SUCCESSOR_PATIENCE_MS)]);
    if (this.#stopping) return;
    this.#stopping = true;
    const handedOver = this.#handOver?.stage === 'let go';
    const leaving = handedOver ? undefined : await this.#daemonSet?.isLeaving();
    const keep = handedOver || this.#options.keepRedirect || leaving === false;
    const deadlineMs = handedOver ? this.#options.handOverDrainMs : DRAIN_DEADLINE_MS;
    if (!handedOver) this.#handOver?.close();
    this.#reconciler.pause();
    this.#taint?.close();
    if (!handedOver) this.#cni?.close({ isLast: leaving === true });
    this.#log.info({ deadlineMs, handedOver, keepsCapture: keep }, 'draining');
    // New connections are let go first, so that none is caught by a listener that no longer accepts; what is under way keeps
    // its translation and its way back until the drain is over.
    if (!keep) for (const id of this.#redirector.podIds) this.#redirector.release(id, new Promise(() => undefined));
    const told = this.#takeBackStatuses(keep);
    const left = await this.#workers.drain(deadlineMs, { accepting: keep && !handedOver });
    if (left > 0) this.#log.warn({ connections: left, deadlineMs }, 'connections were still open at the end of the drain');
    this.#config.close();
    await this.#workers.close();
    this.#redirector.close({ keep });
    await told;
    this.#keepers.own?.close({ keep });
    this.#enrolment.closeListeners();
    this.#gateways.closeListeners();
    this.#gatewayCredentials.close();
    this.#certificates.close();
    this.#jwks.close();
    this.#nodeAddresses.close();
    this.#endpoints.close();
    this.#predecessor?.ended();
    this.#handOver?.close();
    this.#log.info('ended');
  }

  /**
   * Serve in the place of another agent, which goes on with the connections it has. Nothing is taken before all is here that serving
   * needs; then pods are accepted for by both, and only when all of them are here, the other one stops.
   */
  async #takeOver(predecessor: Predecessor): Promise<void> {
    this.#log.info({ instance: predecessor.instance }, 'another agent serves this node; taking over from it');
    const gone = new AbortController();
    void predecessor.gone.then(() => gone.abort());
    const snapshot = await this.#firstSnapshot();
    const wanted = this.#enrolment.identitiesIn(snapshot);
    const identities = predecessor.certified.filter((identity) => wanted.has(identity));
    const kept = this.#certificates.keep(identities);
    await this.#certificates.have(identities, gone.signal);
    const inheritance = await predecessor.take();
    const sockets = inheritance.size;
    // What one that has been killed meanwhile did not pass on.
    const left = predecessor.isServing ? new PlacedSockets([]) : await this.#keepers.take();
    const claim: Inherited = (place) => inheritance.claim(place) ?? left.claim(place);
    this.#enrolment.resume(claim, left.size > 0 ? anyOriginalDst(this.#options.node) : inheritance.originalDsts);
    this.#gateways.resume(claim);
    kept();
    await this.#served(new Set(inheritance.pods));
    await predecessor.taken();
    await this.#answer(claim);
    inheritance.close();
    // One that lives has let go of what it had kept.
    if (gone.signal.aborted) void this.#settle(left);
    this.#sweep(this.#enrolment.pending.size);
    this.#log.info({ instance: predecessor.instance, sockets, pods: inheritance.pods.length }, 'taken over');
  }

  /** Serve those who have waited since an agent was killed, in the sockets that were kept. */
  async #takeUp(kept: PlacedSockets): Promise<void> {
    const sockets = kept.size;
    if (sockets > 0) {
      await this.#firstSnapshot();
      this.#resume(kept);
      this.#log.info({ sockets, pods: this.#enrolment.enrolled }, 'listening sockets of an agent before were kept; they are taken up, with those who wait in them');
    }
    void this.#settle(kept);
  }

  /** Follow the configuration, with sockets that were kept. */
  #resume(kept: PlacedSockets): void {
    const claim: Inherited = (place) => kept.claim(place);
    this.#enrolment.resume(claim, anyOriginalDst(this.#options.node));
    this.#gateways.resume(claim);
  }

  /** When all pods are enrolled that can be, what nobody has claimed is closed. */
  async #settle(kept: PlacedSockets): Promise<void> {
    for (const endMs = performance.now() + SWEEP_DEADLINE_MS; this.#enrolment.isFollowing && this.#enrolment.pending.size > 0 && performance.now() < endMs; ) await sleep(SERVED_POLL_MS);
    kept.close();
    await this.#keepers.settle();
  }

  async #firstSnapshot(): Promise<Snapshot> {
    return this.#config.snapshot.get() ?? new Promise((resolve) => {
      const stop = this.#config.snapshot.follow((snapshot) => {
        if (snapshot === undefined) return;
        stop();
        resolve(snapshot);
      });
    });
  }

  /** Resolves when all of these pods are served here that are to be. Rejects when one cannot be: the agent that serves it then goes on. */
  async #served(pods: ReadonlySet<string>): Promise<void> {
    const endMs = performance.now() + HAND_OVER_DEADLINE_MS / 2;
    for (;;) {
      const [missing] = [...this.#enrolment.pending].filter(([id]) => pods.has(id));
      if (missing === undefined) return;
      if (performance.now() > endMs) throw new Error(`pod ${missing[0]}, which another agent serves, cannot be taken over: ${missing[1]}`);
      await sleep(SERVED_POLL_MS);
    }
  }

  async #answer(inherited?: Inherited): Promise<void> {
    await this.#endpoints.open(inherited, this.#predecessor === undefined ? 0 : PORTS_PATIENCE_MS);
    await this.#certificates.serve();
    await this.#cni?.open();
  }

  /** From now on the next agent may take over from this one. */
  async #offerHandOver(): Promise<void> {
    this.#handOver = await HandOver.open({
      path: join(this.#options.runDirectory, HAND_OVER_SOCKET),
      instance: this.#options.instance,
      log: this.#log,
      certified: () => this.#certificates.states().filter(({ state }) => state === 'valid' || state === 'stale').map(({ identity }) => identity),
      hold: () => {
        this.#reconciler.pause();
        const { fds, ...rest } = this.#enrolment.hold();
        return { fds: [...fds, ...this.#gateways.hold(), ...this.#endpoints.fds], ...rest };
      },
      letGo: async () => {
        this.#endpoints.close();
        await this.#workers.handOver();
        this.#enrolment.letGo();
        this.#gateways.letGo();
        this.#certificates.letGo();
        this.#cni?.handOver();
        this.#log.info('handed over; what is open here is finished');
      },
      takeBack: async (stage) => this.#takeBack(stage),
    });
  }

  /** Whatever the next agent has made of the capture, it is this one's again; unless this one ends. */
  async #takeBack(stage: 'held' | 'let go'): Promise<boolean> {
    const kept = this.#stopping ? new PlacedSockets([]) : await this.#keepers.take();
    if (this.#stopping) {
      kept.close();
      return false;
    }
    if (stage === 'let go') this.#workers.takeBack();
    this.#resume(kept);
    this.#reconciler.resume();
    void this.#settle(kept);
    if (stage === 'let go') await this.#answer();
    for (const id of this.#redirector.podIds) {
      try {
        this.#redirector.repair(id);
      } catch (error) {
        this.#log.error({ pod: id, error: String(error) }, 'capture could not be taken back');
      }
    }
    return true;
  }

  #apply(snapshot: Snapshot): void {
    if (this.#stopping && this.#handOver?.stage !== 'let go') return;
    this.#digests.clear();
    this.#digests.set(snapshot.version, this.#config.digest);
    // What objects fall back to is a matter of this thread, and the larger half of a snapshot.
    this.#workers.apply({ ...snapshot, objects: {}, problems: [] });
    this.#enrolment.apply(snapshot);
    this.#gateways.apply(snapshot);
    this.#metrics.configured(snapshot, this.#enrolment.enrolled);
  }

  /**
   * Once, what an earlier agent left of pods that are gone. Not before all others are captured anew: a pod that is still to be
   * enrolled would go unmeshed meanwhile. One that cannot be must not hold up the others for ever.
   */
  #sweep(pending: number): void {
    const snapshot = this.#config.snapshot.get();
    if (this.#swept || this.#predecessor?.isServing === true || snapshot === undefined || (pending > 0 && performance.now() - this.#startedMs < SWEEP_DEADLINE_MS)) return;
    this.#swept = true;
    const unenrolled = snapshot.workloads.filter(({ node, enrolled }) => node === this.#options.node && !enrolled);
    this.#redirector.removeLeftovers(this.#enrolment.namespacesOf(unenrolled));
  }

  #tellPods(): void {
    const snapshot = this.#config.snapshot.get();
    if (snapshot !== undefined) this.#statuses?.set(podStatuses(snapshot, this.#enrolment.states()));
  }

  /** Pods that stay captured for the next agent keep their status too. */
  async #takeBackStatuses(keep: boolean): Promise<void> {
    const snapshot = this.#config.snapshot.get();
    if (snapshot !== undefined && !keep) this.#statuses?.set(releasedStatuses(snapshot, this.#enrolment.states()));
    await this.#statuses?.close(STATUS_DEADLINE_MS);
  }

  #routes(): EndpointRoutes {
    const metrics = async (): Promise<{ type: string; body: string }> => {
      this.#metrics.certified(this.#certificates.states());
      this.#metrics.followed(this.#config.stale === undefined);
      return { type: this.#metrics.contentType, body: await this.#metrics.render(await this.#workers.collect()) };
    };
    return {
      metrics: { '/metrics': metrics, '/stats/prometheus': metrics },
      ready: { '/healthz/ready': (url) => this.#readiness(url) },
      admin: {
        '/metrics': metrics,
        ...certificateRoutes({ identities: () => this.#certificates.states(), pods: () => this.#certificates.pods() }),
        ...policyRoutes(() => this.#config.snapshot.get()),
        ...gatewayRoutes({ gateways: () => this.#gateways.states(), credentials: () => this.#gatewayCredentials.states() }),
        ...adminRoutes({
          snapshot: () => this.#config.snapshot.get(),
          digest: () => this.#appliedDigest,
          readiness: (url) => this.#readiness(url),
          pods: () => this.#enrolment.states(),
          describe: async (id) => this.#workers.describe(id),
          setLevel: (level) => {
            this.#log.level = level;
          },
        }),
      },
    };
  }

  /** `?instance=`: is it this agent that serves the node, and not the one before or after it? */
  #readiness(url: URL): { status: number; body: string } {
    const asked = url.searchParams.get('instance') ?? this.#options.instance;
    if (asked !== this.#options.instance) return { status: 503, body: `not ready: the agent ${this.#options.instance} serves this node\n` };
    const why = this.#notReady();
    if (why !== undefined) return { status: 503, body: `not ready: ${why}\n` };
    const late = this.#cni?.missing;
    const degraded = this.#config.stale ?? (late === undefined ? undefined : `new pods are captured some moments after they have started (${late})`) ?? this.#unkept();
    return { status: 200, body: degraded === undefined ? 'ready\n' : `ready, but degraded: ${degraded}\n` };
  }

  #unkept(): string | undefined {
    const missing = this.#keepers.own?.missing;
    return missing === undefined ? undefined : `connections are refused should this agent be killed (${missing})`;
  }

  #notReady(): string | undefined {
    if (this.#stopping) return 'the agent is ending';
    if (this.#appliedVersion < 0) return 'no configuration is in force yet';
    const [pending] = this.#enrolment.pending;
    return pending === undefined ? undefined : `pod ${pending[0]} is not enrolled: ${pending[1]}`;
  }
}
