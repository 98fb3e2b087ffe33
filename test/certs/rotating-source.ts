/** A CA and an issuer in a few lines, for those who hand out certificates: it issues when it is told to. */
import type { WorkloadCertificate } from '../../src/certs/certificate.ts';
import { createCsr, readCsr } from '../../src/certs/csr.ts';
import { mintLeaf, mintRoot } from '../../src/certs/mint.ts';
import type { MintedCa } from '../../src/certs/mint.ts';
import { Signer } from '../../src/certs/signer.ts';
import type { CertificateSource } from '../../src/certs/source.ts';

const HOUR_MS = 3_600_000;
const TRUST_DOMAIN = 'cluster.local';

export class RotatingSource implements CertificateSource {
  readonly #certificates = new Map<string, WorkloadCertificate>();
  readonly #followers = new Set<(certificate: WorkloadCertificate) => void>();
  readonly #roots: MintedCa[] = [];

  get(identity: string): WorkloadCertificate | undefined {
    return this.#certificates.get(identity);
  }

  follow(fn: (certificate: WorkloadCertificate) => void): () => void {
    this.#followers.add(fn);
    return () => this.#followers.delete(fn);
  }

  /** How many follow. */
  get followers(): number {
    return this.#followers.size;
  }

  /** A new certificate with a new key, from the newest root. */
  async issue(identity: string, lifetimeMs = HOUR_MS): Promise<WorkloadCertificate> {
    if (this.#roots.length === 0) await this.addRoot();
    const root = this.#roots.at(-1) as MintedCa;
    const { csr, key } = await createCsr(identity);
    const signer = await Signer.open(root.certificate, root.key);
    const leaf = await mintLeaf(signer, { publicKey: await readCsr(csr), names: [{ type: 'url', value: identity }], nowMs: Date.now(), lifetimeMs });
    const { serial, notBeforeMs, notAfterMs } = leaf;
    const certificate = { identity, chain: leaf.certificate, key, roots: this.#bundle(), serial, notBeforeMs, notAfterMs };
    this.#set(certificate);
    return certificate;
  }

  /** One more root; whoever has a certificate learns of it. */
  async addRoot(): Promise<void> {
    this.#roots.push(await mintRoot({ trustDomain: TRUST_DOMAIN, nowMs: Date.now(), lifetimeMs: HOUR_MS }));
    for (const certificate of this.#certificates.values()) this.#set({ ...certificate, roots: this.#bundle() });
  }

  /** The agent has forgotten it, or it has expired. */
  withdraw(identity: string): void {
    this.#certificates.delete(identity);
  }

  #set(certificate: WorkloadCertificate): void {
    this.#certificates.set(certificate.identity, certificate);
    for (const follow of this.#followers) follow(certificate);
  }

  #bundle(): string {
    return this.#roots.map(({ certificate }) => certificate).join('');
  }
}
