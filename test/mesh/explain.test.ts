/** What would become of a request, by the tables that the data plane uses. */
import { describe, expect, it } from 'vitest';
import { authzReport } from '../../src/mesh/authz-report.ts';
import { explain } from '../../src/mesh/explain.ts';
import type { Explanation } from '../../src/mesh/explain.ts';
import { findWorkload } from '../../src/mesh/find-workload.ts';
import { parametersOf, questionFrom } from '../../src/mesh/question.ts';
import type { Workload } from '../../src/mesh/snapshot.ts';
import { policy } from './security-world.ts';
import { application, snapshotOf } from './world.ts';

/** web and cart on node1, a second cart on node2, and a client outside the mesh. */
const APP = `${application('shop', ['cart', 'web'])}---
apiVersion: v1
kind: Pod
metadata: {name: cart-v2, namespace: shop, labels: {app: cart, version: v2}, annotations: {orlop.io/mesh: enabled}}
spec: {nodeName: node2, serviceAccountName: cart, containers: [{name: app, ports: [{containerPort: 9080}]}]}
status: {phase: Running, podIPs: [{ip: 10.244.9.9}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: outsider, namespace: shop}
spec: {nodeName: node1, containers: [{name: app}]}
status: {phase: Running, podIPs: [{ip: 10.244.9.10}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Service
metadata: {name: store, namespace: shop}
spec: {clusterIP: 10.96.77.1, selector: {app: cart}, ports: [{name: tcp-store, port: 6000, targetPort: 9000}]}
`;
const STRICT = 'apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: istio-system}\nspec: {mtls: {mode: STRICT}}\n---\n';

function rule(spec: string): string {
  return `apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: cart, namespace: shop}\nspec:\n  hosts: [cart]\n  http:\n${spec}---\n`;
}

function ask(yaml: string, from: string, to: string, method = 'GET', path = '/items', headers: readonly [string, string][] = []): Explanation | string {
  return explain(snapshotOf({ 'app.yaml': APP, 'rules.yaml': yaml }), { from, to, method, path, headers: new Map(headers) });
}

function told(...asked: Parameters<typeof ask>): Explanation {
  const answer = ask(...asked);
  if (typeof answer === 'string') throw new Error(answer);
  return answer;
}

/** Kind and verdict of each endpoint. */
function outcomes({ targets }: Explanation): string[] {
  return targets.flatMap(({ endpoints }) => endpoints.map(({ workload, kind, allowed, server }) => `${workload} ${kind} ${allowed ? 'allowed' : 'refused'} ${server?.mtlsMet === false ? 'plaintext' : (server?.reason ?? 'unasked')}`)).sort();
}

