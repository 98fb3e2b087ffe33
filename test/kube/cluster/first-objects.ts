/** Objects that a cluster has from the start: its nodes, with their ranges of pods' addresses, and the Service of its names. */
import { DNS_SERVICE_ADDRESS } from './names.ts';
import type { NodeNames } from './names.ts';

/** The nodes as their kubelets find them. */
export function nodeObjects(nodes: readonly NodeNames[]): object[] {
  return nodes.map(({ name, podCidr }) => ({ apiVersion: 'v1', kind: 'Node', metadata: { name }, spec: { podCIDR: podCidr, podCIDRs: [podCidr] } }));
}

/** What makes the name server at `address` reachable where pods look for one, under the names that CoreDNS has in other clusters. */
export function dnsObjects(address: string): object[] {
  const ports = ['UDP', 'TCP'].map((protocol) => ({ name: `dns${protocol === 'TCP' ? '-tcp' : ''}`, port: 53, protocol }));
  const metadata = { name: 'kube-dns', namespace: 'kube-system' };
  return [
    { apiVersion: 'v1', kind: 'Service', metadata, spec: { clusterIP: DNS_SERVICE_ADDRESS, ports } },
    {
      apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice', metadata: { ...metadata, labels: { 'kubernetes.io/service-name': 'kube-dns' } },
      addressType: 'IPv4', ports, endpoints: [{ addresses: [address], conditions: { ready: true } }],
    },
  ];
}
