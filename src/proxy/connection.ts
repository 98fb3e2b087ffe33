/** A connection that was accepted, captured or at a gateway: whose it is, where it came from and where it meant to go. */
import type { Destination, Protocol, Table } from '../mesh/table.ts';
import type { WorkloadHandle } from './workload.ts';

/** Who the other end has proved to be, and how what it sends is kept from others. */
export interface Peer {
  /** SPIFFE id (`spiffe://cluster.local/ns/bookinfo/sa/reviews`); empty when it has proved none. */
  readonly identity: string;
  /** `local`: a pod of this node, whose bytes never leave the process; the kernel vouches for it. */
  readonly security: 'none' | 'mutual_tls' | 'local';
}

/** A peer that has proved nothing. */
export const STRANGER: Peer = Object.freeze({ identity: '', security: 'none' });

export interface Connection {
  /** The enrolled pod in whose network namespace it was accepted. */
  readonly workload: WorkloadHandle;
  readonly direction: 'outbound' | 'inbound';
  /** Of an outbound connection: the workload itself, whose pod it came from. */
  readonly peer: Peer;
  readonly remoteAddress: string;
  readonly remotePort: number;
  /** Where the client meant to go. */
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Server name of a TLS ClientHello that was passed on unopened. */
  serverName: string;
  /** Who pods of this node see at the other end, where that is not who connected: of a gateway's connection, the gateway. */
  readonly onward?: { readonly peer: Peer; readonly remoteAddress: string };
  /** Of one that a neighbour would have made: what its side takes the port to speak. */
  readonly protocol?: Protocol;
  /** What the destination is by the table of the last request, so that a kept-alive connection looks it up once. */
  known?: { readonly table: Table; readonly destination: Destination | undefined };
}
