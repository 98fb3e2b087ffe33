/** Objects of any kind, looked at through discovery, with an API server that is not always ready. */
import { createServer } from 'node:http';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { ClusterObjects } from '../../src/install/cluster-objects.ts';
import type { Manifest } from '../../src/install/manifest.ts';
import { ApiClient } from '../../src/kube/api-client.ts';

const KINDS: Readonly<Record<string, object>> = {
  '/api/v1': { resources: [{ name: 'configmaps', kind: 'ConfigMap', namespaced: true }, { name: 'namespaces', kind: 'Namespace', namespaced: false }, { name: 'namespaces/status', kind: 'Namespace', namespaced: false }] },
};

let server: Server;
let client: ApiClient;
let requests: string[];
/** Answered before anything else: a status, and seconds to wait. */
let refusals: { status: number; retryAfter?: string }[];

beforeEach(async () => {
  requests = [];
  refusals = [];
  server = createServer((request, response) => {
    const { pathname } = new URL(request.url ?? '', 'http://api');
    requests.push(`${request.method ?? ''} ${pathname}`);
    const refusal = pathname.includes('configmaps') ? refusals.shift() : undefined;
    const { status, retryAfter } = refusal ?? { status: pathname.startsWith('/apis') ? 404 : 200, retryAfter: undefined };
    response.writeHead(status, retryAfter === undefined ? {} : { 'retry-after': retryAfter });
    response.end(JSON.stringify(KINDS[pathname] ?? { metadata: { name: 'a' } }));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, '127.0.0.1', resolve);
  });
  client = new ApiClient({ server: new URL(`http://127.0.0.1:${(server.address() as AddressInfo).port}`), present: async () => ({ headers: {}, tls: {} }) });
});

afterEach(() => {
  client.close();
  server.close();
});

const configMap: Manifest = { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'a', namespace: 'n' } };
const AT = '/api/v1/namespaces/n/configmaps/a';

it('asks again when the server asks for it', async () => {
  refusals = [{ status: 429, retryAfter: '0' }, { status: 503, retryAfter: '0' }];
  expect(await new ClusterObjects(client).get(configMap)).toEqual({ metadata: { name: 'a' } });
  expect(requests).toEqual(['GET /api/v1', `GET ${AT}`, `GET ${AT}`, `GET ${AT}`]);
});

it('does not ask again when the server has said no, nor when it would have to wait too long', async () => {
  const objects = new ClusterObjects(client);
  refusals = [{ status: 500 }];
  await expect(objects.get(configMap)).rejects.toThrow('answered 500');
  refusals = [{ status: 429, retryAfter: '3600' }];
  await expect(objects.get(configMap)).rejects.toThrow('answered 429');
  expect(requests.filter((request) => request.endsWith(AT))).toHaveLength(2);
});

it('says that a kind is not there when it is to be made, and that there is no object of it when one is looked for', async () => {
  const objects = new ClusterObjects(client);
  const monitor: Manifest = { apiVersion: 'monitoring.coreos.com/v1', kind: 'PodMonitor', metadata: { name: 'a', namespace: 'n' } };
  expect(await objects.get(monitor)).toBeUndefined();
  await expect(objects.apply(monitor)).rejects.toThrow('PodMonitor n/a: the cluster does not know this kind (monitoring.coreos.com/v1)');
});

it('takes a namespace from objects that have none', async () => {
  const objects = new ClusterObjects(client);
  expect((await objects.placed({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'a', namespace: 'n' } })).metadata).toEqual({ name: 'a' });
  expect((await objects.placed(configMap)).metadata).toEqual({ name: 'a', namespace: 'n' });
});
