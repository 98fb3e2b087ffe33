import { beforeAll, describe, expect, test } from 'vitest';
import { FakeClock } from '../../../src/core/clock.ts';
import { MeshError } from '../../../src/core/errors.ts';
import type { JwtRule } from '../../../src/mesh/security.ts';
import { NO_SECURITY } from '../../../src/mesh/security.ts';
import type { RequestSink, ResponseSink, Service } from '../../../src/proxy/exchange.ts';
import { RequestHead, ResponseHead } from '../../../src/proxy/head.ts';
import { Authenticator } from '../../../src/proxy/jwt/authenticator.ts';
import { JwksStore } from '../../../src/proxy/jwt/jwks-store.ts';
import type { JwksTarget } from '../../../src/proxy/jwt/jwks-source.ts';
import { parseKeySet } from '../../../src/proxy/jwt/public-key.ts';
import { requestAuthentication } from '../../../src/proxy/layers/request-authentication.ts';
import { Exchange } from '../../../src/proxy/record.ts';
import { ISSUER, NOW, forge, jwksOf, ruleOf, sign, signingKey } from '../jwt/issuer.ts';
import type { SigningKey } from '../jwt/issuer.ts';
import { FakeClient, World, tableOf } from '../world.ts';

/** The application: answers 200 and keeps what it was sent. */
class App implements Service {
  readonly heads: RequestHead[] = [];
  body = '';

  serve(_exchange: Exchange, head: RequestHead, response: ResponseSink): RequestSink {
    this.heads.push(head);
    return {
      data: (chunk) => {
        this.body += chunk.toString();
        return true;
      },
      end: () => {
        response.head(new ResponseHead(200, ''));
        response.end(undefined);
      },
      abort: () => undefined,
      resumeResponse: () => undefined,
    };
  }
}

interface Asked {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: readonly (readonly [string, string])[];
  readonly body?: string;
  readonly grpc?: boolean;
}

class Bench {
  readonly clock = new FakeClock();
  readonly app = new App();
  readonly wanted: (readonly JwksTarget[])[] = [];
  readonly refreshes: string[] = [];
  readonly store: JwksStore;
  readonly authenticator: Authenticator;
  readonly #world = new World(tableOf());
  readonly #service: Service;

  constructor(...rules: readonly JwtRule[]) {
    this.store = new JwksStore(this.clock, { want: (targets) => this.wanted.push(targets), refresh: (key) => this.refreshes.push(key) });
    this.authenticator = new Authenticator(this.store, this.clock);
    this.#service = requestAuthentication(this.authenticator)(this.app);
    this.use(...rules);
  }

  use(...rules: readonly JwtRule[]): void {
    const table = { ...tableOf(), security: { ...NO_SECURITY, jwtRules: rules } };
    this.#world.workload.table = table;
    this.store.use([table]);
  }

  keys(uri: string, jwks: string | undefined, failure = ''): void {
    this.store.set(uri, { keys: jwks === undefined ? undefined : parseKeySet(jwks), failure });
  }

