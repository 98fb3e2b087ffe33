/** What the status of an object says of a version that is refused: never that it is in force. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { gatewayStatusWishes } from '../../src/control/gateway-statuses.ts';
import { istioStatuses } from '../../src/control/istio-statuses.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { ApiSource } from '../../src/kube/api-source.ts';
import type { StoredObject } from '../../src/kube/stored-object.ts';
import { isMadeOf } from '../../src/mesh/build.ts';
import type { GatewayFacts } from '../../src/mesh/gateway/status.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';
import { RecordedLog } from '../certs/recorded-log.ts';
import { ApiServer } from '../kube-api/api-server.ts';

const GATEWAY_API = 'gateway.networking.k8s.io/v1';
const NETWORKING = 'networking.istio.io/v1';
const FACTS: GatewayFacts = { addresses: () => [{ type: 'IPAddress', value: '192.0.2.1' }], obstacle: () => undefined, fault: () => undefined, annotations: () => ({}) };
const KEPT = 'this version is not in force; the last good version of this object (generation 1) stays in force on every node that has seen it';
const UNKNOWN = 'this version is not in force; where an earlier version without this fault is known, that one stays in force';
const CONTROLLER = { controllerName: 'orlop.io/gateway-controller' };
const HTTP = { name: 'http', port: 80, protocol: 'HTTP' };

type Status = Readonly<Record<string, unknown>>;

let server: ApiServer;
let source: ApiSource | undefined;

beforeEach(async () => {
  server = new ApiServer();
  await server.start();
  for (const kind of ['GatewayClass', 'Gateway', 'ListenerSet', 'HTTPRoute', 'BackendTLSPolicy']) server.install(GATEWAY_API, kind);
  server.install(NETWORKING, 'VirtualService');
  server.put({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'web', namespace: 'shop' }, spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] } });
  put('GatewayClass', 'orlop', CONTROLLER);
  put('Gateway', 'door', { gatewayClassName: 'orlop', listeners: [HTTP], allowedListeners: { namespaces: { from: 'Same' } } });
});

afterEach(async () => {
  source?.close();
  source = undefined;
  await server.stop();
});

function put(kind: string, name: string, spec: object, apiVersion = GATEWAY_API): void {
  server.put({ apiVersion, kind, metadata: { name, ...(kind === 'GatewayClass' ? {} : { namespace: 'shop' }) }, spec });
}

const route = (path: string, ...parents: object[]): object => ({ parentRefs: parents, rules: [{ matches: [{ path: { type: 'RegularExpression', value: path } }], backendRefs: [{ name: 'web', port: 80 }] }] });

/** Of an object, once this generation of it is known; undefined: nothing is said of it. */
async function statusOf(name: string, generation = 1): Promise<Status | undefined> {
  source ??= await ApiSource.open({ client: server.client(), node: undefined, savedPath: undefined, clock: systemClock, random: systemRandom, log: new RecordedLog() });
  const following = source;
  const snapshot = (): Snapshot => following.snapshot.get() as Snapshot;
  const judged = (): StoredObject[] => [...following.stored()].filter((object) => isMadeOf(snapshot(), object));
  await expect.poll(() => judged().find((one) => one.name === name)?.generation).toBe(generation);
  return [...istioStatuses(snapshot(), judged()), ...gatewayStatusWishes(snapshot(), judged(), FACTS)].find((one) => one.name === name)?.status({}, 'now');
}

const condition = (type: string, status: string, observedGeneration: number, reason: string, message: unknown): object => ({ type, status, reason, message, observedGeneration, lastTransitionTime: 'now' });

describe('a route that is refused', () => {
  it('says what is wrong with it, and which version is in force, to each parent of ours', async () => {
    const [ours, service, theirs] = [{ name: 'door' }, { group: '', kind: 'Service', name: 'web' }, { name: 'elsewhere' }];
    put('HTTPRoute', 'web', route('/a.*', ours));
    expect((await statusOf('HTTPRoute shop/web'))?.['parents']).toMatchObject([{ conditions: [condition('Accepted', 'True', 1, 'Accepted', ''), { type: 'ResolvedRefs' }] }]);
    put('HTTPRoute', 'web', route('/a(', ours, service, theirs));
    const conditions = [condition('Accepted', 'False', 2, 'Invalid', expect.stringMatching(/^spec\.rules\[0\]\.matches\[0\]\.path\.value: .* → .* \[IST0106\]\n/))];
    const said = await statusOf('HTTPRoute shop/web', 2);
    expect(said).toEqual({ parents: [ours, service].map((parentRef) => ({ parentRef, ...CONTROLLER, conditions })) });
    expect(JSON.stringify(said)).toContain(`\\n${KEPT}"`);
  });

  it('and never was right is not silent', async () => {
    put('HTTPRoute', 'web', route('/a(', { name: 'door' }));
    expect((await statusOf('HTTPRoute shop/web'))?.['parents']).toMatchObject([{ conditions: [condition('Accepted', 'False', 1, 'Invalid', expect.stringContaining(`\n${UNKNOWN}`))] }]);
  });

  it('names the version in force however much is wrong', async () => {
    put('HTTPRoute', 'web', { parentRefs: [{ name: 'door' }], rules: Array.from({ length: 60 }, () => ({ matches: [{ path: { type: 'Exact', value: 'no path at all' } }] })) });
    const said = JSON.stringify(await statusOf('HTTPRoute shop/web'));
    expect(said).toContain(`…\\n${UNKNOWN}"`);
    expect(said.length).toBeLessThan(2_500);
  });
});

