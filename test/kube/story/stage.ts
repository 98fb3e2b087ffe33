/** What the story is told with: bookinfo on a cluster, requests through it, and what agents and Prometheus say of them. */
import { runCommand } from '../../../src/lab/command.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { ClusterError } from '../cluster/cluster-error.ts';
import { SYSTEM_NAMESPACE } from '../orlop.ts';
import { CHECKOUT } from './bookinfo.ts';

export const BOOKINFO = 'bookinfo';
export const REVIEWS = 'http://reviews.bookinfo:9080/reviews/0';
const NODE = '/usr/bin/node';

/** What lab/apps/load.ts counted. */
export interface Counts {
  readonly requests: number;
  readonly statuses: Readonly<Record<string, number>>;
  readonly versions: Readonly<Record<string, number>>;
  readonly errors: Readonly<Record<string, number>>;
}

interface Explanation {
  readonly targets: readonly { readonly cluster: string; readonly share: number; readonly endpoints: readonly { readonly server?: { readonly mtls: string } }[] }[];
}

/** Shares of the clusters that a request would go to, by subset; and what their servers demand of it. */
export interface Plan {
  readonly shares: Readonly<Record<string, number>>;
  readonly mtls: ReadonlySet<string>;
}

export class Stage {
  readonly cluster: Cluster;

  constructor(cluster: Cluster) {
    this.cluster = cluster;
  }

  /** Requests from a pod, `client` of bookinfo unless another is named. */
  async load(requests: number, { from = `${BOOKINFO}/client`, url = REVIEWS, concurrency = 4 }: { from?: string; url?: string; concurrency?: number } = {}): Promise<Counts> {
    const [namespace = '', pod = ''] = from.split('/');
    const argv = [NODE, `${CHECKOUT}/lab/apps/load.ts`, url, '-n', String(requests), '-c', String(concurrency), '--no-keepalive', '--json'];
    const { code, stdout, stderr } = await this.cluster.exec(pod, argv, { namespace });
    if (code !== 0) throw new ClusterError(`requests from ${from}: ${stderr.trim()}`);
    return JSON.parse(stdout) as Counts;
  }

  /** Requests before, during and after what `change` does, from two clients, so that one sends while the other starts anew. */
  async loadWhile(change: () => Promise<void>): Promise<Counts> {
    const before = await Promise.all([this.load(100), this.load(100)]);
    const changed = change().then(() => true);
    const loops = await Promise.all([300, 200].map(async (requests) => {
      let counts = await this.load(requests);
      while (!await Promise.race([changed, Promise.resolve(false)])) counts = sum(counts, await this.load(requests));
      return sum(counts, await this.load(100));
    }));
    return [...before, ...loops].reduce(sum);
  }

  /** Pods by the node that they are on. */
  async podsByNode(namespace: string): Promise<Map<string, string[]>> {
    const lines = await this.cluster.kubectl(['get', 'pods', '-n', namespace, '-o', 'jsonpath={range .items[*]}{.spec.nodeName} {.metadata.name}{"\\n"}{end}']);
    const nodes = new Map<string, string[]>(this.cluster.nodes.map(({ name }) => [name, []]));
    for (const [node = '', name = ''] of lines.trim().split('\n').map((line) => line.split(' '))) nodes.get(node)?.push(name);
    return nodes;
  }

  async restarts(): Promise<number> {
    const counts = await this.cluster.kubectl(['get', 'pods', '-n', BOOKINFO, '-o', 'jsonpath={.items[*].status.containerStatuses[*].restartCount}']);
    return counts.split(' ').reduce((total, count) => total + Number(count), 0);
  }

  /** How many pods the agents of all nodes have taken in. */
  async enrolled(): Promise<number> {
    const texts = await Promise.all(this.cluster.nodes.map(async ({ names }) => runCommand('curl', ['-fsS', '-m', '5', `http://${names.address}:15020/metrics`])));
    return texts.reduce((total, { stdout }) => total + Number(/^orlop_enrolled_pods (\d+)/m.exec(stdout)?.[1] ?? 0), 0);
  }

  /** Wait until every agent would do with a request of the client to reviews what `wanted` says; returns the milliseconds it took. */
  async untilPlanned(wanted: (plan: Plan) => boolean): Promise<number> {
    const started = performance.now();
    await this.cluster.until('the agents follow the rules', async () => {
      const plans = await Promise.all((await this.#agents()).map(async (agent) => this.#plan(agent)));
      return plans.every((plan) => plan !== undefined && wanted(plan));
    });
    return performance.now() - started;
  }

  async #agents(): Promise<string[]> {
    const names = await this.cluster.kubectl(['get', 'pods', '-n', SYSTEM_NAMESPACE, '-l', 'app.kubernetes.io/name=orlop-agent', '-o', 'name']);
    return names.trim().split('\n');
  }

  async #plan(agent: string): Promise<Plan | undefined> {
    const { stdout } = await this.cluster.exec(agent, ['/usr/bin/orlop', 'explain', `${BOOKINFO}/client`, 'reviews:9080', 'GET', '/reviews/0', '-o', 'json'], { namespace: SYSTEM_NAMESPACE });
    if (!stdout.startsWith('{')) return undefined;
    const { targets } = JSON.parse(stdout) as Explanation;
    return {
      shares: Object.fromEntries(targets.map(({ cluster, share }) => [/outbound\|\d+\|([^|]*)\|/.exec(cluster)?.[1] ?? '', share])),
      mtls: new Set(targets.flatMap(({ endpoints }) => endpoints.map(({ server }) => server?.mtls ?? 'none'))),
    };
  }
}

function sum(a: Counts, b: Counts): Counts {
  const both = (one: Readonly<Record<string, number>>, other: Readonly<Record<string, number>>): Record<string, number> => {
    const total = { ...one };
    for (const [key, count] of Object.entries(other)) total[key] = (total[key] ?? 0) + count;
    return total;
  };
  return { requests: a.requests + b.requests, statuses: both(a.statuses, b.statuses), versions: both(a.versions, b.versions), errors: both(a.errors, b.errors) };
}
