/** An extension provider for tests, and the cluster its service has. */
import type { ExtAuthzProvider } from '../../../src/mesh/security.ts';
import type { ClusterSpec } from '../../../src/mesh/table.ts';
import { clusterOf } from '../world.ts';

export const PROVIDER_CLUSTER = 'outbound|8000||ext-authz.auth.svc.cluster.local';

export function providerOf(change: Partial<ExtAuthzProvider> = {}): ExtAuthzProvider {
  return {
    name: 'gate',
    kind: 'http',
    service: 'ext-authz.auth.svc.cluster.local',
    port: 8000,
    cluster: PROVIDER_CLUSTER,
    timeoutMs: 1_000,
    failOpen: false,
    clearRouteCache: false,
    statusOnError: 403,
    includeRequestBodyInCheck: undefined,
    pathPrefix: '',
    includeRequestHeadersInCheck: [],
    includeAdditionalHeadersInCheck: [],
    headersToUpstreamOnAllow: [],
    headersToDownstreamOnDeny: [],
    headersToDownstreamOnAllow: [],
    ...change,
  };
}

export function providerCluster(address: string, port: number, change: Partial<ClusterSpec> = {}): ClusterSpec {
  return clusterOf({
    key: PROVIDER_CLUSTER,
    port: 8000,
    service: { host: 'ext-authz.auth.svc.cluster.local', name: 'ext-authz', namespace: 'auth' },
    endpoints: [{ address, port, weight: 1, workload: undefined, node: undefined, enrolled: false, identity: '' }],
    ...change,
  });
}
