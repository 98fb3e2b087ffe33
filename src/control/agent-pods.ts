/** The pods of agents: on which nodes they are, by what addresses those are reached, and whether they are ready. */
import type { Clock } from '../core/clock.ts';
import type { Random } from '../core/random.ts';
import type { ApiClient, ApiObject } from '../kube/api-client.ts';
import { Reflector } from '../kube/reflector.ts';
import { list, record, text } from '../mesh/parse/json.ts';

export interface AgentPod {
  readonly node: string;
  /** Of the node, whose network agents have. */
  readonly addresses: readonly string[];
  readonly ready: boolean;
}

export interface AgentPodsOptions {
  readonly client: ApiClient;
  /** `namespace/name` of the service accounts that agents run as. */
  readonly agents: readonly string[];
  readonly clock: Clock;
  readonly random: Random;
  readonly onChange: () => void;
}

export class AgentPods {
  readonly #reflectors: readonly Reflector[];

  constructor({ client, agents, clock, random, onChange }: AgentPodsOptions) {
    this.#reflectors = agents.map((agent) => {
      const [namespace = '', account = ''] = agent.split('/');
      const resource = { kind: 'Pod', path: `/api/v1/namespaces/${namespace}/pods`, query: { fieldSelector: `spec.serviceAccountName=${account}` }, keep };
      return new Reflector({ client, resource, clock, random, onChange, onHealth: () => undefined });
    });
    for (const reflector of this.#reflectors) reflector.start();
  }

  /** One for each node: while one agent takes over from another, the node is ready if either is. */
  get present(): AgentPod[] {
    const byNode = new Map<string, AgentPod>();
    for (const { objects } of this.#reflectors) {
      for (const { value } of objects) {
        const pod = value as unknown as AgentPod;
        const known = byNode.get(pod.node);
        if (pod.node !== '' && pod.addresses.length > 0) byNode.set(pod.node, { ...pod, ready: pod.ready || known?.ready === true });
      }
    }
    return [...byNode.values()];
  }

  close(): void {
    for (const reflector of this.#reflectors) reflector.close();
  }
}

function keep(pod: ApiObject): ApiObject {
  const [spec, status] = [record(pod['spec']), record(pod['status'])];
  return {
    node: text(spec['nodeName']),
    addresses: list(status['podIPs']).map(({ ip }) => text(ip)),
    ready: list(status['conditions']).some((condition) => condition['type'] === 'Ready' && condition['status'] === 'True'),
  };
}
