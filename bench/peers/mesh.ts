/** The mesh that Orlop is measured with, as the YAML a user would write. */
import { stringify } from 'yaml';

import { BULK_PORT, HTTP_PORT } from '../backend.ts';
import type { Target } from '../bench.ts';

const NAMESPACE = 'bench';
/** Service addresses: none exists on any interface, they are only ever captured. */
const SERVICE_NETWORK = '10.96';

export interface MeshOptions {
  readonly node: string;
  /** Enrolled pods of the node, each with its address and its namespace's name. */
  readonly pods: readonly { readonly netns: string; readonly address: string }[];
  /** A pod of another node. With a namespace it is enrolled there, and takes nothing but mutual TLS. */
  readonly backend: { readonly node: string; readonly address: string; readonly netns?: string };
  /** Services, each with one VirtualService; the first is the one measured. */
  readonly services: number;
}

/** Where clients reach the measured service. */
export const HTTP_TARGET: Target = { host: serviceAddress(0), port: 80 };
export const BULK_TARGET: Target = { host: serviceAddress(0), port: BULK_PORT };

/** One YAML stream with every object of the mesh. */
export function renderMesh(options: MeshOptions): string {
  const { backend } = options;
  const objects: object[] = [
    { apiVersion: 'v1', kind: 'Namespace', metadata: { name: NAMESPACE, annotations: { 'orlop.io/mesh': 'enabled' } } },
    // Outside the mesh the upstream is plain TCP, as it is for the other proxies.
    pod('backend', backend.node, backend.address, backend.netns === undefined ? { 'orlop.io/mesh': 'disabled' } : { 'orlop.io/netns': `/run/netns/${backend.netns}` }),
  ];
  if (backend.netns !== undefined) objects.push(STRICT);
  for (const [index, { netns, address }] of options.pods.entries()) {
    objects.push(pod(`client-${String(index)}`, options.node, address, { 'orlop.io/netns': `/run/netns/${netns}` }));
  }
  for (let index = 0; index < options.services; index++) objects.push(service(index), virtualService(index));
  return objects.map((object) => stringify(object)).join('---\n');
}

const STRICT = {
  apiVersion: 'security.istio.io/v1',
  kind: 'PeerAuthentication',
  metadata: { name: 'default', namespace: NAMESPACE },
  spec: { mtls: { mode: 'STRICT' } },
};

function serviceName(index: number): string {
  return index === 0 ? 'echo' : `echo-${String(index)}`;
}

function serviceAddress(index: number): string {
  const number = index + 10;
  return `${SERVICE_NETWORK}.${String(number >> 8)}.${String(number & 255)}`;
}

function pod(name: string, nodeName: string, podIP: string, annotations: Record<string, string>): object {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, namespace: NAMESPACE, labels: { app: name }, annotations },
    spec: { nodeName, serviceAccountName: 'default', containers: [{ name, image: 'bench' }] },
    status: { phase: 'Running', podIP, podIPs: [{ ip: podIP }], conditions: [{ type: 'Ready', status: 'True' }] },
  };
}

function service(index: number): object {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: serviceName(index), namespace: NAMESPACE },
    spec: {
      clusterIP: serviceAddress(index),
      selector: { app: 'backend' },
      ports: [
        { name: 'http', port: 80, targetPort: HTTP_PORT },
        { name: 'tcp-bulk', port: BULK_PORT, targetPort: BULK_PORT },
      ],
    },
  };
}

/** A canary by header before the default, as most VirtualServices have: the measured requests match the second. */
function virtualService(index: number): object {
  const route = [{ destination: { host: serviceName(index), port: { number: 80 } } }];
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: serviceName(index), namespace: NAMESPACE },
    spec: {
      hosts: [serviceName(index)],
      http: [{ match: [{ headers: { 'x-canary': { exact: 'yes' } } }], route }, { route }],
    },
  };
}
