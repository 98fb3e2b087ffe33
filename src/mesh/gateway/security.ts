/** What a gateway demands of its clients: policies whose target it is, and those of its namespace and of the whole mesh. */
import { compileSecurity, selectSecurity } from '../compile/security.ts';
import type { InboundSecurity } from '../security.ts';
import type { Snapshot } from '../snapshot.ts';
import type { ClusterSpec } from '../table.ts';
import type { GatewayResource } from './listeners.ts';
import { GATEWAY } from './table.ts';
import type { GatewayId } from './table.ts';

const NO_SERVICES: ReadonlySet<string> = new Set();

/** `labels` stand for those of the pods that a gateway's proxy would have elsewhere. */
export function gatewaySecurity(snapshot: Snapshot, { kind, namespace, name }: GatewayId, labels: Readonly<Record<string, string>>, clusters: ReadonlyMap<string, ClusterSpec>): InboundSecurity {
  const selected = selectSecurity(snapshot, { namespace, labels, probes: [] }, NO_SERVICES, kind === GATEWAY ? name : undefined);
  const { numTrustedProxies: trustedProxies, pathNormalization } = snapshot.mesh;
  return Object.freeze({ ...compileSecurity(snapshot, selected, clusters), trustedProxies, pathNormalization });
}

/** Those that pods of a gateway have where it has pods, and those that its Gateway asks for. */
export function labelsOfGateway({ name, spec }: GatewayResource): Readonly<Record<string, string>> {
  return { ...spec.infrastructure?.labels, 'gateway.networking.k8s.io/gateway-name': name };
}

/** Clusters of the authorizers that policies may ask. */
export function authorizerClusters({ mesh }: Snapshot): string[] {
  return mesh.extensionProviders.flatMap(({ envoyExtAuthzHttp, envoyExtAuthzGrpc }) => {
    const spec = envoyExtAuthzHttp ?? envoyExtAuthzGrpc;
    return spec === undefined ? [] : [`outbound|${spec.port}||${spec.service.slice(spec.service.indexOf('/') + 1).toLowerCase()}`];
  });
}
