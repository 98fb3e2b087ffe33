/**
 * The composition of the cluster side: configuration → who is on which node; the CA behind gRPC; what is said of objects; readiness, metrics and admin
 * beside it.
 */
import { mkdirSync } from 'node:fs';
import type { Server as HttpServer } from 'node:http';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { Server } from '@grpc/grpc-js';
import { Authority } from '../certs/authority.ts';
import type { AuthorityOptions } from '../certs/authority.ts';
import { MemoryCaStore } from '../certs/ca-state.ts';
import { FdCaStore } from '../certs/fd-store.ts';
import { readGivenCa } from '../certs/given-files.ts';
import type { GivenFiles } from '../certs/given-files.ts';
import type { Lifetimes } from '../certs/rotation.ts';
import { systemClock } from '../core/clock.ts';
import { DRAIN_DEADLINE_MS } from '../core/limits.ts';
import type { LogLevel } from '../core/log-level.ts';
import { createLogger } from '../core/log.ts';
import type { Logger } from '../core/log.ts';
import type { ConfigSource } from '../kube/config-source.ts';
import { connect, openConfig } from '../kube/open-config.ts';
import type { ConfigPlace } from '../kube/open-config.ts';
import type { Snapshot } from '../mesh/snapshot.ts';
import { CaMetrics } from '../telemetry/ca-metrics.ts';
import type { CaCounts } from '../telemetry/ca-metrics.ts';
import { ControlMetrics } from '../telemetry/control-metrics.ts';
import { json, serveOnPort, serveOnSocket } from '../telemetry/http-endpoints.ts';
import type { Reply, Routes } from '../telemetry/http-endpoints.ts';
import { serveCa } from './ca-server.ts';
import type { Listen } from './ca-server.ts';
import { ClusterSide } from './cluster-side.ts';
import type { ClusterOptions } from './cluster-side.ts';
import { CredentialService } from './credential-service.ts';
import { gatewayFacts } from './gateway-facts.ts';
import { GatewayCredentials, readFromCluster, readFromDirectory } from './gateway-credentials.ts';
import { TokenFile } from './node-authenticator.ts';
import type { NodeAuthenticator } from './node-authenticator.ts';
import { NodeIdentities } from './node-identities.ts';
import { writeRoots } from './roots-file.ts';
import { ServerCertificate } from './server-certificate.ts';
import { SigningService } from './signing-service.ts';

/** Where the keys of the CA come from: files, a descriptor of a file without a name, a Secret of the cluster, or this process alone. */
export type CaKeys = { readonly files: GivenFiles } | { readonly fd: number } | 'secret' | 'memory';

export interface ControlOptions {
  readonly config: ConfigPlace;
  /** How nodes are known: by a file of lines `token,node`, or by what a cluster says of their agents' tokens. */
  readonly nodes: { readonly tokens: string } | ClusterOptions;
  readonly listen: Listen;
  /** DNS names of the server. */
  readonly names: readonly string[];
  readonly keys: CaKeys;
  readonly lifetimes: Lifetimes;
  readonly rootsOut: string | undefined;
  /** Metrics and readiness. */
  readonly httpPort: number;
  /** Where the admin socket `control.sock` goes. */
  readonly runDirectory: string;
  readonly logLevel: LogLevel;
}

interface Parts {
  readonly log: Logger;
  readonly config: ConfigSource;
  readonly ca: Authority;
  readonly authenticator: NodeAuthenticator;
  readonly identities: NodeIdentities;
  readonly cluster: ClusterSide | undefined;
  readonly gateways: GatewayCredentials;
}

export class Control {
  readonly #options: ControlOptions;
  readonly #log: Logger;
  readonly #config: ConfigSource;
  readonly #cluster: ClusterSide | undefined;
  readonly #identities: NodeIdentities;
  readonly #ca: Authority;
  readonly #certificate: ServerCertificate;
  readonly #service: SigningService;
  readonly #gateways: GatewayCredentials;
  readonly #credentials: CredentialService;
  readonly #httpServers: HttpServer[] = [];
  #server: Server | undefined;
  #port = 0;
  #stopping = false;

  private constructor(options: ControlOptions, parts: Parts) {
    const { log, config, ca, authenticator, identities, cluster, gateways } = parts;
    this.#options = options;
    this.#log = log;
    this.#config = config;
    this.#identities = identities;
    this.#cluster = cluster;
    this.#ca = ca;
    this.#certificate = new ServerCertificate(ca, { dns: options.names, addresses: addressesOf(options.listen.address) }, { clock: systemClock, log });
    this.#service = new SigningService({ ca, authenticator, identities: this.#identities, clock: systemClock, log });
    this.#gateways = gateways;
    this.#credentials = new CredentialService({ authenticator, book: gateways, clock: systemClock, log });
  }

