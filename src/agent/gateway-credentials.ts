/**
 * Certificates that this node's gateways show and trust: Secrets from the control plane, which alone may read them, or from the configuration directory
 * where there is no cluster; and files of the node. In memory only, here and in the workers.
 */
import { readFileSync, statSync } from 'node:fs';
import type { CredentialClient } from '../certs/credential-client.ts';
import { expiryOf, readCredential } from '../certs/credential.ts';
import type { Credential } from '../certs/credential.ts';
import type { ControlChannel } from '../certs/control-channel.ts';
import type { CredentialMessage } from '../certs/credential-protocol.ts';
import { systemClock } from '../core/clock.ts';
import { CERTIFICATE_FILE_BYTES_MAX } from '../core/limits.ts';
import type { Logger } from '../core/log.ts';
import { systemRandom } from '../core/random.ts';
import { readSecretFiles } from '../kube/secret-files.ts';
import { isObject } from '../mesh/gateway/sources.ts';
import type { Source } from '../mesh/gateway/sources.ts';

/** Files, and a directory, are looked at again after so long: cert-manager and its like replace them. */
const LOOK_AGAIN_MS = 2_000;

export interface GatewayCredentialsOptions {
  /** Where Secrets come from: the control plane, a directory, or nowhere. */
  readonly channel: ControlChannel | undefined;
  readonly directory: string | undefined;
  /** The workers. */
  readonly tell: (source: string, credential: Credential | undefined) => void;
  readonly log: Logger;
}

export class GatewayCredentials {
  readonly #options: GatewayCredentialsOptions;
  #sources: ReadonlyMap<string, Source> = new Map();
  /** As the workers were told; a string: why there is none. */
  readonly #known = new Map<string, Credential | string>();
  /** As the control plane has it, also of what is not wanted yet. */
  readonly #received = new Map<string, Credential | string>();
  #client: CredentialClient | undefined;
  #following = false;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: GatewayCredentialsOptions) {
    this.#options = options;
  }

  /** All that is needed from now on. */
  want(sources: ReadonlyMap<string, Source>): void {
    this.#sources = sources;
    for (const key of this.#known.keys()) {
      if (sources.has(key)) continue;
      this.#known.delete(key);
      this.#options.tell(key, undefined);
    }
    if ([...sources.values()].some(isObject)) void this.#follow();
    this.#look();
  }

  /** What is wanted, and why some of it is not there; never what it holds. */
  states(): { source: string; problem: string; expires: string | undefined }[] {
    return [...this.#sources.keys()].map((source) => {
      const known = this.#known.get(source) ?? 'it has not been heard of yet';
      const expiryMs = typeof known === 'string' ? undefined : expiryOf(known);
      return { source, problem: typeof known === 'string' ? known : '', expires: expiryMs === undefined ? undefined : new Date(expiryMs).toISOString() };
    });
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#client?.close();
  }

  /** With gRPC, which an agent without such gateways does without. */
  async #follow(): Promise<void> {
    const { channel, log } = this.#options;
    if (channel === undefined || this.#following) return;
    this.#following = true;
    const { CredentialClient: Client } = await import('../certs/credential-client.ts');
    if (!this.#closed) this.#client = new Client({ channel, clock: systemClock, random: systemRandom, log, hear: (message) => this.#hear(message) });
  }

  #hear({ source, certificate, privateKey, authorities, problem, forgotten }: CredentialMessage): void {
    if (forgotten) this.#received.delete(source);
    else this.#received.set(source, problem === '' ? { certificate, privateKey, authorities } : problem);
    const wanted = this.#sources.get(source);
    if (wanted !== undefined && isObject(wanted)) this.#note(source, this.#received.get(source));
  }

  #look(): void {
    clearTimeout(this.#timer);
    const { directory, channel } = this.#options;
    let objects: ReadonlyMap<string, Readonly<Record<string, string>>> | undefined;
    let isLocal = false;
    for (const [key, source] of this.#sources) {
      if (isObject(source) && channel !== undefined && directory === undefined) {
        this.#note(key, this.#received.get(key));
        continue;
      }
      isLocal = true;
      if (!isObject(source)) this.#note(key, readFiles(source));
      else {
        objects ??= directory === undefined ? new Map() : filesOf(directory);
        const data = objects.get(key);
        this.#note(key, data === undefined ? `there is no ${key}` : readCredential(data));
      }
    }
    if (isLocal && !this.#closed) this.#timer = setTimeout(() => this.#look(), LOOK_AGAIN_MS).unref();
  }

  #note(source: string, credential: Credential | string | undefined): void {
    const before = this.#known.get(source);
    if (credential === undefined || isSame(before, credential)) return;
    this.#known.set(source, credential);
    const { tell, log } = this.#options;
    if (typeof credential === 'string') {
      log.warn({ source, reason: credential }, 'a source of certificates of a gateway has none: handshakes that need it fail');
      tell(source, undefined);
      return;
    }
    const expiryMs = expiryOf(credential);
    if (expiryMs !== undefined && expiryMs < Date.now()) log.warn({ source, expired: new Date(expiryMs).toISOString() }, 'the certificate of a gateway has expired; it is shown all the same');
    else log.info({ source, until: expiryMs === undefined ? undefined : new Date(expiryMs).toISOString() }, before === undefined ? 'a gateway has its certificate' : 'a gateway has another certificate');
    tell(source, credential);
  }
}

function isSame(a: Credential | string | undefined, b: Credential | string): boolean {
  return typeof a === 'string' || typeof b === 'string' ? a === b : a?.certificate === b.certificate && a.privateKey === b.privateKey && a.authorities === b.authorities;
}

/** While the directory cannot be read, there is nothing in it; what was told stays with the workers. */
function filesOf(directory: string): ReadonlyMap<string, Readonly<Record<string, string>>> {
  try {
    return readSecretFiles(directory);
  } catch {
    return new Map();
  }
}

function readFiles(source: Exclude<Source, { kind: 'Secret' | 'ConfigMap' }>): Credential | string {
  try {
    return readCredential(source.kind === 'file' ? { 'ca.crt': readFile(source.path) } : { 'tls.crt': readFile(source.certificate), 'tls.key': readFile(source.privateKey) });
  } catch (error) {
    return `it cannot be read: ${(error as NodeJS.ErrnoException).code ?? String(error)}`;
  }
}

function readFile(path: string): string {
  const stat = statSync(path);
  // What is no file may never end, and the agent would wait for it.
  if (!stat.isFile() || stat.size > CERTIFICATE_FILE_BYTES_MAX) throw Object.assign(new Error('no certificate'), { code: `${path} is no file of at most ${CERTIFICATE_FILE_BYTES_MAX} bytes` });
  return readFileSync(path, 'utf8');
}
