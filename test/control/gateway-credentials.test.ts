/** Who gets the certificates of gateways: the nodes that serve them, and nobody else; and what of them ends up anywhere else. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { CA_SERVER_NAME, CaClient } from '../../src/certs/ca-client.ts';
import { createCsr } from '../../src/certs/csr.ts';
import { CredentialClient } from '../../src/certs/credential-client.ts';
import type { CredentialMessage } from '../../src/certs/credential-protocol.ts';
import { Control } from '../../src/control/control.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { readConfigDir } from '../../src/kube/read-config.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { MeshCa } from '../proxy/tls/mesh-ca.ts';

const TOKENS = { 'node-1': 'token-of-node-1-0123456789abcdef', 'node-2': 'token-of-node-2-0123456789abcdef' };

let directory: string;
let control: Control;
let ca: MeshCa;
const clients: { close(): void }[] = [];

const path = (...names: readonly string[]): string => join(directory, ...names);

function put(name: string, object: object): void {
  writeFileSync(path('config', `${name}.yaml`), JSON.stringify(object));
}

async function putSecret(name: string, ...hosts: readonly string[]): Promise<string> {
  const { chain, key } = await ca.issue('', { names: hosts.map((value) => ({ type: 'dns', value })) });
  put(`secret-${name}`, { apiVersion: 'v1', kind: 'Secret', type: 'kubernetes.io/tls', metadata: { name, namespace: 'shop' }, data: { 'tls.crt': Buffer.from(chain).toString('base64'), 'tls.key': Buffer.from(key).toString('base64') } });
  return key;
}

function gateway(name: string, secret: string, nodes: string): object {
  return {
    apiVersion: 'gateway.networking.k8s.io/v1', kind: 'Gateway', metadata: { name, namespace: 'shop', annotations: { 'orlop.io/gateway-nodes': nodes } },
    spec: { gatewayClassName: 'orlop', listeners: [{ name: 'https', protocol: 'HTTPS', port: 443, tls: { certificateRefs: [{ name: secret }] } }] },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((resolve) => { server.once('listening', resolve); });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => { server.close(resolve); });
  return port;
}

function clientOf(node: string): CaClient {
  const client = new CaClient({ address: `127.0.0.1:${control.port}`, serverName: CA_SERVER_NAME, rootsFile: path('roots.pem'), tokenFile: path(node), clock: systemClock });
  clients.push(client);
  return client;
}

/** What the agent of a node is told, in order. */
function follow(node: string): CredentialMessage[] {
  const heard: CredentialMessage[] = [];
  clients.push(new CredentialClient({ channel: clientOf(node).channel, clock: systemClock, random: systemRandom, log: new RecordedLog(), hear: (message) => heard.push(message) }));
  return heard;
}

beforeEach(async () => {
  ca = await MeshCa.create();
  directory = mkdtempSync(join(tmpdir(), 'orlop-credentials-'));
  mkdirSync(path('config'));
  writeFileSync(path('tokens'), Object.entries(TOKENS).map(([node, token]) => `${token},${node}\n`).join(''));
  for (const [node, token] of Object.entries({ ...TOKENS, stranger: 'token-of-nobody-0123456789abcdef' })) writeFileSync(path(node), token);
  for (const node of Object.keys(TOKENS)) put(node, { apiVersion: 'v1', kind: 'Node', metadata: { name: node, labels: { 'node-restriction.kubernetes.io/edge': node } } });
  put('class', { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'GatewayClass', metadata: { name: 'orlop' }, spec: { controllerName: 'orlop.io/gateway-controller' } });
  put('one', gateway('one', 'first', 'node-restriction.kubernetes.io/edge=node-1'));
  put('two', gateway('two', 'second', 'node-restriction.kubernetes.io/edge=node-2'));
  control = await Control.start({
    config: { directory: path('config') }, nodes: { tokens: path('tokens') }, listen: { address: '127.0.0.1', port: 0 }, names: [CA_SERVER_NAME], keys: 'memory',
    lifetimes: { leafMs: 3_600_000, intermediateMs: 86_400_000, rootMs: 864_000_000 }, rootsOut: path('roots.pem'), httpPort: await freePort(), runDirectory: path('run'), logLevel: 'silent',
  });
});

