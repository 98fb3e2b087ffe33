/** A delegate may narrow what its root hands over, never widen it. */
import { describe, expect, it } from 'vitest';
import { renderProblem } from '../../../src/mesh/problem.ts';
import { application, errors, request, routeOf, snapshotOf, tableOf } from '../world.ts';
import { istio } from './istio.ts';

const SHOP = application('shop', ['cart', 'web']);

/** Name of the route of a request, where everything that the root does not hand over is `rest`. */
function taken(rootMatch: string, childMatch: string, path = '/', headers: Readonly<Record<string, string>> = {}): string | undefined {
  const root = istio('VirtualService', 'root', `{hosts: [cart], http: [{name: r, match: [${rootMatch}], delegate: {name: part}}, {name: rest, directResponse: {status: 404}}]}`);
  const part = istio('VirtualService', 'part', `{http: [{name: x, match: [${childMatch}], directResponse: {status: 201}}]}`);
  return routeOf(tableOf(snapshotOf({ 'a.yaml': SHOP + root + part }), 'shop/web-v1'), request('cart', path, headers))?.name;
}

describe('a delegate', () => {
  it('cannot take clients that its root does not hand over', () => {
    expect(taken('{sourceLabels: {app: nobody}}', '{sourceLabels: {version: v1}}')).toBe('rest');
    expect(taken('{sourceLabels: {app: nobody}}', '{sourceLabels: {app: web}}')).toBe('rest');
    expect(taken('{sourceLabels: {app: web}}', '{sourceLabels: {version: v1}}')).toBe('r-x');
  });

  it('cannot take requests with other headers or parameters than its root says', () => {
    expect(taken('{headers: {user: {exact: a}}}', '{headers: {user: {exact: b}}}', '/', { user: 'b' })).toBe('rest');
    expect(taken('{queryParams: {user: {exact: a}}}', '{queryParams: {user: {exact: b}}}', '/?user=b')).toBe('rest');
    expect(taken('{headers: {user: {prefix: a}}}', '{headers: {user: {exact: ab}}}', '/', { user: 'ab' })).toBe('r-x');
  });

  it('is left out whole, where one of its blocks lies outside of the root', () => {
    expect(taken('{uri: {prefix: /a}}', '{uri: {prefix: /a/b}}, {uri: {prefix: /c}}', '/a/b')).toBe('rest');
  });

  it('shares the letter case of its root', () => {
    expect(taken('{uri: {prefix: /A}, ignoreUriCase: true}', '{uri: {prefix: /A/b}}', '/A/b')).toBe('rest');
  });

  it('joins the names of the blocks', () => {
    expect(taken('{name: m, uri: {prefix: /a}}', '{name: n, uri: {prefix: /a/b}}', '/a/b')).toBe('r-x.m-n');
  });

  it('that is not exported to the root is told, and takes nothing', () => {
    const root = istio('VirtualService', 'root', '{hosts: [cart], http: [{match: [{uri: {prefix: /a}}], delegate: {name: part, namespace: other}}, {name: rest, directResponse: {status: 404}}]}');
    const part = istio('VirtualService', 'part', '{exportTo: ["."], http: [{name: x, directResponse: {status: 201}}]}', 'other');
    const snapshot = snapshotOf({ 'a.yaml': SHOP + root + part });
    expect(errors(snapshot).map(renderProblem)).toEqual([expect.stringMatching(/IST0101\] VirtualService shop\/root spec\.http\[0\]\.delegate: VirtualService other\/part is not exported to shop/)]);
    expect(routeOf(tableOf(snapshot, 'shop/web-v1'), request('cart', '/a'))?.name).toBe('rest');
  });
});
