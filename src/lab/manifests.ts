/** The objects that Kubernetes itself would add to what the user wrote: Nodes, Pods with status, Services with addresses, EndpointSlices. Pure. */
import { endpointsOf } from './endpoints.ts';
import type { ReadyPods, ServiceEndpoint } from './endpoints.ts';
import { NETNS_DIRECTORY } from './names.ts';
import { podKey } from './world.ts';
import type { LabNode, LabPod, LabService, World } from './world.ts';

export interface KubeObject {
  apiVersion: string;
  kind: string;
  metadata: { name: string; namespace?: string; [field: string]: unknown };
  [field: string]: unknown;
}

/** Where an agent finds a pod's network namespace when no container runtime tells it. */
const NETNS_ANNOTATION = 'orlop.io/netns';

/** Every generated object, for the pods that are ready now. External hosts are no part of the cluster. */
export function generatedObjects(world: World, ready: ReadyPods): KubeObject[] {
  const inside = world.pods.filter((pod) => pod.node !== undefined);
  return [
    ...world.nodes.map(nodeObject),
    ...inside.map((pod) => podObject(world, pod, ready.has(podKey(pod)))),
    ...world.services.map(serviceObject),
    ...world.services.flatMap((service) => sliceObjects(world, service, ready)),
  ];
}

function nodeObject(node: LabNode): KubeObject {
  const addresses = [{ type: 'InternalIP', address: node.address.ipv4 }, { type: 'InternalIP', address: node.address.ipv6 }, { type: 'Hostname', address: node.name }];
  return {
    apiVersion: 'v1', kind: 'Node', metadata: { name: node.name, labels: node.labels },
    spec: { podCIDRs: [`${node.bridge.ipv4.replace(/\.1$/, '.0')}/24`, `${node.bridge.ipv6.replace(/::1$/, '::')}/48`] },
    status: { addresses, conditions: [{ type: 'Ready', status: 'True' }] },
  };
}

function podObject(world: World, pod: LabPod, ready: boolean): KubeObject {
  const node = world.nodes.find((one) => one.name === pod.node);
  const status = ready ? 'True' : 'False';
  const owner = pod.owner && { ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: pod.owner.replicaSet, uid: pod.owner.uid, controller: true }] };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: pod.name, namespace: pod.namespace, uid: pod.uid, labels: pod.labels,
      annotations: { ...pod.annotations, [NETNS_ANNOTATION]: `${NETNS_DIRECTORY}/${pod.netns}` }, ...owner,
    },
    spec: { ...pod.spec, nodeName: pod.node, serviceAccountName: pod.serviceAccount },
    status: {
      phase: 'Running', podIP: pod.address.ipv4, podIPs: [{ ip: pod.address.ipv4 }, { ip: pod.address.ipv6 }],
      hostIP: node?.address.ipv4,
      conditions: [{ type: 'Ready', status }, { type: 'ContainersReady', status }, { type: 'PodScheduled', status: 'True' }],
    },
  };
}

function serviceObject(service: LabService): KubeObject {
  const object = service.object as unknown as KubeObject;
  const ips = service.externalName !== undefined
    ? {}
    : { clusterIP: service.clusterIPs[0] ?? 'None', clusterIPs: service.clusterIPs.length > 0 ? service.clusterIPs : ['None'] };
  const ipFamilies = service.families.map((family) => `IPv${family}`);
  return {
    ...object,
    metadata: { ...object.metadata, namespace: service.namespace },
    spec: { ...(object['spec'] as object), ...ips, ipFamilies },
  };
}

interface Member {
  endpoint: ServiceEndpoint;
  ports: object[];
}

/** One slice per address family and set of port numbers, because a named target port may differ from pod to pod. */
function sliceObjects(world: World, service: LabService, ready: ReadyPods): KubeObject[] {
  if (service.selector === undefined || service.externalName !== undefined) return [];
  const groups = Object.values(Object.groupBy(membersOf(world, service, ready), ({ ports }) => JSON.stringify(ports)));
  return service.families.flatMap((family) => groups.map((members = [], index) => ({
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: {
      name: `${service.name}-ipv${family}${index === 0 ? '' : `-${index}`}`, namespace: service.namespace,
      labels: { 'kubernetes.io/service-name': service.name },
    },
    addressType: `IPv${family}`,
    endpoints: members.map(({ endpoint }) => sliceEndpoint(service, endpoint, family)),
    ports: members[0]?.ports ?? [],
  })));
}

/** The pods of a Service, each with all of its ports. */
function membersOf(world: World, service: LabService, ready: ReadyPods): Member[] {
  const members = new Map<LabPod, Member>();
  for (const port of service.ports) {
    for (const endpoint of endpointsOf(service, port, world.pods, ready)) {
      const member = members.get(endpoint.pod) ?? { endpoint, ports: [] };
      member.ports.push({ name: port.name ?? '', port: endpoint.port, protocol: port.protocol, ...appProtocolOf(service, port.port) });
      members.set(endpoint.pod, member);
    }
  }
  return [...members.values()];
}

function sliceEndpoint(service: LabService, { pod, ready }: ServiceEndpoint, family: 4 | 6): object {
  return {
    addresses: [family === 4 ? pod.address.ipv4 : pod.address.ipv6],
    conditions: { ready, serving: ready, terminating: false },
    nodeName: pod.node,
    targetRef: { kind: 'Pod', namespace: pod.namespace, name: pod.name, uid: pod.uid },
    ...(pod.subdomain === service.name && { hostname: pod.hostname }),
  };
}

function appProtocolOf(service: LabService, port: number): { appProtocol?: string } {
  const ports = (service.object['spec'] as { ports?: { port: number; appProtocol?: string }[] } | undefined)?.ports ?? [];
  const appProtocol = ports.find((one) => one.port === port)?.appProtocol;
  return appProtocol === undefined ? {} : { appProtocol };
}
