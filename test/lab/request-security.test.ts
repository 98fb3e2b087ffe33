/** Tokens and external authorizers in a mesh of two nodes, with a real identity provider and a real authorizer beside the application. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Lab } from '../../src/lab/lab.ts';
import { agentsReady, applied, echo, identityOf, mesh, NAMESPACE, pod, service, STRICT } from './mesh.ts';

const TCP_PORT = 7000;

let lab: Lab;
let issuer: string;

const PROVIDERS = `---
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    extensionProviders:
    - name: over-http
      envoyExtAuthzHttp: {service: gate.${NAMESPACE}.svc.cluster.local, port: 8000, timeout: 2s, includeRequestHeadersInCheck: [x-allow], headersToUpstreamOnAllow: [x-authorized-by]}
    - name: over-grpc
      envoyExtAuthzGrpc: {service: gate.${NAMESPACE}.svc.cluster.local, port: 9000, timeout: 2s}
`;

beforeAll(async () => {
  const gatePorts = [{ name: 'http', port: 8000 }, { name: 'grpc', port: 9000 }];
  const topology = [
    mesh('reqsec'),
    PROVIDERS,
    pod('client', { node: 'node1' }),
    pod('other', { node: 'node1' }),
    echo('shop', { node: 'node2' }),
    pod('lines', { node: 'node2', command: ['node', 'lab/apps/tcp-echo.ts'], env: { PORT: String(TCP_PORT) }, ports: [{ name: 'tcp', port: TCP_PORT }] }),
    service('lines', [{ name: 'tcp', port: TCP_PORT }]),
    // On the other node, so that questions about the shop go through a tunnel.
    pod('gate', { node: 'node1', command: ['node', 'lab/apps/authorizer.ts'], env: { MAY_CONNECT: identityOf('client') }, ports: gatePorts }),
    service('gate', gatePorts),
    pod('issuer', { node: 'node1', namespace: 'outside', command: ['node', 'lab/apps/issuer.ts'], ports: [{ name: 'http', port: 8080 }] }),
  ].join('');
  lab = await Lab.up([], { sources: [{ file: 'request security topology', text: topology }] });
  await agentsReady(lab);
  issuer = `http://${(await lab.pod('issuer')).address.ipv4}:8080`;
  await applied(lab, STRICT);
}, 120_000);

afterAll(async () => {
  await lab?.down();
});

/** Status and body of a request to the shop. */
async function ask(...options: readonly string[]): Promise<{ status: number; body: string }> {
  const { stdout } = await lab.exec('client', ['curl', '-sS', '-m', '10', '-w', '\n%{http_code}', ...options, 'http://shop:8080/items']);
  const end = stdout.trimEnd().lastIndexOf('\n');
  return { status: Number(stdout.slice(end + 1)), body: stdout.slice(0, end) };
}

async function fromIssuer(path: string): Promise<string> {
  const { stdout } = await lab.exec('issuer', ['curl', '-sS', '-m', '10', `http://127.0.0.1:8080${path}`]);
  return stdout.trim();
}

const headersOf = (body: string): Record<string, string> => (JSON.parse(body) as { headers: Record<string, string> }).headers;

describe('tokens', () => {
  beforeAll(async () => {
    await applied(lab, `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: jwt, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: shop}}
  jwtRules:
  - {issuer: https://issuer.example, jwksUri: "${issuer}/keys", outputClaimToHeaders: [{header: x-user, claim: sub}]}
---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: staff, namespace: ${NAMESPACE}}
spec:
  selector: {matchLabels: {app: shop}}
  rules: [{from: [{source: {requestPrincipals: ["https://issuer.example/*"]}}], when: [{key: "request.auth.claims[group]", values: [staff]}]}]
`);
  });

  afterAll(async () => {
    await lab.delete(`apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: jwt, namespace: ${NAMESPACE}}\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: staff, namespace: ${NAMESPACE}}\n`);
  });

  const bearer = (token: string): string[] => ['-H', `Authorization: Bearer ${token}`];

  it('are verified with keys that the agent fetched, and policies ask for what they prove', async () => {
    expect(await ask()).toEqual({ status: 403, body: 'RBAC: access denied' });
    const { status, body } = await ask('-H', 'x-user: root', ...bearer(await fromIssuer('/token?sub=alice&group=staff')));
    expect(status, body).toBe(200);
    expect([headersOf(body)['x-user'], headersOf(body)['authorization']]).toEqual(['alice', undefined]);
    expect((await ask(...bearer(await fromIssuer('/token?sub=bob&group=guests')))).status).toBe(403);
    expect(await ask(...bearer(await fromIssuer('/token?sub=alice&group=staff&seconds=-100')))).toEqual({ status: 401, body: 'Jwt is expired' });
    expect((await ask(...bearer('a.b.c'))).status).toBe(401);
  });

  it('of a new key are accepted at once: the agent asks again', async () => {
    await fromIssuer('/rotate');
    const { status, body } = await ask(...bearer(await fromIssuer('/token?sub=carol&group=staff')));
    expect([status, headersOf(body)['x-user']]).toEqual([200, 'carol']);
  });
});

describe.each(['over-http', 'over-grpc'])('an authorizer asked %s', (provider) => {
  const custom = (app: string, rules: string): string => `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${app}-custom, namespace: ${NAMESPACE}}
spec: {selector: {matchLabels: {app: ${app}}}, action: CUSTOM, provider: {name: ${provider}}, rules: ${rules}}
`;

  it('decides about requests', async () => {
    await applied(lab, custom('shop', '[{}]'));
    const { status, body } = await ask('-H', 'x-allow: yes', '-H', 'x-authorized-by: me');
    expect(status, body).toBe(200);
    expect(headersOf(body)['x-authorized-by']).toBe(provider === 'over-http' ? 'http' : `grpc for ${identityOf('client')}`);
    expect(await ask('-d', 'a body')).toEqual({ status: 403, body: 'denied by the authorizer: x-allow is not yes\n' });
    await lab.delete(custom('shop', '[{}]'));
  });

  it('decides about opaque connections, if it can be asked about them', async () => {
    await applied(lab, custom('lines', '[{}]'));
    const said = async (from: string): Promise<string> => (await lab.exec(from, ['node', '-e', `require('net').connect(${TCP_PORT}, 'lines').on('error', () => undefined).end('hello').pipe(process.stdout)`])).stdout;
    expect(await said('client')).toBe(provider === 'over-grpc' ? 'hello' : '');
    expect(await said('other')).toBe('');
    await lab.delete(custom('lines', '[{}]'));
  });
});
