/** What is said of Gateway API objects in their status: the conditions and reasons of the specification. */
import { describe, expect, it } from 'vitest';
import { gatewayStatuses } from '../../../src/mesh/gateway/status.ts';
import type { GatewayFacts } from '../../../src/mesh/gateway/status.ts';
import { contentIn } from '../../../src/mesh/gateway/status-content.ts';
import type { Condition, StatusContent } from '../../../src/mesh/gateway/status-content.ts';
import { application, snapshotOf } from '../world.ts';
import { gatewayApi } from './world.ts';

const APP = `${application('shop', ['cart', 'web'])}---${application('other', ['client'])}`;
const CLASS = 'apiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: orlop}\nspec: {controllerName: orlop.io/gateway-controller}\n';
const FACTS: GatewayFacts = { addresses: () => [{ type: 'IPAddress', value: '192.0.2.1' }], obstacle: () => undefined, fault: () => undefined, annotations: () => ({}) };
const HTTP = '{name: http, port: 80, protocol: HTTP}';
const CART = 'rules: [{backendRefs: [{name: cart, port: 9080}]}]';
const gateway = (listeners: string, more = ''): string => gatewayApi('Gateway', 'door', `{gatewayClassName: orlop, listeners: [${listeners}]${more}}`);

function statuses(documents: string, facts: Partial<GatewayFacts> = {}): (name: string) => StatusContent {
  const all = gatewayStatuses(snapshotOf({ 'app.yaml': APP, 'class.yaml': CLASS, 'gateway.yaml': documents }), { ...FACTS, ...facts });
  return (name) => {
    const found = all.find((one) => `${one.kind} ${one.namespace === '' ? '' : `${one.namespace}/`}${one.name}` === name);
    if (found === undefined) throw new Error(`nothing is said of ${name}: ${all.map((one) => `${one.kind} ${one.namespace}/${one.name}`).join(', ')}`);
    return found.content;
  };
}

/** `Accepted=False ListenersNotValid` */
const brief = (conditions: readonly Condition[] | undefined): string[] => (conditions ?? []).map(({ type, status, reason }) => `${type}=${status} ${reason}`);
const place = (content: StatusContent, i = 0): string[] => brief((content.parents ?? content.ancestors ?? [])[i]?.conditions);
const listener = (content: StatusContent, name: string): string[] => brief(content.listeners?.find((one) => one.name === name)?.conditions);

const featuresIn = (values: StatusContent['values']): string[] => ((values ?? {})['supportedFeatures'] as { name: string }[]).map(({ name }) => name);

describe('a GatewayClass', () => {
  it('of Orlop is accepted, and says what gateways can do, in order', () => {
    const { conditions, values } = statuses('')('GatewayClass orlop');
    expect(brief(conditions)).toEqual(['Accepted=True Accepted']);
    const names = featuresIn(values);
    expect(names).toEqual([...names].sort());
    expect(names.length).toBeLessThanOrEqual(64);
  });

  it('of others is left alone', () => {
    expect(() => statuses('---\napiVersion: gateway.networking.k8s.io/v1\nkind: GatewayClass\nmetadata: {name: theirs}\nspec: {controllerName: example.com/x}\n')('GatewayClass theirs')).toThrow('nothing is said');
  });
});

