/** Names of kernel objects and paths of a lab. Every one carries the lab's name, so that leftovers can be told and removed. */
import { createHash } from 'node:crypto';

/** Where labs keep their state. */
export const LABS_DIRECTORY = '/run/orlop-lab';
export const NETNS_DIRECTORY = '/run/netns';

const NETNS_NAME_MAX = 60;

/** Namespace of a node (`parts` is its name) or of a pod (its namespace and name). Long ones are cut and made distinct again by a digest. */
export function netnsName(lab: string, ...parts: string[]): string {
  const name = `ol-${lab}-${parts.join('-')}`;
  // Two parts may join to the same text as one: only the digest tells a pod `a/b` from a node `a-b`.
  const suffix = parts.length > 1 ? `.${createHash('sha256').update(parts.join('/')).digest('hex').slice(0, 4)}` : '';
  return `${name.slice(0, NETNS_NAME_MAX - suffix.length)}${suffix}`;
}

/** Namespace of the switch between the nodes. */
export function fabricNetnsName(lab: string): string {
  return `ol-${lab}`;
}

/** Is this network namespace one of the lab's? */
export function isNetnsOf(lab: string, name: string): boolean {
  return name === `ol-${lab}` || name.startsWith(`ol-${lab}-`);
}

/** Paths of one lab. */
export class LabPaths {
  readonly name: string;
  readonly root: string;

  constructor(name: string) {
    this.name = name;
    this.root = `${LABS_DIRECTORY}/${name}`;
  }

  get state(): string {
    return `${this.root}/state.json`;
  }

  get control(): string {
    return `${this.root}/control.sock`;
  }

  get config(): string {
    return `${this.root}/config`;
  }

  /** Tokens of the nodes, and the public roots; keys are in no file. */
  get caDirectory(): string {
    return `${this.root}/ca`;
  }

  get roots(): string {
    return `${this.caDirectory}/roots.pem`;
  }

  get controlLog(): string {
    return `${this.logs}/control.log`;
  }

  get logs(): string {
    return `${this.root}/logs`;
  }

  get supervisorLog(): string {
    return `${this.logs}/supervisor.log`;
  }

  /** Files that a pod sees as its own: hosts, resolv.conf. */
  pod(namespace: string, pod: string): string {
    return `${this.root}/pods/${namespace}_${pod}`;
  }

  /** What a node's own processes see as /etc/resolv.conf. */
  nodeResolver(node: string): string {
    return `${this.root}/pods/_${node}.resolv.conf`;
  }

  /** Directory that any user of a pod may write to. */
  podScratch(namespace: string, pod: string): string {
    return `${this.pod(namespace, pod)}/tmp`;
  }

  containerLog(namespace: string, pod: string, container: string): string {
    return `${this.logs}/${namespace}_${pod}_${container}.log`;
  }

  agentLog(node: string): string {
    return `${this.logs}/agent_${node}.log`;
  }
}
