/** A configuration that becomes wrong goes on as it last was right, object by object, and says so. */
import { describe, expect, it } from 'vitest';
import { buildSnapshot, generationOf, isMadeOf } from '../../src/mesh/build.ts';
import type { SourceObject } from '../../src/mesh/build.ts';
import { renderProblem } from '../../src/mesh/problem.ts';
import type { GoodObject, Snapshot } from '../../src/mesh/snapshot.ts';
import { application, errors, snapshotOf } from './world.ts';

const rule = (timeout: string, host = 'cart'): string => `apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: cart, namespace: shop}
spec:
  hosts: [cart]
  http:
  - timeout: ${timeout}
    route:
    - destination: {host: ${host}}
`;

const subsets = (...names: string[]): string => `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: cart, namespace: shop}
spec:
  host: cart
  subsets: [${names.map((name) => `{name: ${name}, labels: {version: ${name}}}`).join(', ')}]
`;

const meshConfig = (mode: string): string => `apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: istio-system}
data:
  mesh: |
    outboundTrafficPolicy: {mode: ${mode}}
`;

const APP = application('shop', ['cart']);

function timeoutOf({ virtualServices }: Snapshot): string | undefined {
  return virtualServices[0]?.spec.http?.[0]?.timeout;
}

describe('an object that becomes invalid', () => {
  const good = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('1s') });

  it('keeps its last good version, which is told', () => {
    const bad = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('soon') }, good);
    expect(timeoutOf(bad)).toBe('1s');
    expect(bad.problems.map(renderProblem)).toEqual([
      'rule.yaml:1: info [ORLOP006] VirtualService shop/cart: the last good version of this object stays in force → correct its errors',
      'rule.yaml:7: error [IST0106] VirtualService shop/cart spec.http[0].timeout: "soon" is no duration → write it as 10s, 250ms or 1h30m',
    ]);
  });

  it('keeps it through any number of further mistakes, until it is right again', () => {
    const worse = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('7') }, snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('soon') }, good));
    expect(timeoutOf(worse)).toBe('1s');
    const right = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('2s') }, worse);
    expect(timeoutOf(right)).toBe('2s');
    expect(right.problems).toEqual([]);
  });

  it('is gone when it is removed', () => {
    expect(snapshotOf({ 'app.yaml': APP }, good).virtualServices).toEqual([]);
  });

  it('is left out when it never was good', () => {
    const bad = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('soon') });
    expect(bad.virtualServices).toEqual([]);
    expect(bad.services).toHaveLength(1);
  });

  it('does not keep other objects of its file from changing', () => {
    const before = snapshotOf({ 'all.yaml': `${APP}---\n${rule('1s')}---\n${subsets('v1')}` });
    const after = snapshotOf({ 'all.yaml': `${APP}---\n${rule('soon')}---\n${subsets('v1', 'v2')}` }, before);
    expect(timeoutOf(after)).toBe('1s');
    expect(after.destinationRules[0]?.spec.subsets).toHaveLength(2);
  });
});

describe('an object of an API server', () => {
  const web = (generation: number, spec: unknown): SourceObject => ({ name: 'HTTPRoute shop/web', value: { apiVersion: 'gateway.networking.k8s.io/v1', kind: 'HTTPRoute', metadata: { name: 'web', namespace: 'shop', generation }, spec } });

  it('that becomes invalid keeps a version that is told by its generation', () => {
    const bad = buildSnapshot([web(5, { rules: 'x' })], buildSnapshot([web(4, {})], buildSnapshot([web(3, {})])));
    expect(bad.problems.map(({ message }) => message)).toContain('the last good version of this object (generation 4) stays in force');
    expect(generationOf(bad.objects['HTTPRoute shop/web'] as GoodObject)).toBe(4);
  });

  it('is told from a version that has come since, whether it is in force or not', () => {
    const [good, bad] = [web(1, {}), web(2, { rules: 'x' })];
    const snapshot = buildSnapshot([bad], buildSnapshot([good]));
    expect([good, bad, web(2, { rules: 'x' })].map((object) => isMadeOf(snapshot, object))).toEqual([false, true, false]);
  });
});