  begin({ path = '/', method = 'GET', headers = [], body = '', grpc = false }: Asked): FakeClient {
    const client = new FakeClient();
    client.exchange = new Exchange('destination', this.#world.connection, undefined, 0);
    const head = new RequestHead(method, path, 'shop.example', 11);
    for (const [name, value] of headers) head.headers.add(name, value);
    if (grpc) head.headers.add('content-type', 'application/grpc');
    client.exchange.begin(head);
    client.sink = this.#service.serve(client.exchange, head, client);
    if (body !== '') client.sink.data(Buffer.from(body));
    client.sink.end(undefined);
    return client;
  }

  async send(asked: Asked): Promise<FakeClient> {
    const client = this.begin(asked);
    await settled(client);
    return client;
  }

  async bearing(token: string, asked: Asked = {}): Promise<FakeClient> {
    return this.send({ ...asked, headers: [['Authorization', `Bearer ${token}`], ...(asked.headers ?? [])] });
  }
}

/** The signature check is over when its answer is there. */
async function settled(client: FakeClient): Promise<void> {
  while (client.ends === 0) await new Promise((resolve) => setImmediate(resolve));
}

let rsa: SigningKey;
let ec: SigningKey;
let other: SigningKey;

beforeAll(async () => {
  [rsa, ec, other] = await Promise.all([signingKey('RS256'), signingKey('ES256'), signingKey('RS256', 'RS256-2')]);
});

describe('what a valid token proves', () => {
  test.each(['RS256', 'RS384', 'RS512', 'PS256', 'PS384', 'PS512', 'ES256', 'ES384', 'ES512', 'EdDSA'])('%s', async (algorithm) => {
    const key = await signingKey(algorithm);
    const bench = new Bench(ruleOf({ jwks: jwksOf(key) }));
    const client = await bench.bearing(await sign(key, { aud: ['shop', 'bank'], azp: 'app', scope: 'read  write', nested: { group: 'x' } }));
    expect([client.status, client.exchange.authentication]).toMatchObject([
      200,
      { requestPrincipal: `${ISSUER}/alice`, audiences: ['shop', 'bank'], presenter: 'app', claims: { scope: ['read', 'write'], nested: { group: 'x' } } },
    ]);
  });

  test('a token without subject proves no principal', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const client = await bench.bearing(await sign(ec, { sub: undefined }));
    expect(client.exchange.authentication?.requestPrincipal).toBe('');
  });

  test('no token passes, and proves nothing', () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const client = bench.begin({ headers: [['Authorization', 'Basic YTpi']] });
    expect([client.status, client.exchange.authentication]).toEqual([200, undefined]);
  });

  test('a key without algorithm goes with all of its type', async () => {
    const { alg: _alg, ...jwk } = rsa.jwk;
    const bench = new Bench(ruleOf({ jwks: JSON.stringify({ keys: [jwk] }) }));
    expect((await bench.bearing(await sign(rsa))).status).toBe(200);
  });

  test('a token that names no key is tried with each', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(other, ec, rsa) }));
    expect((await bench.bearing(await sign(rsa, {}, { kid: undefined }))).status).toBe(200);
  });

  test('the body waits for the verdict, whole', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const client = await bench.bearing(await sign(ec), { method: 'POST', body: 'the question' });
    expect([client.status, bench.app.body, client.resumed]).toEqual([200, 'the question', 0]);
  });
});