describe('explain', () => {
  it('says route, endpoints with their kind, and verdict', () => {
    const answer = told(STRICT, 'shop/web-v1', 'cart:9080');
    expect(answer).toMatchObject({ client: 'shop/web-v1', identity: 'spiffe://cluster.local/ns/shop/sa/default', protocol: 'http', answer: '' });
    expect(outcomes(answer)).toEqual(['shop/cart-v1 local allowed open', 'shop/cart-v2 hbone allowed open']);
    expect(answer.targets[0]?.endpoints[0]?.server).toMatchObject({ mtls: 'STRICT', mtlsOrigin: 'PeerAuthentication istio-system/default', mtlsMet: true });
  });

  it('names the policy and the rule that decide', () => {
    const policies = policy('ALLOW', '[{to: [{operation: {methods: [GET]}}]}]', { name: 'readers' }) + policy('DENY', '[{}, {to: [{operation: {paths: [/admin]}}]}]'.replace('{}, ', ''), { name: 'no-admin' });
    const server = (method: string, path: string): unknown => told(policies, 'shop/web-v1', 'cart:9080', method, path).targets[0]?.endpoints[0]?.server;
    expect(server('GET', '/items')).toMatchObject({ reason: 'allowed', policy: 'AuthorizationPolicy shop/readers', rule: 0, ruleText: 'to methods=[GET]' });
    expect(server('GET', '/x/../admin?q')).toMatchObject({ reason: 'denied', policy: 'AuthorizationPolicy shop/no-admin', path: '/admin' });
    expect(server('POST', '/items')).toMatchObject({ reason: 'no match', policy: '' });
  });

  it('follows routes: shares, rewrites, headers, redirects, and none', () => {
    const subsets = 'apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: cart, namespace: shop}\nspec: {host: cart, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}, trafficPolicy: {tls: {mode: DISABLE}}}]}\n---\n';
    const routes = rule(`  - match: [{headers: {x-canary: {exact: "1"}}}]
    rewrite: {uri: /admin}
    route:
    - {destination: {host: cart, subset: v1}, weight: 25}
    - {destination: {host: cart, subset: v2}, weight: 75}
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /new}
  - match: [{method: {exact: GET}}]
    route: [{destination: {host: cart, subset: v1}}]
`);
    const yaml = subsets + routes + policy('DENY', '[{to: [{operation: {paths: [/admin]}}]}]');
    const canary = told(yaml, 'shop/web-v1', 'cart:9080', 'GET', '/items', [['x-canary', '1']]);
    expect(canary.route).toMatch(/^VirtualService shop\/cart http\[0\]/);
    expect(canary.targets.map(({ share }) => share)).toEqual([25, 75]);
    expect(outcomes(canary)).toEqual(['shop/cart-v1 local refused denied', 'shop/cart-v2 plain refused denied']);
    expect(told(yaml, 'shop/web-v1', 'cart:9080', 'GET', '/old/x')).toMatchObject({ answer: 'redirect 301', targets: [] });
    expect(told(yaml, 'shop/web-v1', 'cart:9080', 'POST', '/x').answer).toMatch(/^404 NR/);
  });

  it('says that TCP is judged without method and path', () => {
    const answer = told(policy('ALLOW', '[{to: [{operation: {methods: [GET]}}]}]'), 'shop/web-v1', 'store.shop:6000');
    expect(answer.protocol).toBe('tcp');
    expect(outcomes(answer)).toEqual(['shop/cart-v1 local refused no match', 'shop/cart-v2 hbone refused no match']);
  });

  it('says what becomes of a client outside the mesh', () => {
    expect(outcomes(told(STRICT, 'shop/outsider', 'cart:9080'))).toEqual(['shop/cart-v1 plain refused plaintext', 'shop/cart-v2 plain refused plaintext']);
    expect(told('', 'shop/outsider', 'cart:9080')).toMatchObject({ identity: '', route: expect.stringMatching(/not enrolled/) as string });
  });

  it('finds a client by its service account, and a server by its pod', () => {
    expect(told('', 'shop/cart', 'web').client).toBe('shop/cart-v2');
    expect(outcomes(told('', 'shop/web-v1', 'shop/cart-v2:9080'))).toEqual(['shop/cart-v2 hbone allowed open']);
    expect(outcomes(told('', 'shop/web-v1', 'shop/outsider:80'))).toEqual(['shop/outsider plain allowed unasked']);
  });

  it('names the external authorizer that is asked, and the token that is demanded', () => {
    const config = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "{extensionProviders: [{name: asker, envoyExtAuthzGrpc: {service: web.shop.svc.cluster.local, port: 9080}}]}"}\n---\n';
    const server = (yaml: string): unknown => told(yaml, 'shop/web-v1', 'cart:9080').targets[0]?.endpoints[0];
    expect(server(config + policy('CUSTOM', '[{}]', { more: ', provider: {name: asker}' }))).toMatchObject({ allowed: true, server: { provider: 'asker' } });
    expect(server('apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: jwt, namespace: shop}\nspec: {jwtRules: [{issuer: i, presence: REQUIRED}]}\n')).toMatchObject({ allowed: false, server: { tokenRequired: true } });
  });

  it.each([
    ['web', 'cart:9080', /NAMESPACE\/NAME/],
    ['shop/nobody', 'cart:9080', /neither a pod nor a service account.*shop\/cart-v1/],
    ['shop/web-v1', 'crat', /no service "crat\.shop/],
    ['shop/web-v1', 'cart:1', /has the ports 9080/],
    ['shop/web-v1', 'shop/nobody:1', /no pod shop\/nobody/],
    ['shop/web-v1', 'shop/cart-v1', /say which port/],
  ])('says what is wrong with a question: %s to %s', (from, to, sentence) => {
    expect(ask('', from, to)).toMatch(sentence);
  });

  it('a question survives the way to the agent', () => {
    const question = { from: 'shop/a', to: 'b:80', method: 'PUT', path: '/x?y=1&z', headers: new Map([['x-a', '1: 2']]) };
    expect(questionFrom(new URLSearchParams(parametersOf(question).toString()))).toEqual(question);
  });
});

describe('the report on a pod', () => {
  it('lists modes, token rules and policies in order of evaluation', () => {
    const snapshot = snapshotOf({
      'app.yaml': APP,
      'x.yaml': STRICT + policy('ALLOW', '[{to: [{operation: {methods: [GET]}}]}, {when: [{key: request.body, values: [x]}]}]', { name: 'a' }) + policy('DENY', '[{}]', { name: 'd', annotations: '{"istio.io/dry-run": "true"}' })
        + policy('CUSTOM', '[{}]', { name: 'c', more: ', provider: {name: nobody}' }) + policy('DENY', '[{}]', { name: 'b' }) + policy('AUDIT', '[{}]', { name: 'e' }),
    });
    const report = authzReport(snapshot, findWorkload(snapshot, 'cart-v2') as Workload);
    expect(report).toMatchObject({ workload: 'shop/cart-v2', identity: 'spiffe://cluster.local/ns/shop/sa/cart', otherwise: 'refused' });
    expect(report.mtls.map(({ port, mode }) => [port, mode])).toEqual([[0, 'STRICT'], [9000, 'STRICT'], [9080, 'STRICT']]);
    expect(report.policies.map(({ action, policy: name, dryRun }) => `${action} ${name}${dryRun ? ' dry' : ''}`)).toEqual([
      'CUSTOM AuthorizationPolicy shop/c', 'AUDIT AuthorizationPolicy shop/e', 'DENY AuthorizationPolicy shop/b', 'ALLOW AuthorizationPolicy shop/a', 'DENY AuthorizationPolicy shop/d dry',
    ]);
    expect(report.policies[0]?.provider).toMatch(/no external authorizer "nobody"/);
    expect(report.policies[3]?.rules.map(({ note }) => note)).toEqual(['HTTP only', expect.stringMatching(/skipped/)]);
  });

  it('is not for a pod that is not there', () => {
    const snapshot = snapshotOf({ 'app.yaml': APP });
    expect(findWorkload(snapshot, 'nobody')).toMatch(/there is no pod "nobody"; enrolled are shop\/cart-v1/);
    expect(findWorkload(snapshot, 'shop/cart-v1')).toMatchObject({ name: 'cart-v1' });
  });
});
