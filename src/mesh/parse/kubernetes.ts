/** Pods, Services and EndpointSlices as a snapshot holds them. */
import ipaddr from 'ipaddr.js';
import { qualify } from '../host.ts';
import type { Origin } from '../resources.ts';
import type { Probe } from '../security.ts';
import type { Service, ServicePort, SliceEndpoint, Workload } from '../snapshot.ts';
import { list, record, strings, text, texts } from './json.ts';
import type { Json } from './json.ts';
import { enrolmentOf } from './mesh-wish.ts';
import { isRecord } from './schema.ts';

/** `istioLabels`: is `istio.io/dataplane-mode` understood? */
export function readPod(origin: Origin, object: Json, namespace: Json | undefined, istioLabels: boolean): Workload {
  const meta = record(object['metadata']);
  const spec = record(object['spec']);
  const status = record(object['status']);
  const labels = texts(meta['labels']);
  const annotations = texts(meta['annotations']);
  const hostNetwork = spec['hostNetwork'] === true;
  const owner = ownerOf(meta, labels);
  const workloadName = owner ?? origin.name;
  return {
    id: `${origin.namespace}/${origin.name}`,
    uid: text(meta['uid']),
    name: origin.name,
    namespace: origin.namespace,
    labels,
    annotations,
    serviceAccount: text(spec['serviceAccountName']) || 'default',
    node: text(spec['nodeName']),
    addresses: addressesOf(status),
    phase: text(status['phase']),
    ready: list(status['conditions']).some((condition) => condition['type'] === 'Ready' && condition['status'] === 'True'),
    hostNetwork,
    ...enrolmentOf({ meta, hostNetwork, namespaceName: origin.namespace, namespace, istioLabels }),
    ports: list(spec['containers']).flatMap((container) => list(container['ports'])).map((port) => ({ name: text(port['name']), port: Number(port['containerPort']) })),
    probes: probesOf(spec),
    netnsPath: annotations['orlop.io/netns'],
    workloadName,
    canonicalName: labels['service.istio.io/canonical-name'] ?? labels['app.kubernetes.io/name'] ?? labels['app'] ?? workloadName,
    canonicalRevision: labels['service.istio.io/canonical-revision'] ?? labels['app.kubernetes.io/version'] ?? labels['version'] ?? 'latest',
    app: labels['app'] ?? labels['app.kubernetes.io/name'] ?? '',
    version: labels['version'] ?? labels['app.kubernetes.io/version'] ?? '',
  };
}

/** What the kubelet sends to the pod's own address; `exec` sends nothing, and another `host` is not asked here. */
function probesOf(spec: Json): Probe[] {
  // A sidecar of Kubernetes is an init container that goes on running.
  const containers = [...list(spec['containers']), ...list(spec['initContainers']).filter(({ restartPolicy }) => restartPolicy === 'Always')];
  const probes = containers.flatMap((container) =>
    ['livenessProbe', 'readinessProbe', 'startupProbe'].flatMap((kind): Probe[] => {
      const { httpGet, tcpSocket, grpc } = record(container[kind]);
      const port = (action: unknown): number => portOf(record(action)['port'], list(container['ports']));
      if (isRecord(httpGet)) return [{ kind: 'http', port: port(httpGet), path: absolute(text(httpGet['path'])) }];
      if (isRecord(tcpSocket)) return [{ kind: 'tcp', port: port(tcpSocket), path: '' }];
      return isRecord(grpc) ? [{ kind: 'grpc', port: port(grpc), path: '' }] : [];
    }));
  const known = new Map(probes.filter(({ port }) => Number.isInteger(port)).map((probe) => [`${probe.kind} ${probe.port} ${probe.path}`, probe]));
  return [...known.values()];
}

function portOf(port: unknown, declared: readonly Json[]): number {
  return typeof port === 'string' && !/^\d+$/.test(port) ? Number(declared.find(({ name }) => name === port)?.['containerPort']) : Number(port);
}

function absolute(path: string): string {
  return path.startsWith('/') ? path : `/${path}`;
}

