/** What an HTTP authorizer is asked, and what becomes of the request; the authorizer is scripted, the application recorded. */
import { describe, expect, test } from 'vitest';
import { MeshError } from '../../../src/core/errors.ts';
import { WORKLOAD_BUFFERED_BYTES_MAX } from '../../../src/core/limits.ts';
import type { Logger } from '../../../src/core/log.ts';
import type { ExtAuthzProvider } from '../../../src/mesh/security.ts';
import type { RequestSink, ResponseSink, Service } from '../../../src/proxy/exchange.ts';
import { ExternalAuthorizer } from '../../../src/proxy/ext-authz/external-authorizer.ts';
import { LENGTH_UNKNOWN, RequestHead, ResponseHead } from '../../../src/proxy/head.ts';
import { HeaderList } from '../../../src/proxy/headers.ts';
import { extAuthz } from '../../../src/proxy/layers/ext-authz.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { FakeClient, World, answer, reset, silent, tableOf } from '../world.ts';
import type { FakeRequest, Script } from '../world.ts';
import { providerCluster, providerOf } from './provider.ts';

type Headers = readonly (readonly [string, string])[];

interface Asked {
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Headers;
  readonly body?: readonly string[];
  readonly contentLength?: number;
  readonly grpc?: boolean;
  readonly expect100?: boolean;
  readonly upgrade?: string;
}

/** The application: answers 200 and keeps what it was sent. */
class App implements Service {
  readonly heads: RequestHead[] = [];
  body = '';
  complete = false;

  serve(_exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    this.heads.push(head);
    return {
      data: (chunk) => {
        this.body += chunk.toString();
        return true;
      },
      end: () => {
        this.complete = true;
        response.head(new ResponseHead(200, ''));
        response.data(Buffer.from('app'));
        response.end(undefined);
      },
      abort: () => undefined,
      resumeResponse: () => undefined,
    };
  }
}

class Bench {
  readonly app = new App();
  readonly world = new World(tableOf({ clusters: [providerCluster('10.7.0.1', 8000)] }));
  readonly logged: string[] = [];
  readonly #service: Service;

  constructor(provider: ExtAuthzProvider | undefined, script: Script = answer(200)) {
    this.world.script = script;
    const { clusters, clock, workload } = this.world;
    const log: Logger = { level: 'info', debug: () => undefined, error: () => undefined, info: (_fields, message) => this.logged.push(message ?? ''), warn: (_fields, message) => this.logged.push(message ?? '') };
    this.#service = extAuthz(() => provider, new ExternalAuthorizer({ workload, clusters, clock }, log))(this.app);
  }

  begin({ method = 'GET', path = '/cart?x=1', headers = [], body = [], contentLength, grpc = false, expect100 = false, upgrade }: Asked = {}): FakeClient {
    const client = new FakeClient();
    client.exchange = new Exchange('destination', this.world.connection, undefined, 0);
    const head = new RequestHead(method, path, 'shop.example', 11);
    head.headers.add('Host', 'shop.example');
    for (const [name, value] of headers) head.headers.add(name, value);
    if (grpc) head.headers.add('content-type', 'application/grpc');
    head.contentLength = contentLength ?? (body.length > 0 ? LENGTH_UNKNOWN : 0);
    head.expectContinue = expect100;
    head.upgrade = upgrade;
    client.exchange.begin(head);
    this.sent = head;
    client.sink = this.#service.serve(client.exchange, head, client);
    this.accepts = body.map((part) => client.sink.data(Buffer.from(part)));
    return client;
  }

  /** As the client agent holds it. */
  sent!: RequestHead;

  /** What the request's sink said to each part of the body. */
  accepts: boolean[] = [];

  /** For a request of somebody else. */
  serve(head: RequestHead, response: ResponseSink): RequestSink {
    return this.#service.serve(new Exchange('destination', this.world.connection, undefined, 0), head, response);
  }

  send(asked: Asked = {}): FakeClient {
    const client = this.begin(asked);
    client.sink.end(undefined);
    this.world.clock.advance(0);
    return client;
  }

