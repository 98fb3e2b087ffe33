/** Handshakes at a gateway: which certificate is shown, who is let in, what is passed through, and what happens when a Secret changes. */
import { once } from 'node:events';
import { connect as connectHttp2 } from 'node:http2';
import type { IncomingHttpHeaders } from 'node:http2';
import { request as httpsRequest } from 'node:https';
import type { IncomingMessage } from 'node:http';
import { connect as connectPlain } from 'node:net';
import type { Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import { connect, createServer } from 'node:tls';
import type { TLSSocket } from 'node:tls';
import { afterEach, beforeAll, beforeEach, expect, test } from 'vitest';
import type { Credential } from '../../../src/certs/credential.ts';
import { MeshCa } from '../tls/mesh-ca.ts';
import { GatewayNode, hosts, tcpRoute, terminated, tlsPort } from './gateway-node.ts';
import type { Seen } from './gateway-node.ts';

let ca: MeshCa;
let clients: MeshCa;
let node: GatewayNode;

beforeAll(async () => {
  ca = await MeshCa.create();
  clients = await MeshCa.create('partner.example');
});

beforeEach(() => {
  node = new GatewayNode();
});

afterEach(() => node.close());

async function certificate(...names: readonly string[]): Promise<Credential> {
  const { chain, key } = await ca.issue('', { names: names.map((value) => ({ type: 'dns', value })) });
  return { certificate: chain, privateKey: key, authorities: '' };
}

async function shown(port: number, servername: string): Promise<string> {
  const socket = connect({ port, host: '127.0.0.1', ca: ca.roots, servername });
  await once(socket, 'secureConnect');
  const { subjectaltname = '' } = socket.getPeerCertificate();
  socket.destroy();
  return subjectaltname;
}

async function refusal(socket: TLSSocket): Promise<string> {
  socket.resume();
  const [error] = await once(socket, 'error') as [NodeJS.ErrnoException];
  return error.code ?? error.message;
}

async function get(port: number, servername: string, host: string, options: { cert?: string; key?: string } = {}): Promise<{ status: number; reason: unknown; body: string }> {
  const sent = httpsRequest({ port, host: '127.0.0.1', servername, ca: ca.roots, headers: { host }, agent: false, ...options }).end();
  const [response] = await once(sent, 'response') as [IncomingMessage];
  return { status: response.statusCode ?? 0, reason: response.headers['x-orlop-reason'], body: await text(response) };
}

test('each server name is shown its own certificate; of several, the one that has the name in it', async () => {
  const app = await node.app('shop');
  const served = { hosts: hosts({ '*': 'shop' }) };
  node.use([tlsPort(443, { 'a.example': { termination: terminated(['a']), ...served }, '*.example': { termination: terminated(['b', 'c']), ...served } })], [app]);
  for (const [name, secret] of Object.entries({ a: await certificate('a.example'), b: await certificate('b.example', 'x.example'), c: await certificate('c.example') })) node.secrets.set(`Secret shop/${name}`, secret);
  const port = await node.listen(443);
  expect(await shown(port, 'a.example')).toBe('DNS:a.example');
  expect(await shown(port, 'c.example')).toBe('DNS:c.example');
  expect(await shown(port, 'x.example')).toBe('DNS:b.example, DNS:x.example');
});

test('applications are told that the client came by TLS, over HTTP/1.1 and HTTP/2', async () => {
  node.use([tlsPort(443, { 'a.example': { termination: terminated(['a']), hosts: hosts({ 'a.example': 'shop' }) } })], [await node.app('shop')]);
  node.secrets.set('Secret shop/a', await certificate('a.example'));
  const port = await node.listen(443);
  const { body } = await get(port, 'a.example', 'a.example');
  expect((JSON.parse(body) as Seen).headers).toMatchObject({ host: 'a.example', 'x-forwarded-proto': 'https', 'x-envoy-external-address': '127.0.0.1' });
  const session = connectHttp2(`https://127.0.0.1:${port}`, { servername: 'a.example', ca: ca.roots });
  const stream = session.request({ ':path': '/', ':authority': 'a.example' });
  const [headers] = await once(stream, 'response') as [IncomingHttpHeaders];
  expect([session.alpnProtocol, headers['app']]).toEqual(['h2', 'shop']);
  stream.resume();
  session.close();
});

test('a name that no listener is for gets no handshake; a host of another server on the connection is answered 421', async () => {
  node.use([tlsPort(443, { 'a.example': { termination: terminated(['both']), hosts: hosts({ 'a.example': 'shop' }) }, 'b.example': { termination: terminated(['both']), hosts: hosts({ 'b.example': 'shop' }) } })], [await node.app('shop')]);
  node.secrets.set('Secret shop/both', await certificate('a.example', 'b.example'));
  const port = await node.listen(443);
  expect(await refusal(connect({ port, host: '127.0.0.1', servername: 'c.example' }))).toBe('ECONNRESET');
  expect(node.log.join('\n')).toMatch(/turned away.*"gateway":"shop\/edge-orlop:443".*no listener is for the server name c\.example/);
  expect(await get(port, 'a.example', 'b.example')).toMatchObject({ status: 421, reason: 'misdirected' });
  expect(await get(port, 'a.example', 'a.example')).toMatchObject({ status: 200 });
  expect(await get(port, 'a.example', 'nobody.test')).toMatchObject({ status: 404 });
});

test('a Secret that is missing costs its own listener alone, and the log says which; one that changes is shown from then on', async () => {
  const served = { hosts: hosts({ '*': 'shop' }) };
  node.use([tlsPort(443, { 'a.example': { termination: terminated(['a']), ...served }, 'b.example': { termination: terminated(['b']), ...served } })], [await node.app('shop')]);
  node.secrets.set('Secret shop/a', await certificate('a.example'));
  const port = await node.listen(443);
  expect(await refusal(connect({ port, host: '127.0.0.1', servername: 'b.example' }))).toBe('ECONNRESET');
  expect(node.log.join('\n')).toContain('listener b.example has no certificate: Secret shop/b: missing or not valid');
  const before = connect({ port, host: '127.0.0.1', ca: ca.roots, servername: 'a.example' });
  await once(before, 'secureConnect');
  node.secrets.set('Secret shop/a', await certificate('a.example', 'new.example'));
  expect(await shown(port, 'a.example')).toBe('DNS:a.example, DNS:new.example');
  before.write('GET / HTTP/1.1\r\nHost: a.example\r\n\r\n');
  expect(String((await once(before, 'data'))[0])).toMatch(/^HTTP\/1\.1 200/);
  before.destroy();
  expect(node.log.join('\n')).not.toContain('PRIVATE');
});

test('TLS that is passed through is opened by the application alone; terminated TLS may carry bytes', async () => {
  const { certificate: cert, privateKey: key } = await certificate('inner.example');
  const inner = await node.tcp('inner', createServer({ cert, key }, (socket) => void socket.end('from the application')));
  node.use([tlsPort(443, { 'inner.example': { routes: [tcpRoute('inner')] }, 'outer.example': { termination: terminated(['outer']), routes: [tcpRoute('echo')] } })], [inner, await node.echo('echo')]);
  node.secrets.set('Secret shop/outer', await certificate('outer.example'));
  const port = await node.listen(443);
  expect(await text(connect({ port, host: '127.0.0.1', ca: ca.roots, servername: 'inner.example' }))).toBe('from the application');
  const bytes = connect({ port, host: '127.0.0.1', ca: ca.roots, servername: 'outer.example' });
  bytes.end('to and fro');
  expect(await text(bytes)).toBe('to and fro');
  const [passed] = node.world.tcp;
  expect(passed).toMatch(/^source opened 127\.0\.0\.1/);
});

test('a ClientHello may come in pieces', async () => {
  node.use([tlsPort(443, { 'a.example': { termination: terminated(['a']), hosts: hosts({ '*': 'shop' }) } })], [await node.app('shop')]);
  node.secrets.set('Secret shop/a', await certificate('a.example'));
  const port = await node.listen(443);
  const slow = connectPlain(port, '127.0.0.1');
  await once(slow, 'connect');
  slow.setNoDelay(true);
  const tls = connect({ socket: pieces(slow), ca: ca.roots, servername: 'a.example' });
  await once(tls, 'secureConnect');
  tls.destroy();
  slow.destroy();
});

test('what is no TLS ends the connection', async () => {
  node.use([tlsPort(443, { '*': { termination: terminated(['a']), hosts: hosts({ '*': 'shop' }) } })], [await node.app('shop')]);
  const plain = connectPlain(await node.listen(443), '127.0.0.1');
  plain.write('GET / HTTP/1.1\r\nHost: a.example\r\n\r\n');
  await once(plain, 'error');
  expect(node.log.join('\n')).toContain('it does not speak TLS');
});

test('clients prove who they are where a listener asks it', async () => {
  const authorities = [{ kind: 'ConfigMap', namespace: 'shop', name: 'partners' }] as const;
  const server = (mode: 'require' | 'optional' | 'insecure', subjectAltNames: readonly string[] = []): object => ({ termination: terminated(['a'], { clients: { mode, authorities, subjectAltNames } }), hosts: hosts({ '*': 'shop' }) });
  node.use([tlsPort(443, { 'must.shop.example': server('require'), 'may.shop.example': server('optional'), 'any.shop.example': server('insecure'), 'who.shop.example': server('require', ['spiffe://partner.example/ns/a/sa/b']) })], [await node.app('shop')]);
  node.secrets.set('Secret shop/a', await certificate('*.shop.example'));
  const port = await node.listen(443);
  expect(await refusal(connect({ port, host: '127.0.0.1', ca: ca.roots, servername: 'must.shop.example' }))).toBe('ECONNRESET');
  expect(node.log.join('\n')).toContain('no certificates to verify clients with: ConfigMap shop/partners');
  node.secrets.set('ConfigMap shop/partners', { certificate: '', privateKey: '', authorities: clients.roots });
  const partner = await clients.issue('spiffe://partner.example/ns/a/sa/b');
  const stranger = await ca.issue('spiffe://cluster.local/ns/a/sa/b');
  const as = (name: string, who?: { chain: string; key: string }): Promise<number | string> =>
    get(port, name, name, who === undefined ? {} : { cert: who.chain, key: who.key }).then(({ status }) => status, (error: NodeJS.ErrnoException) => error.code ?? error.message);
  expect(await as('must.shop.example', partner)).toBe(200);
  expect(await as('must.shop.example', stranger)).not.toBe(200);
  expect(await as('must.shop.example')).not.toBe(200);
  expect([await as('may.shop.example'), await as('may.shop.example', partner)]).toEqual([200, 200]);
  expect(await as('may.shop.example', stranger)).not.toBe(200);
  expect([await as('any.shop.example'), await as('any.shop.example', stranger)]).toEqual([200, 200]);
  expect(await as('who.shop.example', partner)).toBe(200);
  expect(await as('who.shop.example', await clients.issue('spiffe://partner.example/ns/a/sa/c'))).not.toBe(200);
  const identities = node.ended.map(({ connection }) => connection.peer.identity);
  expect(identities).toEqual(['spiffe://partner.example/ns/a/sa/b', '', 'spiffe://partner.example/ns/a/sa/b', '', '', 'spiffe://partner.example/ns/a/sa/b']);
});

/** The same connection, whose bytes leave one by one at first. */
function pieces(socket: Socket): Socket {
  let sent = 0;
  const write = socket.write.bind(socket);
  socket.write = (chunk: Buffer | string, ...rest: never[]): boolean => {
    if (sent > 0 || typeof chunk === 'string') return write(chunk, ...rest);
    sent += chunk.length;
    for (const byte of chunk) write(Buffer.of(byte));
    return write(Buffer.alloc(0), ...rest);
  };
  return socket;
}