describe('the features of a GatewayClass', () => {
  const CHANNEL = 'gateway.networking.k8s.io/channel';
  const featuresOf = (annotations: GatewayFacts['annotations']): string[] => featuresIn(statuses('', { annotations })('GatewayClass orlop').values);

  it('are those that the installed definitions can express: retries have a field in the experimental channel alone', () => {
    const all = featuresOf(() => ({ [CHANNEL]: 'experimental' }));
    expect(all).toEqual(expect.arrayContaining(['HTTPRouteRetry', 'HTTPRouteRetryBackendTimeout', 'HTTPRouteRetryConnectionError']));
    expect(featuresOf(() => ({ [CHANNEL]: 'standard' }))).toEqual(all.filter((name) => !name.startsWith('HTTPRouteRetry')));
    // Each definition has a channel of its own.
    expect(featuresOf((kind) => ({ [CHANNEL]: kind === 'HTTPRoute' ? 'experimental' : 'standard' }))).toEqual(all);
    // Orlop's own have the field, and name no channel.
    expect(featuresOf(() => ({}))).toEqual(all);
  });

  it('are of kinds that are installed', () => {
    expect(featuresOf((kind) => (['Gateway', 'HTTPRoute'].includes(kind) ? {} : undefined)).filter((name) => !/^(Gateway|HTTPRoute)/.test(name))).toEqual([]);
    expect(featuresOf((kind) => (kind === 'TLSRoute' ? {} : undefined))).toEqual(['TLSRoute', 'TLSRouteModeMixed', 'TLSRouteModeTerminate']);
  });
});

describe('a Gateway', () => {
  it('that is served has an address, and says so of each listener', () => {
    const route = gatewayApi('HTTPRoute', 'r', `{parentRefs: [{name: door}], ${CART}}`);
    const content = statuses(gateway(HTTP) + route)('Gateway shop/door');
    expect(brief(content.conditions)).toEqual(['Accepted=True Accepted', 'Programmed=True Programmed', 'ResolvedRefs=True ResolvedRefs']);
    expect(content.values).toEqual({ addresses: [{ type: 'IPAddress', value: '192.0.2.1' }], attachedListenerSets: 0 });
    expect(content.listeners).toMatchObject([{ name: 'http', attachedRoutes: 1, supportedKinds: [{ group: 'gateway.networking.k8s.io', kind: 'GRPCRoute' }, { kind: 'HTTPRoute' }].reverse() }]);
    expect(listener(content, 'http')).toEqual(['Accepted=True Accepted', 'Programmed=True Programmed', 'ResolvedRefs=True ResolvedRefs', 'Conflicted=False NoConflicts']);
  });

  it.each([
    ['has no address yet', gateway(HTTP), { addresses: () => [] }, ['Accepted=True Accepted', 'Programmed=False AddressNotAssigned']],
    ['asks for another address', gateway(HTTP, ', addresses: [{value: 192.0.2.9}]'), {}, ['Accepted=True Accepted', 'Programmed=False AddressNotUsable']],
    ['asks for an address of another type', gateway(HTTP, ', addresses: [{type: example.com/x, value: y}]'), {}, ['Accepted=False UnsupportedAddress', 'Programmed=False Invalid']],
    ['names parameters', gateway(HTTP, ', infrastructure: {parametersRef: {group: x.io, kind: P, name: p}}'), {}, ['Accepted=False InvalidParameters', 'Programmed=False Invalid']],
    ['can be served nowhere', gateway(HTTP), { obstacle: () => 'no node has the labels' }, ['Accepted=True Accepted', 'Programmed=False NoResources']],
    ['has no valid listener', gateway('{name: udp, port: 53, protocol: UDP}'), {}, ['Accepted=False ListenersNotValid', 'Programmed=False Invalid']],
    ['has one valid listener of two', gateway(`${HTTP}, {name: udp, port: 53, protocol: UDP}`), {}, ['Accepted=True ListenersNotValid', 'Programmed=True Programmed']],
  ])('that %s', (_, documents, facts, expected) => {
    expect(brief(statuses(documents, facts)('Gateway shop/door').conditions).slice(0, 2)).toEqual(expected);
  });

  it('lets clients in that are not known, and is told so', () => {
    const tls = ', tls: {frontend: {default: {validation: {mode: AllowInsecureFallback, caCertificateRefs: [{group: "", kind: ConfigMap, name: ca}]}}}}';
    expect(brief(statuses(gateway(HTTP, tls))('Gateway shop/door').conditions)).toContain('InsecureFrontendValidationMode=True ConfigurationChanged');
  });

  it('with a client certificate that cannot be used is served all the same', () => {
    const content = (ref: string, facts = {}): string[] => brief(statuses(gateway(HTTP, `, tls: {backend: {clientCertificateRef: ${ref}}}`), facts)('Gateway shop/door').conditions);
    expect(content('{name: c}', { fault: () => 'there is no such Secret' })).toEqual(['Accepted=True Accepted', 'Programmed=True Programmed', 'ResolvedRefs=False InvalidClientCertificateRef']);
    expect(content('{name: c, namespace: other}')).toContain('ResolvedRefs=False RefNotPermitted');
    expect(content('{name: c, kind: Wrong}')).toContain('ResolvedRefs=False InvalidClientCertificateRef');
  });
});

