/** Where a pair stands. */
import type { Backend } from '../backend.ts';
import type { Client } from '../topology.ts';
import type { Certificates } from './certificates.ts';

export interface Site {
  readonly client: Client;
  readonly backend: Backend;
  /** Where a client of the far end runs that comes without the near one. */
  readonly outsider: Client;
  readonly certificates: Certificates;
}
