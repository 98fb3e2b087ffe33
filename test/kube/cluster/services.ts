/** Services and EndpointSlices of a cluster as they are now, for the programs that stand in for its surroundings. */
import { CoreV1Api, DiscoveryV1Api, makeInformer } from '@kubernetes/client-node';
import type { Informer, KubeConfig, ObjectCache, V1EndpointSlice, V1Service } from '@kubernetes/client-node';

const SERVICE_NAME = 'kubernetes.io/service-name';
const WATCH_AGAIN_MS = 1000;

type Followed<T extends V1Service | V1EndpointSlice> = Informer<T> & ObjectCache<T>;

export class Services {
  readonly #services: Followed<V1Service>;
  readonly #slices: Followed<V1EndpointSlice>;

  private constructor(services: Followed<V1Service>, slices: Followed<V1EndpointSlice>) {
    this.#services = services;
    this.#slices = slices;
  }

  /** Follow the API server; resolves when all is known. */
  static async watch(client: KubeConfig): Promise<Services> {
    const [core, discovery] = [client.makeApiClient(CoreV1Api), client.makeApiClient(DiscoveryV1Api)];
    const services = makeInformer<V1Service>(client, '/api/v1/services', async () => core.listServiceForAllNamespaces());
    const slices = makeInformer<V1EndpointSlice>(client, '/apis/discovery.k8s.io/v1/endpointslices', async () => discovery.listEndpointSliceForAllNamespaces());
    await Promise.all([follow(services), follow(slices)]);
    return new Services(services, slices);
  }

  list(): readonly V1Service[] {
    return this.#services.list();
  }

  get(namespace: string, name: string): V1Service | undefined {
    return this.#services.get(name, namespace);
  }

  slicesOf({ metadata }: V1Service): V1EndpointSlice[] {
    return this.#slices.list(metadata?.namespace).filter(({ metadata: slice }) => slice?.labels?.[SERVICE_NAME] === metadata?.name);
  }

  /** Called after every change of either kind. */
  onChange(changed: () => void): void {
    for (const verb of ['add', 'update', 'delete'] as const) {
      this.#services.on(verb, changed);
      this.#slices.on(verb, changed);
    }
  }
}

/** Keep a list current for as long as the program runs: a watch that ends in an error is begun again. */
async function follow(informer: Informer<V1Service> | Informer<V1EndpointSlice>): Promise<void> {
  informer.on('error', () => {
    setTimeout(() => {
      void informer.start().catch(() => undefined);
    }, WATCH_AGAIN_MS);
  });
  await informer.start();
}
