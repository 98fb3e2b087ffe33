/** Pods that come, join the mesh, leave it and go, one step at a time, for as long as is asked for. The same seed takes the same steps. */
import { CoreV1Api, setHeaderOptions } from '@kubernetes/client-node';
import { below, seededRandom } from '../../../src/core/random.ts';
import type { Random } from '../../../src/core/random.ts';
import { sleep } from '../../../src/lab/command.ts';
import type { Cluster } from '../cluster/cluster.ts';
import { BUSYBOX_IMAGE } from '../cluster/images.ts';

export interface ChurnOptions {
  readonly namespace: string;
  /** Label `app` of the pods, by which their Service knows them. */
  readonly app: string;
  /** How many there are at a time. */
  readonly pods: number;
  readonly forMs: number;
  /** False: the same steps, and nobody joins. */
  readonly mesh: boolean;
}

/** What was done. */
export interface Churned {
  created: number;
  joined: number;
  left: number;
  deleted: number;
}

const STEP_MS = 700;
const LIVED_STEPS_MIN = 6;

interface Living {
  readonly name: string;
  isJoined: boolean;
  steps: number;
}

export class Churn {
  readonly done: Churned = { created: 0, joined: 0, left: 0, deleted: 0 };
  readonly #options: ChurnOptions;
  readonly #core: CoreV1Api;
  readonly #nodes: readonly string[];
  readonly #random: Random = seededRandom(11);
  readonly #living: Living[] = [];

  constructor(cluster: Cluster, options: ChurnOptions) {
    this.#options = options;
    this.#core = cluster.client.makeApiClient(CoreV1Api);
    this.#nodes = cluster.nodes.map(({ name }) => name);
  }

  /** All pods are there, half of them in the mesh. */
  async fill(): Promise<void> {
    while (this.#living.length < this.#options.pods) await this.#create();
  }

  async run(): Promise<void> {
    const endMs = Date.now() + this.#options.forMs;
    while (Date.now() < endMs) {
      const next = sleep(STEP_MS);
      await this.#step();
      await next;
    }
  }

  async #step(): Promise<void> {
    if (this.#living.length < this.#options.pods) return this.#create();
    const i = below(this.#random, this.#living.length);
    const pod = this.#living[i] as Living;
    pod.steps += 1;
    if (pod.steps > LIVED_STEPS_MIN || below(this.#random, 3) === 0) {
      this.#living.splice(i, 1);
      return this.#delete(pod);
    }
    return this.#turn(pod);
  }

  /** Half of them start in the mesh, half are to join while they run. */
  async #create(): Promise<void> {
    const { namespace, app, mesh } = this.#options;
    this.done.created += 1;
    const name = `${app}-${this.done.created}`;
    const isJoined = this.done.created % 2 === 0;
    this.#living.push({ name, isJoined, steps: 0 });
    const port = 8080;
    await this.#core.createNamespacedPod({
      namespace,
      body: {
        metadata: { name, labels: { app }, annotations: isJoined && mesh ? { 'orlop.io/mesh': 'enabled' } : {} },
        spec: {
          nodeName: this.#nodes[this.done.created % this.#nodes.length] as string,
          // As the first process of its container the server does not hear SIGTERM; it is killed when nobody has asked it for long.
          terminationGracePeriodSeconds: 8,
          containers: [{
            name: 'web', image: BUSYBOX_IMAGE, command: ['sh', '-c', 'hostname > /var/www/index.html; exec httpd -f -p 8080 -h /var/www'],
            readinessProbe: { httpGet: { path: '/', port }, periodSeconds: 1 },
          }],
        },
      },
    });
  }

  async #turn(pod: Living): Promise<void> {
    const { namespace, mesh } = this.#options;
    pod.isJoined = !pod.isJoined;
    this.done[pod.isJoined ? 'joined' : 'left'] += 1;
    const value = pod.isJoined ? 'enabled' : 'disabled';
    const body = { metadata: { annotations: { [mesh ? 'orlop.io/mesh' : 'example.com/step']: value } } };
    await this.#core.patchNamespacedPod({ name: pod.name, namespace, body }, setHeaderOptions('Content-Type', 'application/merge-patch+json'));
  }

  async #delete({ name }: Living): Promise<void> {
    this.done.deleted += 1;
    await this.#core.deleteNamespacedPod({ name, namespace: this.#options.namespace });
  }
}
