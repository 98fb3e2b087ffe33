/** What the status of an object says of it. */
import { describe, expect, it } from 'vitest';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { conditionsOf, statusWith } from '../../src/mesh/conditions.ts';
import type { Condition } from '../../src/mesh/conditions.ts';

type Value = Readonly<Record<string, unknown>>;

const SHOP = { namespace: 'shop' };
const NETWORKING = 'networking.istio.io/v1';
const web: Value = { apiVersion: 'v1', kind: 'Service', metadata: { ...SHOP, name: 'web' }, spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] } };
const rule = (name: string, spec: object, day = 1): Value => ({ apiVersion: NETWORKING, kind: 'VirtualService', metadata: { ...SHOP, name, creationTimestamp: `2026-01-0${day}T00:00:00Z` }, spec });
const answering = { http: [{ directResponse: { status: 204 } }] };

/** Of the last one, beside the others: `True Programmed` by type, and messages. */
function said(...values: Value[]): { readonly is: Record<string, string>; readonly message: Record<string, string> } {
  const named = values.map((value) => ({ name: `${String(value['kind'])} shop/${(value['metadata'] as { name: string }).name}`, value }));
  const { problems } = buildSnapshot(named);
  const last = named.at(-1) as (typeof named)[number];
  const conditions = conditionsOf(last.value, problems.filter(({ file }) => file === last.name));
  return { is: Object.fromEntries(conditions.map(({ type, status, reason }) => [type, `${status} ${reason}`])), message: Object.fromEntries(conditions.map(({ type, message }) => [type, message])) };
}

const ALL_WELL = { Accepted: 'True Accepted', ResolvedRefs: 'True ResolvedRefs', Honored: 'True Honored', Programmed: 'True Programmed' };

describe('the conditions of an object', () => {
  it('are all True when nothing is to be said', () => {
    expect(said(web, rule('web', { hosts: ['web'], ...answering })).is).toEqual(ALL_WELL);
  });

  it('say what is wrong with it, and that it is not in force', () => {
    const { is, message } = said(web, rule('web', { hosts: ['web'], http: [{ timeout: '5' }] }));
    expect(is).toEqual({ Accepted: 'False Invalid', ResolvedRefs: 'Unknown NotChecked', Honored: 'True Honored', Programmed: 'False Invalid' });
    expect(message['Accepted']).toContain('spec.http[0].timeout: "5" is no duration → write it as 10s, 250ms or 1h30m [IST0106]');
    expect(message['Programmed']).toContain('where an earlier version without this fault is known, that one stays in force');
  });

  it('name each field without effect', () => {
    const { is, message } = said(web, { apiVersion: NETWORKING, kind: 'DestinationRule', metadata: { ...SHOP, name: 'web' }, spec: { host: 'web', trafficPolicy: { tunnel: { targetHost: 'a', targetPort: 1 }, proxyProtocol: {} } } });
    expect(is).toEqual({ ...ALL_WELL, Honored: 'False FieldNotSupported' });
    expect(message['Honored']).toMatch(/^spec\.trafficPolicy\.tunnel: .*\nspec\.trafficPolicy\.proxyProtocol: /);
  });

  it('say so when the whole kind has none', () => {
    expect(said({ apiVersion: NETWORKING, kind: 'Sidecar', metadata: { ...SHOP, name: 'one' }, spec: {} }).is).toEqual({ ...ALL_WELL, Honored: 'False KindNotSupported', Programmed: 'False KindNotSupported' });
  });

  it('tell a name that it cannot do without from one that it can', () => {
    const cannot = said(web, rule('web', { hosts: ['web'], http: [{ route: [{ destination: { host: 'nobody' } }] }] }));
    expect(cannot.is).toEqual({ ...ALL_WELL, ResolvedRefs: 'False RefNotFound', Programmed: 'False RefNotFound' });
    expect(said(rule('web', { hosts: ['web'], ...answering })).is).toEqual({ ...ALL_WELL, ResolvedRefs: 'False RefNotFound' });
  });

  it('name who has its hosts, all of them or some', () => {
    const older = rule('older', { hosts: ['web'], ...answering });
    const all = said(web, older, rule('web', { hosts: ['web'], ...answering }, 2));
    expect(all.is).toEqual({ ...ALL_WELL, Programmed: 'False Conflicted' });
    expect(all.message['Programmed']).toContain('"web" already belongs to VirtualService shop/older');
    expect(said(web, older, rule('web', { hosts: ['web', 'other.example'], ...answering }, 2)).is).toEqual({ ...ALL_WELL, Programmed: 'True PartlyConflicted' });
  });

  it('name the PeerAuthentication that is in force instead', () => {
    const strict = (name: string, day: number): Value => ({ apiVersion: 'security.istio.io/v1', kind: 'PeerAuthentication', metadata: { ...SHOP, name, creationTimestamp: `2026-01-0${day}T00:00:00Z` }, spec: { mtls: { mode: 'STRICT' } } });
    const { is, message } = said(strict('b', 1), strict('a', 2));
    expect(is['Programmed']).toBe('False Conflicted');
    expect(message['Programmed']).toContain('PeerAuthentication shop/b is older');
  });

  it('stay of a size that a status may have', () => {
    const { message } = said(rule('web', { hosts: ['web'], http: Array.from({ length: 500 }, () => ({ timeout: '5' })) }));
    expect(message['Accepted']?.length).toBeLessThanOrEqual(2048);
  });
});

describe('a status', () => {
  const good: Condition = { type: 'Accepted', status: 'True', reason: 'Accepted', message: '' };

  it('keeps what others say, and since when a condition is as it is', () => {
    const reconciled = { type: 'Reconciled', status: 'True' };
    const first = statusWith({ conditions: [reconciled], addresses: [1] }, [good], 1, '2026-01-01T00:00:00Z');
    expect(first).toEqual({ conditions: [reconciled, { ...good, observedGeneration: 1, lastTransitionTime: '2026-01-01T00:00:00Z' }], observedGeneration: 1 });
    const second = statusWith(first, [good], 2, '2026-02-02T00:00:00Z');
    expect(second).toEqual({ conditions: [reconciled, { ...good, observedGeneration: 2, lastTransitionTime: '2026-01-01T00:00:00Z' }], observedGeneration: 2 });
    expect(statusWith(second, [{ ...good, status: 'False' }], 2, '2026-03-03T00:00:00Z')).toMatchObject({ conditions: [reconciled, { status: 'False', lastTransitionTime: '2026-03-03T00:00:00Z' }] });
    expect(statusWith(second, [good], 2, '2026-04-04T00:00:00Z')).toEqual(second);
  });

  it('is made of nothing, or of rubbish', () => {
    for (const current of [{}, { conditions: 'x' }, { conditions: [null, 1] }]) expect(statusWith(current, [good], 1, 'now')['conditions']).toHaveLength(1);
  });
});