describe('a listener', () => {
  const https = (ref: string): string => `{name: l, port: 443, protocol: HTTPS, tls: {certificateRefs: [${ref}]}}`;

  it.each([
    ['whose certificate is not there', https('{name: c}'), { fault: () => 'there is no such Secret' }, ['Accepted=True Accepted', 'Programmed=False Invalid', 'ResolvedRefs=False InvalidCertificateRef', 'Conflicted=False NoConflicts']],
    ['whose certificate is of another kind', https('{name: c, kind: Wrong}'), {}, ['Accepted=True Accepted', 'Programmed=False Invalid', 'ResolvedRefs=False InvalidCertificateRef', 'Conflicted=False NoConflicts']],
    ['whose certificate it may not name', https('{name: c, namespace: other}'), {}, ['Accepted=True Accepted', 'Programmed=False Invalid', 'ResolvedRefs=False RefNotPermitted', 'Conflicted=False NoConflicts']],
    ['for routes that there are not', '{name: l, port: 80, protocol: HTTP, allowedRoutes: {kinds: [{kind: NoRoute}]}}', {}, ['Accepted=True Accepted', 'Programmed=True Programmed', 'ResolvedRefs=False InvalidRouteKinds', 'Conflicted=False NoConflicts']],
    ['of a protocol that is not spoken', '{name: l, port: 80, protocol: UDP}, {name: other, port: 81, protocol: HTTP}', {}, ['Accepted=False UnsupportedProtocol', 'Programmed=False Invalid', 'ResolvedRefs=True ResolvedRefs', 'Conflicted=False NoConflicts']],
    ['with the host of another', '{name: l, port: 80, protocol: HTTP}, {name: other, port: 80, protocol: HTTP}', {}, ['Accepted=False HostnameConflict', 'Programmed=False HostnameConflict', 'ResolvedRefs=True ResolvedRefs', 'Conflicted=True HostnameConflict']],
    ['with the port of another protocol', '{name: l, port: 80, protocol: HTTP}, {name: other, port: 80, protocol: TCP}', {}, ['Accepted=False ProtocolConflict', 'Programmed=False ProtocolConflict', 'ResolvedRefs=True ResolvedRefs', 'Conflicted=True ProtocolConflict']],
  ])('%s', (_, listeners, facts, expected) => {
    expect(listener(statuses(gateway(listeners), facts)('Gateway shop/door'), 'l')).toEqual(expected);
  });

  it('names the kinds that it is for, of those that are asked for', () => {
    const kinds = (more: string): unknown => statuses(gateway(`{name: l, port: 443, protocol: TLS, tls: {mode: Passthrough}${more}}`))('Gateway shop/door').listeners?.[0]?.supportedKinds;
    expect(kinds('')).toEqual([{ group: 'gateway.networking.k8s.io', kind: 'TLSRoute' }]);
    expect(kinds(', allowedRoutes: {kinds: [{kind: TCPRoute}, {kind: TLSRoute}]}')).toEqual([{ group: 'gateway.networking.k8s.io', kind: 'TLSRoute' }]);
    expect(kinds(', allowedRoutes: {kinds: [{kind: TCPRoute}]}')).toEqual([]);
  });

  it('that tells clients by authorities needs one that can be used', () => {
    const tls = (kind: string): string => `, tls: {frontend: {default: {validation: {caCertificateRefs: [{group: "", kind: ${kind}, name: ca}]}}}}`;
    const broken = (kind: string): string[] => listener(statuses(gateway(https('{name: c}'), tls(kind)), { fault: (_ref, use) => (use === 'authority' ? 'it has no ca.crt' : undefined) })('Gateway shop/door'), 'l').slice(0, 3);
    expect(broken('ConfigMap')).toEqual(['Accepted=False NoValidCACertificate', 'Programmed=False Invalid', 'ResolvedRefs=False InvalidCACertificateRef']);
    expect(broken('Vault')).toEqual(['Accepted=False NoValidCACertificate', 'Programmed=False Invalid', 'ResolvedRefs=False InvalidCACertificateKind']);
  });
});

