/** Who is at the other end of a connection, as attested, and what serving it takes. All that a service may hand out hangs on this. */
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { CertificateSource } from '../source.ts';
import type { Notices } from './notices.ts';

export interface Caller {
  /** `ns/name` */
  readonly podId: string;
  /** SPIFFE id. */
  readonly identity: string;
  /** SPIFFE id of its trust domain: `spiffe://cluster.local`. */
  readonly trustDomainId: string;
  readonly source: CertificateSource;
  readonly clock: Clock;
  readonly log: Logger;
  readonly notices: Notices;
  /** What is open for this caller; each ends when the caller's pod leaves the mesh. */
  readonly open: Set<Endable>;
}

export interface Endable {
  end(failure: Failure): void;
}

/** What a call fails with: a code of gRPC and a sentence for the client. */
export interface Failure {
  readonly code: number;
  readonly details: string;
}
