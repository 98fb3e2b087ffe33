/**
 * What a gateway tells applications of the client, as Istio's does (Envoy's use_remote_address: conn_manager_utility.cc, mutateRequestHeaders): the
 * client's word about itself counts only as far as so many trusted proxies vouch for it (MeshConfig defaultConfig.gatewayTopology.numTrustedProxies).
 */
import type { Layer } from '../layers/layer.ts';
import type { RequestSink, ResponseSink, Service } from '../exchange.ts';
import type { RequestHead } from '../head.ts';
import type { HeaderList } from '../headers.ts';
import type { Exchange } from '../record.ts';
import type { GatewayConnection } from './connection.ts';

/** Orders that only the mesh itself may give (Envoy removes them from requests that come from outside), and proofs that only a gateway may show. */
const INTERNAL = [
  'x-envoy-decorator-operation', 'x-envoy-downstream-service-cluster', 'x-envoy-downstream-service-node', 'x-envoy-expected-rq-timeout-ms', 'x-envoy-external-address',
  'x-envoy-force-trace', 'x-envoy-hedge-on-per-try-timeout', 'x-envoy-internal', 'x-envoy-ip-tags', 'x-envoy-max-retries', 'x-envoy-original-url',
  'x-envoy-retriable-header-names', 'x-envoy-retriable-status-codes', 'x-envoy-retry-grpc-on', 'x-envoy-retry-on', 'x-envoy-upstream-alt-stat-name',
  'x-envoy-upstream-rq-per-try-timeout-ms', 'x-envoy-upstream-rq-timeout-ms', 'x-forwarded-client-cert',
] as const;

/** Its first letters; most requests have no field with them. */
const ENVOY = 'x-envoy-';

/** `trustedProxies` is asked for each request, as a change of it counts at once. */
export function forwarded(trustedProxies: () => number): Layer {
  return (next) => new Forwarded(next, trustedProxies);
}

class Forwarded implements Service {
  readonly #next: Service;
  readonly #trustedProxies: () => number;

  constructor(next: Service, trustedProxies: () => number) {
    this.#next = next;
    this.#trustedProxies = trustedProxies;
  }

  serve(exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    const { remoteAddress, secure } = exchange.connection as GatewayConnection;
    const { headers } = head;
    const trustedProxies = this.#trustedProxies();
    head.scheme = secure ? 'https' : 'http';
    removeInternal(headers);
    const before = headers.joined('x-forwarded-for');
    headers.set('x-forwarded-for', before === undefined || before === '' ? remoteAddress : `${before},${remoteAddress}`);
    // A trusted proxy in front may have terminated TLS itself.
    const said = trustedProxies === 0 ? undefined : headers.get('x-forwarded-proto');
    if (said === undefined) headers.set('x-forwarded-proto', head.scheme);
    else if (said === 'https') head.scheme = said;
    headers.add('x-envoy-external-address', clientOf(before, trustedProxies) ?? remoteAddress);
    exchange.forwardedFor = headers.get('x-forwarded-for') ?? '';
    return this.#next.serve(exchange, head, response);
  }
}

/** The client as the outermost trusted proxy saw it; undefined: there is none, or it did not say. */
function clientOf(forwardedFor: string | undefined, trustedProxies: number): string | undefined {
  const named = trustedProxies === 0 ? undefined : forwardedFor?.split(',').at(-trustedProxies)?.trim();
  return named === '' ? undefined : named;
}

function removeInternal(headers: HeaderList): void {
  for (let i = headers.size - 1; i >= 0; i -= 1) {
    const name = headers.lowerAt(i);
    if (!name.startsWith(ENVOY) && name !== 'x-forwarded-client-cert') continue;
    for (const internal of INTERNAL) headers.remove(internal);
    return;
  }
}