  get question(): FakeRequest {
    return this.world.requests.at(-1) as FakeRequest;
  }

  /** The head that the application got. */
  get seen(): RequestHead {
    return this.app.heads.at(-1) as RequestHead;
  }
}

const fields = (headers: HeaderList): string[] => Array.from({ length: headers.size }, (_, i) => `${headers.nameAt(i)}: ${headers.valueAt(i)}`);

/** Answers with lines of one name. */
const answering = (status: number, lines: Headers, body = ''): Script => (request) => {
  const head = new ResponseHead(status, '');
  for (const [name, value] of lines) head.headers.add(name, value);
  head.contentLength = body.length;
  request.response.head(head);
  if (body !== '') request.response.data(Buffer.from(body));
  request.finish();
};

describe('the question', () => {
  const headers: Headers = [['Authorization', 'Bearer x'], ['Cookie', 'a=1'], ['X-Team', 'red'], ['X-Request-Kind', 'test'], ['X-Other', 'y'], ['x-envoy-auth-partial-body', 'false'], ['TE', 'trailers']];

  test('is the request again, without its body and most of its headers', () => {
    const bench = new Bench(providerOf());
    bench.send({ method: 'POST', headers, body: ['secret'] });
    const { head, body, exchange } = bench.question;
    expect([head.method, head.target, head.authority, body]).toEqual(['POST', '/cart?x=1', 'shop.example', '']);
    expect(fields(head.headers)).toEqual(['Host: shop.example', 'Authorization: Bearer x', 'Content-Length: 0']);
    // It is the protected pod that asks, not the client.
    expect(exchange.connection.peer.identity).toBe(bench.world.workload.identity);
    expect(bench.world.dials[0]).toMatchObject({ direction: 'outbound', address: '10.7.0.1', port: 8000 });
  });

  test('has the headers that the provider lists, others that it adds, and a prefix before its path', () => {
    const bench = new Bench(providerOf({ includeRequestHeadersInCheck: ['cookie', 'x-t*', '*-kind'], includeAdditionalHeadersInCheck: [{ name: 'x-from', value: 'mesh' }, { name: 'cookie', value: 'b=2' }], pathPrefix: '/check' }));
    bench.send({ headers });
    expect(bench.question.head.target).toBe('/check/cart?x=1');
    expect(fields(bench.question.head.headers)).toEqual(['Host: shop.example', 'Authorization: Bearer x', 'cookie: b=2', 'X-Team: red', 'X-Request-Kind: test', 'Content-Length: 0', 'x-from: mesh']);
  });

  test('never has headers that say where a message ends, or claims of the client about the body', () => {
    const bench = new Bench(providerOf({ includeRequestHeadersInCheck: ['*'] }));
    bench.send({ method: 'POST', headers: [...headers, ['Content-Length', '6']], body: ['secret'] });
    expect(fields(bench.question.head.headers).filter((line) => /^(?:te|content-length|x-envoy)/i.test(line))).toEqual(['Content-Length: 0']);
  });

  test('nobody is asked when no policy takes the request', () => {
    const bench = new Bench(undefined);
    expect(bench.send().status).toBe(200);
    expect(bench.world.requests).toEqual([]);
  });
});

