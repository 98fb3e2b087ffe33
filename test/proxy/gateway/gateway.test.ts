/** What clients and applications see of a gateway: requests by host, in HTTP/1.1 and HTTP/2, bytes, and what is said of the client. */
import { once } from 'node:events';
import { request as httpRequest } from 'node:http';
import type { IncomingHttpHeaders, IncomingMessage } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { connect } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect as connectTls } from 'node:tls';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { GatewayNode, httpPort, tcpRoute } from './gateway-node.ts';
import type { Seen } from './gateway-node.ts';

let node: GatewayNode;

beforeEach(() => {
  node = new GatewayNode();
});

afterEach(() => node.close());

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

async function get(port: number, host: string, path = '/', headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const sent = httpRequest({ port, host: '127.0.0.1', path, headers: { host, ...headers }, agent: false }).end();
  const [response] = await once(sent, 'response') as [IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}

function seen({ body }: Answer): Seen {
  return JSON.parse(body) as Seen;
}

test('requests go by their host; what no listener has routes for is answered 404', async () => {
  const [shop, other] = [await node.app('shop'), await node.app('other')];
  node.use([httpPort(80, { 'shop.example': 'shop', '*.example': 'other' })], [shop, other]);
  const port = await node.listen(80);
  expect((await get(port, 'shop.example')).headers['app']).toBe('shop');
  expect((await get(port, 'shop.example:8080')).headers['app']).toBe('shop');
  expect((await get(port, 'www.example')).headers['app']).toBe('other');
  const lost = await get(port, 'elsewhere.test');
  expect([lost.status, lost.headers['x-orlop-reason']]).toEqual([404, 'no_route']);
  expect(node.ended.map(({ reporter, status, flags, connection }) => [reporter, status, flags, connection.workload.id])).toEqual([
    ['source', 200, '', 'shop/edge-orlop'], ['source', 200, '', 'shop/edge-orlop'], ['source', 200, '', 'shop/edge-orlop'], ['source', 404, 'NR', 'shop/edge-orlop'],
  ]);
});

test('HTTP/2 without TLS is understood, and HTTP/1.1 spoken to an application that wants that', async () => {
  node.use([httpPort(80, { '*': 'shop' })], [await node.app('shop')]);
  const session = connectHttp2(`http://127.0.0.1:${await node.listen(80)}`);
  const stream = session.request({ ':path': '/a', ':authority': 'shop.example' });
  const [headers] = await once(stream, 'response') as [IncomingHttpHeaders];
  expect(headers['app']).toBe('shop');
  expect((JSON.parse(await text(stream)) as Seen).headers.host).toBe('shop.example');
  session.close();
});

test('applications are told the client that connected, and nothing that it says of itself', async () => {
  node.use([httpPort(80, { '*': 'shop' })], [await node.app('shop')]);
  const port = await node.listen(80);
  const { headers } = seen(await get(port, 'shop.example', '/', {
    'x-forwarded-for': '203.0.113.9', 'x-forwarded-proto': 'https', 'x-envoy-external-address': '203.0.113.9', 'x-envoy-retry-on': '5xx', 'x-forwarded-client-cert': 'By=me', 'x-envoy-mine': 'kept',
  }));
  expect(headers).toMatchObject({ 'x-forwarded-for': '203.0.113.9,127.0.0.1', 'x-forwarded-proto': 'http', 'x-envoy-external-address': '127.0.0.1', 'x-envoy-mine': 'kept' });
  expect(headers['x-request-id']).toMatch(/^[0-9a-f-]{36}$/);
  expect(Object.keys(headers)).not.toContain('x-envoy-retry-on');
  expect(Object.keys(headers)).not.toContain('x-forwarded-client-cert');
});

test('proxies that are trusted are believed', async () => {
  node.use([httpPort(80, { '*': 'shop' })], [await node.app('shop')], { trustedProxies: 1 });
  const port = await node.listen(80);
  const through = seen(await get(port, 'shop.example', '/', { 'x-forwarded-for': '198.51.100.1, 203.0.113.9', 'x-forwarded-proto': 'https' })).headers;
  expect(through).toMatchObject({ 'x-forwarded-for': '198.51.100.1, 203.0.113.9,127.0.0.1', 'x-forwarded-proto': 'https', 'x-envoy-external-address': '203.0.113.9' });
  const direct = seen(await get(port, 'shop.example')).headers;
  expect(direct).toMatchObject({ 'x-forwarded-for': '127.0.0.1', 'x-forwarded-proto': 'http', 'x-envoy-external-address': '127.0.0.1' });
});

test('bytes of a TCP listener are passed on; without a route the connection is closed', async () => {
  const echo = await node.echo('echo');
  node.use([{ kind: 'tcp', port: 9000, listeners: ['tcp'], routes: [tcpRoute('echo')] }, { kind: 'tcp', port: 9001, listeners: ['none'], routes: [] }], [echo]);
  const client = connect(await node.listen(9000), '127.0.0.1');
  client.end('to and fro');
  expect(await text(client)).toBe('to and fro');
  const refused = connect(await node.listen(9001), '127.0.0.1');
  expect(await once(refused, 'error').then(([error]) => (error as NodeJS.ErrnoException).code, () => 'none')).toBe('ECONNRESET');
});

test('TLS on a port for plaintext is not passed on to anybody', async () => {
  node.use([httpPort(80, { '*': 'shop' })], [await node.app('shop')]);
  const client = connectTls({ port: await node.listen(80), host: '127.0.0.1', servername: 'shop.example' });
  const [error] = await once(client, 'error') as [NodeJS.ErrnoException];
  expect(error.code).toBe('ECONNRESET');
});

test('a listener that goes lets its connections finish, and cuts none of the others', async () => {
  node.use([httpPort(80, { '*': 'shop' }), httpPort(81, { '*': 'shop' })], [await node.app('shop')]);
  const [first, second] = [await node.listen(80), await node.listen(81)];
  const [kept, going] = [connect(second, '127.0.0.1'), connect(first, '127.0.0.1')];
  const ask = 'GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n';
  for (const client of [kept, going]) {
    client.write(ask);
    expect(String((await once(client, 'data'))[0])).toMatch(/^HTTP\/1\.1 200/);
  }
  node.gateway.retain(new Set([2]));
  const late = connect(first, '127.0.0.1');
  await once(late, 'error');
  for (const client of [kept, going]) {
    client.write(ask);
    expect(String((await once(client, 'data'))[0])).toMatch(/^HTTP\/1\.1 200/);
  }
  expect(node.gateway.openConnections).toBe(2);
  for (const client of [kept, going]) client.destroy();
});
