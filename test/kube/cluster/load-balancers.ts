/**
 * Stands in for a cloud's load balancers: a Service of type LoadBalancer gets an address of the cluster's network, and this machine sends what is
 * for it to a node; kube-proxy there does the rest. One node at a time takes it, one with endpoints of its own where the Service wants only those.
 */
import { CoreV1Api, PatchStrategy, setHeaderOptions } from '@kubernetes/client-node';
import type { KubeConfig, V1Service } from '@kubernetes/client-node';
import { ip } from '../../../src/lab/command.ts';
import { loadBalancerAddresses } from './names.ts';
import type { NodeNames } from './names.ts';
import type { Services } from './services.ts';

export interface LoadBalancersOptions {
  readonly client: KubeConfig;
  readonly services: Services;
  /** Of the cluster's network. */
  readonly number: number;
  /** This machine's link to it. */
  readonly link: string;
  readonly nodes: readonly NodeNames[];
}

const AGAIN_MS = 500;

export class LoadBalancers {
  readonly #options: LoadBalancersOptions;
  readonly #core: CoreV1Api;
  /** Address, and that of the node that it is sent to. */
  readonly #routes = new Map<string, string>();
  #working = false;
  #changed = false;

  private constructor(options: LoadBalancersOptions) {
    this.#options = options;
    this.#core = options.client.makeApiClient(CoreV1Api);
  }

  /** Give Services addresses for as long as the program runs. */
  static start(options: LoadBalancersOptions): void {
    const balancers = new LoadBalancers(options);
    options.services.onChange(() => balancers.#wake());
    balancers.#wake();
  }

  #wake(): void {
    this.#changed = true;
    if (!this.#working) void this.#work();
  }

  async #work(): Promise<void> {
    this.#working = true;
    while (this.#changed) {
      this.#changed = false;
      await this.#reconcile().catch(() => {
        // The API server is away, or the Service is gone by now.
        setTimeout(() => this.#wake(), AGAIN_MS);
      });
    }
    this.#working = false;
  }

  async #reconcile(): Promise<void> {
    const wanted = this.#options.services.list().filter(({ spec, metadata }) => spec?.type === 'LoadBalancer' && spec.loadBalancerClass === undefined && metadata?.deletionTimestamp === undefined);
    const taken = new Set(wanted.flatMap(addressOf));
    for (const address of [...this.#routes.keys()].filter((one) => !taken.has(one))) await this.#unroute(address);
    for (const service of wanted) {
      const [address = await this.#assign(service, taken)] = addressOf(service);
      if (address !== undefined) await this.#route(address, this.#nodeFor(service));
    }
  }

  /** The address it asks for, or else the first that is free; undefined when there is none. */
  async #assign(service: V1Service, taken: Set<string>): Promise<string | undefined> {
    const { metadata, spec } = service;
    const address = loadBalancerAddresses(this.#options.number).find((one) => !taken.has(one) && (spec?.loadBalancerIP === undefined || spec.loadBalancerIP === one));
    if (address === undefined || metadata?.name === undefined || metadata.namespace === undefined) return undefined;
    taken.add(address);
    await this.#core.patchNamespacedServiceStatus(
      { name: metadata.name, namespace: metadata.namespace, body: { status: { loadBalancer: { ingress: [{ ip: address, ipMode: 'VIP' }] } } } },
      setHeaderOptions('Content-Type', PatchStrategy.MergePatch),
    );
    return address;
  }

  #nodeFor(service: V1Service): string {
    const { nodes, services } = this.#options;
    const first = nodes[0]?.address ?? '';
    if (service.spec?.externalTrafficPolicy !== 'Local') return first;
    const ready = services.slicesOf(service).flatMap(({ endpoints }) => endpoints ?? []).filter(({ conditions }) => conditions?.ready !== false);
    return nodes.find(({ name }) => ready.some(({ nodeName }) => nodeName === name))?.address ?? first;
  }

  async #route(address: string, node: string): Promise<void> {
    if (this.#routes.get(address) === node) return;
    await ip([`route replace ${address}/32 via ${node} dev ${this.#options.link}`]);
    this.#routes.set(address, node);
  }

  async #unroute(address: string): Promise<void> {
    await ip([`route del ${address}/32 dev ${this.#options.link}`]);
    this.#routes.delete(address);
  }
}

function addressOf({ status }: V1Service): string[] {
  return (status?.loadBalancer?.ingress ?? []).flatMap(({ ip: address }) => address ?? []);
}
