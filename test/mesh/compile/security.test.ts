/** What a workload demands: PeerAuthentication by level and port, token rules with their defaults, probes, settings of the mesh. */
import { describe, expect, it } from 'vitest';
import { compile, workloadClass } from '../../../src/mesh/compile/compile.ts';
import type { Workload } from '../../../src/mesh/snapshot.ts';
import { policy, securityOf } from '../security-world.ts';
import { application, snapshotOf, tableOf } from '../world.ts';

function peers(spec: string, { name = 'default', namespace = 'shop', created = '2026-01-01T00:00:00Z' } = {}): string {
  return `apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: ${name}, namespace: ${namespace}, creationTimestamp: "${created}"}
spec: ${spec}
---
`;
}

const MESH = { namespace: 'istio-system' };
const OWN = '{selector: {matchLabels: {app: cart}}, mtls: {mode: DISABLE}}';

describe('the mutual TLS mode', () => {
  it.each([
    { name: 'nothing', yaml: '', mode: 'PERMISSIVE', from: 'Istio\'s default' },
    { name: 'the mesh', yaml: peers('{mtls: {mode: STRICT}}', MESH), mode: 'STRICT', from: 'PeerAuthentication istio-system/default' },
    { name: 'the namespace over the mesh', yaml: peers('{mtls: {mode: STRICT}}', MESH) + peers('{mtls: {mode: PERMISSIVE}}'), mode: 'PERMISSIVE', from: 'PeerAuthentication shop/default' },
    { name: 'an unset namespace inherits', yaml: peers('{mtls: {mode: STRICT}}', MESH) + peers('{mtls: {mode: UNSET}}'), mode: 'STRICT', from: 'PeerAuthentication istio-system/default' },
    { name: 'the workload over both', yaml: peers('{mtls: {mode: STRICT}}', MESH) + peers('{mtls: {mode: STRICT}}') + peers(OWN, { name: 'cart' }), mode: 'DISABLE', from: 'PeerAuthentication shop/cart' },
    { name: 'a workload without a mode inherits', yaml: peers('{mtls: {mode: STRICT}}') + peers('{selector: {matchLabels: {app: cart}}}', { name: 'cart' }), mode: 'STRICT', from: 'PeerAuthentication shop/default' },
    { name: 'other labels', yaml: peers('{selector: {matchLabels: {app: web}}, mtls: {mode: STRICT}}'), mode: 'PERMISSIVE', from: 'Istio\'s default' },
    { name: 'other namespaces', yaml: peers('{mtls: {mode: STRICT}}', { namespace: 'ops' }), mode: 'PERMISSIVE', from: 'Istio\'s default' },
    { name: 'a selector in the root namespace is for nobody', yaml: peers('{selector: {matchLabels: {app: cart}}, mtls: {mode: STRICT}}', MESH), mode: 'PERMISSIVE', from: 'Istio\'s default' },
    { name: 'an empty selector is none', yaml: peers('{selector: {matchLabels: {}}, mtls: {mode: STRICT}}', MESH), mode: 'STRICT', from: 'PeerAuthentication istio-system/default' },
    { name: 'the oldest of a level', yaml: peers('{mtls: {mode: STRICT}}', { name: 'a', created: '2026-02-01T00:00:00Z' }) + peers('{mtls: {mode: DISABLE}}', { name: 'b' }), mode: 'DISABLE', from: 'PeerAuthentication shop/b' },
    { name: 'the oldest of a level, though it is unset', yaml: peers('{mtls: {mode: STRICT}}', { name: 'a', created: '2026-02-01T00:00:00Z' }) + peers('{}', { name: 'b' }), mode: 'PERMISSIVE', from: 'Istio\'s default' },
  ])('of $name', ({ yaml, mode, from }) => {
    expect(securityOf(yaml).mtls).toMatchObject({ default: mode, defaultOrigin: from });
  });

  it('of a port is the port\'s own, by the number of the container', () => {
    const { mtls } = securityOf(peers('{mtls: {mode: STRICT}}') + peers('{selector: {matchLabels: {app: cart}}, portLevelMtls: {"9080": {mode: PERMISSIVE}, "9090": {mode: UNSET}, "9091": {mode: DISABLE}}}', { name: 'cart' }));
    expect(mtls.default).toBe('STRICT');
    expect(Object.fromEntries(mtls.ports)).toEqual({ 9080: 'PERMISSIVE', 9091: 'DISABLE' });
    expect(mtls.portOrigins.get(9080)).toBe('PeerAuthentication shop/cart portLevelMtls');
  });

  it('of the root namespace\'s own workloads is the mesh\'s', () => {
    const snapshot = snapshotOf({ 'a.yaml': application('istio-system', ['gate']), 'b.yaml': peers('{mtls: {mode: STRICT}}', MESH) });
    expect(tableOf(snapshot, 'istio-system/gate-v1').security.mtls.default).toBe('STRICT');
  });
});

