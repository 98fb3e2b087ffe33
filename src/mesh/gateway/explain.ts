/** What a gateway would do with a request from outside, by the tables that its data plane uses. */
import { authorize } from '../authorize.ts';
import { hostOf } from '../host.ts';
import type { RequestView } from '../match.ts';
import { normalizePath } from '../path.ts';
import { findRoute, findTcpRoute } from '../route.ts';
import type { Snapshot } from '../snapshot.ts';
import type { Route, TcpRoute, VirtualHost } from '../table.ts';
import { compileGateway, gatewaysOf } from './compile.ts';
import { findGatewayHost, findServer, findServerHost } from './find.ts';
import type { GatewayTable, TlsPort } from './table.ts';

/** What becomes of it there: a route for requests, or for connections, or an answer of the gateway's own. */
export type GatewayStep =
  | { readonly kind: 'request'; readonly route: Route; readonly request: RequestView }
  | { readonly kind: 'connection'; readonly route: TcpRoute }
  | { readonly kind: 'answer'; readonly answer: string };

type Asked = Pick<RequestView, 'method' | 'path' | 'query' | 'header'>;

const PREFIX = 'gateway/';

/** Is the client outside, and calls a gateway? `gateway/NAMESPACE/NAME` */
export function isGatewayName(from: string): boolean {
  return from.startsWith(PREFIX) && from.split('/').length === 3;
}

/** The gateway that is called, or a sentence that says why there is none. */
export function findGateway(snapshot: Snapshot, from: string): GatewayTable | string {
  const [, namespace = '', name = ''] = from.split('/');
  const gateways = gatewaysOf(snapshot);
  const id = gateways.find((one) => one.namespace === namespace && one.name === name);
  const table = id === undefined ? undefined : compileGateway(snapshot, id);
  return table ?? `Orlop serves no gateway ${namespace}/${name}; there ${gateways.length === 1 ? 'is' : 'are'} ${gateways.map((one) => `${PREFIX}${one.namespace}/${one.name}`).join(', ') || 'none'}`;
}

/** `to` is HOST:PORT as clients outside ask for it; without a port 80, or 443 where there is no 80. A sentence where there is no such port. */
export function stepAt(table: GatewayTable, to: string, asked: Asked): GatewayStep | string {
  const written = /:(\d+)$/.exec(to)?.[1];
  const number = written === undefined ? (table.ports.has(80) ? 80 : 443) : Number(written);
  const port = table.ports.get(number);
  switch (port?.kind) {
    case undefined:
      return `the gateway has no port ${number}; it has ${[...table.ports.keys()].join(', ') || 'none'}`;
    case 'tcp':
      return connectionStep(port.routes);
    case 'http':
      return requestStep(table, number, findGatewayHost(port.hosts, to), { ...asked, scheme: 'http', authority: to });
    case 'tls':
      return tlsStep(table, port, to, asked);
  }
}

/** As a client does that asks for the host it connects to. */
function tlsStep(table: GatewayTable, port: TlsPort, to: string, asked: Asked): GatewayStep {
  const server = findServer(port, hostOf(to));
  if (server === undefined) return { kind: 'answer', answer: `no server of port ${port.port} has the name ${hostOf(to)}: the handshake fails` };
  if (server.hosts === undefined) return connectionStep(server.routes);
  const host = findServerHost(port, server, to);
  return requestStep(table, port.port, host === 'misdirected' ? undefined : host, { ...asked, scheme: 'https', authority: to });
}

function connectionStep(routes: readonly TcpRoute[]): GatewayStep {
  const route = findTcpRoute(routes, '');
  return route === undefined ? { kind: 'answer', answer: 'no route takes it: the connection is closed' } : { kind: 'connection', route };
}

/** Policies of the gateway come before routes. */
function requestStep({ table }: GatewayTable, destinationPort: number, host: VirtualHost | undefined, received: RequestView): GatewayStep {
  const { authorization, pathNormalization } = table.security;
  const request = { ...received, path: normalizePath(received.path, pathNormalization) };
  const { reason, policy, rule } = authorize(authorization, { identity: '', sourceAddress: '', remoteAddress: '', destinationAddress: '', destinationPort, sni: '', http: request, authentication: undefined });
  if (reason !== 'open' && reason !== 'allowed') return { kind: 'answer', answer: `403: ${policy === '' ? 'no rule of the gateway\'s ALLOW policies takes it' : `${policy} rules[${rule}] of the gateway`}` };
  const route = host === undefined ? undefined : findRoute(host, request);
  if (route === undefined) return { kind: 'answer', answer: `404 NR: ${host === undefined ? `no listener has routes for ${hostOf(received.authority)}` : `no route of ${host.name} takes it`}` };
  return { kind: 'request', route, request };
}
