/** The clusters that a gateway's routes name, with what policies say of them to a client in the gateway's namespace. */
import { Policies } from '../compile/policy.ts';
import { clustersOf } from '../compile/outbound.ts';
import { registryOf } from '../compile/registry.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ClusterSpec, ObjectRef, Route, TcpRoute, UpstreamTls } from '../table.ts';
import { policyFor, portNameOf, readPolicy } from './backend-tls.ts';

/** Keys of the clusters that the routes lead to, mirrors included. */
export function clusterKeys(routes: Iterable<Route>, connections: Iterable<TcpRoute>): Set<string> {
  const keys = new Set<string>();
  for (const { action } of routes) {
    if (action.kind !== 'forward') continue;
    for (const { cluster, mirrors = [] } of action.clusters) for (const key of [cluster, ...mirrors.map((mirror) => mirror.cluster)]) keys.add(key);
    for (const { cluster } of action.mirrors) keys.add(cluster);
  }
  for (const { clusters } of connections) for (const { cluster } of clusters) keys.add(cluster);
  return keys;
}

/** `credential`: what the gateway shows to servers that ask for a certificate. */
export function clustersFor(keys: ReadonlySet<string>, namespace: string, credential: ObjectRef | undefined, snapshot: Snapshot): Map<string, ClusterSpec> {
  const hosts = new Set([...keys].map((key) => key.slice(key.lastIndexOf('|') + 1)));
  const policies = new Policies(snapshot, namespace, {});
  const clusters = new Map<string, ClusterSpec>();
  for (const service of registryOf(snapshot)) {
    if (!hosts.has(service.host)) continue;
    const policy = policies.find(service);
    for (const port of service.ports) {
      const backendTls = service.kubernetes ? policyFor(service, portNameOf(service, port, snapshot), snapshot) : undefined;
      const tls = backendTls === undefined ? undefined : readPolicy(backendTls, credential).tls;
      for (const cluster of clustersOf(service, port, policy, snapshot)) {
        if (!keys.has(cluster.key) || clusters.has(cluster.key)) continue;
        // Clients of a headless Service choose a pod themselves; those of a gateway cannot.
        const discovery = service.headless ? 'static' : cluster.discovery;
        // What a client outside speaks, by the gateway's certificate, says nothing of the port behind it.
        const protocol = cluster.protocol === 'sniff' ? 'http' : cluster.protocol;
        // What a DestinationRule says of TLS is before a BackendTLSPolicy, as in Istio.
        clusters.set(cluster.key, { ...cluster, discovery, protocol, tls: cluster.tls === undefined ? tls : fromSecret(cluster.tls, namespace) });
      }
    }
  }
  return clusters;
}

/** `credentialName` is a Secret in the gateway's namespace (ClientTLSSettings). */
function fromSecret(tls: UpstreamTls, namespace: string): UpstreamTls {
  if (tls.credentialName === '') return tls;
  const secret: ObjectRef = { kind: 'Secret', namespace, name: tls.credentialName };
  return { ...tls, credentialName: '', authorities: [secret], ...(tls.mode === 'MUTUAL' ? { credential: secret } : {}) };
}
