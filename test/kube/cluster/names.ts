/** Names, addresses and paths of a test cluster. Everything it makes carries its name, so that leftovers can be told and removed. */
import { mkdirSync, readdirSync, readFileSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { ClusterError } from './cluster-error.ts';

const CLUSTERS_DIRECTORY = '/var/tmp/orlop-kube';
/** Its network namespaces and interfaces carry the name; the latter have 15 characters at most. */
const NAME = /^[a-z][a-z0-9]{0,9}$/;
const NUMBER_MAX = 200;
const LOAD_BALANCERS_MAX = 100;

export interface ClusterState {
  name: string;
  /** Makes the cluster's network its own among those on this machine: 198.18.<number>.0/24 (RFC 2544, never routed). */
  number: number;
  nodeCount: 0 | 2;
  /** The process whose end is the cluster's end; absent when it is kept. */
  ownerPid?: number;
  /** What scripts/kube.sh built. */
  home: string;
  /** Of the API server, of etcd, and of etcd for other members. */
  ports: Ports;
}

export interface Ports {
  apiServer: number;
  etcd: number;
  etcdPeer: number;
}

export interface NodeNames {
  name: string;
  index: number;
  netns: string;
  address: string;
  podCidr: string;
  directory: string;
}

/** Addresses of Services, and those with a meaning. */
export const SERVICE_CIDR = '10.96.0.0/16';
export const API_SERVICE_ADDRESS = '10.96.0.1';
export const DNS_SERVICE_ADDRESS = '10.96.0.10';
export const POD_CIDR = '10.244.0.0/16';
export const CLUSTER_DOMAIN = 'cluster.local';

export class ClusterNames {
  readonly name: string;
  readonly directory: string;

  constructor(name: string) {
    if (!NAME.test(name)) throw new ClusterError(`"${name}" cannot be a cluster's name: up to 10 small letters and digits, a letter first`);
    this.name = name;
    this.directory = `${CLUSTERS_DIRECTORY}/${name}`;
  }

  /** The switch between the nodes. */
  get fabricNetns(): string {
    return `ok-${this.name}`;
  }

  /** This machine's end of the link to the switch. */
  get hostLink(): string {
    return `ok-${this.name}`;
  }

  get kubeconfig(): string {
    return `${this.directory}/kubeconfig`;
  }

  get keys(): string {
    return `${this.directory}/keys`;
  }

  /** Relative to the root of each cgroup hierarchy. */
  get cgroup(): string {
    return `orlop-kube/${this.name}`;
  }

  log(component: string): string {
    return `${this.directory}/logs/${component.replace('/', '_')}.log`;
  }

  pid(component: string): string {
    return `${this.directory}/pids/${component.replace('/', '_')}`;
  }

  node(index: number, number: number): NodeNames {
    const name = `${this.name}-node${index}`;
    return {
      name, index, netns: `${this.fabricNetns}-node${index}`, address: `198.18.${number}.${10 + index}`, podCidr: `10.244.${index}.0/24`,
      directory: `${this.directory}/${name}`,
    };
  }
}

/** Where the API server is reached, from this machine and from the nodes. The light form has no network but the machine's loopback. */
export function apiServerAddress({ number, nodeCount }: ClusterState): string {
  return nodeCount === 0 ? '127.0.0.1' : `198.18.${number}.11`;
}

/** The machine's own address on a cluster's network. */
export function hostAddress(number: number): string {
  return `198.18.${number}.1`;
}

/** Those that Services of type LoadBalancer get, in order. */
export function loadBalancerAddresses(number: number): string[] {
  return Array.from({ length: LOAD_BALANCERS_MAX }, (_, index) => `198.18.${number}.${100 + index}`);
}

/** Names of the clusters that left something on this machine, running or not. */
export function clusterNames(): string[] {
  try {
    return readdirSync(CLUSTERS_DIRECTORY).sort();
  } catch {
    return [];
  }
}

export function readState(name: string): ClusterState | undefined {
  try {
    return JSON.parse(readFileSync(`${new ClusterNames(name).directory}/state.json`, 'utf8')) as ClusterState;
  } catch {
    return undefined;
  }
}

/** Write the state before anything is made, so that whatever follows can be found and removed. */
export function claim(names: ClusterNames, state: Omit<ClusterState, 'number'>): ClusterState {
  mkdirSync(CLUSTERS_DIRECTORY, { recursive: true, mode: 0o755 });
  try {
    // Keys are in it.
    mkdirSync(names.directory, { mode: 0o700 });
  } catch {
    throw new ClusterError(`a cluster "${names.name}" is up, or was left behind; take it down with make kube-down`);
  }
  for (const directory of ['keys', 'logs', 'pids']) mkdirSync(`${names.directory}/${directory}`);
  const whole = { ...state, number: freeNumber() };
  writeFileSync(`${names.directory}/state.json`, JSON.stringify(whole));
  return whole;
}

/** Remove the cluster's directory, and what all clusters share when it was the last. */
export function removeDirectory(names: ClusterNames): void {
  rmSync(names.directory, { recursive: true, force: true });
  try {
    rmdirSync(CLUSTERS_DIRECTORY);
  } catch {
    // Another cluster is in it, or it is gone already.
  }
}

function freeNumber(): number {
  const taken = new Set(clusterNames().map((name) => readState(name)?.number));
  for (let number = 1; number <= NUMBER_MAX; number += 1) if (!taken.has(number)) return number;
  throw new ClusterError(`there are ${NUMBER_MAX} test clusters on this machine; take some down`);
}
