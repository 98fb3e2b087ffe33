/** What a supervisor tells about its lab, over the control socket. */
import type { PodPlace } from './enter.ts';
import type { AddressPair } from './addresses.ts';

export interface ContainerStatus {
  name: string;
  running: boolean;
  ready: boolean;
  restarts: number;
  pid?: number;
  logPath: string;
  runAsUser?: number;
  runAsGroup?: number;
  env: Record<string, string>;
}

export interface PodStatus {
  namespace: string;
  name: string;
  deployment?: string;
  labels: Record<string, string>;
  annotations: Record<string, string>;
  hostname: string;
  /** Undefined for an external host. */
  node?: string;
  address: AddressPair;
  ready: boolean;
  containers: ContainerStatus[];
  place: PodPlace;
}

export interface AgentStatus {
  enabled: boolean;
  running: boolean;
  ready: boolean;
  restarts: number;
  pid?: number;
  runDirectory: string;
  logPath: string;
}

export interface NodeStatus {
  name: string;
  netnsPath: string;
  address: AddressPair;
  /** Gateway and DNS server of the node's pods. */
  bridge: AddressPair;
  agent: AgentStatus;
}

export interface ServiceStatus {
  namespace: string;
  name: string;
  clusterIPs: string[];
  ports: number[];
}

export interface LabStatus {
  name: string;
  /** Process id of the supervisor. */
  pid: number;
  configDirectory: string;
  nodes: NodeStatus[];
  pods: PodStatus[];
  services: ServiceStatus[];
}

export const PROCESS_ACTIONS = ['restart', 'kill', 'stop', 'start'] as const;
/** upgrade: the next one takes over while this one serves. */
export const AGENT_ACTIONS = [...PROCESS_ACTIONS, 'upgrade'] as const;
export type ProcessAction = (typeof PROCESS_ACTIONS)[number];
export type AgentAction = (typeof AGENT_ACTIONS)[number];

/** One line of `lab up`'s progress; `done` ends it. */
export type Progress =
  | { event: 'step'; text: string }
  | { event: 'up' }
  | { event: 'waiting'; pods: string[]; agents: string[] }
  | { event: 'failed'; message: string };

/** What `apply` or `delete` did to one object. */
export interface Applied {
  object: string;
  result: 'created' | 'configured' | 'unchanged' | 'deleted';
}
