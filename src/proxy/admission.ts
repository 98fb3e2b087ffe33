/**
 * The guard at a pod's own ports: whose connections are taken at all (PeerAuthentication), and which opaque ones may go on to
 * the application (AuthorizationPolicy without HTTP). It knows the connections that are under way, so that a new configuration
 * ends those that it no longer allows. Requests are judged one by one in `layers/`.
 */
import type { Clock } from '../core/clock.ts';
import { MeshError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { authorize, consult, decidesAnything } from '../mesh/authorize.ts';
import type { Verdict } from '../mesh/authorize.ts';
import type { ExtAuthzProvider, MtlsMode, Probe } from '../mesh/security.ts';
import type { Connection } from './connection.ts';
import type { RequestHead } from './head.ts';
import { denialDetails, denialReason, judgedConnection } from './judged.ts';
import { Seldom } from './seldom.ts';
import type { WorkloadHandle } from './workload.ts';

/** The part of the data plane that is needed here. */
export interface AdmissionWorld {
  readonly clock: Clock;
  readonly log: Logger;
  /** Addresses of the node itself, which the kubelet's probes come from. */
  readonly nodeAddresses: () => ReadonlySet<string>;
}

/** Something under way that a new configuration may forbid. */
export interface Watched {
  readonly connection: Connection;
  /** Why it may not go on. */
  fault(): MeshError | undefined;
  end(error: MeshError): void;
}

const GRPC_HEALTH = '/grpc.health.v1.Health/';

export class Admission {
  readonly #workload: WorkloadHandle;
  readonly #world: AdmissionWorld;
  readonly #watched = new Set<Watched>();
  readonly #plaintext: Seldom;
  readonly #denied: Seldom;
  readonly #rehearsed: Seldom;

  constructor(workload: WorkloadHandle, world: AdmissionWorld) {
    this.#workload = workload;
    this.#world = world;
    this.#plaintext = new Seldom(world.clock);
    this.#denied = new Seldom(world.clock);
    this.#rehearsed = new Seldom(world.clock);
  }

  /** Why a connection is not taken; undefined when it is. A probe's is, though it may then ask for nothing else. */
  connectionFault(connection: Connection): MeshError | undefined {
    return this.#isSecure(connection) || this.#mayProbe(connection, isAsked) ? undefined : this.#plaintextFault(connection);
  }

  /** A request of the kubelet's, as the pod declares it. */
  isProbe(connection: Connection, head: RequestHead): boolean {
    return this.#mayProbe(connection, isFor, head);
  }

  /** A connection that may be one of those that only connect. */
  isTcpProbe(connection: Connection): boolean {
    return this.#mayProbe(connection, isMadeOnly);
  }

  /** Why no request may come by this connection, except a probe. */
  requestFault(connection: Connection): MeshError | undefined {
    return this.#isSecure(connection) ? undefined : this.#plaintextFault(connection);
  }

  /** Whom a CUSTOM policy wants asked about an opaque connection. Where there is nobody, {@link judgeOpaque} refuses it. */
  providerFor(connection: Connection): ExtAuthzProvider | undefined {
    const { authorization } = this.#workload.table.security;
    return authorization.custom.length === 0 ? undefined : consult(authorization, judgedConnection(connection))?.provider;
  }

  /** Why opaque bytes may not pass: the lack of mutual TLS, or a policy. `asked`: the authorizers have agreed. */
  opaqueFault(connection: Connection, asked: boolean): MeshError | undefined {
    if (!this.#isSecure(connection)) return this.#plaintextFault(connection);
    const { authorization } = this.#workload.table.security;
    return decidesAnything(authorization) ? faultOf(authorize(authorization, judgedConnection(connection)), asked) : undefined;
  }

  /** The same, for one that is about to go on to the application: policies that take notes take them, and a refusal is told. */
  judgeOpaque(connection: Connection, asked: boolean): MeshError | undefined {
    const { authorization } = this.#workload.table.security;
    const fault = this.opaqueFault(connection, asked);
    if (fault !== undefined) this.refused(connection, fault);
    if (authorization.audit.length + authorization.dryRun.length > 0) this.note(authorize(authorization, judgedConnection(connection)), connection);
    return fault;
  }

  /** Keep an eye on something until it is {@link forget forgotten}. */
  watch(watched: Watched): void {
    this.#watched.add(watched);
  }

  forget(watched: Watched): void {
    this.#watched.delete(watched);
  }

  /** The configuration has changed: what it does not allow any more ends now. */
  recheck(): void {
    for (const watched of this.#watched) {
      const fault = watched.fault();
      if (fault === undefined) continue;
      this.#watched.delete(watched);
      this.refused(watched.connection, fault);
      watched.end(fault);
    }
  }

  /** Say that a connection was refused, at most once a second: who, to where, which policy, and what to do. */
  refused({ remoteAddress, destinationPort, peer }: Connection, error: MeshError): void {
    const plaintext = error.code === 'mtls_required';
    (plaintext ? this.#plaintext : this.#denied).happened((unsaid) => {
      const fields = { workload: this.#workload.id, client: remoteAddress, principal: peer.identity === '' ? undefined : peer.identity, port: destinationPort, reason: error.reason, more: unsaid > 0 ? unsaid : undefined };
      if (plaintext) this.#world.log.warn(fields, 'plaintext refused: enrol the client (label orlop.io/mesh: enabled), or make the port PERMISSIVE in a PeerAuthentication of the workload');
      else this.#world.log.warn(fields, 'connection refused by an AuthorizationPolicy');
    });
  }

  /** What AUDIT policies and those in dry-run have to say. */
  note({ audited, dryRun }: Verdict, { remoteAddress, destinationPort, peer }: Connection): void {
    const where = { workload: this.#workload.id, client: remoteAddress, principal: peer.identity, port: destinationPort };
    for (const { policy, rule } of audited) this.#world.log.info({ ...where, policy, rule }, 'audited');
    for (const { policy, rule, result } of dryRun) {
      if (result === 'denied') this.#rehearsed.happened((unsaid) => this.#world.log.info({ ...where, policy, rule, more: unsaid > 0 ? unsaid : undefined }, 'dry-run: would be refused'));
    }
  }

  #isSecure({ peer, destinationPort }: Connection): boolean {
    return peer.security !== 'none' || this.#mode(destinationPort) !== 'STRICT';
  }

  #mode(port: number): MtlsMode {
    const { mtls } = this.#workload.table.security;
    return mtls.ports.get(port) ?? mtls.default;
  }

  /** Does the connection come from the node itself, in plaintext, to a port with a probe of this kind? Asked of each plaintext request. */
  #mayProbe({ peer, remoteAddress, destinationPort }: Connection, accepts: (probe: Probe, head: RequestHead | undefined) => boolean, head?: RequestHead): boolean {
    const { probes } = this.#workload.table.security;
    if (probes.length === 0 || peer.security !== 'none') return false;
    for (const probe of probes) if (probe.port === destinationPort && accepts(probe, head)) return this.#world.nodeAddresses().has(plain(remoteAddress));
    return false;
  }

  #plaintextFault({ destinationPort }: Connection): MeshError {
    const { mtls } = this.#workload.table.security;
    const origin = mtls.portOrigins.get(destinationPort) ?? mtls.defaultOrigin;
    return new MeshError('mtls_required', { reason: `${origin} is STRICT for port ${destinationPort}` });
  }
}

function faultOf(verdict: Verdict, asked: boolean): MeshError | undefined {
  const { allowed, custom } = verdict;
  if (!allowed) return new MeshError('rbac_denied', { reason: denialReason(verdict), details: denialDetails(verdict) });
  // What nobody has been asked is not known to be allowed.
  return custom === undefined || asked ? undefined : new MeshError('rbac_denied', { reason: `${custom.policy} rules[${custom.rule}] asks an external authorizer, and it has not been asked`, details: denialDetails(custom) });
}

function isAsked({ kind }: Probe): boolean {
  return kind !== 'tcp';
}

function isMadeOnly({ kind }: Probe): boolean {
  return kind === 'tcp';
}

function isFor({ kind, path }: Probe, head: RequestHead | undefined): boolean {
  if (head === undefined) return false;
  return kind === 'http' ? head.method === 'GET' && head.target === path : kind === 'grpc' && head.target.startsWith(GRPC_HEALTH);
}

/** IPv4 as a socket for both families shows it. */
function plain(address: string): string {
  return address.startsWith('::ffff:') ? address.slice('::ffff:'.length) : address;
}
