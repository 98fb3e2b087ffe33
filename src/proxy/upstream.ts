/** The far side of a hop: connections that carry exchanges to an endpoint, whatever their protocol. */
import type { Exchange } from './record.ts';
import type { RequestHead } from './head.ts';
import type { RequestSink, ResponseSink } from './exchange.ts';
import type { Duplex } from 'node:stream';
import type { UpstreamTls } from '../mesh/table.ts';
import type { Transport, TransportOwner } from './transport.ts';
import type { WorkloadHandle } from './workload.ts';

/** A connection that speaks HTTP to an endpoint. Made by a codec, kept by a pool. */
export interface UpstreamConnection {
  /** Exchanges it could take now (HTTP/1: 0 or 1). */
  readonly capacity: number;
  /** Exchanges begun on it so far: a reset of a connection that carried some before is a keep-alive race. */
  readonly served: number;
  /** Some are under way. */
  readonly busy: boolean;
  /** Our end, for the access log. */
  readonly localAddress: string;
  /** Begin an exchange; only when `capacity` > 0. */
  send(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink;
  /** Take no new exchange; close when the present ones are over. */
  drain(): void;
  destroy(): void;
}

/** The pool's side of a connection. */
export interface UpstreamOwner {
  /** It has capacity again. */
  ready(connection: UpstreamConnection): void;
  /** It is gone; exchanges on it were aborted. */
  closed(connection: UpstreamConnection): void;
}

/** Makes the codec of a connection that has just been established, and takes over its transport. */
export interface UpstreamCodec {
  /** Exchanges that one connection is likely to carry at a time: so many wait for one dial. */
  readonly expectedCapacity: number;
  open(transport: Transport, owner: UpstreamOwner): UpstreamConnection;
}

/** How the bytes to an endpoint are kept from others, and how it proves who it is; undefined: not at all. */
export type UpstreamSecurity =
  /** A stream of a mutual TLS tunnel to its pod, whose certificate has one of these SPIFFE ids. */
  | { readonly kind: 'hbone'; readonly identities: readonly string[] }
  /** TLS to the endpoint itself. `host`: its name, for SNI and verification where `tls` names none. */
  | { readonly kind: 'tls'; readonly tls: UpstreamTls; readonly host: string; readonly identities: readonly string[]; readonly protocols: readonly string[] };

/** A place to connect to, seen from the pod that connects. */
export interface DialTarget {
  readonly workload: WorkloadHandle;
  /** `outbound`: to anywhere, from the pod. `inbound`: to the pod's own application, carrying the client's address. */
  readonly direction: 'outbound' | 'inbound';
  readonly address: string;
  readonly port: number;
  /** The address that the application shall see (inbound). */
  readonly clientAddress: string;
  readonly security: UpstreamSecurity | undefined;
}

/** Opens connections. Injected, so that tests fail the Nth one and simulations need no network. */
export interface Dialer {
  /** The bare socket of such a connection, which may still be connecting: for TLS to be put on. */
  socket(target: DialTarget): Duplex;
  /** `owner.connected()` or `owner.closed(error)` follows, never within the call. The caller watches the time. */
  dial(target: DialTarget, owner: TransportOwner): Transport;
}
