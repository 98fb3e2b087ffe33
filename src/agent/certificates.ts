/**
 * The certificates of a node: from a CA of its own (one node, nothing to share it with) or the one of the mesh, one for each
 * identity that has a pod here; for the workers' tunnels, and for programs that ask at the workload socket.
 */
import { join } from 'node:path';
import { Authority } from '../certs/authority.ts';
import type { CaClient } from '../certs/ca-client.ts';
import { MemoryCaStore } from '../certs/ca-state.ts';
import type { WorkloadCertificate } from '../certs/certificate.ts';
import type { ControlChannel } from '../certs/control-channel.ts';
import { Issuer } from '../certs/issuer.ts';
import type { IdentityState } from '../certs/issuer.ts';
import { systemClock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import type { AttestablePod } from './attestor.ts';
import { WorkloadSocket } from './workload-socket.ts';

/** A CA of the mesh. */
export interface CaAddress {
  /** `host:port` */
  readonly address: string;
  readonly serverName: string;
  readonly rootsFile: string;
  readonly tokenFile: string;
}

export interface CertificatesOptions {
  /** Undefined: this agent is the mesh. */
  readonly ca: CaAddress | undefined;
  /** In the names of the agent's own CA. */
  readonly trustDomain: string;
  readonly lifetimeMs: number;
  /** The workload socket gets a directory of its own in it. */
  readonly runDirectory: string;
  readonly log: Logger;
}

/** The workers. */
export interface CertificateHolders {
  certify(certificate: WorkloadCertificate): void;
  forget(identity: string): void;
}

const DAY_MS = 86_400_000;

/** Of a CA that lives as long as its agent. */
const OWN_ROOT_MS = 3650 * DAY_MS;
const OWN_INTERMEDIATE_MS = 365 * DAY_MS;

export class Certificates {
  readonly #issuer: Issuer;
  readonly #authority: Authority | undefined;
  readonly #client: CaClient | undefined;
  readonly #socket: WorkloadSocket;
  readonly #pods = new Map<string, AttestablePod>();
  #workers: CertificateHolders | undefined;

  private constructor(issuer: Issuer, ca: Authority | CaClient, socket: WorkloadSocket) {
    this.#issuer = issuer;
    this.#authority = ca instanceof Authority ? ca : undefined;
    this.#client = ca instanceof Authority ? undefined : ca;
    this.#socket = socket;
    issuer.follow((certificate) => this.#workers?.certify(certificate));
  }

  /** Rejects with a sentence when the CA's files cannot be used. */
  static async open(options: CertificatesOptions): Promise<Certificates> {
    const { lifetimeMs, runDirectory, log } = options;
    const authority = await authorityOf(options);
    const issuer = new Issuer({ ca: authority, clock: systemClock, random: systemRandom, log, lifetimeMs });
    return new Certificates(issuer, authority, new WorkloadSocket(join(runDirectory, 'workload'), { source: issuer, clock: systemClock, log }));
  }

  /** Answer on the workload socket, in place of an agent that did before. Rejects with a sentence when that cannot be. */
  async serve(): Promise<void> {
    await this.#socket.listen();
  }

  /** Another agent answers there: streams that are open go on. */
  letGo(): void {
    this.#socket.letGo();
  }

  /** From now on, and before the first pod joins, these are told of every certificate. */
  tell(workers: CertificateHolders): void {
    this.#workers = workers;
  }

  /** A pod joins: it gets its identity's certificate, and may ask for it. */
  enrol(pod: AttestablePod): void {
    const isKnown = this.#pods.get(pod.id)?.identity === pod.identity;
    if (!isKnown) this.release(pod.id);
    this.#pods.set(pod.id, pod);
    if (!isKnown) this.#issuer.want(pod.identity);
    this.#socket.enrol(pod);
  }

  release(id: string): void {
    const pod = this.#pods.get(id);
    if (pod === undefined) return;
    this.#pods.delete(id);
    this.#socket.release(id);
    this.#issuer.release(pod.identity);
    if ([...this.#pods.values()].every(({ identity }) => identity !== pod.identity)) this.#workers?.forget(pod.identity);
  }

  /** Obtain certificates of these identities, and keep them, also while no pod has them. Returns how to let go of them. */
  keep(identities: readonly string[]): () => void {
    for (const identity of identities) this.#issuer.want(identity);
    return () => {
      for (const identity of identities) {
        this.#issuer.release(identity);
        if ([...this.#pods.values()].every((pod) => pod.identity !== identity)) this.#workers?.forget(identity);
      }
    };
  }

  /** Resolves when there is a certificate of each of these identities, which somebody wants. */
  async have(identities: readonly string[], signal: AbortSignal): Promise<void> {
    const missing = new Set(identities.filter((identity) => this.#issuer.get(identity) === undefined));
    if (missing.size === 0 || signal.aborted) return;
    await new Promise<void>((resolve) => {
      const stop = this.#issuer.follow(({ identity }) => {
        missing.delete(identity);
        if (missing.size === 0) done();
      });
      const done = (): void => {
        stop();
        signal.removeEventListener('abort', done);
        resolve();
      };
      signal.addEventListener('abort', done);
    });
  }

  /** The connection to the CA, for what else its server is asked; undefined: this agent is its own CA. */
  get channel(): ControlChannel | undefined {
    return this.#client?.channel;
  }

  /** Every identity of the node. */
  states(): IdentityState[] {
    return this.#issuer.states();
  }

  pods(): AttestablePod[] {
    return [...this.#pods.values()];
  }

  close(): void {
    this.#socket.close();
    this.#issuer.close();
    void this.#authority?.close();
    this.#client?.close();
  }
}

async function authorityOf({ ca, trustDomain, lifetimeMs, log }: CertificatesOptions): Promise<Authority | CaClient> {
  if (ca !== undefined) {
    // With gRPC, which an agent that is its own CA does without.
    const { CaClient: Client } = await import('../certs/ca-client.ts');
    return new Client({ ...ca, clock: systemClock });
  }
  return Authority.open({
    trustDomain,
    lifetimes: { leafMs: lifetimeMs, intermediateMs: OWN_INTERMEDIATE_MS, rootMs: OWN_ROOT_MS },
    keys: { store: new MemoryCaStore() },
    clock: systemClock,
    log,
  });
}