function tokens(rules: string, name = 'jwt', more = ''): string {
  return `apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: {name: ${name}, namespace: shop}
spec: {jwtRules: ${rules}${more}}
---
`;
}

describe('token rules', () => {
  it('have Istio\'s defaults', () => {
    expect(securityOf(tokens('[{issuer: https://idp}]')).jwtRules).toEqual([{
      origin: 'RequestAuthentication shop/jwt jwtRules[0]', issuer: 'https://idp', audiences: [], jwks: undefined, jwksUri: undefined,
      fromHeaders: [{ name: 'authorization', prefix: 'Bearer ' }], fromParams: ['access_token'], fromCookies: [],
      outputPayloadToHeader: '', forwardOriginalToken: false, outputClaimToHeaders: [], timeoutMs: 5000, spaceDelimitedClaims: ['scope', 'permission'], required: false,
    }]);
  });

  it('keep what is written, with names of headers in lower case; named places replace the usual ones', () => {
    const [rule] = securityOf(tokens('[{issuer: i, audiences: [a], jwksUri: "https://idp/keys", fromHeaders: [{name: X-Token, prefix: "T "}], fromCookies: [c], outputPayloadToHeader: X-P, forwardOriginalToken: true, outputClaimToHeaders: [{header: X-Sub, claim: a.b}], timeout: 1s, spaceDelimitedClaims: [roles], presence: REQUIRED}]')).jwtRules;
    expect(rule).toMatchObject({
      audiences: ['a'], jwksUri: 'https://idp/keys', fromHeaders: [{ name: 'x-token', prefix: 'T ' }], fromParams: [], fromCookies: ['c'], outputPayloadToHeader: 'x-p',
      forwardOriginalToken: true, outputClaimToHeaders: [{ header: 'x-sub', claim: 'a.b' }], timeoutMs: 1000, spaceDelimitedClaims: ['scope', 'permission', 'roles'], required: true,
    });
  });

  it('of several resources are one list, by issuer', () => {
    const { jwtRules } = securityOf(tokens('[{issuer: c}, {issuer: a}]') + tokens('[{issuer: b}]', 'more', ', selector: {matchLabels: {app: cart}}') + tokens('[{issuer: x}]', 'others', ', selector: {matchLabels: {app: web}}'));
    expect(jwtRules.map(({ issuer }) => issuer)).toEqual(['a', 'b', 'c']);
  });
});

describe('probes', () => {
  const pod = (container: string): string => `apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, annotations: {orlop.io/mesh: enabled}}
spec: {containers: [${container}]}
status: {phase: Running, podIPs: [{ip: 10.244.4.77}]}
`;

  it('are those of the pod\'s containers, each once, with named ports as numbers', () => {
    const snapshot = snapshotOf({ 'a.yaml': pod('{ports: [{name: web, containerPort: 8080}], livenessProbe: {httpGet: {port: web, path: "healthz?full=1"}}, readinessProbe: {tcpSocket: {port: 9000}}, startupProbe: {grpc: {port: 9001}}}, {livenessProbe: {tcpSocket: {port: 9000}}, readinessProbe: {exec: {command: [true]}}, startupProbe: {httpGet: {port: nowhere}}}') });
    expect(tableOf(snapshot, 'shop/a').security.probes).toEqual([{ kind: 'http', port: 8080, path: '/healthz?full=1' }, { kind: 'tcp', port: 9000, path: '' }, { kind: 'grpc', port: 9001, path: '' }]);
  });
});

describe('settings of the mesh', () => {
  it('reach the workloads that have policies', () => {
    const config = 'apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: "{pathNormalization: {normalization: MERGE_SLASHES}, defaultConfig: {gatewayTopology: {numTrustedProxies: 2}}}"}\n---\n';
    expect(securityOf(config + policy('DENY', '[{}]'))).toMatchObject({ pathNormalization: 'MERGE_SLASHES', trustedProxies: 2 });
  });
});

const two = `${application('shop', ['cart', 'web'])}---\n`;

