/** One enrolled pod as the data plane of a worker holds it. */
import type { Table } from '../mesh/table.ts';
import type { Admission } from './admission.ts';
import type { Connection } from './connection.ts';
import type { Service } from './exchange.ts';

export interface WorkloadHandle {
  /** `ns/name`. */
  readonly id: string;
  /** SPIFFE id. */
  readonly identity: string;
  /** What servers of tunnels are told of it (W3C baggage: `k8s.namespace.name=…,service.name=…`). */
  readonly baggage: string;
  /** Its addresses, of one or both families. */
  readonly addresses: readonly string[];
  /** The table in force; replaced when the configuration changes. An exchange keeps the one it started with. */
  table: Table;
  /** Who may come in. */
  readonly admission: Admission;
  /** Sockets born in the pod's network namespace. */
  readonly sockets: SocketFactory;
  /** The stack that serves exchanges meant for this pod's own application: for inbound connections, and for `local` upstreams. */
  inbound(connection: Connection): Service;
}

/** Makes unconnected sockets in one pod's network namespace. */
export interface SocketFactory {
  /** A socket exempt from capture, for a connection to anywhere; returns its fd. */
  outbound(family: 4 | 6): number;
  /** A socket for a connection to the pod's own application that carries the client's address; returns its fd. */
  inbound(family: 4 | 6, clientAddress: string): number;
}