describe('the body', () => {
  const shown = (maxRequestBytes: number, allowPartialMessage = false): Partial<ExtAuthzProvider> => ({ includeRequestBodyInCheck: { maxRequestBytes, allowPartialMessage, packAsBytes: false } });

  test('goes along, and afterwards to the application', () => {
    const bench = new Bench(providerOf(shown(10)));
    const client = bench.send({ method: 'POST', body: ['0123', '456789'] });
    expect([bench.question.body, bench.question.head.headers.get('content-length'), bench.question.head.headers.get('x-envoy-auth-partial-body')]).toEqual(['0123456789', '10', 'false']);
    expect([client.status, bench.app.body, bench.app.complete]).toEqual([200, '0123456789', true]);
    expect(bench.world.clusters.buffers.held).toBe(0);
  });

  test('that is too large is refused, also where failures are let through', () => {
    const bench = new Bench(providerOf({ ...shown(10), failOpen: true }));
    const announced = bench.send({ method: 'POST', contentLength: 11 });
    const sent = bench.send({ method: 'POST', body: ['0123', '4567890'] });
    expect([announced.status, announced.body, sent.status, sent.exchange.details]).toEqual([413, 'Payload Too Large', 413, 'request_payload_too_large']);
    expect([bench.world.requests, bench.app.heads, bench.world.clusters.buffers.held]).toEqual([[], [], 0]);
  });

  test('that is too large is shown in part, where that is allowed; the application gets all of it', () => {
    const bench = new Bench(providerOf(shown(6, true)), silent);
    const client = bench.begin({ method: 'POST', body: ['0123', '4567'] });
    bench.world.clock.advance(0);
    expect([bench.accepts, bench.question.body, bench.question.head.headers.get('x-envoy-auth-partial-body')]).toEqual([[true, false], '012345', 'true']);
    expect(bench.world.clusters.buffers.held).toBe(8);
    answer(200)(bench.question);
    expect([bench.app.body, client.resumed, bench.world.clusters.buffers.held]).toEqual(['01234567', 1, 0]);
    client.sink.data(Buffer.from('89'));
    client.sink.end(undefined);
    expect([bench.app.body, bench.app.complete]).toEqual(['0123456789', true]);
  });

  test('of a tunnel is none', () => {
    const bench = new Bench(providerOf(shown(10)));
    bench.begin({ upgrade: 'websocket', contentLength: LENGTH_UNKNOWN });
    bench.world.clock.advance(0);
    expect(bench.app.heads).toHaveLength(1);
  });

  test('is asked for, when the client waits to be told', () => {
    const bench = new Bench(providerOf(shown(10)));
    const client = bench.begin({ method: 'POST', contentLength: 4, expect100: true });
    expect(client.informationals).toBe(1);
    client.sink.data(Buffer.from('body'));
    client.sink.end(undefined);
    bench.world.clock.advance(0);
    expect([bench.seen.expectContinue, bench.app.body]).toEqual([false, 'body']);
  });

  test('waits without being shown, where the provider does not ask for it', () => {
    const bench = new Bench(providerOf());
    const client = bench.begin({ method: 'POST', body: ['0123'] });
    expect(bench.accepts).toEqual([false]);
    bench.world.clock.advance(0);
    expect([bench.app.body, client.resumed]).toEqual(['0123', 1]);
  });
});

test('a workload that holds too many bytes holds no more', () => {
  const bench = new Bench(providerOf(), silent);
  const client = bench.begin({ method: 'POST' });
  bench.world.clock.advance(0);
  bench.world.clusters.buffers.hold(WORKLOAD_BUFFERED_BYTES_MAX - 10);
  client.sink.data(Buffer.alloc(11));
  expect([client.aborted?.code, bench.question.cancelled?.code, bench.world.idle]).toEqual(['workload_overloaded', 'downstream_gone', true]);
});