describe('where tokens are looked for', () => {
  const inHeader = (name: string, prefix: string) => (token: string): Asked => ({ headers: [[name, `${prefix}${token}`]] });
  const inQuery = (name: string) => (token: string): Asked => ({ path: `/cart?a=1&${name}=${token}&b=%20` });
  const inCookie = (name: string) => (token: string): Asked => ({ headers: [['Cookie', `theme=dark; ${name}=${token}; lang=de`]] });
  const headerRule = { fromHeaders: [{ name: 'x-token', prefix: 'Token ' }] };

  test.each<[string, Partial<JwtRule>, (token: string) => Asked, boolean]>([
    ['Authorization by default', {}, inHeader('authorization', 'Bearer '), true],
    ['access_token by default', {}, inQuery('access_token'), true],
    ['another parameter', {}, inQuery('token'), false],
    ['another scheme', {}, inHeader('Authorization', 'Basic '), false],
    ['a named header', headerRule, inHeader('X-Token', 'Token '), true],
    ['a named header without its prefix', headerRule, inHeader('X-Token', ''), false],
    ['a named header with the prefix in other letters', headerRule, inHeader('X-Token', 'token '), false],
    ['Authorization, when places are named', headerRule, inHeader('Authorization', 'Bearer '), false],
    ['access_token, when places are named', headerRule, inQuery('access_token'), false],
    ['a header without prefix', { fromHeaders: [{ name: 'x-token', prefix: '' }] }, inHeader('X-Token', ''), true],
    ['a named parameter', { fromParams: ['jwt'] }, inQuery('jwt'), true],
    ['a named cookie', { fromCookies: ['session'] }, inCookie('session'), true],
    ['a quoted cookie', { fromCookies: ['session'] }, (token) => ({ headers: [['Cookie', `session="${token}"`]] }), true],
    ['another cookie', { fromCookies: ['session'] }, inCookie('other'), false],
    ['a cookie in the second line', { fromCookies: ['session'] }, (token) => ({ headers: [['Cookie', 'a=b'], ['Cookie', `session=${token}`]] }), true],
  ])('%s', async (_name, change, place, looked) => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), ...change }));
    const good = await bench.send(place(await sign(ec)));
    expect([good.status, good.exchange.authentication?.requestPrincipal]).toEqual([200, looked ? `${ISSUER}/alice` : undefined]);
    const expired = await bench.send(place(await sign(ec, { exp: NOW - 61 })));
    expect([expired.status, expired.body]).toEqual(looked ? [401, 'Jwt is expired'] : [200, '']);
  });

  test('all tokens in the places of a rule must be valid', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const [good, bad] = [await sign(ec), await sign(ec, { exp: NOW - 61 })];
    expect((await bench.bearing(good, { path: `/?access_token=${bad}` })).body).toBe('Jwt is expired');
    expect((await bench.bearing(good, { headers: [['Authorization', `Bearer ${bad}`]] })).body).toBe('Jwt is expired');
    expect((await bench.bearing(good, { path: `/?access_token=${good}` })).status).toBe(200);
  });

  test('preflights pass', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const preflight = { method: 'OPTIONS', headers: [['Origin', 'https://shop.example'], ['Access-Control-Request-Method', 'PUT']] } as const;
    expect((await bench.bearing('rubbish', preflight)).status).toBe(200);
    expect((await bench.bearing('rubbish', { method: 'OPTIONS' })).status).toBe(401);
  });
});