describe('a ListenerSet', () => {
  const set = (name: string, listeners: string, age: number): string => gatewayApi('ListenerSet', name, `{parentRef: {name: door}, listeners: [${listeners}]}`, { age });
  const open = ', allowedListeners: {namespaces: {from: Same}}';

  it('that its Gateway does not let is told so', () => {
    expect(brief(statuses(gateway(HTTP) + set('s', HTTP, 1))('ListenerSet shop/s').conditions)).toEqual(['Accepted=False NotAllowed', 'Programmed=False NotAllowed']);
  });

  it('gives way to the Gateway and to older ones, listener by listener', () => {
    const of = statuses(gateway(HTTP, open) + set('a', '{name: taken, port: 80, protocol: HTTP}, {name: own, port: 81, protocol: HTTP}', 1) + set('b', '{name: taken, port: 81, protocol: HTTP}', 2));
    expect(brief(of('ListenerSet shop/a').conditions)).toEqual(['Accepted=True ListenersNotValid', 'Programmed=True Programmed']);
    expect(listener(of('ListenerSet shop/a'), 'taken')[0]).toBe('Accepted=False HostnameConflict');
    expect(brief(of('ListenerSet shop/b').conditions)).toEqual(['Accepted=False ListenersNotValid', 'Programmed=False ListenersNotValid']);
    expect(listener(of('Gateway shop/door'), 'http')[0]).toBe('Accepted=True Accepted');
    expect(of('Gateway shop/door').values).toMatchObject({ attachedListenerSets: 1 });
  });
});

describe('a ListenerSet of several listeners', () => {
  const open = ', allowedListeners: {namespaces: {from: Same}}';
  const set = (listeners: string): string => gatewayApi('ListenerSet', 's', `{parentRef: {name: door}, listeners: [${listeners}]}`);

  it('has what a refused one of its own would have taken', () => {
    const of = statuses(gateway(HTTP, open) + set('{name: tcp, port: 80, protocol: TCP}, {name: more, port: 80, protocol: HTTP, hostname: more.org}'))('ListenerSet shop/s');
    expect([listener(of, 'tcp')[0], listener(of, 'more')[0]]).toEqual(['Accepted=False ProtocolConflict', 'Accepted=True Accepted']);
  });

  it('of which none can be served is not accepted, and each says why', () => {
    const of = statuses(gateway(HTTP, open) + set('{name: s, port: 443, protocol: HTTPS, tls: {certificateRefs: [{name: c, namespace: other}]}}'))('ListenerSet shop/s');
    expect(brief(of.conditions)).toEqual(['Accepted=False ListenersNotValid', 'Programmed=False ListenersNotValid']);
    expect(listener(of, 's').slice(0, 3)).toEqual(['Accepted=True Accepted', 'Programmed=False Invalid', 'ResolvedRefs=False RefNotPermitted']);
  });
});