describe('a file with an error of syntax', () => {
  const good = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('1s') });

  it('keeps what it held', () => {
    const bad = snapshotOf({ 'app.yaml': APP, 'rule.yaml': `${rule('2s')}  oops` }, good);
    expect(timeoutOf(bad)).toBe('1s');
    expect(errors(bad).map(({ file, line, code }) => `${file}:${line} ${code}`)).toEqual(['rule.yaml:10 ORLOP001']);
  });

  it('takes effect in its other documents', () => {
    const after = snapshotOf({ 'app.yaml': APP, 'rule.yaml': `${rule('3s')}---\nkind: {\n` }, good);
    expect(timeoutOf(after)).toBe('3s');
  });

  it('gives up an object that has moved to another file', () => {
    const after = snapshotOf({ 'app.yaml': APP, 'rule.yaml': 'kind: {', 'z.yaml': rule('4s') }, good);
    expect(timeoutOf(after)).toBe('4s');
    expect(after.virtualServices).toHaveLength(1);
  });

  it('that cannot be read keeps what it held, too', () => {
    const after = buildSnapshot([{ name: 'app.yaml', text: APP }, { name: 'rule.yaml', text: '', unreadable: 'permission denied' }], good);
    expect(timeoutOf(after)).toBe('1s');
    expect(after.problems.map(renderProblem)).toEqual([
      'rule.yaml: error [ORLOP007] cannot be read: permission denied → make it readable; until then the objects this file held before stay in force',
    ]);
  });
});

describe('a rule that comes to name what does not exist', () => {
  const good = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('1s') });

  it('does not replace the one that worked', () => {
    const bad = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('2s', 'basket') }, good);
    expect(timeoutOf(bad)).toBe('1s');
    expect(bad.problems.map(({ line, severity, code }) => `${line} ${severity} ${code}`)).toEqual(['1 info ORLOP006', '9 error IST0101']);
  });

  it('takes effect once what it names is there', () => {
    const bad = snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('2s', 'basket') }, good);
    const app = application('shop', ['cart', 'basket']);
    expect(timeoutOf(snapshotOf({ 'app.yaml': app, 'rule.yaml': rule('2s', 'basket') }, bad))).toBe('2s');
  });

  it('is in force all the same when nothing was there before: it answers for its own destination only', () => {
    expect(timeoutOf(snapshotOf({ 'app.yaml': APP, 'rule.yaml': rule('2s', 'basket') }))).toBe('2s');
  });
});

describe('MeshConfig', () => {
  it('that becomes invalid goes on as it was', () => {
    const good = snapshotOf({ 'mesh.yaml': meshConfig('REGISTRY_ONLY') });
    expect(good.mesh.outboundTrafficPolicy).toBe('REGISTRY_ONLY');
    const bad = snapshotOf({ 'mesh.yaml': meshConfig('REGISTRY') }, good);
    expect(bad.mesh.outboundTrafficPolicy).toBe('REGISTRY_ONLY');
    expect(errors(bad).map(({ line, field }) => `${line} ${field}`)).toEqual(['6 data.mesh.outboundTrafficPolicy.mode']);
  });

  it('that is removed is the default again', () => {
    const before = snapshotOf({ 'mesh.yaml': meshConfig('REGISTRY_ONLY') });
    expect(snapshotOf({}, before).mesh.outboundTrafficPolicy).toBe('ALLOW_ANY');
  });
});

describe('a file that has not changed', () => {
  it('is told about in the same words as before, and counts as it did', () => {
    const files = { 'app.yaml': APP, 'bad.yaml': rule('soon').replaceAll('name: cart', 'name: other'), 'rule.yaml': rule('1s') };
    const first = snapshotOf(files);
    const second = snapshotOf({ ...files, 'rule.yaml': rule('2s') }, first);
    expect(second.problems).toEqual(first.problems);
    expect(second.problems.map(({ file, line }) => `${file}:${line}`)).toEqual(['bad.yaml:7']);
    expect(timeoutOf(second)).toBe('2s');
    expect(snapshotOf({ ...files, 'bad.yaml': rule('3s').replaceAll('name: cart', 'name: other') }, second).problems.map(({ code }) => code)).toEqual(['IST0109']);
  });
});

describe('versions', () => {
  it('grow with every snapshot', () => {
    const first = snapshotOf({});
    expect(snapshotOf({}, first).version).toBe(first.version + 1);
  });
});