describe('allowed', () => {
  test('with headers for the application that replace the client\'s, and without those that are to go', () => {
    const lines: Headers = [['X-User', 'alice'], ['X-Group', 'a'], ['X-Group', 'b'], ['X-Secret', 's'], ['x-envoy-auth-headers-to-remove', 'Authorization, x-drop,host'], ['Content-Length', '0']];
    const bench = new Bench(providerOf({ headersToUpstreamOnAllow: ['x-user', 'x-g*', 'content-length', 'x-envoy*'] }), answering(200, lines));
    bench.send({ headers: [['x-user', 'admin'], ['X-GROUP', 'root'], ['Authorization', 'Bearer x'], ['X-Drop', '1']] });
    expect(fields(bench.seen.headers)).toEqual(['Host: shop.example', 'X-User: alice', 'X-Group: a', 'X-Group: b']);
  });

  test('with headers for the client', () => {
    const bench = new Bench(providerOf({ headersToDownstreamOnAllow: ['set-cookie'] }), answering(200, [['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['X-Other', 'x']]));
    const client = bench.send();
    expect([client.status, client.body, fields(client.headers as HeaderList)]).toEqual([200, 'app', ['Set-Cookie: a=1', 'Set-Cookie: b=2']]);
  });

  test('without the note of failure that a client forged; the head that its agent holds is not touched', () => {
    const bench = new Bench(providerOf({ headersToUpstreamOnAllow: ['x-user'] }), answer(200, { 'X-User': 'alice' }));
    const client = bench.send({ headers: [['x-envoy-auth-failure-mode-allowed', 'true']] });
    expect([client.status, bench.seen.headers.has('x-envoy-auth-failure-mode-allowed'), bench.seen.headers.get('x-user')]).toEqual([200, false, 'alice']);
    expect(fields(bench.sent.headers)).toEqual(['Host: shop.example', 'x-envoy-auth-failure-mode-allowed: true']);
  });
});

describe('refused', () => {
  const lines: Headers = [['Location', 'https://login.example/'], ['Set-Cookie', 'a=1'], ['Set-Cookie', 'b=2'], ['X-Why', 'no'], ['Content-Length', '5'], ['Host', 'x']];

  test('with the authorizer\'s own status, headers and words', () => {
    const bench = new Bench(providerOf(), answering(302, lines, 'login'));
    const client = bench.send();
    expect([client.status, client.body, bench.app.heads]).toEqual([302, 'login', []]);
    expect(fields(client.headers as HeaderList)).toEqual(['Location: https://login.example/', 'Set-Cookie: a=1', 'Set-Cookie: b=2', 'X-Why: no', 'x-orlop-reason: ext_authz_denied', 'content-type: text/plain', 'content-length: 5']);
    expect([client.exchange.flags, client.exchange.details]).toEqual(['UAEX', 'ext_authz_denied']);
  });

  test('with the headers that the provider lists, and those that a refusal always has', () => {
    const bench = new Bench(providerOf({ headersToDownstreamOnDeny: ['x-why'] }), answering(401, lines));
    expect(fields(bench.send().headers as HeaderList)).toEqual(['Location: https://login.example/', 'X-Why: no', 'x-orlop-reason: ext_authz_denied', 'content-length: 0']);
  });

  test('when any other status than 200 comes', () => {
    for (const status of [201, 204, 404, 418]) expect(new Bench(providerOf(), answer(status)).send().status).toBe(status);
  });

  test('in gRPC\'s terms, to a gRPC client', () => {
    const client = new Bench(providerOf(), answer(403, {}, 'not you')).send({ grpc: true });
    expect([client.status, client.headers?.get('grpc-status'), client.headers?.get('grpc-message')]).toEqual([200, '7', 'not you']);
  });
});

describe('an authorizer that cannot be asked', () => {
  const failures: readonly [string, Partial<ExtAuthzProvider>, Script, (bench: Bench) => void][] = [
    ['answers 500', {}, answer(500, {}, 'stack trace'), () => undefined],
    ['resets', {}, reset, () => undefined],
    ['cannot be reached', {}, silent, ({ world }) => (world.failDials = 'all')],
    ['is silent', {}, silent, () => undefined],
    ['talks without end', {}, (request) => {
      request.begin(200);
      for (let i = 0; i < 300; i += 1) request.response.data(Buffer.alloc(1024));
    }, () => undefined],
    ['is unknown', { cluster: undefined }, silent, () => undefined],
    ['has no cluster', { cluster: 'outbound|1||nowhere' }, silent, () => undefined],
  ];

  test.each(failures)('%s: refused with statusOnError', (_name, change, script, arrange) => {
    const bench = new Bench(providerOf({ statusOnError: 503, ...change }), script);
    arrange(bench);
    const client = bench.send({ method: 'POST', body: ['x'] });
    bench.world.clock.advance(5_000);
    expect([client.status, client.body, bench.app.heads]).toEqual([503, '', []]);
    expect([client.exchange.flags, client.exchange.details]).toEqual(['UAEX', 'ext_authz_error']);
    expect([bench.world.clusters.buffers.held, bench.world.idle, bench.logged]).toEqual([0, true, ['an authorizer cannot be asked: requests are refused']]);
  });

  test.each(failures)('%s: let through and marked, where the provider fails open', (_name, change, script, arrange) => {
    const bench = new Bench(providerOf({ failOpen: true, ...change }), script);
    arrange(bench);
    const client = bench.send({ method: 'POST', body: ['x'] });
    bench.world.clock.advance(5_000);
    expect([client.status, client.body, bench.app.body]).toEqual([200, 'app', 'x']);
    expect(bench.seen.headers.get('x-envoy-auth-failure-mode-allowed')).toBe('true');
    expect(bench.logged).toEqual(['an authorizer cannot be asked: requests pass unchecked (failOpen)']);
  });

  test('is spoken of once, and once more when it is back', () => {
    const bench = new Bench(providerOf(), answer(500));
    bench.send();
    bench.send();
    bench.world.script = answer(200);
    bench.send();
    bench.send();
    expect(bench.logged).toEqual(['an authorizer cannot be asked: requests are refused', 'an authorizer answers again']);
  });

  test('by its kind: CONNECT and opaque connections over HTTP', () => {
    const bench = new Bench(providerOf());
    expect(bench.send({ method: 'CONNECT' }).status).toBe(403);
    const { clusters, clock, workload, connection } = bench.world;
    let refused: MeshError | undefined;
    new ExternalAuthorizer({ workload, clusters, clock }, bench.world.dataplane.log).connection(providerOf(), new Exchange('destination', connection, undefined, 0), (error) => (refused = error));
    expect([refused?.code, refused?.reason]).toEqual(['ext_authz_error', 'an HTTP provider cannot be asked about opaque connections']);
  });
});

describe('circles', () => {
  const neighbours = (world: World, server: string): void => {
    const cluster = providerCluster('10.1.0.1', 8000);
    world.workload.table = tableOf({ clusters: [{ ...cluster, endpoints: cluster.endpoints.map((endpoint) => ({ ...endpoint, workload: server, enrolled: true })) }] });
  };

  test('an authorizer is not asked about itself', () => {
    const bench = new Bench(providerOf());
    neighbours(bench.world, bench.world.workload.id);
    const client = bench.send();
    expect([client.status, client.exchange.error?.reason]).toEqual([403, 'it is the authorizer itself that it is asked about: leave it out of the CUSTOM policy']);
  });

  test('authorizers that are asked about each other refuse, and nothing overflows', () => {
    const bench = new Bench(providerOf());
    const { world } = bench;
    neighbours(world, 'default/gate');
    const gate = { ...world.pod('default/gate', tableOf()), inbound: () => ({ serve: (_exchange: Exchange, head: RequestHead, response: ResponseSink) => bench.serve(head, response) }) };
    world.workloads.set('default/gate', gate);
    expect([bench.send().status, bench.app.heads]).toEqual([403, []]);
    expect(world.idle).toBe(true);
  });
});

test('no more than so many questions are under way', () => {
  const bench = new Bench(providerOf(), silent);
  const clients = Array.from({ length: 1_025 }, () => bench.begin());
  expect(clients.filter((client) => client.status === 403)).toHaveLength(1);
  for (const client of clients.slice(0, 2)) client.sink.abort(new MeshError('downstream_gone'));
  expect([bench.begin(), bench.begin(), bench.begin()].map((client) => client.status)).toEqual([0, 0, 403]);
});

test('a client that leaves takes its question along', () => {
  const bench = new Bench(providerOf(), silent);
  const client = bench.begin({ method: 'POST', body: ['x'] });
  bench.world.clock.advance(0);
  client.sink.abort(new MeshError('downstream_gone'));
  expect([bench.question.cancelled?.code, bench.world.idle, bench.world.clusters.buffers.held]).toEqual(['downstream_gone', true, 0]);
  bench.world.clock.advance(5_000);
  expect([bench.app.heads, client.ends, bench.logged]).toEqual([[], 0, []]);
});