  /** Start; resolves when certificates can be asked for. Rejects with a sentence. */
  static async start(options: ControlOptions): Promise<Control> {
    const log = createLogger('control', options.logLevel);
    const { nodes } = options;
    const standalone = 'directory' in options.config;
    const identities = new NodeIdentities(standalone);
    const file = 'tokens' in nodes ? new TokenFile(nodes.tokens, log) : undefined;
    const cluster = 'tokens' in nodes ? undefined : await ClusterSide.open(nodes, identities, log);
    const authenticator = (file ?? cluster?.authenticator) as NodeAuthenticator;
    const config = await openConfig(options.config, { node: undefined, savedPath: undefined, log });
    const trustDomain = config.snapshot.get()?.mesh.trustDomain ?? '';
    const ca = await Authority.open({ trustDomain, lifetimes: options.lifetimes, keys: keysOf(options.keys, cluster), clock: systemClock, log });
    const read = 'directory' in options.config ? readFromDirectory(options.config.directory) : readFromCluster(cluster?.client ?? (await connect(options.config)), log);
    const gateways = new GatewayCredentials({ read, standalone, clock: systemClock, log });
    const control = new Control(options, { log, config, ca, authenticator, identities, cluster, gateways });
    try {
      await control.#serve();
    } catch (error) {
      await control.stop();
      throw error;
    }
    return control;
  }

  /** Of the signing service. */
  get port(): number {
    return this.#port;
  }

  async stop(): Promise<void> {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#config.close();
    this.#certificate.close();
    this.#gateways.close();
    this.#credentials.close();
    await this.#endCalls();
    await this.#ca.close();
    await this.#cluster?.close();
    for (const server of this.#httpServers) server.close();
    for (const server of this.#httpServers) server.closeAllConnections();
    this.#log.info('ended');
  }

  /** Calls under way are answered, within the deadline. */
  async #endCalls(): Promise<void> {
    const server = this.#server;
    if (server === undefined) return;
    const late = setTimeout(() => server.forceShutdown(), DRAIN_DEADLINE_MS);
    await new Promise<void>((resolve) => {
      server.tryShutdown(() => resolve());
    });
    clearTimeout(late);
  }

  async #serve(): Promise<void> {
    const { rootsOut, httpPort, runDirectory, listen } = this.#options;
    const snapshot = this.#config.snapshot.get();
    if (snapshot !== undefined) this.#apply(snapshot);
    this.#config.snapshot.follow((changed) => {
      if (changed !== undefined) this.#apply(changed);
    });
    if (rootsOut !== undefined) writeRoots(rootsOut, this.#ca.roots, this.#log);
    await this.#cluster?.publish(this.#ca.roots);
    await this.#certificate.renew();
    const { server, port } = await serveCa({ signing: this.#service, credentials: this.#credentials }, this.#certificate, listen);
    this.#server = server;
    this.#port = port;
    await this.#cluster?.speak(this.#config, this.#certificate, {
      facts: (of, cluster) => gatewayFacts(of, { credential: (source) => this.#gateways.get(source), ...cluster }),
      follow: (fn) => this.#gateways.follow(fn),
    });
    const routes = this.#routes();
    mkdirSync(runDirectory, { recursive: true, mode: 0o700 });
    this.#httpServers.push(
      await serveOnPort(routes, httpPort, '::', '--http-port'),
      await serveOnSocket({ ...routes, '/ca': () => json(this.#ca.status()), '/ca/rotate': (url, method) => this.#rotate(url, method) }, join(runDirectory, 'control.sock')),
    );
    this.#log.info({ address: listen.address, port }, 'certificates are signed here');
  }

  #apply(snapshot: Snapshot): void {
    this.#identities.apply(snapshot);
    this.#gateways.apply(snapshot);
  }

  #routes(): Routes {
    const ca = (): CaCounts => ({ ...this.#ca.counts(), refused: this.#service.refused });
    const cluster = this.#cluster;
    const metrics = cluster === undefined ? new CaMetrics(ca) : new ControlMetrics(ca, () => cluster.counts());
    return {
      '/healthz/ready': () => (this.#stopping ? { status: 503, body: 'not ready: the control plane is ending\n' } : { body: this.#config.stale === undefined ? 'ready\n' : `ready, but degraded: ${this.#config.stale}\n` }),
      '/metrics': async () => ({ type: metrics.contentType, body: await metrics.render() }),
    };
  }

  async #rotate(url: URL, method: string): Promise<Reply> {
    const what = url.searchParams.get('what');
    if (method !== 'POST' || (what !== 'root' && what !== 'intermediate')) return { status: 400, body: 'POST /ca/rotate?what=root|intermediate\n' };
    try {
      await this.#ca.rotate(what);
    } catch (error) {
      return { status: 409, body: `${error instanceof Error ? error.message : String(error)}\n` };
    }
    return json(this.#ca.status());
  }
}

function keysOf(keys: CaKeys, cluster: ClusterSide | undefined): AuthorityOptions['keys'] {
  if (keys === 'secret' && cluster !== undefined) return { store: cluster.store };
  if (typeof keys === 'string') return { store: new MemoryCaStore() };
  return 'fd' in keys ? { store: new FdCaStore(keys.fd) } : { given: () => readGivenCa(keys.files, systemClock.wallMs()) };
}

/** Those by which the server is reached: the one it listens on, or all of this machine's. */
function addressesOf(address: string): string[] {
  if (address !== '0.0.0.0' && address !== '::') return [address];
  return Object.values(networkInterfaces()).flatMap((found) => found ?? []).filter(({ family }) => address === '::' || family === 'IPv4').map((found) => found.address);
}
