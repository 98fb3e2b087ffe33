/** What a listener's connections have in common, whichever way they go: HTTP goes to a service, the rest to an opaque session; opaque ports are remembered. */
import { hostPort } from '../core/address.ts';
import type { MeshError } from '../core/errors.ts';
import { OPAQUE_PORTS_MAX } from '../core/limits.ts';
import type { Protocol } from '../mesh/table.ts';
import type { Connection } from './connection.ts';
import type { DataPlane } from './dataplane.ts';
import type { Service } from './exchange.ts';
import { Http1Server } from './http1/server.ts';
import { Http2Server } from './http2/server.ts';
import type { ConnectionHandler } from './newcomer.ts';
import { OpaqueSession } from './opaque.ts';
import type { OpaqueDialer, OpaqueObserver, OpaqueTarget } from './opaque.ts';
import type { Exchange } from './record.ts';
import type { Transport, TransportOwner } from './transport.ts';
import type { WorkloadHandle } from './workload.ts';

export abstract class Direction implements ConnectionHandler {
  protected readonly pod: WorkloadHandle;
  readonly #dataplane: DataPlane;
  readonly #service: Service;
  readonly #dialer: OpaqueDialer;
  readonly #opaquePorts = new Set<string>();
  readonly #servers = new Set<Http1Server | Http2Server>();

  constructor(pod: WorkloadHandle, dataplane: DataPlane, service: Service, dialer: OpaqueDialer) {
    this.pod = pod;
    this.#dataplane = dataplane;
    this.#service = service;
    this.#dialer = dialer;
  }

  protected abstract declared(connection: Connection): Protocol;
  protected abstract begin(connection: Connection): Exchange;
  protected abstract target(connection: Connection): OpaqueTarget;

  /** Of its own pod's connections everything is taken; where they may go, their routes say. */
  fault(_connection: Connection): MeshError | undefined {
    return undefined;
  }

  isTcpProbe(_connection: Connection): boolean {
    return false;
  }

  accepted(_connection: Connection, _transport: Transport): () => void {
    return nothing;
  }

  mayBeOpaque(_connection: Connection): boolean {
    return true;
  }

  protocol(connection: Connection): Protocol {
    const declared = this.declared(connection);
    return declared === 'sniff' && this.#opaquePorts.has(portOf(connection)) ? 'tcp' : declared;
  }

  rememberOpaque(connection: Connection): void {
    if (this.#opaquePorts.size >= OPAQUE_PORTS_MAX) this.#opaquePorts.clear();
    this.#opaquePorts.add(portOf(connection));
  }

  /** Close what has been idle for `idleMs`; what is under way ends by itself. */
  drain(idleMs = 0): void {
    for (const server of this.#servers) server.drain(idleMs);
  }

  /** The ports may be declared otherwise now. */
  forget(): void {
    this.#opaquePorts.clear();
  }

  http(version: 'http1' | 'http2', transport: Transport, connection: Connection, onClosed: () => void): TransportOwner {
    const Server = version === 'http1' ? Http1Server : Http2Server;
    const server: Http1Server | Http2Server = new Server({
      transport,
      connection,
      service: this.#service,
      dataplane: this.#dataplane,
      begin: () => this.begin(connection),
      onClosed: () => {
        this.#servers.delete(server);
        onClosed();
      },
    });
    this.#servers.add(server);
    return server;
  }

  opaque(connection: Connection, observer: OpaqueObserver): OpaqueSession {
    return new OpaqueSession(this.#dataplane, this.#dialer, this.begin(connection), this.target(connection), observer);
  }

  /** Told in log and metrics as an opaque connection that got nowhere. */
  protected refuse(connection: Connection, error: MeshError): void {
    const exchange = this.begin(connection);
    exchange.protocol = 'tcp';
    exchange.error = error;
    exchange.flag(error.kind.flag);
    exchange.details = error.details;
    this.pod.admission.refused(connection, error);
    this.#dataplane.telemetry.tcpOpened(exchange);
    this.#dataplane.telemetry.tcpClosed(exchange, 0);
  }

  protected now(): number {
    return this.#dataplane.clock.nowMs();
  }
}

export function nothing(): void {
  // For a connection that nobody took note of.
}

function portOf(connection: Connection): string {
  return hostPort(connection.destinationAddress, connection.destinationPort);
}
