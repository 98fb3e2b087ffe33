/** What an author is told before an object is stored. */
import { describe, expect, it } from 'vitest';
import { admit } from '../../src/mesh/admission.ts';
import type { Admission } from '../../src/mesh/admission.ts';
import { buildSnapshot } from '../../src/mesh/build.ts';
import { renderProblem } from '../../src/mesh/problem.ts';
import type { Snapshot } from '../../src/mesh/snapshot.ts';

type Value = Readonly<Record<string, unknown>>;

const rule = (name: string, spec: unknown, metadata: object = {}): Value => ({ apiVersion: 'networking.istio.io/v1', kind: 'VirtualService', metadata: { name, namespace: 'shop', ...metadata }, spec });
const service = (name: string): Value => ({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' }, spec: { clusterIP: '10.96.0.1', ports: [{ port: 80 }] } });
const to = (host: string): unknown => ({ hosts: ['web'], http: [{ route: [{ destination: { host } }] }] });

function cluster(...values: Value[]): Snapshot {
  return buildSnapshot(values.map((value) => {
    const { name, namespace } = value['metadata'] as { name: string; namespace: string };
    return { name: `${String(value['kind'])} ${namespace}/${name}`, value };
  }));
}

function told({ refusals, warnings }: Admission): { refused: string[]; warned: string[] } {
  return { refused: refusals.map(renderProblem), warned: warnings.map(renderProblem) };
}

describe('an object that is to be stored', () => {
  it('is refused for its own faults, in the words of config check', () => {
    expect(told(admit(rule('web', { hosts: ['web'], http: [{ timeout: '5', directResponse: { status: 200 } }] }), undefined, cluster()))).toEqual({
      refused: ['VirtualService shop/web: error [IST0106] spec.http[0].timeout: "5" is no duration → write it as 10s, 250ms or 1h30m'],
      warned: [],
    });
  });

  it('is stored, with a warning, when it names what is not there yet', () => {
    expect(told(admit(rule('web', to('web')), undefined, cluster(service('web'))))).toEqual({ refused: [], warned: [] });
    const { refused, warned } = told(admit(rule('web', to('nobody')), undefined, cluster(service('web'))));
    expect(refused).toEqual([]);
    expect(warned).toEqual([expect.stringContaining('there is no service "nobody.shop.svc.cluster.local"')]);
  });

  it('is told that an older one has its host, and an older one that changes, whom it takes the host from', () => {
    const old = rule('old', to('web'), { creationTimestamp: '2026-01-01T00:00:00Z' });
    const other = rule('other', { ...(to('web') as object), hosts: ['other'] }, { creationTimestamp: '2025-01-01T00:00:00Z' });
    const snapshot = cluster(service('web'), service('other'), old, other);
    expect(told(admit(rule('new', to('web')), undefined, snapshot)).warned).toEqual([expect.stringMatching(/^VirtualService shop\/new: warning \[IST0109\] spec.hosts\[0\]: "web" already belongs to VirtualService shop\/old/)]);
    const taking = rule('other', to('web'), { creationTimestamp: '2025-01-01T00:00:00Z' });
    expect(told(admit(taking, other, snapshot)).warned).toEqual([expect.stringMatching(/^VirtualService shop\/old: warning \[IST0109\].* belongs to VirtualService shop\/other/)]);
    expect(told(admit(old, old, snapshot)).warned).toEqual([]);
  });

  it('is warned of fields that have no effect', () => {
    const balanced: Value = { apiVersion: 'networking.istio.io/v1', kind: 'DestinationRule', metadata: { name: 'web', namespace: 'shop' }, spec: { host: 'web', trafficPolicy: { tunnel: { targetHost: 'a', targetPort: 1 } } } };
    expect(told(admit(balanced, undefined, cluster(service('web')))).warned).toEqual([expect.stringContaining('spec.trafficPolicy.tunnel: this field is not honoured yet')]);
  });

  it('may change its labels while its stored spec is wrong, and nothing else', () => {
    const wrong = rule('web', { hosts: ['web'], http: [{ timeout: '5' }] });
    const labelled = rule('web', { hosts: ['web'], http: [{ timeout: '5' }] }, { labels: { a: 'b' } });
    expect(told(admit(labelled, wrong, cluster())).refused).toEqual([]);
    expect(told(admit(labelled, wrong, cluster())).warned).not.toEqual([]);
    expect(told(admit(rule('web', { hosts: ['web'], http: [{ timeout: '6' }] }), wrong, cluster())).refused).not.toEqual([]);
  });

  it('is none of our business when it is of another kind', () => {
    expect(told(admit({ apiVersion: 'v1', kind: 'Secret' }, undefined, undefined))).toEqual({ refused: [], warned: [] });
    expect(told(admit({ apiVersion: 'x/v1', kind: 'Anything' }, undefined, undefined))).toEqual({ refused: [], warned: [] });
  });

  it('is judged by itself while nothing else is known', () => {
    expect(told(admit(rule('web', to('nobody')), undefined, undefined))).toEqual({ refused: [], warned: [] });
    expect(told(admit(rule('web', { hosts: [] }), undefined, undefined)).refused).not.toEqual([]);
  });

  it('keeps nobody busy, however large it is, and its errors are not lost among warnings', () => {
    const refusals = (spec: unknown): string[] => told(admit(rule('web', spec), undefined, undefined)).refused;
    const answering = { directResponse: { status: 204 } };
    expect(refusals({ hosts: ['web'], http: [Object.fromEntries(Array.from({ length: 20_000 }, (_, i) => [`timeo${i}`, 1]))] })).toEqual([expect.stringContaining('spec.http[0]: there are 20000 entries; 10000 is the limit → take it apart')]);
    expect(refusals({ hosts: ['web'], http: Array.from({ length: 5_000 }, () => ({ timout: 1 })) })).toHaveLength(100);
    expect(refusals({ hosts: ['web'], http: [{ ['x'.repeat(1_000_000)]: 1, ...answering }] })).toHaveLength(1);
    expect(refusals({ hosts: ['web'], http: Array.from({ length: 1_100 }, (_, i) => ({ match: [{ uri: { regex: `a${i}` } }], ...answering })) })[0]).toContain('the regular expressions of this object have more than 131072 characters together');
    const warned = Array.from({ length: 200 }, (_, i) => ({ match: [{ statPrefix: `a${i}` }], ...answering }));
    expect(refusals({ hosts: ['web'], http: [...warned, { timout: 1, ...answering }] })).toHaveLength(1);
    expect(told(admit(rule('web', { hosts: ['web'], http: [...warned, answering] }), undefined, undefined)).warned).toHaveLength(100);
  });

  it('has its server names covered by its hosts, as they are written', () => {
    const sni = (hosts: readonly string[], name: string): boolean => admit(rule('web', { hosts, tls: [{ match: [{ sniHosts: [name] }], route: [{ destination: { host: 'web' } }] }] }), undefined, undefined).refusals.length === 0;
    for (const [host, name] of [['a.example', 'a.example'], ['*.example', 'a.example'], ['*.example', 'a.b.example'], ['*.example', '*.example'], ['*.example', '*.a.example']] as const) expect(sni(['other.example.com', host], name), `${host} ${name}`).toBe(true);
    for (const [host, name] of [['a.example', 'b.example'], ['*.example', 'example'], ['a.example', '*.example'], ['*.a.example', '*.example']] as const) expect(sni([host], name), `${host} ${name}`).toBe(false);
  });
});
