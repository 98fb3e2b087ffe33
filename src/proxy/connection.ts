/** A captured connection: whose it is, where it came from and where it meant to go. */
import type { Destination, Table } from '../mesh/table.ts';
import type { WorkloadHandle } from './workload.ts';

export interface Connection {
  /** The enrolled pod in whose network namespace it was accepted. */
  readonly workload: WorkloadHandle;
  readonly direction: 'outbound' | 'inbound';
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Where the client meant to go. */
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Server name of a TLS ClientHello that was passed on unopened. */
  serverName: string;
  /** What the destination is by the table of the last request, so that a kept-alive connection looks it up once. */
  known?: { readonly table: Table; readonly destination: Destination | undefined };
}
