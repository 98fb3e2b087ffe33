/** Certificates, keys and trusted authorities of the gateways of a node, as they are now. In memory only. */
import { X509Certificate } from 'node:crypto';
import { createSecureContext } from 'node:tls';
import type { SecureContext } from 'node:tls';
import type { Credential } from '../../certs/credential.ts';
import { sourceKey } from '../../mesh/gateway/sources.ts';
import type { TlsTermination } from '../../mesh/gateway/table.ts';

/** What a handshake is done with. */
export interface ServerCredentials {
  readonly context: SecureContext;
  readonly leaf: X509Certificate;
}

export class GatewaySecrets {
  /** Grows with every change. */
  version = 0;
  readonly #materials = new Map<string, Credential>();
  /** By what a listener says. Its object is part of a table, and tables are replaced often; what it says seldom changes. A text: why there are none. */
  readonly #made = new Map<string, readonly ServerCredentials[] | string>();
  readonly #keys = new WeakMap<TlsTermination, string>();

  get(key: string): Credential | undefined {
    return this.#materials.get(key);
  }

  /** Undefined: it is not there any more, or not valid. Connections that are open keep what they were made with. */
  set(key: string, material: Credential | undefined): void {
    if (material === undefined) this.#materials.delete(key);
    else this.#materials.set(key, material);
    this.#made.clear();
    this.version += 1;
  }

  /** What to show to a client that asks for `serverName`: the first certificate that has the name in it, else the first one. A text: why nothing. */
  credentialsFor(termination: TlsTermination, serverName: string): ServerCredentials | string {
    const credentials = this.#credentialsOf(termination);
    if (typeof credentials === 'string') return credentials;
    const fitting = credentials.length === 1 || serverName === '' ? undefined : credentials.find(({ leaf }) => leaf.checkHost(serverName) !== undefined);
    return fitting ?? (credentials[0] as ServerCredentials);
  }

  #credentialsOf(termination: TlsTermination): readonly ServerCredentials[] | string {
    let key = this.#keys.get(termination);
    if (key === undefined) {
      key = JSON.stringify(termination);
      this.#keys.set(termination, key);
    }
    let made = this.#made.get(key);
    if (made === undefined) {
      made = this.#make(termination);
      this.#made.set(key, made);
    }
    return made;
  }

  #make(termination: TlsTermination): readonly ServerCredentials[] | string {
    // Istio's names stand for several places to look in; what is in any of them counts.
    const trusted = termination.clients?.authorities ?? [];
    const authorities = trusted.flatMap((source) => this.#materials.get(sourceKey(source))?.authorities ?? []).filter((pem) => pem !== '');
    if (trusted.length > 0 && authorities.length === 0) return `no certificates to verify clients with: ${trusted.map(sourceKey).join(', ')}`;
    const materials = termination.certificates.flatMap((source) => this.#materials.get(sourceKey(source)) ?? []).filter(({ privateKey }) => privateKey !== '');
    if (materials.length === 0) return `${termination.certificates.map(sourceKey).join(', ')}: missing or not valid`;
    try {
      return materials.map((material) => credentialsOf(material, authorities.join('\n'), termination));
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}

function credentialsOf({ certificate, privateKey }: Credential, authorities: string, { minVersion, maxVersion, cipherSuites }: TlsTermination): ServerCredentials {
  const context = createSecureContext({
    cert: certificate,
    key: privateKey,
    minVersion,
    maxVersion,
    ...(authorities === '' ? {} : { ca: authorities }),
    ...(cipherSuites.length === 0 ? {} : { ciphers: cipherSuites.join(':') }),
  });
  return { context, leaf: new X509Certificate(certificate) };
}
