/** The secrets there are for one caller, by the names that Envoy asks for them. There is no way from a name to anybody else's. */
import { createHash } from 'node:crypto';
import type { WorkloadCertificate } from '../certificate.ts';
import type { Caller } from '../workload-api/caller.ts';
import { packSecret } from './protocol.ts';
import type { Any } from './protocol.ts';

/** Names as Istio's agent has them; SPIRE's SDS knows the same two things by their SPIFFE ids. */
const CERTIFICATE_NAME = 'default';
const ROOTS_NAME = 'ROOTCA';

export interface NamedSecret {
  readonly name: string;
  /** Changes when the content does; made from what is public of it. */
  readonly version: string;
  readonly resource: Any;
}

export class Secrets {
  readonly #certificateNames: readonly string[];
  readonly #rootsNames: readonly string[];

  constructor({ identity, trustDomainId }: Pick<Caller, 'identity' | 'trustDomainId'>) {
    this.#certificateNames = [CERTIFICATE_NAME, identity];
    this.#rootsNames = [ROOTS_NAME, trustDomainId];
  }

  has(name: string): boolean {
    return this.#certificateNames.includes(name) || this.#rootsNames.includes(name);
  }

  /** The secret of this name; undefined when there is none for this caller. */
  named(name: string, certificate: WorkloadCertificate): NamedSecret | undefined {
    if (this.#certificateNames.includes(name)) return certificateSecret(name, certificate);
    if (this.#rootsNames.includes(name)) return rootsSecret(name, certificate);
    return undefined;
  }
}

function certificateSecret(name: string, { chain, key }: WorkloadCertificate): NamedSecret {
  const tlsCertificate = { certificateChain: inline(chain), privateKey: inline(key) };
  return { name, version: versionOf(chain), resource: packSecret({ name, tlsCertificate }) };
}

function rootsSecret(name: string, { roots }: WorkloadCertificate): NamedSecret {
  return { name, version: versionOf(roots), resource: packSecret({ name, validationContext: { trustedCa: inline(roots) } }) };
}

export function versionOf(text: string): string {
  return createHash('sha256').update(text).digest('hex').slice(0, 16);
}

function inline(text: string): { inlineBytes: Uint8Array } {
  return { inlineBytes: Buffer.from(text) };
}
