/** What a gateway does with the connections that it has accepted, as its table says for the port (and the server name) they came to. */
import type { MeshError } from '../../core/errors.ts';
import { findServer } from '../../mesh/gateway/find.ts';
import type { GatewayTable } from '../../mesh/gateway/table.ts';
import type { Protocol, TcpRoute } from '../../mesh/table.ts';
import type { Connection } from '../connection.ts';
import type { DataPlane } from '../dataplane.ts';
import { Direction } from '../direction.ts';
import type { Service } from '../exchange.ts';
import type { OpaqueDialer, OpaqueTarget } from '../opaque.ts';
import type { Exchange } from '../record.ts';
import type { WorkloadHandle } from '../workload.ts';
import { GatewayExchange } from './connection.ts';

/** A gateway's present table. */
export interface GatewayHandle extends WorkloadHandle {
  readonly gateway: GatewayTable;
}

export class GatewayDirection extends Direction {
  readonly #gateway: GatewayHandle;

  constructor(gateway: GatewayHandle, dataplane: DataPlane, service: Service, dialer: OpaqueDialer) {
    super(gateway, dataplane, service, dialer);
    this.#gateway = gateway;
  }

  /** Requests are judged one by one; of bytes, only who brings them can be judged. */
  override fault(connection: Connection): MeshError | undefined {
    if (this.declared(connection) !== 'tcp') return undefined;
    const fault = this.#gateway.admission.opaqueFault(connection, false);
    if (fault !== undefined) this.refuse(connection, fault);
    return fault;
  }

  /** What is not HTTP on a port for it is answered by the codec. */
  protected declared(connection: Connection): Protocol {
    return this.#routes(connection) === undefined ? 'http' : 'tcp';
  }

  protected begin(connection: Connection): Exchange {
    return new GatewayExchange(this.#gateway.gateway, connection, this.now());
  }

  /** Never to wherever the client meant to go: that is the gateway itself. */
  protected target(connection: Connection): OpaqueTarget {
    return { routes: this.#routes(connection) ?? [] };
  }

  /** Of a listener that passes bytes on; undefined: it is one for HTTP. */
  #routes({ destinationPort, serverName }: Connection): readonly TcpRoute[] | undefined {
    const port = this.#gateway.gateway.ports.get(destinationPort);
    if (port?.kind === 'tcp') return port.routes;
    const server = port?.kind === 'tls' ? findServer(port, serverName) : undefined;
    return server === undefined || server.hosts !== undefined ? undefined : server.routes;
  }
}