describe('what is refused, in Envoy\'s words', () => {
  test.each<[string, () => Promise<string> | string, number, string]>([
    ['expired', async () => sign(ec, { exp: NOW - 61 }), 401, 'Jwt is expired'],
    ['not valid yet', async () => sign(ec, { nbf: NOW + 61 }), 401, 'Jwt not yet valid'],
    ['another issuer', async () => sign(ec, { iss: 'https://evil.example' }), 401, 'Jwt issuer is not configured'],
    ['another audience', async () => sign(ec, { aud: 'bank' }), 403, 'Audiences in Jwt are not allowed'],
    ['no audience', async () => sign(ec), 403, 'Audiences in Jwt are not allowed'],
    ['another key of that id', async () => sign({ ...(await signingKey('ES256')), id: ec.id }, { aud: 'shop' }), 401, 'Jwt verification fails'],
    ['an unknown key', async () => sign({ ...ec, id: 'unknown' }, { aud: 'shop' }), 401, 'Jwks doesn\'t have key to match kid or alg from Jwt'],
    ['two sections', () => 'a.b', 401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
    ['five sections (encrypted)', () => 'a.b.c.d.e', 401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
    ['nothing', () => '', 401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
    ['a giant', () => `${'a'.repeat(20_000)}.b.c`, 401, 'Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections'],
    ['a header not in base64url', () => '***.b.c', 401, 'Jwt header is an invalid Base64url encoded'],
    ['a header that is no JSON', () => forge('{', {}), 401, 'Jwt header is an invalid JSON'],
    ['a header that is a list', () => forge([], {}), 401, 'Jwt header is an invalid JSON'],
    ['no algorithm', () => forge({}, {}), 401, 'Jwt header [alg] field is required and must be a string'],
    ['algorithm none', () => forge({ alg: 'none' }, { iss: ISSUER }, 'AA'), 401, 'Jwt header [alg] is not supported'],
    ['algorithm none, unsigned', () => forge({ alg: 'none' }, { iss: ISSUER }, ''), 401, 'Jwt header [alg] is not supported'],
    ['algorithm NONE', () => forge({ alg: 'NONE' }, {}), 401, 'Jwt header [alg] is not supported'],
    ['a shared secret', () => forge({ alg: 'HS256' }, { iss: ISSUER }), 401, 'Jwt header [alg] is not supported'],
    ['a key id that is a number', () => forge({ alg: 'ES256', kid: 1 }, {}), 401, 'Jwt header [kid] field is not a string'],
    ['a payload not in base64url', () => `${forge({ alg: 'ES256' }, {}).split('.')[0]}.**.c`, 401, 'Jwt payload is an invalid Base64url encoded'],
    ['a payload that is no object', () => forge({ alg: 'ES256' }, '"x"'), 401, 'Jwt payload is an invalid JSON'],
    ['iss', () => forge({ alg: 'ES256' }, { iss: 1 }), 401, 'Jwt payload [iss] field is not a string'],
    ['sub', () => forge({ alg: 'ES256' }, { sub: {} }), 401, 'Jwt payload [sub] field is not a string'],
    ['iat', () => forge({ alg: 'ES256' }, { iat: 'x' }), 401, 'Jwt payload [iat] field is not an integer'],
    ['nbf', () => forge({ alg: 'ES256' }, { nbf: '1' }), 401, 'Jwt payload [nbf] field is not an integer'],
    ['exp', () => forge({ alg: 'ES256' }, { exp: null }), 401, 'Jwt payload [exp] field is not an integer'],
    ['negative exp', () => forge({ alg: 'ES256' }, { exp: -1 }), 401, 'Jwt payload [exp] field is not a positive 64 bit integer'],
    ['jti', () => forge({ alg: 'ES256' }, { jti: 1 }), 401, 'Jwt payload [jti] field is not a string'],
    ['aud', () => forge({ alg: 'ES256' }, { aud: [1] }), 401, 'Jwt payload [aud] field is not a string or string list'],
    ['a signature not in base64url', () => forge({ alg: 'ES256' }, {}, '=='), 401, 'Jwt signature is an invalid Base64url encoded'],
  ])('%s', async (_name, token, status, body) => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), audiences: ['shop'] }));
    const client = await bench.bearing(await token(), { path: '/cart?x="1"' });
    expect([client.status, client.body, client.headers?.get('www-authenticate')]).toEqual([status, body, 'Bearer realm="http://shop.example/cart", error="invalid_token"']);
    expect(client.exchange.details).toBe(`jwt_authn_access_denied{${body.replaceAll(' ', '_')}}`);
    expect(bench.app.heads).toEqual([]);
  });

  test('clocks may differ by a minute', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    expect((await bench.bearing(await sign(ec, { exp: NOW - 59 }))).status).toBe(200);
    expect((await bench.bearing(await sign(ec, { nbf: NOW + 59 }))).status).toBe(200);
  });

  test('audiences are the same with scheme and slash or without', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), audiences: ['https://shop.example/'] }));
    expect((await bench.bearing(await sign(ec, { aud: ['x', 'shop.example'] }))).status).toBe(200);
  });

  test('a gRPC client is told in its own terms', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const client = await bench.bearing(await sign(ec, { exp: 1 }), { grpc: true });
    expect([client.status, client.headers?.get('grpc-status'), client.headers?.get('grpc-message')]).toEqual([200, '16', 'Jwt is expired']);
  });

  test('no token, where a rule demands one', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), required: true }), ruleOf({ issuer: 'b', jwks: jwksOf(rsa) }));
    const client = bench.begin({});
    expect([client.status, client.body, client.headers?.get('www-authenticate')]).toEqual([401, 'Jwt is missing', 'Bearer realm="http://shop.example/"']);
    expect((await bench.bearing(await sign(rsa, { iss: 'b' }))).status).toBe(200);
    expect((await bench.bearing(await sign(rsa, { iss: 'c' }))).body).toBe('Jwt issuer is not configured');
  });

  test('a rule whose keys nobody gave accepts nothing', async () => {
    for (const rule of [ruleOf({ issuer: '' }), ruleOf({ jwks: 'no JSON' }), ruleOf({ jwks: '{"keys":[]}' })]) {
      expect((await new Bench(rule).bearing(await sign(ec))).body).toBe('Jwks doesn\'t have any valid public key');
    }
  });
});

