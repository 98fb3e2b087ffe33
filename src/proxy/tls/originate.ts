/**
 * TLS to an endpoint itself, as a DestinationRule asks for it (ClientTLSSettings): to servers outside the mesh, and to
 * applications that speak TLS on their own.
 */
import { readFileSync, statSync } from 'node:fs';
import { isIP } from 'node:net';
import type { Duplex } from 'node:stream';
import { checkServerIdentity, connect, createSecureContext, getCACertificates } from 'node:tls';
import type { PeerCertificate, SecureContext, TLSSocket } from 'node:tls';
import type { Credential } from '../../certs/credential.ts';
import type { Clock } from '../../core/clock.ts';
import { CERTIFICATE_FILE_BYTES_MAX } from '../../core/limits.ts';
import { sourceKey } from '../../mesh/gateway/sources.ts';
import type { ObjectRef, UpstreamTls } from '../../mesh/table.ts';
import type { UpstreamSecurity } from '../upstream.ts';
import { checkIdentity } from './connect.ts';
import type { Credentials } from './identities.ts';

/** Files are looked at again after so long: cert-manager and its like replace them. */
const LOOK_AGAIN_MS = 5_000;

type Origination = Extract<UpstreamSecurity, { kind: 'tls' }>;

interface Held {
  readonly context: SecureContext;
  /** Modification times of the files it was made from. */
  readonly versions: string;
  lookedMs: number;
}

/** Certificates and keys by where they come from (`Secret ns/name`). */
export interface Secrets {
  /** Grows with every change. */
  readonly version: number;
  get(source: string): Credential | undefined;
}

const NO_SECRETS: Secrets = { version: 0, get: () => undefined };

export class Originator {
  readonly #clock: Clock;
  readonly #secrets: Secrets;
  /** Settings go with the table they are part of. */
  readonly #contexts = new WeakMap<UpstreamTls, Held>();

  constructor(clock: Clock, secrets: Secrets = NO_SECRETS) {
    this.#clock = clock;
    this.#secrets = secrets;
  }

  /**
   * Put TLS on the socket that `open` makes, which may still be connecting. `own`: of the client's pod. Throws a sentence, and makes no
   * socket, when files or certificates are missing.
   */
  connect(open: () => Duplex, { tls, host, identities, protocols }: Origination, own: Credentials | undefined): TLSSocket {
    const serverName = tls.sni === '' ? host : tls.sni;
    const secureContext = tls.mode === 'ISTIO_MUTUAL' ? ownContext(own) : this.#contextOf(tls);
    return connect({
      socket: open(),
      secureContext,
      ALPNProtocols: tls.mode === 'ISTIO_MUTUAL' ? ['istio', ...protocols] : [...protocols],
      rejectUnauthorized: !tls.insecureSkipVerify,
      checkServerIdentity: (_name: string, certificate: PeerCertificate) => check(tls, serverName, identities, certificate),
      ...(isIP(serverName) === 0 && !serverName.includes('*') ? { servername: serverName } : {}),
    });
  }

  #contextOf(tls: UpstreamTls): SecureContext {
    const held = this.#contexts.get(tls);
    const nowMs = this.#clock.nowMs();
    if (held !== undefined && nowMs - held.lookedMs < LOOK_AGAIN_MS) return held.context;
    const versions = [this.#secrets.version, ...filesOf(tls).map(versionOf)].join(' ');
    if (held?.versions === versions) {
      held.lookedMs = nowMs;
      return held.context;
    }
    const context = contextOf(tls, this.#secrets);
    this.#contexts.set(tls, { context, versions, lookedMs: nowMs });
    return context;
  }
}

function ownContext(own: Credentials | undefined): SecureContext {
  if (own === undefined) throw new Error('the pod has no certificate yet');
  return own.context;
}

function contextOf(tls: UpstreamTls, secrets: Secrets): SecureContext {
  const { mode, clientCertificate, privateKey, caCertificates, credentialName, authorities, credential } = tls;
  if (authorities !== undefined || credential !== undefined) return contextOfSecrets(tls, secrets);
  if (credentialName !== '') throw new Error(`credentialName ${credentialName}: there are no Secrets to read it from; name files`);
  return createSecureContext({
    ca: caCertificates === '' ? systemRoots() : read(caCertificates, 'caCertificates'),
    ...(mode === 'MUTUAL' ? { cert: read(clientCertificate, 'clientCertificate'), key: read(privateKey, 'privateKey') } : {}),
  });
}

/** As a gateway's policies have it. */
function contextOfSecrets({ authorities, credential }: UpstreamTls, secrets: Secrets): SecureContext {
  const ca = authorities?.map((ref) => partOf(secrets, ref, 'authorities')).join('\n');
  return createSecureContext({
    ca: ca ?? systemRoots(),
    ...(credential === undefined ? {} : { cert: partOf(secrets, credential, 'certificate'), key: partOf(secrets, credential, 'privateKey') }),
  });
}

function partOf(secrets: Secrets, ref: ObjectRef, part: keyof Credential): string {
  const found = secrets.get(sourceKey(ref))?.[part] ?? '';
  if (found === '') throw new Error(`${sourceKey(ref)} has no ${part === 'authorities' ? 'ca.crt' : 'certificate with its key'} that is valid`);
  return found;
}

/** The operating system's; Node's own where it has none. */
function systemRoots(): string[] {
  const roots = getCACertificates('system');
  return roots.length > 0 ? roots : getCACertificates('bundled');
}

function filesOf({ clientCertificate, privateKey, caCertificates }: UpstreamTls): string[] {
  return [clientCertificate, privateKey, caCertificates].filter((path) => path !== '');
}

function read(path: string, field: string): string {
  try {
    const stat = statSync(path);
    // What is no file may never end, and the worker would wait for it.
    if (!stat.isFile() || stat.size > CERTIFICATE_FILE_BYTES_MAX) throw Object.assign(new Error('no certificate'), { code: `it is no file of at most ${CERTIFICATE_FILE_BYTES_MAX} bytes` });
    return readFileSync(path, 'utf8');
  } catch (error) {
    throw new Error(`${field} ${path} cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`, { cause: error });
  }
}

function versionOf(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  return stat === undefined ? 'missing' : `${stat.ino}:${stat.mtimeMs}`;
}

/** Istio: one of the names that are listed, or else the name the server was called by. */
function check({ mode, subjectAltNames, onlyNames }: UpstreamTls, serverName: string, identities: readonly string[], certificate: PeerCertificate): Error | undefined {
  const names = onlyNames === true ? subjectAltNames : [...subjectAltNames, ...identities];
  if (names.length > 0) return hasName(certificate, names) ? undefined : checkIdentity(certificate.subjectaltname, names);
  // Between workloads the chain is what counts; sidecars of other meshes do not put host names in.
  return mode === 'ISTIO_MUTUAL' ? undefined : checkServerIdentity(serverName, certificate);
}

function hasName({ subjectaltname = '' }: PeerCertificate, names: readonly string[]): boolean {
  return subjectaltname.split(', ').some((entry) => names.includes(entry.slice(entry.indexOf(':') + 1)));
}
