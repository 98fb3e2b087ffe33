/** Real authorizers on loopback, asked over real sockets: node's HTTP server, and grpc-js with Envoy's own definitions. */
import { createServer } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { Server, ServerCredentials, loadPackageDefinition, status as GrpcStatus } from '@grpc/grpc-js';
import type { GrpcObject, ServerUnaryCall, ServiceClientConstructor, sendUnaryData } from '@grpc/grpc-js';
import { loadSync } from '@grpc/proto-loader';
import { afterEach, describe, expect, test } from 'vitest';
import { NetnsDialer } from '../../../src/agent/dialer.ts';
import { systemClock } from '../../../src/core/clock.ts';
import type { MeshError } from '../../../src/core/errors.ts';
import type { ExtAuthzProvider } from '../../../src/mesh/security.ts';
import { ClusterSet } from '../../../src/proxy/cluster-set.ts';
import { codecsOver } from '../../../src/proxy/codecs.ts';
import type { Connection } from '../../../src/proxy/connection.ts';
import { ExternalAuthorizer } from '../../../src/proxy/ext-authz/external-authorizer.ts';
import type { ResponseSink } from '../../../src/proxy/exchange.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../../src/proxy/head.ts';
import { extAuthz } from '../../../src/proxy/layers/ext-authz.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { connectSocket } from '../../../src/sys/socket.ts';
import { FakeClient, World, tableOf } from '../world.ts';
import { providerCluster, providerOf } from './provider.ts';

const closing: (() => void)[] = [];

afterEach(() => {
  for (const close of closing.splice(0)) close();
});

const CLIENT = 'spiffe://cluster.local/ns/default/sa/client';
const SERVER = 'spiffe://cluster.local/ns/default/sa/shop';

/** What the application got of the request. */
interface Seen {
  head: RequestHead | undefined;
  body: string;
}

class Bench {
  readonly seen: Seen = { head: undefined, body: '' };
  readonly authorizer: ExternalAuthorizer;
  readonly connection: Connection;
  readonly #provider: ExtAuthzProvider;

  constructor(provider: ExtAuthzProvider, port: number) {
    const world = new World(tableOf({ clusters: [providerCluster('127.0.0.1', port, { protocol: provider.kind })] }));
    const dataplane = { ...world.dataplane, clock: systemClock, dialer: new NetnsDialer() };
    const outbound = (family: 4 | 6): number => connectSocket({ family });
    const workload = { ...world.workload, identity: SERVER, sockets: { outbound, inbound: outbound } };
    const clusters = new ClusterSet(workload, dataplane, codecsOver(dataplane));
    closing.push(() => clusters.close());
    this.authorizer = new ExternalAuthorizer({ workload, clusters, clock: systemClock }, dataplane.log);
    this.connection = { ...world.connection, workload, direction: 'inbound', peer: { identity: CLIENT, security: 'mutual_tls' }, remoteAddress: '10.0.0.9', remotePort: 4711, destinationAddress: '10.1.0.1', destinationPort: 9080 };
    this.#provider = provider;
  }

