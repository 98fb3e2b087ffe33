/**
 * The part of an object that is kept in memory, and on disk for the next start. What a pod's containers run with (environment, arguments,
 * volumes) is never kept: there may be secrets in it.
 */
import { record } from '../mesh/parse/json.ts';
import type { ApiObject } from './api-client.ts';
import { STATUS_ANNOTATION } from './pod-status.ts';

/** Annotations that mean something to a mesh. */
const MESH_ANNOTATION = /(?:^|[.])(?:orlop|istio|linkerd|kuma)\.io\//;
/** Nothing is decided by them: the object once more, as text; and what agents tell pods. */
const NOT_KEPT: ReadonlySet<string> = new Set(['kubectl.kubernetes.io/last-applied-configuration', STATUS_ANNOTATION]);
const SERVICE_NAME = 'kubernetes.io/service-name';

/** Strings that thousands of objects have in common are kept once: V8 does that by itself only up to 10 characters. */
const SHARED_MAX = 50_000;
const SHARED_CHARS_MAX = 80;
const shared = new Map<string, string>();

/** Metadata alone, with what counts the versions of the spec. */
export function keepHead(object: ApiObject): ApiObject {
  const { generation } = record(object['metadata']);
  return { metadata: { ...metadataOf(object, () => true), ...(generation === undefined ? {} : { generation }) } };
}

/** Names and labels alone. */
export function keepLabels(object: ApiObject): ApiObject {
  return { metadata: metadataOf(object, () => false) };
}

export function keepSpec(object: ApiObject): ApiObject {
  return { ...keepHead(object), spec: object['spec'] };
}

export function keepConfigMap(object: ApiObject): ApiObject {
  return { ...keepHead(object), data: object['data'] };
}

export function keepEndpointSlice(object: ApiObject): ApiObject {
  const { name, namespace, labels } = record(object['metadata']);
  const endpoints = list(object['endpoints']).map(({ addresses, conditions, targetRef }) => {
    const { ready, serving, terminating } = record(conditions);
    const { kind, name: target, namespace: targetNamespace } = record(targetRef);
    return {
      addresses,
      ...(ready === undefined ? {} : { conditions: terminating === true ? { ready, serving, terminating } : { ready } }),
      ...(kind === undefined ? {} : { targetRef: { kind: share(kind), name: share(target), namespace: share(targetNamespace) } }),
    };
  });
  const ports = list(object['ports']).map((port) => ({ name: share(port['name']), port: port['port'] }));
  return { metadata: { name, namespace: share(namespace), labels: { [SERVICE_NAME]: share(record(labels)[SERVICE_NAME]) } }, ports, endpoints };
}

export function keepPod(pod: ApiObject, node: string | undefined): ApiObject {
  const spec = record(pod['spec']);
  const status = record(pod['status']);
  const own = spec['nodeName'] === node;
  const ready = list(status['conditions']).find(({ type }) => type === 'Ready');
  return {
    metadata: metadataOf(pod, (name) => own || MESH_ANNOTATION.test(name)),
    spec: {
      serviceAccountName: share(spec['serviceAccountName']),
      nodeName: share(spec['nodeName']),
      ...(spec['hostNetwork'] === true ? { hostNetwork: true } : {}),
      containers: list(spec['containers']).map((container) => keepContainer(container, own)).filter((container) => Object.keys(container).length > 0),
      // Those that go on running: sidecars of Kubernetes have probes too.
      ...(own && spec['initContainers'] !== undefined ? { initContainers: list(spec['initContainers']).filter(({ restartPolicy }) => restartPolicy === 'Always').map((container) => keepContainer(container, true)) } : {}),
    },
    status: {
      phase: share(status['phase']),
      podIPs: list(status['podIPs']).map(({ ip }) => ({ ip })),
      ...(ready === undefined ? {} : { conditions: [{ type: 'Ready', status: share(ready['status']) }] }),
    },
  };
}

/** Whom certificates are for, and whom a selector means; not how the pod is reached, or whether it is ready. */
export function keepPodIdentity(pod: ApiObject): ApiObject {
  const spec = record(pod['spec']);
  return {
    metadata: metadataOf(pod, (name) => MESH_ANNOTATION.test(name)),
    spec: { serviceAccountName: share(spec['serviceAccountName']), nodeName: share(spec['nodeName']), ...(spec['hostNetwork'] === true ? { hostNetwork: true } : {}) },
    status: { phase: share(record(pod['status'])['phase']) },
  };
}

/** Of a pod elsewhere, the ports' names: a Service may send to a port by its name. */
function keepContainer(container: ApiObject, own: boolean): ApiObject {
  const ports = list(container['ports']).map((port) => ({ ...(port['name'] === undefined ? {} : { name: share(port['name']) }), containerPort: port['containerPort'] }));
  const withPorts = ports.length === 0 ? {} : { ports };
  if (!own) return withPorts;
  const probes = ['livenessProbe', 'readinessProbe', 'startupProbe'].flatMap((kind) => (container[kind] === undefined ? [] : [[kind, keepProbe(record(container[kind]))] as const]));
  return { name: container['name'], ...(container['restartPolicy'] === undefined ? {} : { restartPolicy: container['restartPolicy'] }), ...withPorts, ...Object.fromEntries(probes) };
}

/** Without its headers, which may carry a password. */
function keepProbe({ httpGet, tcpSocket, grpc }: ApiObject): ApiObject {
  if (httpGet !== undefined) {
    const { host, path, port, scheme } = record(httpGet);
    return { httpGet: { host, path, port, scheme } };
  }
  return tcpSocket === undefined ? (grpc === undefined ? {} : { grpc }) : { tcpSocket };
}

function metadataOf(object: ApiObject, isKept: (annotation: string) => boolean): ApiObject {
  const { name, namespace, uid, labels, annotations, creationTimestamp, deletionTimestamp, ownerReferences } = record(object['metadata']);
  const kept = Object.entries(record(annotations)).filter(([key]) => !NOT_KEPT.has(key) && isKept(key));
  const owner = list(ownerReferences).find(({ controller }) => controller === true) ?? list(ownerReferences)[0];
  return {
    name,
    ...(namespace === undefined ? {} : { namespace: share(namespace) }),
    uid,
    creationTimestamp: share(creationTimestamp),
    ...(deletionTimestamp === undefined ? {} : { deletionTimestamp }),
    ...(labels === undefined ? {} : { labels: Object.fromEntries(Object.entries(record(labels)).map(([key, value]) => [key, share(value)])) }),
    ...(kept.length === 0 ? {} : { annotations: Object.fromEntries(kept.map(([key, value]) => [key, share(value)])) }),
    ...(owner === undefined ? {} : { ownerReferences: [{ kind: share(owner['kind']), name: share(owner['name']), controller: owner['controller'] === true }] }),
  };
}

function share(value: unknown): unknown {
  if (typeof value !== 'string' || value.length > SHARED_CHARS_MAX) return value;
  const known = shared.get(value);
  if (known !== undefined) return known;
  // Names that are no longer in use go with all the others, which are soon back.
  if (shared.size >= SHARED_MAX) shared.clear();
  shared.set(value, value);
  return value;
}

function list(value: unknown): ApiObject[] {
  return Array.isArray(value) ? (value as ApiObject[]) : [];
}