describe('keys that must not be trusted', () => {
  test('a public key is no shared secret', async () => {
    const jwks = JSON.stringify({ keys: [rsa.jwk, { kty: 'oct', k: 'c2VjcmV0', kid: 'secret', alg: 'HS256' }] });
    const bench = new Bench(ruleOf({ jwks }));
    expect((await bench.bearing(forge({ alg: 'HS256', kid: 'secret' }, { iss: ISSUER }))).body).toBe('Jwt header [alg] is not supported');
  });

  test('a key is used with its own algorithm only', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(rsa, ec) }));
    const body = 'Jwks doesn\'t have key to match kid or alg from Jwt';
    expect((await bench.bearing(forge({ alg: 'ES256', kid: rsa.id }, { iss: ISSUER }))).body).toBe(body);
    expect((await bench.bearing(forge({ alg: 'PS256', kid: rsa.id }, { iss: ISSUER }))).body).toBe(body);
    expect((await bench.bearing(forge({ alg: 'ES384', kid: ec.id }, { iss: ISSUER }))).body).toBe(body);
  });

  test('keys and addresses of keys in the token itself are not looked at', async () => {
    const attacker = await signingKey('ES256', ec.id);
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const token = await sign(attacker, {}, { jwk: attacker.jwk, jku: 'https://evil.example/keys', x5u: 'https://evil.example/x' });
    expect((await bench.bearing(token)).body).toBe('Jwt verification fails');
  });

  test('encryption keys sign nothing', async () => {
    const bench = new Bench(ruleOf({ jwks: JSON.stringify({ keys: [{ ...ec.jwk, use: 'enc' }] }) }));
    expect((await bench.bearing(await sign(ec))).status).toBe(401);
  });

  test('an extension that is critical and unknown makes a token invalid', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const [, payload, signature] = (await sign(ec)).split('.') as [string, string, string];
    const header = Buffer.from(JSON.stringify({ alg: 'ES256', kid: ec.id, crit: ['x'], x: 1 })).toString('base64url');
    expect((await bench.bearing(`${header}.${payload}.${signature}`)).body).toBe('Jwt verification fails');
  });

  test('one octet changed is another token', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const token = await sign(ec);
    expect((await bench.bearing(token)).status).toBe(200);
    const [header, , signature] = token.split('.') as [string, string, string];
    const admin = Buffer.from(JSON.stringify({ iss: ISSUER, sub: 'admin', exp: NOW + 3600 })).toString('base64url');
    expect((await bench.bearing(`${header}.${admin}.${signature}`)).body).toBe('Jwt verification fails');
  });
});

describe('several rules', () => {
  test('each issuer by its own keys', async () => {
    const bench = new Bench(ruleOf({ issuer: 'a', jwks: jwksOf(ec) }), ruleOf({ issuer: 'b', jwks: jwksOf(rsa) }));
    expect((await bench.bearing(await sign(ec, { iss: 'a' }))).status).toBe(200);
    expect((await bench.bearing(await sign(rsa, { iss: 'b' }))).exchange.authentication?.requestPrincipal).toBe('b/alice');
    expect((await bench.bearing(await sign(ec, { iss: 'b' }))).status).toBe(401);
    expect((await bench.bearing(await sign(rsa, { iss: 'b', exp: 1 }))).body).toBe('Jwt is expired');
    expect((await bench.bearing(await sign(rsa, { iss: 'c' }))).body).toBe('Jwt issuer is not configured');
  });

  test('a bad token in the place of one rule is made good by that of another', async () => {
    const bench = new Bench(ruleOf({ issuer: 'a', jwks: jwksOf(ec), fromHeaders: [{ name: 'x-a', prefix: '' }] }), ruleOf({ issuer: 'b', jwks: jwksOf(rsa), fromHeaders: [{ name: 'x-b', prefix: '' }] }));
    const headers = [['x-a', 'rubbish'], ['x-b', await sign(rsa, { iss: 'b' })]] as const;
    expect((await bench.send({ headers })).exchange.authentication?.requestPrincipal).toBe('b/alice');
    expect((await bench.send({ headers: [['x-a', 'rubbish']] })).status).toBe(401);
  });
});