describe('workloads', () => {
  const at = (id: string, yaml: string): [ReturnType<typeof snapshotOf>, Workload] => {
    const snapshot = snapshotOf({ 'a.yaml': two, 'b.yaml': yaml });
    return [snapshot, snapshot.workloads.find((one) => one.id === id) as Workload];
  };

  it('of one class share what they demand; a policy that selects one of them makes two classes', () => {
    const general = policy('DENY', '[{}]', { name: 'all' });
    const narrow = policy('DENY', '[{}]', { name: 'cart', more: ', selector: {matchLabels: {app: cart}}' });
    const [snapshot, cart] = at('shop/cart-v1', general);
    const web = snapshot.workloads.find(({ id }) => id === 'shop/web-v1') as Workload;
    expect(compile(snapshot, cart).security).toBe(compile(snapshot, web).security);
    expect(workloadClass(...at('shop/web-v1', general + narrow))).toBe(workloadClass(snapshot, web));
    expect(workloadClass(...at('shop/cart-v1', general + narrow))).not.toBe(workloadClass(snapshot, cart));
  });

  it('of another service account are of the same class', () => {
    const [snapshot, cart] = at('shop/cart-v1', policy('DENY', '[{}]', { name: 'all' }));
    expect(workloadClass(snapshot, { ...cart, serviceAccount: 'other' })).toBe(workloadClass(snapshot, cart));
  });
});

describe('endpoints and clusters', () => {
  const KEY = 'outbound|9080||cart.shop.svc.cluster.local';

  it('have the identity of their pods, and of WorkloadEntries with a service account', () => {
    const entry = 'apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: vm, namespace: shop}\nspec: {hosts: [vm.example.com], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, subjectAltNames: [spiffe://x/y], endpoints: [{address: 192.0.2.1, serviceAccount: vm}, {address: 192.0.2.2}]}\n';
    const { clusters } = tableOf(snapshotOf({ 'a.yaml': two, 'b.yaml': entry }), 'shop/web-v1');
    expect(clusters.get(KEY)?.endpoints.map(({ identity }) => identity)).toEqual(['spiffe://cluster.local/ns/shop/sa/default']);
    expect(clusters.get('outbound|80||vm.example.com')).toMatchObject({ subjectAltNames: ['spiffe://x/y'], tls: undefined, endpoints: [{ identity: 'spiffe://cluster.local/ns/shop/sa/vm' }, { identity: '' }] });
  });

  const rule = (spec: string): string => `apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: cart, namespace: shop}\nspec: {host: cart, ${spec}}\n`;

  it.each([
    { name: 'none', yaml: rule('trafficPolicy: {loadBalancer: {simple: RANDOM}}'), all: undefined, v1: undefined },
    { name: 'the host\'s', yaml: rule('trafficPolicy: {tls: {mode: SIMPLE, sni: a.example, subjectAltNames: [a]}}, subsets: [{name: v1}]'), all: { mode: 'SIMPLE', sni: 'a.example', subjectAltNames: ['a'] }, v1: { mode: 'SIMPLE' } },
    { name: 'the subset\'s over the host\'s', yaml: rule('trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}, subsets: [{name: v1, trafficPolicy: {tls: {mode: DISABLE}}}]'), all: { mode: 'ISTIO_MUTUAL' }, v1: { mode: 'DISABLE' } },
    { name: 'the port\'s over the host\'s', yaml: rule('trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 9080}, tls: {mode: MUTUAL, clientCertificate: /c, privateKey: /k, caCertificates: /ca, insecureSkipVerify: true}}]}, subsets: [{name: v1}]'), all: { mode: 'MUTUAL', clientCertificate: '/c', privateKey: '/k', caCertificates: '/ca', insecureSkipVerify: true }, v1: { mode: 'MUTUAL' } },
    { name: 'no block for the port, which then has none', yaml: rule('trafficPolicy: {tls: {mode: SIMPLE}, portLevelSettings: [{port: {number: 9080}, loadBalancer: {simple: RANDOM}}]}, subsets: [{name: v1}]'), all: undefined, v1: undefined },
  ])('have the TLS settings of the DestinationRule: $name', ({ yaml, all, v1 }) => {
    const { clusters } = tableOf(snapshotOf({ 'a.yaml': two, 'b.yaml': yaml }), 'shop/web-v1');
    const expected = (want: object | undefined): unknown => (want === undefined ? undefined : expect.objectContaining(want));
    expect(clusters.get(KEY)?.tls).toEqual(expected(all));
    if (yaml.includes('subsets')) expect(clusters.get('outbound|9080|v1|cart.shop.svc.cluster.local')?.tls).toEqual(expected(v1));
  });
});