describe('a route', () => {
  const accepted = (parent: string, more = CART, namespace = 'shop'): string[] => place(statuses(gateway('{name: http, port: 80, protocol: HTTP, hostname: "*.example.com"}') + gatewayApi('HTTPRoute', 'r', `{parentRefs: [${parent}], ${more}}`, { namespace }))(`HTTPRoute ${namespace}/r`));

  it.each([
    ['is accepted', '{name: door}', CART, 'shop', 'Accepted=True Accepted'],
    ['names a listener that there is not', '{name: door, sectionName: nope}', CART, 'shop', 'Accepted=False NoMatchingParent'],
    ['names a port that there is not', '{name: door, port: 81}', CART, 'shop', 'Accepted=False NoMatchingParent'],
    ['is of another namespace', '{name: door, namespace: shop}', CART.replace('cart', 'client'), 'other', 'Accepted=False NotAllowedByListeners'],
    ['is for other hosts', '{name: door}', `hostnames: [a.org], ${CART}`, 'shop', 'Accepted=False NoMatchingListenerHostname'],
    ['has filters that are not honoured', '{name: door}', 'rules: [{filters: [{type: ExtensionRef, extensionRef: {group: x.io, kind: X, name: x}}]}]', 'shop', 'Accepted=False UnsupportedValue'],
  ])('that %s', (_, parent, spec, namespace, expected) => {
    expect(accepted(parent, spec, namespace)[0]).toBe(expected);
  });

  it('of which some rules have no effect is told which', () => {
    expect(accepted('{name: door}', `rules: [{filters: [{type: ExtensionRef, extensionRef: {group: x.io, kind: X, name: x}}]}, {backendRefs: [{name: cart, port: 9080}]}]`)).toEqual(['Accepted=True Accepted', 'PartiallyInvalid=True UnsupportedValue', 'ResolvedRefs=True ResolvedRefs']);
  });

  it.each([['{name: nobody, port: 80}', 'BackendNotFound'], ['{name: cart, port: 1}', 'BackendNotFound'], ['{kind: Bucket, name: cart}', 'InvalidKind'], ['{name: client, namespace: other, port: 9080}', 'RefNotPermitted']])('to %s cannot resolve it: %s', (backend, reason) => {
    expect(accepted('{name: door}', `rules: [{backendRefs: [{name: cart, port: 9080}, ${backend}]}]`)).toEqual(['Accepted=True Accepted', `ResolvedRefs=False ${reason}`]);
  });

  it('for gRPC and one for HTTP cannot have one host: the older has it', () => {
    const grpc = gatewayApi('GRPCRoute', 'g', `{parentRefs: [{name: door}], hostnames: [a.org], ${CART}}`, { age: 1 });
    const http = (hostname: string): string => gatewayApi('HTTPRoute', 'h', `{parentRefs: [{name: door}], hostnames: ["${hostname}"], ${CART}}`, { age: 2 });
    expect(['*.org', 'b.org'].map((hostname) => place(statuses(gateway(HTTP) + grpc + http(hostname))('HTTPRoute shop/h'))[0])).toEqual(['Accepted=False Conflicted', 'Accepted=True Accepted']);
    expect(place(statuses(gateway(HTTP) + grpc + http('a.org'))('GRPCRoute shop/g'))[0]).toBe('Accepted=True Accepted');
  });

  it('of a Service is accepted by its ports', () => {
    expect(accepted('{group: "", kind: Service, name: cart}')[0]).toBe('Accepted=True Accepted');
    expect(accepted('{group: "", kind: Service, name: cart, port: 1}')[0]).toBe('Accepted=False NoMatchingParent');
    expect(accepted('{group: "", kind: Service, name: nobody}')[0]).toBe('Accepted=False NoMatchingParent');
  });

  it('of nothing of Orlop\'s is left alone', () => {
    expect(accepted('{name: elsewhere}')).toEqual([]);
  });
});

