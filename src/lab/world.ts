/** What a lab consists of, as plain data: expanded from its file once, then only its Services' and pods' readiness moves. */
import type { AddressPair } from './addresses.ts';

export interface LabNode {
  name: string;
  /** From 1. */
  number: number;
  labels: Record<string, string>;
  netns: string;
  address: AddressPair;
  bridge: AddressPair;
}

export interface ContainerPort {
  name?: string;
  port: number;
  protocol: 'TCP' | 'UDP';
}

export interface Probe {
  kind: 'tcpSocket' | 'httpGet';
  port: number;
  path: string;
  headers: Record<string, string>;
  initialDelayMs: number;
  periodMs: number;
  timeoutMs: number;
  successThreshold: number;
  failureThreshold: number;
}

export interface LabContainer {
  name: string;
  argv: string[];
  env: Record<string, string>;
  ports: ContainerPort[];
  readinessProbe?: Probe;
  runAsUser?: number;
  runAsGroup?: number;
}

export interface LabPod {
  namespace: string;
  name: string;
  uid: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  /** The Deployment it belongs to, and that Deployment's ReplicaSet. */
  owner?: { deployment: string; replicaSet: string; uid: string };
  serviceAccount: string;
  hostname: string;
  subdomain?: string;
  /** Undefined for an external host, which belongs to no node. */
  node?: string;
  netns: string;
  address: AddressPair;
  containers: LabContainer[];
  /** The user's pod spec as written, for the Pod object that agents read. */
  spec: Record<string, unknown>;
}

export interface ServicePort {
  name?: string;
  port: number;
  /** A number, or the name of a container's port. */
  targetPort: number | string;
  protocol: 'TCP' | 'UDP';
}

export interface LabService {
  namespace: string;
  name: string;
  selector?: Record<string, string>;
  ports: ServicePort[];
  /** Empty for a headless Service. */
  clusterIPs: string[];
  /** Families its endpoints have. */
  families: (4 | 6)[];
  externalName?: string;
  publishNotReady: boolean;
  /** The user's object as written. */
  object: Record<string, unknown>;
}

export interface AgentSpec {
  enabled: boolean;
  redirect: 'auto' | 'iptables' | 'ebpf';
  args: string[];
}

export interface World {
  name: string;
  number: number;
  fabricNetns: string;
  nodes: LabNode[];
  pods: LabPod[];
  services: LabService[];
  namespaces: string[];
  /** Names outside the cluster: addresses each. */
  hosts: Record<string, string[]>;
  agent: AgentSpec;
  control: ControlSpec;
}

/** The CA that the agents share. */
export interface ControlSpec {
  /** Of workloads' certificates, as a duration (`24h`). */
  lifetime: string;
  args: string[];
}

/** `namespace/name`, how everything inside the lab calls a pod. */
export function podKey(pod: { namespace: string; name: string }): string {
  return `${pod.namespace}/${pod.name}`;
}

/** The pods that a Service selects; external hosts are never among them. */
export function selectedPods(service: LabService, pods: readonly LabPod[]): LabPod[] {
  const wanted = Object.entries(service.selector ?? {});
  if (wanted.length === 0) return [];
  return pods.filter((pod) => pod.node !== undefined && pod.namespace === service.namespace && wanted.every(([key, value]) => pod.labels[key] === value));
}
