/** How an endpoint is reached: one decision for the data plane, and for those who ask what it would do. */
import type { ClusterSpec, EndpointSpec } from './table.ts';

/**
 * `local`: handed to its pod on the same node. `hbone`: by a mutual TLS tunnel to its pod. `tls`: TLS to the endpoint itself, as
 * the DestinationRule says. `plain`: neither.
 */
export type UpstreamKind = 'local' | 'hbone' | 'tls' | 'plain';

/** `isHere`: the endpoint's pod is enrolled on the client's own node. */
export function upstreamKind({ tls, limits }: Pick<ClusterSpec, 'tls' | 'limits'>, { enrolled, identity }: Pick<EndpointSpec, 'enrolled' | 'identity'>, isHere: boolean): UpstreamKind {
  const mutual = tls === undefined || tls.mode === 'ISTIO_MUTUAL';
  // A limit of connections is only exact where there are connections: a cluster that has one takes the wire, also to a neighbour.
  if (isHere && mutual && limits.maxConnections === Infinity) return 'local';
  if (enrolled && mutual && identity !== '') return 'hbone';
  return tls === undefined || tls.mode === 'DISABLE' ? 'plain' : 'tls';
}