describe('what the application sees', () => {
  const sent = (bench: Bench): RequestHead => bench.app.heads.at(-1) as RequestHead;

  test('not the token, unless the rule forwards it', async () => {
    const token = await sign(ec);
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const client = await bench.send({ path: `/cart?a=1&access_token=${token}&b=%2F`, headers: [['X-Other', 'kept']] });
    expect([sent(bench).target, sent(bench).headers.get('x-other'), client.exchange.path]).toEqual(['/cart?a=1&b=%2F', 'kept', '/cart?a=1&b=%2F']);
    await bench.send({ path: `/cart?access_token=${token}` });
    expect(sent(bench).target).toBe('/cart');
    await bench.bearing(token);
    expect(sent(bench).headers.has('authorization')).toBe(false);
    bench.use(ruleOf({ jwks: jwksOf(ec), forwardOriginalToken: true }));
    await bench.bearing(token, { path: `/?access_token=${token}` });
    expect([sent(bench).headers.get('authorization'), sent(bench).target]).toEqual([`Bearer ${token}`, `/?access_token=${token}`]);
  });

  test('not the token in its cookie, but the other cookies', async () => {
    const token = await sign(ec);
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), fromCookies: ['session'] }));
    await bench.send({ headers: [['Cookie', `a=1; session=${token}`], ['Cookie', 'b="2"']] });
    expect(sent(bench).headers.joined('cookie')).toBe('a=1; b="2"');
    await bench.send({ headers: [['Cookie', `session=${token}`]] });
    expect(sent(bench).headers.has('cookie')).toBe(false);
  });

  test('the head that the client agent holds is not touched', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), outputPayloadToHeader: 'x-payload' }));
    const token = await sign(ec);
    const head = new RequestHead('GET', '/', 'shop.example', 11);
    head.headers.add('Authorization', `Bearer ${token}`);
    head.headers.add('x-payload', 'forged');
    const before = head.headers.toText();
    const client = new FakeClient();
    client.exchange = new Exchange('destination', new World(tableOf()).connection, undefined, 0);
    client.exchange.connection.workload.table = { ...tableOf(), security: { ...NO_SECURITY, jwtRules: [ruleOf({ jwks: jwksOf(ec), outputPayloadToHeader: 'x-payload' })] } };
    requestAuthentication(bench.authenticator)(bench.app).serve(client.exchange, head, client).end(undefined);
    await settled(client);
    expect([client.status, head.headers.toText()]).toEqual([200, before]);
    expect(sent(bench).headers.get('x-payload')).toBe(token.split('.')[1]);
  });

  test('claims in headers: text, numbers, truth values, nested ones; nothing of anything else', async () => {
    const claims = { name: 'Zoë', level: 3, big: 2 ** 53, part: 1.5, admin: false, org: { unit: 'x' }, 'a.b': 'dotted', list: ['x'], evil: 'x\r\nX-Admin: 1', lookalike: 'xĊX-Admin: 1', empty: '' };
    const headers = [...Object.keys(claims), 'org.unit', 'absent', 'toString', 'org.constructor'];
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), outputClaimToHeaders: headers.map((claim, i) => ({ header: `x-claim-${i}`, claim })) }));
    await bench.bearing(await sign(ec, claims));
    const seen = Object.fromEntries(headers.map((claim, i) => [claim, sent(bench).headers.get(`x-claim-${i}`)]));
    expect(seen).toMatchObject({ level: '3', big: '9007199254740992', part: '1.500000', admin: 'false', 'org.unit': 'x', 'a.b': 'dotted' });
    expect(Buffer.from(seen['name'] ?? '', 'latin1').toString()).toBe('Zoë');
    for (const absent of ['org', 'list', 'evil', 'empty', 'absent', 'toString', 'org.constructor']) expect(seen[absent]).toBeUndefined();
    expect(seen['lookalike']).not.toMatch(/[\r\n]/);
  });

  test('forged headers are taken out, with a token or without', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec), outputPayloadToHeader: 'x-payload', outputClaimToHeaders: [{ header: 'x-user', claim: 'sub' }, { header: 'x-group', claim: 'group' }] }));
    const forged = [['X-User', 'admin'], ['x-group', 'root'], ['X-Payload', 'e30'], ['x-user', 'root']] as const;
    await bench.send({ headers: forged });
    expect(['x-user', 'x-group', 'x-payload'].map((name) => sent(bench).headers.joined(name))).toEqual([undefined, undefined, undefined]);
    await bench.send({ method: 'OPTIONS', headers: [...forged, ['Origin', 'https://a'], ['Access-Control-Request-Method', 'GET']] });
    expect(sent(bench).headers.has('x-user')).toBe(false);
    const token = await sign(ec);
    await bench.bearing(token, { headers: forged });
    expect(['x-user', 'x-group', 'x-payload'].map((name) => sent(bench).headers.joined(name))).toEqual(['alice', undefined, token.split('.')[1]]);
  });
});

