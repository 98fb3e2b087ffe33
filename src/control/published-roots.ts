/** The public roots in a ConfigMap, which agents mount to know the control plane by. */
import { unlessMissing } from '../kube/api-client.ts';
import type { ApiClient } from '../kube/api-client.ts';
import { LeaderLoop } from './leader-loop.ts';
import type { LeaderLoopOptions } from './leader-loop.ts';

export interface PublishedRootsOptions extends Pick<LeaderLoopOptions, 'leader' | 'clock' | 'log'> {
  readonly client: ApiClient;
  readonly namespace: string;
  readonly name: string;
  readonly roots: () => string;
}

/** The key that Istio's own has. */
const KEY = 'root-cert.pem';

/** A loop that keeps them published. */
export function publishedRoots(options: PublishedRootsOptions): LeaderLoop {
  const { leader, clock, log, namespace, name } = options;
  return new LeaderLoop({ leader, clock, log, step: async () => publish(options), failed: `the roots could not be published in the ConfigMap ${namespace}/${name}; agents that start now wait for them` });
}

async function publish({ client, namespace, name, roots }: PublishedRootsOptions): Promise<void> {
  const collection = `/api/v1/namespaces/${namespace}/configmaps`;
  const data = { [KEY]: roots() };
  const known = await unlessMissing(client.send(`${collection}/${name}`));
  if (known === undefined) {
    await client.send(collection, { method: 'POST', body: { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace, name }, data } });
    return;
  }
  if ((known['data'] as Readonly<Record<string, string>> | undefined)?.[KEY] === data[KEY]) return;
  await client.send(`${collection}/${name}`, { method: 'PUT', body: { ...known, data } });
}