describe('a BackendTLSPolicy', () => {
  const policy = (name: string, age: number, ca = '{group: "", kind: ConfigMap, name: ca}', section = ''): string => gatewayApi('BackendTLSPolicy', name, `{targetRefs: [{group: "", kind: Service, name: cart${section}}], validation: {hostname: cart.example.com, caCertificateRefs: [${ca}]}}`, { age });
  const around = `${gateway(HTTP)}${gatewayApi('HTTPRoute', 'r', `{parentRefs: [{name: door}], ${CART}}`)}`;

  it('is accepted by the gateways that send to its target', () => {
    const content = statuses(around + policy('p', 1))('BackendTLSPolicy shop/p');
    expect(content.ancestors?.map(({ ref }) => ref)).toEqual([{ group: 'gateway.networking.k8s.io', kind: 'Gateway', namespace: 'shop', name: 'door' }]);
    expect(place(content)).toEqual(['Accepted=True Accepted', 'ResolvedRefs=True ResolvedRefs']);
    expect(statuses(gateway(HTTP) + policy('p', 1))('BackendTLSPolicy shop/p').ancestors).toEqual([]);
  });

  it('gives way to an older one for the same target', () => {
    const of = statuses(around + policy('old', 1) + policy('young', 2) + policy('port', 3, undefined, ', sectionName: http'));
    expect(['old', 'young', 'port'].map((name) => place(of(`BackendTLSPolicy shop/${name}`))[0])).toEqual(['Accepted=True Accepted', 'Accepted=False Conflicted', 'Accepted=True Accepted']);
  });

  it('needs authorities that can be used', () => {
    expect(place(statuses(around + policy('p', 1), { fault: () => 'there is no such ConfigMap' })('BackendTLSPolicy shop/p'))).toEqual(['Accepted=False NoValidCACertificate', 'ResolvedRefs=False InvalidCACertificateRef']);
    expect(place(statuses(around + policy('p', 1, '{group: x.io, kind: Vault, name: v}'))('BackendTLSPolicy shop/p'))).toEqual(['Accepted=False NoValidCACertificate', 'ResolvedRefs=False InvalidKind']);
  });
});

describe('a status that is written', () => {
  const yes: Condition = { type: 'Accepted', status: 'True', reason: 'Accepted', message: '' };
  const ref = { name: 'door' };

  it('keeps what others say, and the time since when a condition has had its status', () => {
    const current = {
      parents: [{ parentRef: ref, controllerName: 'example.com/x', conditions: [] }, { parentRef: ref, controllerName: 'orlop.io/gateway-controller', conditions: [{ ...yes, lastTransitionTime: 'then', observedGeneration: 1 }, { type: 'Other', status: 'True' }, { type: 'PartiallyInvalid', status: 'True' }] }],
    };
    expect(contentIn(current, { parents: [{ ref, conditions: [yes] }] }, 2, 'now')).toEqual({
      parents: [current.parents[0], { parentRef: ref, controllerName: 'orlop.io/gateway-controller', conditions: [{ type: 'Other', status: 'True' }, { ...yes, lastTransitionTime: 'then', observedGeneration: 2 }] }],
    });
  });

  it('takes back what no longer holds, and says nothing where nothing was said', () => {
    const ours = { parents: [{ parentRef: ref, controllerName: 'orlop.io/gateway-controller', conditions: [] }] };
    expect(contentIn(ours, { parents: [] }, 1, 'now')).toEqual({ parents: [] });
    expect(contentIn({}, { parents: [] }, 1, 'now')).toEqual({});
  });

  it('has a new time where a condition changes', () => {
    expect(contentIn({ conditions: [{ ...yes, status: 'False', lastTransitionTime: 'then' }] }, { conditions: [yes] }, 1, 'now')).toEqual({ conditions: [{ ...yes, lastTransitionTime: 'now', observedGeneration: 1 }] });
  });
});
