/** Security resources for tests, written as a user would, and what they are asked about. */
import { expect } from 'vitest';
import { renderProblem } from '../../src/mesh/problem.ts';
import type { AuthorizationPolicies, AuthorizationRequest, InboundSecurity } from '../../src/mesh/security.ts';
import { application, errors, request, snapshotOf, tableOf } from './world.ts';

const SHOP = application('shop', ['cart']);

/** What `shop/cart-v1` demands under these resources. */
export function securityOf(yaml: string): InboundSecurity {
  const snapshot = snapshotOf({ 'app.yaml': SHOP, 'security.yaml': yaml });
  expect(errors(snapshot).map(renderProblem)).toEqual([]);
  return tableOf(snapshot, 'shop/cart-v1').security;
}

let named = 0;

/** An AuthorizationPolicy in namespace shop; `rules` in JSON or YAML flow style. */
export function policy(action: string, rules: string, { name = '', namespace = 'shop', annotations = '{}', more = '' } = {}): string {
  named += 1;
  return `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: ${name === '' ? `p${named}` : name}, namespace: ${namespace}, annotations: ${annotations}}
spec: {action: ${action}, rules: ${rules}${more}}
---
`;
}

export function policiesOf(...policies: readonly string[]): AuthorizationPolicies {
  return securityOf(policies.join('')).authorization;
}

export const WEB = 'spiffe://cluster.local/ns/shop/sa/web';

const BASE: AuthorizationRequest = {
  identity: WEB,
  sourceAddress: '10.244.4.9',
  remoteAddress: '10.244.4.9',
  destinationAddress: '10.244.4.1',
  destinationPort: 9080,
  sni: '',
  http: undefined,
  authentication: undefined,
};

/** An opaque connection. */
export function connection(change: Partial<AuthorizationRequest> = {}): AuthorizationRequest {
  return { ...BASE, ...change };
}

/** `GET http://cart/items`, from the web service of the same namespace. */
export function http(change: Partial<AuthorizationRequest> & { readonly method?: string; readonly host?: string; readonly path?: string; readonly headers?: Readonly<Record<string, string>> } = {}): AuthorizationRequest {
  const { method = 'GET', host = 'cart', path = '/items', headers = {}, ...rest } = change;
  return { ...BASE, http: request(host, path, headers, method), ...rest };
}

/** With a token of this issuer and subject. */
export function bearing(claims: Readonly<Record<string, unknown>>, change: Partial<AuthorizationRequest['authentication']> = {}): Partial<AuthorizationRequest> {
  const { iss, sub, azp } = claims;
  const requestPrincipal = typeof iss === 'string' && typeof sub === 'string' ? `${iss}/${sub}` : '';
  return { authentication: { requestPrincipal, audiences: [], presenter: typeof azp === 'string' ? azp : '', claims, ...change } };
}