describe('keys that are fetched', () => {
  const URI = 'https://issuer.example/keys';
  const rule = ruleOf({ jwksUri: URI });

  test('are asked for as soon as a rule needs them, once', () => {
    const bench = new Bench(rule, ruleOf({ jwksUri: URI, timeoutMs: 9_000 }), ruleOf({ issuer: 'https://other.example/' }), ruleOf({ jwks: jwksOf(ec) }));
    bench.use(rule, ruleOf({ jwksUri: URI, timeoutMs: 9_000 }), ruleOf({ issuer: 'https://other.example/' }));
    expect(bench.wanted).toEqual([
      [
        { key: URI, url: URI, discovery: false, timeoutMs: 9_000 },
        { key: 'discovery https://other.example/.well-known/openid-configuration', url: 'https://other.example/.well-known/openid-configuration', discovery: true, timeoutMs: 5_000 },
      ],
    ]);
    bench.use();
    expect(bench.wanted.at(-1)).toEqual([]);
  });

  test('are waited for; without a token nobody waits', async () => {
    const bench = new Bench(rule);
    expect(bench.begin({}).status).toBe(200);
    const client = bench.begin({ headers: [['Authorization', `Bearer ${await sign(ec)}`]], method: 'POST', body: 'x' });
    expect([client.status, bench.clock.pending()]).toEqual([0, 1]);
    bench.keys(URI, jwksOf(ec));
    await settled(client);
    expect([client.status, bench.app.body, bench.clock.pending()]).toEqual([200, 'x', 0]);
  });

  test('that cannot be fetched refuse the request, at once when that is known', async () => {
    const bench = new Bench(rule);
    const first = bench.begin({ headers: [['Authorization', `Bearer ${await sign(ec)}`]] });
    bench.clock.advance(6_000);
    expect([first.status, first.body]).toEqual([401, 'Jwks remote fetch is failed']);
    bench.keys(URI, undefined, 'connect ECONNREFUSED');
    expect(bench.begin({ headers: [['Authorization', `Bearer ${await sign(ec)}`]] }).body).toBe('Jwks remote fetch is failed');
  });

  test('stay in use when they cannot be renewed', async () => {
    const bench = new Bench(rule);
    bench.keys(URI, jwksOf(ec));
    bench.keys(URI, jwksOf(ec), 'HTTP 503');
    expect((await bench.bearing(await sign(ec))).status).toBe(200);
  });

  test('rotate: a token of a new key has them fetched, and waits', async () => {
    const bench = new Bench(rule);
    bench.keys(URI, jwksOf(ec));
    await bench.bearing(await sign(ec));
    const next = await signingKey('ES256', 'next');
    const token = await sign(next);
    const waiting = [1, 2, 3].map(() => bench.begin({ headers: [['Authorization', `Bearer ${token}`]] }));
    expect([bench.refreshes, waiting.map((client) => client.status)]).toEqual([[URI], [0, 0, 0]]);
    bench.keys(URI, jwksOf(ec, next));
    for (const client of waiting) await settled(client);
    expect(waiting.map((client) => client.status)).toEqual([200, 200, 200]);
  });

  test('are not fetched again and again for tokens that name unknown keys', async () => {
    const bench = new Bench(rule);
    bench.keys(URI, jwksOf(ec));
    let named = 0;
    const unknown = async (): Promise<string> => sign({ ...ec, id: `unknown-${named++}` });
    const first = bench.begin({ headers: [['Authorization', `Bearer ${await unknown()}`]] });
    bench.keys(URI, jwksOf(ec));
    await settled(first);
    expect(first.body).toBe('Jwks doesn\'t have key to match kid or alg from Jwt');
    for (let i = 0; i < 10; i += 1) expect(bench.begin({ headers: [['Authorization', `Bearer ${await unknown()}`]] }).status).toBe(401);
    expect(bench.refreshes).toHaveLength(1);
    bench.clock.advance(31_000);
    bench.begin({ headers: [['Authorization', `Bearer ${await unknown()}`]] });
    expect(bench.refreshes).toHaveLength(2);
  });

  test('that are withdrawn accept nothing more, not even what they accepted', async () => {
    const bench = new Bench(rule);
    bench.keys(URI, jwksOf(ec));
    const token = await sign(ec, {}, { kid: undefined });
    expect((await bench.bearing(token)).status).toBe(200);
    expect(bench.begin({ headers: [['Authorization', `Bearer ${token}`]] }).status).toBe(200);
    bench.keys(URI, jwksOf(await signingKey('ES256', ec.id)));
    expect((await bench.bearing(token)).body).toBe('Jwt verification fails');
  });

  test('a client that leaves while it waits is forgotten', async () => {
    const bench = new Bench(rule);
    const client = bench.begin({ headers: [['Authorization', `Bearer ${await sign(ec)}`]] });
    client.sink.abort(new MeshError('downstream_gone'));
    expect(bench.clock.pending()).toBe(0);
    bench.keys(URI, jwksOf(ec));
    expect(bench.app.heads).toEqual([]);
  });
});

