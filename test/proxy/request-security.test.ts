/**
 * Resources as users write them, at work on one pod's inbound stack: an external authorizer first, then tokens, then policies
 * that ask for what the tokens prove.
 */
import { beforeAll, describe, expect, test } from 'vitest';
import type { Connection } from '../../src/proxy/connection.ts';
import { LENGTH_UNKNOWN, RequestHead } from '../../src/proxy/head.ts';
import { Exchange } from '../../src/proxy/record.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import { application, errors, snapshotOf, tableOf as compiled } from '../mesh/world.ts';
import { ISSUER, NOW, jwksOf, sign, signingKey } from './jwt/issuer.ts';
import type { SigningKey } from './jwt/issuer.ts';
import { FakeClient, World, tableOf } from './world.ts';
import type { FakeRequest } from './world.ts';

const MESH = `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: gate
      envoyExtAuthzHttp: {service: gate.auth.svc.cluster.local, port: 9080, headersToUpstreamOnAllow: [authorization], includeRequestHeadersInCheck: [x-user]}
`;

let key: SigningKey;

beforeAll(async () => {
  key = await signingKey('ES256');
});

const authentication = (): string => `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: shop}
spec:
  selector: {matchLabels: {app: cart}}
  jwtRules:
  - issuer: ${ISSUER}
    jwks: '${jwksOf(key)}'
    outputClaimToHeaders: [{header: x-user, claim: sub}]
---
`;

const allow = (rules: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: allow, namespace: shop}
spec: {rules: ${rules}}
---
`;

const CUSTOM = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: custom, namespace: shop}
spec: {action: CUSTOM, provider: {name: gate}, rules: [{to: [{operation: {paths: [/private*]}}]}]}
---
`;

class Bench {
  readonly world = new World(tableOf());
  readonly #pod: WorkloadHandle;

  constructor(yaml: string) {
    const snapshot = snapshotOf({ 'app.yaml': application('shop', ['cart']), 'auth.yaml': application('auth', ['gate']), 'mesh.yaml': MESH, 'security.yaml': yaml });
    expect(errors(snapshot)).toEqual([]);
    this.#pod = this.world.pod('shop/cart-v1', compiled(snapshot, 'shop/cart-v1'));
  }

  async send(path: string, headers: Readonly<Record<string, string>> = {}, body = ''): Promise<FakeClient> {
    const connection: Connection = { ...this.world.connectTo('10.244.4.1', 9080), workload: this.#pod, direction: 'inbound', remoteAddress: '10.244.9.9' };
    const client = new FakeClient();
    client.exchange = new Exchange('destination', connection, undefined, this.world.clock.nowMs());
    const head = new RequestHead('POST', path, 'cart', 11);
    for (const [name, value] of Object.entries(headers)) head.headers.add(name, value);
    head.contentLength = body === '' ? 0 : LENGTH_UNKNOWN;
    client.sink = this.#pod.inbound(connection).serve(client.exchange, head, client);
    if (body !== '') client.sink.data(Buffer.from(body));
    client.sink.end(undefined);
    while (client.ends === 0) {
      this.world.clock.advance(0);
      await new Promise((resolve) => setImmediate(resolve));
    }
    return client;
  }

  /** Requests that reached the application. */
  get arrived(): FakeRequest[] {
    return this.world.requests.filter(({ connection }) => connection.target.direction === 'inbound');
  }
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });

describe('a policy that demands a token', () => {
  const rules = `[{from: [{source: {requestPrincipals: ["${ISSUER}/alice"]}}], when: [{key: "request.auth.claims[groups]", values: [staff]}, {key: "request.auth.claims[scope]", values: [write]}]}]`;

  test.each<[string, Readonly<Record<string, unknown>> | undefined, number, string]>([
    ['none', undefined, 403, 'RBAC: access denied'],
    ['one that proves it', { groups: ['staff'], scope: 'read write' }, 200, ''],
    ['of another subject', { sub: 'bob', groups: ['staff'], scope: 'write' }, 403, 'RBAC: access denied'],
    ['without the scope', { groups: ['staff'], scope: 'read' }, 403, 'RBAC: access denied'],
    ['that has expired', { groups: ['staff'], scope: 'write', exp: NOW - 100 }, 401, 'Jwt is expired'],
  ])('%s', async (_name, claims, status, body) => {
    const bench = new Bench(authentication() + allow(rules));
    const client = await bench.send('/items', { 'x-user': 'forged', ...(claims === undefined ? {} : bearer(await sign(key, claims))) }, 'the body');
    expect([client.status, client.body]).toEqual([status, body]);
    const [request] = bench.arrived;
    expect(request === undefined ? undefined : [request.body, request.head.headers.get('x-user'), request.head.headers.has('authorization')]).toEqual(status === 200 ? ['the body', 'alice', false] : undefined);
    expect(bench.world.ended.map((facts) => facts.status)).toEqual([status]);
  });
});

describe('an external authorizer', () => {
  test('comes first, sees what the client sent, and may supply the token', async () => {
    const bench = new Bench(authentication() + CUSTOM + allow(`[{from: [{source: {requestPrincipals: ["${ISSUER}/alice"]}}]}]`));
    const token = await sign(key);
    bench.world.script = (request) => request.answer(request.connection.target.direction === 'inbound' ? 200 : request.head.target === '/private/no' ? 401 : 200, bearer(token));
    expect((await bench.send('/private/items', { 'x-user': 'claimed' })).status).toBe(200);
    const question = bench.world.requests.find(({ connection }) => connection.target.direction === 'outbound');
    expect([question?.head.target, question?.head.headers.get('x-user')]).toEqual(['/private/items', 'claimed']);
    expect(bench.arrived[0]?.head.headers.get('x-user')).toBe('alice');
    expect((await bench.send('/private/no')).status).toBe(401);
    // Not taken by the CUSTOM policy: nobody supplies a token.
    expect((await bench.send('/items')).status).toBe(403);
    expect(bench.world.ended.map(({ status, flags, details }) => [status, flags, details])).toEqual([
      [200, '', 'via_upstream'],
      [401, 'UAEX', 'ext_authz_denied'],
      [403, '', 'rbac_access_denied_matched_policy[none]'],
    ]);
  });
});
