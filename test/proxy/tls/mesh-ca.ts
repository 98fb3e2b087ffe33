/** A mesh's CA for tests: certificates as the mesh issues them, and such as it never would. */
import { mintIntermediate, mintLeaf, mintRoot } from '../../../src/certs/mint.ts';
import type { MintedCa } from '../../../src/certs/mint.ts';
import { newKeyPair } from '../../../src/certs/key-pair.ts';
import { Signer } from '../../../src/certs/signer.ts';
import type { JsonGeneralNames } from '../../../src/certs/x509.ts';
import type { WorkloadCertificate } from '../../../src/certs/certificate.ts';

const HOUR_MS = 3_600_000;

export interface LeafOptions {
  /** When it was issued; now otherwise. It lasts an hour. */
  readonly nowMs?: number;
  /** Names in place of the identity. */
  readonly names?: JsonGeneralNames;
}

export class MeshCa {
  readonly roots: string;
  /** PEM of what signs, and its key: made for a test, worth nothing. */
  readonly intermediate: string;
  readonly intermediateKey: string;
  readonly #signer: Signer;

  private constructor(roots: string, { certificate, key }: MintedCa, signer: Signer) {
    this.roots = roots;
    this.intermediate = certificate;
    this.intermediateKey = key;
    this.#signer = signer;
  }

  static async create(trustDomain = 'cluster.local'): Promise<MeshCa> {
    // Old enough to have issued what has expired since.
    const request = { trustDomain, nowMs: Date.now() - 24 * HOUR_MS, lifetimeMs: 48 * HOUR_MS };
    const root = await mintRoot(request);
    const intermediate = await mintIntermediate(await Signer.open(root.certificate, root.key), request);
    return new MeshCa(root.certificate, intermediate, await Signer.open(intermediate.certificate, intermediate.key));
  }

  async issue(identity: string, { nowMs = Date.now(), names = [{ type: 'url', value: identity }] }: LeafOptions = {}): Promise<WorkloadCertificate> {
    const { pair, key } = await newKeyPair();
    const leaf = await mintLeaf(this.#signer, { publicKey: pair.publicKey, names, nowMs, lifetimeMs: HOUR_MS });
    const { serial, notBeforeMs, notAfterMs } = leaf;
    return { identity, chain: leaf.certificate + this.intermediate, key, roots: this.roots, serial, notBeforeMs, notAfterMs };
  }
}