  async send(headers: readonly (readonly [string, string])[] = [], body = ''): Promise<FakeClient> {
    const client = new FakeClient();
    client.exchange = new Exchange('destination', this.connection, undefined, systemClock.nowMs());
    client.exchange.requestId = 'id-1';
    const head = new RequestHead('POST', '/cart?x=%20', 'shop.example:80', 11);
    head.headers.add('Host', 'shop.example:80');
    for (const [name, value] of headers) head.headers.add(name, value);
    head.contentLength = body === '' ? 0 : LENGTH_UNKNOWN;
    client.exchange.begin(head);
    const { seen } = this;
    const app = {
      serve: (_exchange: Exchange, admitted: RequestHead, response: ResponseSink) => {
        seen.head = admitted;
        return {
          data: (chunk: Buffer) => {
            seen.body += chunk.toString();
            return true;
          },
          end: () => {
            response.head(new ResponseHead(200, ''));
            response.end(undefined);
          },
          abort: () => undefined,
          resumeResponse: () => undefined,
        };
      },
    };
    client.sink = extAuthz(() => this.#provider, this.authorizer)(app).serve(client.exchange, head, client);
    if (body !== '') client.sink.data(Buffer.from(body));
    client.sink.end(undefined);
    while (client.ends === 0) await setTimeout(1);
    return client;
  }

  async connect(): Promise<MeshError | undefined> {
    return new Promise((done) => this.authorizer.connection(this.#provider, new Exchange('destination', this.connection, undefined, systemClock.nowMs()), done));
  }
}

describe('over HTTP', () => {
  async function bench(listener: (request: IncomingMessage, response: ServerResponse) => void, change: Partial<ExtAuthzProvider> = {}): Promise<Bench> {
    const server = createServer(listener);
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => {
      server.closeAllConnections();
      server.close();
    });
    return new Bench(providerOf(change), (server.address() as AddressInfo).port);
  }

  test('the question is asked and its answer obeyed, on a connection that is kept', async () => {
    const asked: unknown[] = [];
    const ports = new Set<number | undefined>();
    const shop = await bench(
      (request, response) => {
        ports.add(request.socket.remotePort);
        let body = '';
        request.on('data', (chunk: Buffer) => (body += chunk.toString()));
        request.on('end', () => {
          asked.push([request.method, request.url, request.headers.host, request.headers['x-team'], request.headers['content-length'], body]);
          response.writeHead(request.headers['x-team'] === 'red' ? 200 : 401, { 'x-user': 'alice', 'www-authenticate': 'Bearer' }).end('sorry');
        });
      },
      { pathPrefix: '/authz', includeRequestHeadersInCheck: ['x-team'], headersToUpstreamOnAllow: ['x-user'], includeRequestBodyInCheck: { maxRequestBytes: 1024, allowPartialMessage: true, packAsBytes: false } },
    );
    const allowed = await shop.send([['X-Team', 'red']], 'the body');
    expect([allowed.status, shop.seen.head?.headers.get('x-user'), shop.seen.body]).toEqual([200, 'alice', 'the body']);
    const refused = await shop.send([['X-Team', 'blue']]);
    expect([refused.status, refused.body, refused.headers?.get('www-authenticate')]).toEqual([401, 'sorry', 'Bearer']);
    expect(asked).toEqual([
      ['POST', '/authz/cart?x=%20', 'shop.example:80', 'red', '8', 'the body'],
      ['POST', '/authz/cart?x=%20', 'shop.example:80', 'blue', '0', ''],
    ]);
    expect(ports.size).toBe(1);
  });

  test('one that does not answer is waited for as long as its timeout says', async () => {
    const shop = await bench(() => undefined, { timeoutMs: 30, statusOnError: 503 });
    expect((await shop.send()).status).toBe(503);
  });
});

describe('over gRPC', () => {
  interface Checked {
    readonly attributes: Record<string, unknown> & { readonly request: { readonly time: { readonly seconds: string }; readonly http: Record<string, unknown> & { readonly headers: Record<string, string> } } | null };
  }
  type Check = (request: Checked, answer: sendUnaryData<object>) => void;

  const definition = loadPackageDefinition(loadSync(join(import.meta.dirname, '../../../lab/apps/external_auth.proto'), { keepCase: true, longs: String, defaults: true }));
  const v3 = ['envoy', 'service', 'auth', 'v3'].reduce((at, name) => at[name] as GrpcObject, definition);
  const { service } = v3['Authorization'] as ServiceClientConstructor;

  async function bench(check: Check, change: Partial<ExtAuthzProvider> = {}): Promise<Bench> {
    const server = new Server();
    server.addService(service, { Check: ({ request }: ServerUnaryCall<Checked, object>, answer: sendUnaryData<object>) => check(request, answer) });
    const port = await new Promise<number>((bound, failed) => server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (error, at) => (error === null ? bound(at) : failed(error))));
    closing.push(() => server.forceShutdown());
    return new Bench(providerOf({ kind: 'grpc', ...change }), port);
  }

  const header = (key: string, value: string, more: object = {}): object => ({ header: { key, value }, ...more });

  test('the authorizer sees who asks whom for what', async () => {
    let asked: Checked | undefined;
    const shop = await bench(
      (request, answer) => {
        asked = request;
        answer(null, { status: { code: 0 } });
      },
      { includeRequestBodyInCheck: { maxRequestBytes: 4, allowPartialMessage: true, packAsBytes: false } },
    );
    const client = await shop.send([['X-Team', 'red'], ['x-team', 'blue'], ['X-Name', Buffer.from('Zoë').toString('latin1')], ['X-Envoy-Auth-Partial-Body', 'forged']], 'body');
    expect([client.status, shop.seen.body]).toEqual([200, 'body']);
    expect(asked?.attributes).toMatchObject({
      source: { address: { socket_address: { address: '10.0.0.9', port_value: 4711 } }, principal: CLIENT },
      destination: { address: { socket_address: { address: '10.1.0.1', port_value: 9080 } }, principal: SERVER },
      request: { http: { id: 'id-1', method: 'POST', path: '/cart?x=%20', host: 'shop.example:80', scheme: 'http', protocol: 'HTTP/1.1', size: '-1', body: 'body' } },
    });
    expect(asked?.attributes.request?.http.headers).toEqual({
      ':authority': 'shop.example:80', ':method': 'POST', ':path': '/cart?x=%20', ':scheme': 'http', 'x-team': 'red,blue', 'x-name': 'Zoë', 'x-envoy-auth-partial-body': 'false',
    });
    expect(Math.abs(Number(asked?.attributes.request?.time.seconds) - Date.now() / 1000)).toBeLessThan(60);
  });

  test('a body that is no text goes as bytes', async () => {
    let http: Record<string, unknown> | undefined;
    const shop = await bench(
      (request, answer) => {
        http = request.attributes.request?.http;
        answer(null, { status: { code: 0 } });
      },
      { includeRequestBodyInCheck: { maxRequestBytes: 2, allowPartialMessage: true, packAsBytes: true } },
    );
    await shop.send([], 'body');
    expect([http?.['raw_body'], http?.['body']]).toEqual([Buffer.from('bo'), '']);
  });

  test('allowed: headers are set, added, or left, as the authorizer says', async () => {
    const shop = await bench((_request, answer) =>
      answer(null, {
        status: { code: 0 },
        ok_response: {
          headers: [
            header('x-user', 'alice'),
            header('x-team', 'blue', { append: { value: true } }),
            header('x-role', 'none', { append_action: 1 }),
            header('x-new', 'n', { append_action: 1 }),
            header('x-absent', 'n', { append_action: 3 }),
            header('x-name', 'Zoë', { append: { value: false } }),
            header(':path', '/admin'),
            header('content-length', '99'),
            header('host', 'evil'),
          ],
          headers_to_remove: ['Authorization', 'Host', ':method'],
          response_headers_to_add: [header('set-cookie', 'a=1'), header('set-cookie', 'b=2')],
        },
      }),
    );
    const client = await shop.send([['X-User', 'admin'], ['X-Team', 'red'], ['X-Role', 'root'], ['Authorization', 'Bearer x']]);
    const headers = shop.seen.head?.headers;
    expect(['x-user', 'x-team', 'x-role', 'x-new', 'x-absent', 'x-name', 'authorization', 'content-length', 'host'].map((name) => headers?.joined(name))).toEqual([
      'alice', 'red, blue', 'root', 'n', undefined, Buffer.from('Zoë').toString('latin1'), undefined, undefined, 'shop.example:80',
    ]);
    expect([shop.seen.head?.target, client.headers?.joined('set-cookie')]).toEqual(['/cart?x=%20', 'a=1, b=2']);
  });

  test('refused: 403 unless it says otherwise, with its headers and words', async () => {
    const plain = await bench((_request, answer) => answer(null, { status: { code: GrpcStatus.PERMISSION_DENIED } }));
    const bare = await plain.send();
    expect([bare.status, bare.body, bare.exchange.flags, bare.exchange.details]).toEqual([403, '', 'UAEX', 'ext_authz_denied']);
    const polite = await bench((_request, answer) =>
      answer(null, { status: { code: 16 }, denied_response: { status: { code: 302 }, headers: [header('location', 'https://login.example/'), header('set-cookie', 'a=1')], body: 'this way' } }),
    );
    const client = await polite.send();
    expect([client.status, client.body, client.headers?.get('location'), client.headers?.get('set-cookie')]).toEqual([302, 'this way', 'https://login.example/', 'a=1']);
  });

  test.each<[string, Check]>([
    ['fails', (_request, answer) => answer({ code: GrpcStatus.UNAVAILABLE, details: 'down' })],
    ['is silent', () => undefined],
    ['would end a header line', (_request, answer) => answer(null, { status: { code: 0 }, ok_response: { headers: [header('x-user', 'a\r\nx-admin: 1')] } })],
    ['gives a header no name', (_request, answer) => answer(null, { status: { code: 0 }, ok_response: { headers: [header('', 'a')] } })],
  ])('an authorizer that %s cannot be asked', async (_name, check) => {
    const strict = await bench(check, { timeoutMs: 100, statusOnError: 503 });
    const client = await strict.send();
    expect([client.status, client.exchange.details]).toEqual([503, 'ext_authz_error']);
    const open = await bench(check, { timeoutMs: 100, failOpen: true });
    expect((await open.send()).status).toBe(200);
    expect(open.seen.head?.headers.get('x-envoy-auth-failure-mode-allowed')).toBe('true');
  });

  test('a server that is none', async () => {
    const server = createServer((_request, response) => response.end('hello'));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    closing.push(() => server.close());
    const shop = new Bench(providerOf({ kind: 'grpc' }), (server.address() as AddressInfo).port);
    expect((await shop.send()).exchange.details).toBe('ext_authz_error');
  });

  test('opaque connections are asked about by their ends', async () => {
    const asked: unknown[] = [];
    const shop = await bench((request, answer) => {
      asked.push(request.attributes);
      answer(null, { status: { code: asked.length === 1 ? 0 : 7 } });
    });
    expect(await shop.connect()).toBeUndefined();
    expect((await shop.connect())?.code).toBe('ext_authz_denied');
    expect(asked[0]).toMatchObject({ source: { address: { socket_address: { address: '10.0.0.9', port_value: 4711 } }, principal: CLIENT }, destination: { principal: SERVER }, request: null });
    const down = await bench((_request, answer) => answer({ code: GrpcStatus.UNAVAILABLE }));
    expect((await down.connect())?.code).toBe('ext_authz_error');
    const open = await bench((_request, answer) => answer({ code: GrpcStatus.UNAVAILABLE }), { failOpen: true });
    expect(await open.connect()).toBeUndefined();
  });
});
