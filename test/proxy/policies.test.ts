/** Policies at work: requests, connections and tunnels judged at a pod's own ports, now and when the configuration changes. */
import { describe, expect, it } from 'vitest';
import type { AuthorizationPolicies, InboundSecurity, Mtls } from '../../src/mesh/security.ts';
import { NO_SECURITY } from '../../src/mesh/security.ts';
import type { InboundPort, Table } from '../../src/mesh/table.ts';
import { Pod } from '../../src/proxy/pod.ts';
import type { Connection, Peer } from '../../src/proxy/connection.ts';
import { STRANGER } from '../../src/proxy/connection.ts';
import { RequestHead } from '../../src/proxy/head.ts';
import { Exchange } from '../../src/proxy/record.ts';
import type { WorkloadHandle } from '../../src/proxy/workload.ts';
import { policiesOf, policy } from '../mesh/security-world.ts';
import { FakeClient, World, clusterOf, endpoints, forwardTo, routeOf, silent, tableOf } from './world.ts';

const service = { host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' };
const PORTS: ReadonlyMap<number, InboundPort> = new Map([[9080, { protocol: 'http', service }], [9000, { protocol: 'tcp', service }]]);
const WEB: Peer = { identity: 'spiffe://cluster.local/ns/shop/sa/web', security: 'mutual_tls' };

function mtls(mode: Mtls['default'], ports: ReadonlyMap<number, Mtls['default']> = new Map()): Mtls {
  return { default: mode, defaultOrigin: 'PeerAuthentication shop/default', ports, portOrigins: new Map([...ports.keys()].map((port) => [port, 'PeerAuthentication shop/cart portLevelMtls'])) };
}

function security(change: Partial<InboundSecurity>): InboundSecurity {
  return { ...NO_SECURITY, ...change };
}

/** A pod `default/reviews` that demands this. */
function server(world: World, change: Partial<InboundSecurity>): WorkloadHandle & { table: Table } {
  return world.pod('default/reviews', { ...tableOf({ inbound: PORTS }), security: security(change) });
}

interface Asked {
  readonly peer?: Peer;
  readonly method?: string;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly from?: string;
  readonly upgrade?: string;
}

function ask(world: World, pod: WorkloadHandle, { peer = WEB, method = 'GET', path = '/items', headers = {}, from = '10.3.0.1', upgrade }: Asked = {}): FakeClient {
  const connection: Connection = { workload: pod, direction: 'inbound', peer, remoteAddress: from, remotePort: 1234, destinationAddress: '10.1.0.1', destinationPort: 9080, serverName: '' };
  const client = new FakeClient();
  client.exchange = new Exchange('destination', connection, undefined, world.clock.nowMs());
  const head = new RequestHead(method, path, 'reviews', 11);
  for (const [name, value] of Object.entries(headers)) head.headers.add(name, value);
  head.upgrade = upgrade;
  client.sink = pod.inbound(connection).serve(client.exchange, head, client);
  client.sink.end(undefined);
  world.clock.advance(0);
  return client;
}

function withPolicies(...policies: readonly string[]): { world: World; pod: WorkloadHandle } {
  const world = new World(tableOf());
  return { world, pod: server(world, { authorization: policiesOf(...policies) }) };
}

describe('AuthorizationPolicy on requests', () => {
  const fromWeb = '[{from: [{source: {principals: [cluster.local/ns/shop/sa/web]}}], to: [{operation: {methods: [GET]}}]}]';

  it('lets through what is allowed', () => {
    const { world, pod } = withPolicies(policy('ALLOW', fromWeb));
    expect(ask(world, pod).status).toBe(200);
    expect(ask(world, pod, { peer: { ...WEB, security: 'local' } }).status).toBe(200);
  });

  it('answers 403 in Istio\'s words, and says which policy in the access log', () => {
    const { world, pod } = withPolicies(policy('ALLOW', fromWeb), policy('DENY', '[{}, {to: [{operation: {paths: [/admin]}}]}]', { name: 'no' }));
    const client = ask(world, pod);
    expect([client.status, client.body]).toEqual([403, 'RBAC: access denied']);
    expect(client.headers?.get('x-orlop-reason')).toBe('rbac_denied');
    expect(world.ended[0]).toMatchObject({ reporter: 'destination', status: 403, flags: '', details: 'rbac_access_denied_matched_policy[ns[shop]-policy[no]-rule[0]]', error: { code: 'rbac_denied' } });
    expect(world.dials).toEqual([]);
  });

  it('says so when no ALLOW policy takes it', () => {
    const { world, pod } = withPolicies(policy('ALLOW', fromWeb));
    for (const asked of [{ method: 'POST' }, { peer: STRANGER }]) expect(ask(world, pod, asked).status).toBe(403);
    expect(world.ended[0]?.details).toBe('rbac_access_denied_matched_policy[none]');
  });

  it('tells a gRPC client in its own way', () => {
    const { world, pod } = withPolicies(policy('DENY', '[{}]'));
    const client = ask(world, pod, { headers: { 'content-type': 'application/grpc' } });
    expect([client.status, client.headers?.get('grpc-status'), decodeURIComponent(client.headers?.get('grpc-message') ?? '')]).toEqual([200, '7', 'RBAC: access denied']);
  });

  it.each(['/admin', '/./admin', '/x/../admin', '/%61dmin', '/x/%2e%2e/admin', String.raw`/x\..\admin`, '/admin#x', '/admin?x=1'])('no spelling of a path is a way round: %s', (path) => {
    const { world, pod } = withPolicies(policy('DENY', '[{to: [{operation: {paths: [/admin]}}]}]'));
    expect(ask(world, pod, { path }).status).toBe(403);
  });

  it('the application gets the path that was judged, the log the one that was sent', () => {
    const { world, pod } = withPolicies(policy('ALLOW', '[{to: [{operation: {paths: [/public]}}]}]'));
    expect(ask(world, pod, { path: '/admin/../public?q=/../x' }).status).toBe(200);
    expect(world.requests[0]?.head.target).toBe('/public?q=/../x');
    expect(world.ended[0]?.path).toBe('/admin/../public?q=/../x');
  });

  it('joins header lines before it compares them', () => {
    const { pod } = withPolicies(policy('DENY', '[{when: [{key: "request.headers[x-a]", values: ["1, 2"]}]}]'));
    const connection: Connection = { workload: pod, direction: 'inbound', peer: WEB, remoteAddress: '10.3.0.1', remotePort: 1, destinationAddress: '10.1.0.1', destinationPort: 9080, serverName: '' };
    const client = new FakeClient();
    client.exchange = new Exchange('destination', connection, undefined, 0);
    const head = new RequestHead('GET', '/', 'reviews', 11);
    head.headers.add('X-A', '1');
    head.headers.add('x-a', '2');
    pod.inbound(connection).serve(client.exchange, head, client);
    expect(client.status).toBe(403);
  });

  it.each([
    { trustedProxies: 0, forwarded: '203.0.113.1', status: 403 },
    { trustedProxies: 1, forwarded: '203.0.113.1', status: 200 },
    { trustedProxies: 1, forwarded: '203.0.113.1, 192.0.2.1', status: 403 },
    { trustedProxies: 2, forwarded: '203.0.113.1, 192.0.2.1', status: 200 },
    { trustedProxies: 2, forwarded: '203.0.113.1', status: 403 },
  ])('believes $trustedProxies proxies: $forwarded', ({ trustedProxies, forwarded, status }) => {
    const world = new World(tableOf());
    const pod = server(world, { trustedProxies, authorization: policiesOf(policy('ALLOW', '[{from: [{source: {remoteIpBlocks: [203.0.113.0/24]}}]}]')) });
    expect(ask(world, pod, { headers: { 'x-forwarded-for': forwarded } }).status).toBe(status);
  });

  it('is asked anew for each request of a connection', () => {
    const { world, pod } = withPolicies();
    expect(ask(world, pod).status).toBe(200);
    pod.table = { ...pod.table, security: security({ authorization: policiesOf(policy('DENY', '[{}]')) }) };
    expect(ask(world, pod).status).toBe(403);
  });

  it('holds for a client of the same node, who then gets the answer as it is', () => {
    const spec = clusterOf({ endpoints: endpoints('10.1.0.1').map((endpoint) => ({ ...endpoint, workload: 'default/reviews', enrolled: true })) });
    const world = new World(tableOf({ clusters: [spec], routes: [routeOf({ action: forwardTo() })] }));
    world.workloads.set('default/reviews', server(world, { authorization: policiesOf(policy('DENY', '[{}]')) }));
    const client = world.send();
    expect([client.status, client.body]).toEqual([403, 'RBAC: access denied']);
    expect(world.ended.map(({ reporter, status }) => `${reporter} ${status}`).sort()).toEqual(['destination 403', 'source 403']);
  });
});

describe('an upgraded connection', () => {
  it('ends when it is no longer allowed', () => {
    const { world, pod } = withPolicies();
    world.script = (request) => request.begin(101);
    const client = ask(world, pod, { upgrade: 'websocket' });
    expect([client.status, client.ends]).toEqual([101, 0]);
    pod.table = { ...pod.table, security: security({ authorization: policiesOf(policy('ALLOW', '[{}]')) }) };
    pod.admission.recheck();
    expect(client.ends).toBe(0);
    pod.table = { ...pod.table, security: security({ authorization: policiesOf(policy('DENY', '[{}]')) }) };
    pod.admission.recheck();
    expect([client.ends, client.aborted?.code]).toEqual([1, 'rbac_denied']);
    expect(world.requests[0]?.cancelled?.code).toBe('rbac_denied');
    pod.admission.recheck();
    expect(world.ended).toHaveLength(1);
  });

  it('that has ended is forgotten', () => {
    const { world, pod } = withPolicies();
    world.script = silent;
    const client = ask(world, pod, { upgrade: 'websocket' });
    world.requests[0]?.answer(200);
    pod.table = { ...pod.table, security: security({ authorization: policiesOf(policy('DENY', '[{}]')) }) };
    pod.admission.recheck();
    expect([client.status, client.ends]).toEqual([200, 1]);
  });
});

describe('PeerAuthentication', () => {
  const NODE = '10.9.0.1';
  const probes = [{ kind: 'http', port: 9080, path: '/healthz?full=1' }, { kind: 'grpc', port: 9090, path: '' }, { kind: 'tcp', port: 9000, path: '' }] as const;

  function fault(change: Partial<InboundSecurity>, { peer = STRANGER, port = 9080, from = '10.3.0.1' } = {}): string | undefined {
    const world = new World(tableOf());
    const pod = server(world, change);
    return pod.admission.connectionFault({ workload: pod, direction: 'inbound', peer, remoteAddress: from, remotePort: 1, destinationAddress: '10.1.0.1', destinationPort: port, serverName: '' })?.reason;
  }

  it.each(['PERMISSIVE', 'DISABLE'] as const)('%s takes plaintext and mutual TLS', (mode) => {
    expect([fault({ mtls: mtls(mode) }), fault({ mtls: mtls(mode) }, { peer: WEB })]).toEqual([undefined, undefined]);
  });

  it('STRICT refuses plaintext, and says which resource demands it', () => {
    expect(fault({ mtls: mtls('STRICT') })).toBe('PeerAuthentication shop/default is STRICT for port 9080');
    expect(fault({ mtls: mtls('PERMISSIVE', new Map([[9080, 'STRICT']])) })).toBe('PeerAuthentication shop/cart portLevelMtls is STRICT for port 9080');
  });

  it('STRICT takes mutual TLS, and pods of the same node', () => {
    expect(fault({ mtls: mtls('STRICT') }, { peer: WEB })).toBeUndefined();
    expect(fault({ mtls: mtls('STRICT') }, { peer: { identity: WEB.identity, security: 'local' } })).toBeUndefined();
    expect(fault({ mtls: mtls('STRICT', new Map([[9080, 'PERMISSIVE']])) })).toBeUndefined();
  });

  it('STRICT takes the kubelet\'s probes: of the node, to declared ports', () => {
    const strict = { mtls: mtls('STRICT'), probes };
    expect(fault(strict, { from: NODE })).toBeUndefined();
    expect(fault(strict, { from: NODE, port: 9090 })).toBeUndefined();
    expect(fault(strict, { from: '10.9.0.2' })).toBeDefined();
    expect(fault(strict, { from: NODE, port: 9081 })).toBeDefined();
  });

  it.each([
    [{ path: '/healthz?full=1' }, 200],
    [{ path: '/healthz' }, 403],
    [{ path: '/' }, 403],
    [{ path: '/healthz?full=1', method: 'POST' }, 403],
    [{ path: '/grpc.health.v1.Health/Check', method: 'POST' }, 403],
  ] as const)('and of those only the declared path: %o', (asked, status) => {
    const world = new World(tableOf());
    const pod = server(world, { mtls: mtls('STRICT'), probes });
    expect(ask(world, pod, { peer: STRANGER, from: NODE, ...asked }).status).toBe(status);
    expect(world.dials).toHaveLength(status === 200 ? 1 : 0);
    if (status === 403) expect(world.ended[0]).toMatchObject({ flags: 'NR', details: 'filter_chain_not_found', error: { code: 'mtls_required' } });
  });

  it('lets no opaque byte of a probe through', () => {
    const world = new World(tableOf());
    const pod = server(world, { mtls: mtls('STRICT'), probes });
    expect(pod.admission.opaqueFault({ workload: pod, direction: 'inbound', peer: STRANGER, remoteAddress: NODE, remotePort: 1, destinationAddress: '10.1.0.1', destinationPort: 9080, serverName: '' }, true)?.code).toBe('mtls_required');
  });
});

describe('probes of the kubelet', () => {
  const probes = [{ kind: 'http', port: 9080, path: '/healthz' }] as const;

  it.each([
    ['AuthorizationPolicy', { authorization: policiesOf(policy('DENY', '[{}]')) }],
    ['RequestAuthentication', { jwtRules: [{ required: true } as InboundSecurity['jwtRules'][number]] }],
  ] as [string, Partial<InboundSecurity>][])('pass every %s, and nothing else does', (_, demands) => {
    const world = new World(tableOf());
    const pod = server(world, { probes, ...demands });
    expect(ask(world, pod, { peer: STRANGER, from: '10.9.0.1', path: '/healthz' }).status).toBe(200);
    expect(ask(world, pod, { peer: STRANGER, from: '::ffff:10.9.0.1', path: '/healthz' }).status).toBe(200);
    expect(world.dials.length).toBeGreaterThan(0);
  });

  it('are what the pod declares, from the node itself, and in plaintext', () => {
    const world = new World(tableOf());
    const pod = server(world, { probes, authorization: policiesOf(policy('DENY', '[{}]')) });
    const probe = { peer: STRANGER, from: '10.9.0.1', path: '/healthz' };
    for (const change of [{ from: '10.3.0.1' }, { path: '/healthz/' }, { path: '/healthz?x' }, { method: 'HEAD' }, { peer: WEB }]) expect(ask(world, pod, { ...probe, ...change }).status).toBe(403);
  });
});

describe('opaque connections', () => {
  function fault(policies: AuthorizationPolicies, peer: Peer = WEB, port = 9000): { code: string; details: string } | undefined {
    const world = new World(tableOf());
    const pod = server(world, { authorization: policies });
    const found = pod.admission.opaqueFault({ workload: pod, direction: 'inbound', peer, remoteAddress: '10.3.0.1', remotePort: 1, destinationAddress: '10.1.0.1', destinationPort: port, serverName: '' }, true);
    return found === undefined ? undefined : { code: found.code, details: found.details };
  }

  it.each([
    [[policy('ALLOW', '[{from: [{source: {namespaces: [shop]}}]}]')], true],
    [[policy('ALLOW', '[{from: [{source: {namespaces: [ops]}}]}]')], false],
    [[policy('ALLOW', '[{to: [{operation: {methods: [GET]}}]}]')], false],
    [[policy('DENY', '[{to: [{operation: {methods: [POST]}}]}]')], false],
    [[policy('DENY', '[{to: [{operation: {methods: [POST], ports: ["9080"]}}]}]')], true],
    [[policy('CUSTOM', '[{to: [{operation: {paths: [/a]}}]}]', { more: ', provider: {name: nobody}' })], false],
    [[], true],
  ] as const)('%#', (policies, allowed) => {
    expect(fault(policiesOf(...policies)) === undefined).toBe(allowed);
  });

  it('say which policy refused them', () => {
    expect(fault(policiesOf(policy('DENY', '[{}]', { name: 'no' })))).toEqual({ code: 'rbac_denied', details: 'rbac_access_denied_matched_policy[ns[shop]-policy[no]-rule[0]]' });
  });
});

describe('a pod', () => {
  it('ends what its new table does not allow', () => {
    const world = new World(tableOf());
    const pod = new Pod({ id: 'default/reviews', identity: '', baggage: '', addresses: ['10.1.0.1'], table: tableOf({ inbound: PORTS }), sockets: { outbound: () => -1, inbound: () => -1 }, dataplane: world.dataplane });
    const ended: string[] = [];
    const connection: Connection = { workload: pod, direction: 'inbound', peer: STRANGER, remoteAddress: '10.3.0.1', remotePort: 1, destinationAddress: '10.1.0.1', destinationPort: 9000, serverName: '' };
    pod.admission.watch({ connection, fault: () => pod.admission.opaqueFault(connection, true), end: (error) => ended.push(error.reason ?? '') });
    pod.update(tableOf({ inbound: PORTS }));
    expect(ended).toEqual([]);
    pod.update({ ...tableOf({ inbound: PORTS }), security: security({ mtls: mtls('STRICT') }) });
    expect(ended).toEqual(['PeerAuthentication shop/default is STRICT for port 9000']);
    pod.close();
  });
});
