/** What the configurations of a pair's two ends are made of. */
import type { Ports } from '../peers/configs.ts';
import type { Certificates } from './certificates.ts';

export interface Link {
  /** Where the near end listens, on its clients' loopback. */
  readonly near: Ports;
  /** Where the far end listens, on the application's address. */
  readonly far: Ports;
  /** The application's address. */
  readonly application: string;
  readonly certificates: Certificates;
  /** For what a program must write somewhere. */
  readonly dir: string;
}

export type End = 'near' | 'far';
