/** Containers of a pod's spec → host processes: command, environment, ports, probe. A field that the lab cannot honour is an error. */
import type { AddressPair } from './addresses.ts';
import type { Field } from './document.ts';
import type { ContainerPort, LabContainer, Probe } from './world.ts';

/** What a container's environment may refer to. */
export interface PodFacts {
  namespace: string;
  name: string;
  uid: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  serviceAccount: string;
  address: AddressPair;
  node: string | undefined;
}

type ConfigMaps = ReadonlyMap<string, Record<string, string>>;

const DAY_S = 86_400;

/** Fields of pods and containers that would change what runs, and that a process on the host has no counterpart of. */
const POD_UNSUPPORTED = ['volumes', 'initContainers', 'hostNetwork', 'hostPID'];
const CONTAINER_UNSUPPORTED = ['volumeMounts', 'envFrom', 'lifecycle', 'livenessProbe', 'startupProbe'];

/** Read the containers of a pod's spec; `written` is the spec itself, for the Pod object. */
export function readContainers(spec: Field, facts: PodFacts, configMaps: ConfigMaps): { containers: LabContainer[]; written: Record<string, unknown> } {
  refuse(spec, POD_UNSUPPORTED);
  const fields = spec.get('containers').items();
  if (fields.length === 0) spec.get('containers').fail('is empty', 'add [{name: app, command: [...]}]');
  const names = new Set<string>();
  const containers = fields.map((field) => {
    const container = readContainer(field, facts, configMaps);
    if (names.has(container.name)) field.get('name').fail(`"${container.name}" is used twice`, 'give each container a name of its own');
    names.add(container.name);
    return container;
  });
  return { containers, written: spec.value as Record<string, unknown> };
}

function readContainer(field: Field, facts: PodFacts, configMaps: ConfigMaps): LabContainer {
  refuse(field, CONTAINER_UNSUPPORTED);
  const command = field.get('command').strings();
  if (command.length === 0) field.get('command').fail('is missing', 'a container of the lab is a process of the host: write its command, for instance [node, lab/apps/echo.ts]');
  const env = Object.fromEntries(field.get('env').items().map((item) => [item.get('name').string(), readEnv(item, facts, configMaps)]));
  const argv = [...command, ...field.get('args').strings()].map((word) => word.replace(/\$\((\w+)\)/g, (whole, name: string) => env[name] ?? whole));
  const ports = field.get('ports').items().map(readPort);
  const user = field.get('securityContext').get('runAsUser').optionalInteger(0, 65_535);
  const group = field.get('securityContext').get('runAsGroup').optionalInteger(0, 65_535);
  return {
    name: field.get('name').string(),
    argv,
    env,
    ports,
    ...(field.get('readinessProbe').present && { readinessProbe: readProbe(field.get('readinessProbe'), ports) }),
    ...(user !== undefined && { runAsUser: user }),
    ...(group !== undefined && { runAsGroup: group }),
  };
}

function refuse(field: Field, names: readonly string[]): void {
  for (const name of names) if (field.get(name).present) field.get(name).fail('has no counterpart in the lab', 'remove it');
}

function readEnv(item: Field, facts: PodFacts, configMaps: ConfigMaps): string {
  const from = item.get('valueFrom');
  if (!from.present) return item.get('value').optionalString() ?? '';
  const [fieldRef, mapRef] = [from.get('fieldRef'), from.get('configMapKeyRef')];
  if (fieldRef.present) return readFieldRef(fieldRef.get('fieldPath'), facts);
  if (!mapRef.present) return from.fail('is neither fieldRef nor configMapKeyRef', 'use one of them, or a plain value');
  const map = configMaps.get(`${facts.namespace}/${mapRef.get('name').string()}`);
  return map?.[mapRef.get('key').string()] ?? mapRef.fail('names a ConfigMap or key that is not in the lab', 'add the ConfigMap to the lab file');
}

/** The downward API: https://kubernetes.io/docs/concepts/workloads/pods/downward-api/. */
function readFieldRef(field: Field, facts: PodFacts): string {
  const path = field.string();
  const indexed = /^metadata\.(labels|annotations)\['([^']+)'\]$/.exec(path);
  if (indexed !== null) return facts[indexed[1] as 'labels' | 'annotations'][indexed[2] as string] ?? '';
  switch (path) {
    case 'metadata.name': return facts.name;
    case 'metadata.namespace': return facts.namespace;
    case 'metadata.uid': return facts.uid;
    case 'spec.nodeName': return facts.node ?? '';
    case 'spec.serviceAccountName': return facts.serviceAccount;
    case 'status.podIP': return facts.address.ipv4;
    case 'status.podIPs': return `${facts.address.ipv4},${facts.address.ipv6}`;
    default: return field.fail(`is "${path}"`, 'use metadata.name, metadata.namespace, metadata.uid, metadata.labels[\'KEY\'], spec.nodeName, spec.serviceAccountName, status.podIP or status.podIPs');
  }
}

function readPort(field: Field): ContainerPort {
  const name = field.get('name').optionalString();
  return { ...(name !== undefined && { name }), port: field.get('containerPort').integer(1, 65_535), protocol: field.get('protocol').oneOf(['TCP', 'UDP']) ?? 'TCP' };
}

function readProbe(field: Field, ports: readonly ContainerPort[]): Probe {
  const [http, tcp] = [field.get('httpGet'), field.get('tcpSocket')];
  if (!http.present && !tcp.present) field.fail('is neither httpGet nor tcpSocket', 'use one of them');
  const target = (http.present ? http : tcp).get('port');
  const named = typeof target.value === 'string' ? ports.find((port) => port.name === target.value) : undefined;
  if (typeof target.value === 'string' && named === undefined) target.fail(`"${target.value}" is not a port of this container`, 'name one of its ports, or give a number');
  return {
    kind: http.present ? 'httpGet' : 'tcpSocket',
    port: named?.port ?? target.integer(1, 65_535),
    path: http.get('path').optionalString() ?? '/',
    headers: Object.fromEntries(http.get('httpHeaders').items().map((header) => [header.get('name').string(), header.get('value').string()])),
    initialDelayMs: (field.get('initialDelaySeconds').optionalInteger(0, DAY_S) ?? 0) * 1000,
    periodMs: (field.get('periodSeconds').optionalInteger(1, DAY_S) ?? 10) * 1000,
    timeoutMs: (field.get('timeoutSeconds').optionalInteger(1, DAY_S) ?? 1) * 1000,
    successThreshold: field.get('successThreshold').optionalInteger(1, 1000) ?? 1,
    failureThreshold: field.get('failureThreshold').optionalInteger(1, 1000) ?? 3,
  };
}