describe('a Gateway that is refused', () => {
  it('is not in force as it is stored, and says so of its listeners as they are served', async () => {
    await statusOf('Gateway shop/door');
    put('Gateway', 'door', { gatewayClassName: 'orlop', listeners: [HTTP, HTTP] });
    expect(await statusOf('Gateway shop/door', 2)).toMatchObject({
      addresses: [{ value: '192.0.2.1' }],
      listeners: [{ name: 'http', conditions: [condition('Accepted', 'True', 1, 'Accepted', ''), {}, {}, {}] }],
      conditions: [
        condition('Accepted', 'False', 2, 'Invalid', `spec.listeners[1].name: duplicate name "http" → give each listener a name of its own [IST0106]\n${KEPT}`),
        condition('Programmed', 'False', 2, 'Invalid', KEPT),
      ],
    });
  });

  it('and is another\'s is left to the other', async () => {
    put('Gateway', 'door', { gatewayClassName: 'theirs', listeners: [HTTP, HTTP] });
    expect(await statusOf('Gateway shop/door', 2)).toBeUndefined();
  });
});

describe('other objects that are refused', () => {
  it.each([
    ['GatewayClass orlop', { ...CONTROLLER, parametersReff: {} }],
    ['ListenerSet shop/more', { parentRef: { name: 'door' }, listeners: [] }],
  ])('are told so: %s', async (name, spec) => {
    const [kind = '', id = ''] = name.split(' ');
    put(kind, id.split('/').at(-1) ?? '', spec);
    expect((await statusOf(name, kind === 'GatewayClass' ? 2 : 1))?.['conditions']).toContainEqual(condition('Accepted', 'False', kind === 'GatewayClass' ? 2 : 1, 'Invalid', expect.stringContaining(UNKNOWN)));
  });

  it('are told so: BackendTLSPolicy', async () => {
    put('HTTPRoute', 'web', route('/a', { name: 'door' }));
    put('BackendTLSPolicy', 'web', { targetRefs: [{ group: '', kind: 'Service', name: 'web' }], validation: { hostname: 'web.example' } });
    expect((await statusOf('BackendTLSPolicy shop/web'))?.['ancestors']).toMatchObject([{ ancestorRef: { name: 'door' }, conditions: [condition('Accepted', 'False', 1, 'Invalid', expect.stringContaining('spec.validation: '))] }]);
  });

  it.each([
    ['HTTPRoute', { parentRefs: 'x', rules: 1 }], ['HTTPRoute', { parentRefs: [1, { name: 1, port: 'x' }, { name: 'door', sectionName: [] }] }], ['ListenerSet', { parentRef: [] }],
    ['BackendTLSPolicy', { targetRefs: [{}, null] }], ['Gateway', { gatewayClassName: {} }],
  ])('may be of any form: %s %j', async (kind, spec) => {
    put(kind, 'wrong', spec);
    await expect(statusOf(`${kind} shop/wrong`)).resolves.not.toThrow();
  });

  it('of Istio say the same, and nothing of names that nobody has looked for', async () => {
    const rule = (timeout: string): object => ({ hosts: ['web'], http: [{ timeout, route: [{ destination: { host: 'web' } }] }] });
    put('VirtualService', 'web', rule('5s'), NETWORKING);
    await statusOf('VirtualService shop/web');
    put('VirtualService', 'web', rule('soon'), NETWORKING);
    expect((await statusOf('VirtualService shop/web', 2))?.['conditions']).toMatchObject([
      condition('Accepted', 'False', 2, 'Invalid', expect.stringContaining('spec.http[0].timeout: "soon" is no duration')),
      { type: 'ResolvedRefs', status: 'Unknown', observedGeneration: 2 }, { type: 'Honored' }, condition('Programmed', 'False', 2, 'Invalid', KEPT),
    ]);
  });
});
