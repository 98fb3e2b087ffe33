/** Decides what becomes of an exchange at a gateway: listener, virtual host, route. The services of a route are those of any workload's. */
import { MeshError } from '../../core/errors.ts';
import { findGatewayHost, findServer, findServerHost } from '../../mesh/gateway/find.ts';
import type { GatewayTable } from '../../mesh/gateway/table.ts';
import type { VirtualHost } from '../../mesh/table.ts';
import { DISCARD } from '../exchange.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { Exchange } from '../record.ts';
import type { RoutePlans } from '../router.ts';
import type { GatewayConnection, GatewayExchange } from './connection.ts';

export class GatewayRouter implements Service {
  readonly #plans: RoutePlans;

  constructor(plans: RoutePlans) {
    this.#plans = plans;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { gateway, connection } = exchange as GatewayExchange;
    const host = hostOf(gateway, connection as GatewayConnection, head.authority);
    if (host === undefined || host === 'misdirected') {
      response.abort(new MeshError(host === undefined ? 'no_route' : 'misdirected', { at: `${connection.workload.id}:${connection.destinationPort}`, reason: `no listener has routes for ${head.authority}` }));
      return DISCARD;
    }
    return this.#plans.serve(host, exchange, head, response);
  }
}

function hostOf({ ports }: GatewayTable, { destinationPort, secure, serverName }: GatewayConnection, authority: string): VirtualHost | 'misdirected' | undefined {
  const port = ports.get(destinationPort);
  if (port?.kind === 'http' && !secure) return findGatewayHost(port.hosts, authority);
  if (port?.kind !== 'tls' || !secure) return undefined;
  const server = findServer(port, serverName);
  return server === undefined ? undefined : findServerHost(port, server, authority);
}
