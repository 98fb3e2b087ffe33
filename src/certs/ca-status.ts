/** The certificates of a CA as its operator sees them. */
import { X509Certificate } from 'node:crypto';
import type { CaRoot, CaState } from './ca-state.ts';
import { activationMs, dropMs } from './rotation.ts';

export interface CaCertificateStatus {
  readonly serial: string;
  readonly subject: string;
  readonly notAfter: string;
  readonly use: 'signs' | 'trusted, signs next' | 'trusted' | 'trusted until its last certificate has expired';
  /** When `use` changes: the root begins to sign, or is dropped. */
  readonly until?: string;
}

export interface CaStatus {
  readonly roots: readonly CaCertificateStatus[];
  /** What leaves are signed with; the root itself when it was given alone. */
  readonly signer: CaCertificateStatus;
}

export function statusOf(state: CaState): CaStatus {
  return { roots: state.roots.map((root) => describeRoot(root, state)), signer: { ...describe(state.signer.certificate), use: 'signs' } };
}

function describeRoot(root: CaRoot, state: CaState): CaCertificateStatus {
  const about = describe(root.certificate);
  if (root.certificate === state.signer.root) return { ...about, use: 'signs' };
  if (root.certificate === state.next?.root) return { ...about, use: 'trusted, signs next', until: time(activationMs(state)) };
  if (root.retiredMs === undefined) return { ...about, use: 'trusted' };
  return { ...about, use: 'trusted until its last certificate has expired', until: time(dropMs(root, state.longestLeafMs)) };
}

function describe(certificate: string): { serial: string; subject: string; notAfter: string } {
  const { serialNumber, subject, validTo } = new X509Certificate(certificate);
  return { serial: serialNumber.toLowerCase(), subject: subject.replaceAll('\n', ', '), notAfter: time(Date.parse(validTo)) };
}

function time(ms: number): string {
  return new Date(ms).toISOString();
}