/** A ReplicaSet is named after its Deployment and the hash of its template. */
function ownerOf(meta: Json, labels: Readonly<Record<string, string>>): string | undefined {
  const owner = list(meta['ownerReferences']).find((reference) => reference['controller'] === true) ?? list(meta['ownerReferences'])[0];
  if (owner === undefined) return undefined;
  const name = text(owner['name']);
  const hash = labels['pod-template-hash'];
  if (owner['kind'] !== 'ReplicaSet') return name;
  if (hash !== undefined && name.endsWith(`-${hash}`)) return name.slice(0, -hash.length - 1);
  return name.replace(/-[a-z0-9]{4,10}$/, '');
}

function addressesOf(status: Json): string[] {
  const addresses = [...list(status['podIPs']).map(({ ip }) => text(ip)), text(status['podIP'])];
  // In the form that sockets show, so that an address can be looked up as it is seen.
  return [...new Set(addresses.filter((ip) => ipaddr.isValid(ip)).map((ip) => ipaddr.parse(ip).toString()))];
}

export function readService(origin: Origin, object: Json, slices: readonly Json[]): Service {
  const spec = record(object['spec']);
  const selector = isRecord(spec['selector']) && Object.keys(spec['selector']).length > 0 ? texts(spec['selector']) : undefined;
  const clusterIPs = Array.isArray(spec['clusterIPs']) ? spec['clusterIPs'].map(String) : [text(spec['clusterIP'])];
  const exportTo = texts(record(object['metadata'])['annotations'])['networking.istio.io/exportTo'];
  return {
    origin,
    host: qualify(origin.name, origin.namespace),
    clusterIPs: clusterIPs.filter((ip) => ip !== '' && ip !== 'None'),
    headless: clusterIPs.includes('None'),
    externalName: spec['type'] === 'ExternalName' ? text(spec['externalName']) : '',
    ports: list(spec['ports']).map(readServicePort),
    selector,
    exportTo: exportTo === undefined ? ['*'] : exportTo.split(',').map((part) => part.trim()),
    endpoints: slices.length === 0 ? undefined : endpointsOf(slices),
  };
}

function readServicePort(port: Json): ServicePort {
  const number = Number(port['port']);
  const target = port['targetPort'];
  return {
    name: text(port['name']),
    port: number,
    targetPort: typeof target === 'number' || (typeof target === 'string' && target !== '') ? target : number,
    appProtocol: text(port['appProtocol']),
    udp: port['protocol'] === 'UDP' || port['protocol'] === 'SCTP',
  };
}

interface ReadEndpoint {
  readonly endpoint: SliceEndpoint;
  /** It ends, and still answers. */
  readonly isLeaving: boolean;
}

/** Where no endpoint is ready, those that end and still answer serve to the last, as kube-proxy has it (KEP-1669). */
function endpointsOf(slices: readonly Json[]): SliceEndpoint[] {
  const read = slices.flatMap(readSlice);
  const isAnyReady = read.some(({ endpoint }) => endpoint.ready);
  return read.map(({ endpoint, isLeaving }) => (isLeaving && !isAnyReady ? { ...endpoint, ready: true } : endpoint));
}

function readSlice(slice: Json): ReadEndpoint[] {
  const ports = Object.fromEntries(list(slice['ports']).map((port) => [text(port['name']), Number(port['port'])]));
  return list(slice['endpoints']).flatMap((endpoint) => {
    const { ready, serving, terminating } = record(endpoint['conditions']);
    const target = record(endpoint['targetRef']);
    const namespace = text(target['namespace']) || text(record(slice['metadata'])['namespace']) || 'default';
    const workload = target['kind'] === 'Pod' ? `${namespace}/${text(target['name'])}` : undefined;
    // An unset `ready` is to be read as true (discovery.k8s.io/v1 EndpointConditions).
    return strings(endpoint['addresses'])
      .filter((address) => ipaddr.isValid(address))
      .map((address) => ({ endpoint: { address, ready: ready !== false, workload, ports }, isLeaving: serving === true && terminating === true }));
  });
}
