/** EndpointSlices of a gateway's Service: the nodes that serve it, at the ports that agents have opened for it. */
import { isIPv6 } from 'node:net';
import type { ApiObject } from '../kube/api-client.ts';
import type { AgentPod } from './agent-pods.ts';

/** Of what is the control plane's to keep. */
export const MANAGER = 'orlop';

/** Kubernetes' own bound of one slice. */
const ENDPOINTS_MAX = 1_000;

/** `ports`: of the nodes, by port of the gateway. */
export function endpointSlices(namespace: string, service: string, ports: ReadonlyMap<number, number>, nodes: readonly AgentPod[]): ApiObject[] {
  return (['IPv4', 'IPv6'] as const).flatMap((addressType) => {
    const endpoints = nodes
      .flatMap(({ node, ready, addresses }) => addresses.filter((address) => isIPv6(address) === (addressType === 'IPv6')).slice(0, 1).map((address) => ({ addresses: [address], nodeName: node, conditions: { ready, serving: ready, terminating: false } })))
      .sort((a, b) => (a.nodeName < b.nodeName ? -1 : 1));
    const slices = Array.from({ length: Math.ceil(endpoints.length / ENDPOINTS_MAX) }, (_, i) => endpoints.slice(i * ENDPOINTS_MAX, (i + 1) * ENDPOINTS_MAX));
    return slices.map((some, i) => ({
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: {
        name: `${service}-${addressType.toLowerCase()}${i === 0 ? '' : `-${i}`}`,
        namespace,
        labels: { 'kubernetes.io/service-name': service, 'endpointslice.kubernetes.io/managed-by': MANAGER },
      },
      addressType,
      endpoints: some,
      ports: [...ports].map(([port, nodePort]) => ({ name: `port-${port}`, port: nodePort, protocol: 'TCP' })),
    }));
  });
}