afterEach(async () => {
  for (const client of clients.splice(0)) client.close();
  await control.stop();
  rmSync(directory, { recursive: true });
});

it('a node gets the certificates of its own gateways, also when they are replaced, and no others', async () => {
  const [first, second] = [await putSecret('first', 'one.example'), await putSecret('second', 'two.example')];
  const heard = follow('node-1');
  await expect.poll(() => heard.filter(({ privateKey }) => privateKey === first).length, { timeout: 15_000 }).toBe(1);
  const renewed = await putSecret('first', 'one.example');
  await expect.poll(() => heard.at(-1)?.privateKey, { timeout: 15_000 }).toBe(renewed);
  expect(new Set(heard.map(({ source }) => source))).toEqual(new Set(['Secret shop/first']));
  expect(JSON.stringify(heard)).not.toContain(second.slice(40, 80));
  rmSync(path('config', 'one.yaml'));
  await expect.poll(() => heard.at(-1)?.forgotten, { timeout: 15_000 }).toBe(true);
});

it('what is wrong with a Secret is said, without what it holds', async () => {
  const [heard] = [follow('node-2')];
  await expect.poll(() => heard.at(-1)?.problem, { timeout: 15_000 }).toBe('there is no Secret shop/second');
  const [{ chain }, { key }] = [await ca.issue('', { names: [{ type: 'dns', value: 'a' }] }), await ca.issue('', { names: [{ type: 'dns', value: 'b' }] })];
  put('secret-second', { apiVersion: 'v1', kind: 'Secret', metadata: { name: 'second', namespace: 'shop' }, stringData: { 'tls.crt': chain, 'tls.key': key } });
  await expect.poll(() => heard.at(-1)?.problem, { timeout: 15_000 }).toBe('tls.key is not the key of the certificate in tls.crt');
  expect(JSON.stringify(heard)).not.toContain('PRIVATE');
});

it('who is no node gets nothing', async () => {
  await putSecret('first', 'one.example');
  const log = new RecordedLog();
  const heard: CredentialMessage[] = [];
  clients.push(new CredentialClient({ channel: clientOf('stranger').channel, clock: systemClock, random: systemRandom, log, hear: (message) => heard.push(message) }));
  await expect.poll(() => JSON.stringify(log)).toContain('no bearer token of a node');
  expect(heard).toEqual([]);
});

it('a node may have the identity of a gateway that has chosen it, and of no other', async () => {
  const sign = async (node: string, name: string): Promise<string> => {
    const identity = `spiffe://cluster.local/ns/shop/sa/${name}-orlop`;
    const { csr } = await createCsr(identity);
    return clientOf(node).sign({ csr, identity, lifetimeMs: 60_000 }).then(() => 'signed', (error: Error) => error.message);
  };
  expect(await sign('node-1', 'one')).toBe('signed');
  expect(await sign('node-1', 'two')).toMatch(/refused: no pod with service account shop\/two-orlop is on node node-1/);
  expect(await sign('node-2', 'two')).toBe('signed');
});

it('Secrets of a directory are in no snapshot, and so in no dump and in no copy', async () => {
  const key = await putSecret('first', 'one.example');
  const snapshot = buildSnapshot(readConfigDir(path('config')));
  expect(Object.keys(snapshot.objects)).toContain('Gateway shop/one');
  expect(JSON.stringify(snapshot)).not.toContain(Buffer.from(key).toString('base64').slice(0, 60));
  expect(readFileSync(path('config', 'secret-first.yaml'), 'utf8')).toContain(Buffer.from(key).toString('base64').slice(0, 60));
});