describe('a token that was seen before', () => {
  test('is decided at once, until it expires or another rule applies', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(ec) }));
    const token = await sign(ec, { exp: NOW + 100 });
    const headers = [['Authorization', `Bearer ${token}`]] as const;
    expect(bench.begin({ headers }).status).toBe(0);
    await bench.send({ headers });
    expect(bench.begin({ headers }).status).toBe(200);
    bench.use(ruleOf({ jwks: jwksOf(ec), audiences: ['shop'] }));
    expect(bench.begin({ headers }).status).toBe(403);
    bench.use(ruleOf({ jwks: jwksOf(rsa) }));
    expect(bench.begin({ headers }).status).toBe(401);
    bench.use(ruleOf({ jwks: jwksOf(ec) }));
    expect(bench.begin({ headers }).status).toBe(200);
    bench.clock.advance(161_000);
    expect(bench.begin({ headers }).body).toBe('Jwt is expired');
    expect(bench.authenticator.cache.size).toBe(0);
  });

  test('what was refused is not remembered', async () => {
    const bench = new Bench(ruleOf({ jwks: jwksOf(rsa) }));
    for (let i = 0; i < 20; i += 1) await bench.bearing(await sign({ ...other, id: rsa.id }));
    expect(bench.authenticator.cache.size).toBe(0);
  });
});
